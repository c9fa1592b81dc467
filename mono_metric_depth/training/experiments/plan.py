# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which networks are trained, and which rows of results they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mono_metric_depth.datasets import sequence_names
from mono_metric_depth.training.recipe import Recipe, RecipeError, build_recipe, read_entries


@dataclass(frozen=True)
class Settings:
    """What config/experiments.yaml fixes.

    Attributes:
        pairs: Source and target domain of each.
        seeds: Of training.
        train, validation, test: World seeds of the drives of each domain, as ``0-15``.
        frames: Of each drive.
        height: Of every camera in the main experiments (m).
        heights, pitches: Of the target's camera (m, rad), in the sweeps.
        annotated: Numbers of annotated source images.
        geometry_weight, source_depth_weight: Of the recipes that have them.
        image_scale_steps: Of the network that predicts one scale per image.
        continual_steps: Of the continual training.
        recipe: Entries that all recipes share.
    """

    pairs: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    train: str
    validation: str
    test: str
    frames: int
    height: float
    heights: tuple[float, ...]
    pitches: tuple[float, ...]
    annotated: tuple[int, ...]
    geometry_weight: float
    source_depth_weight: float
    image_scale_steps: int
    continual_steps: int
    recipe: dict[str, Any]

    def drives(self, domain: str, part: str, mount: str = '') -> tuple[str, ...]:
        """The drives of a domain.

        Args:
            domain: Its name.
            part: ``train``, ``validation`` or ``test``.
            mount: Of the camera, as ``@1.5-0.04``; every drive's own if left out.
        """
        return (f'world:{domain}:{getattr(self, part)}x{self.frames}{mount}',)

    @property
    def level(self) -> str:
        """The mount of the main experiments."""
        return f'@{self.height:g}'


@dataclass(frozen=True)
class Network:
    """One training.

    Attributes:
        name: Unique; the name of its folder.
        recipe: What is trained; the drives that it names for validation and test are not read.
        start: Name of the network that training starts from; empty for none.
    """

    name: str
    recipe: Recipe
    start: str = ''


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        name: Unique; the name of its file of results.
        variant: What is compared.
        source, target: Domains.
        seed: Of training.
        network: Name of the network that is measured.
        scale_network: Name of the network that the scalar is fitted with.
        validation: Drives with ground truth that it is fitted on.
        test: Drives that both are tested on.
        control: Drives whose ground truth makes the control without a network.
        image_scales: Whether one scale per image, predicted by a network of its own, is measured,
            too.
    """

    name: str
    variant: str
    source: str
    target: str
    seed: int
    network: str
    scale_network: str
    validation: tuple[str, ...]
    test: tuple[str, ...]
    control: tuple[str, ...]
    image_scales: bool = False


#: What the rows differ in.
_SET_BY_THE_PLAN = {
    *('name', 'seed', 'source', 'target', 'source_validation', 'target_test', 'replay', 'start'),
    *('aligned', 'levelled', 'source_depth_weight', 'reconstruction_weight', 'geometry_weight'),
}
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    'pairs': lambda pairs: tuple((str(source), str(target)) for source, target in pairs),
    'seeds': lambda seeds: tuple(int(seed) for seed in seeds),
    'heights': lambda heights: tuple(float(height) for height in heights),
    'pitches': lambda pitches: tuple(float(pitch) for pitch in pitches),
    'annotated': lambda counts: tuple(int(count) for count in counts),
    **dict.fromkeys(('train', 'validation', 'test'), str),
    **dict.fromkeys(('frames', 'image_scale_steps', 'continual_steps'), int),
    **dict.fromkeys(('height', 'geometry_weight', 'source_depth_weight'), float),
    'recipe': dict,
}


def load_settings(path: Path | str) -> Settings:
    """Read the settings.

    Raises:
        RecipeError: Naming what is unknown, missing or wrong.
    """
    entries = read_entries(path)
    known = {field.name for field in dataclasses.fields(Settings)}
    for name in entries.keys() ^ known:
        msg = f'{path}: entry {name!r} is {"missing" if name in known else "unknown"}; '
        msg += f'there are {", ".join(sorted(known))}'
        raise RecipeError(msg)
    values = {}
    for name, value in entries.items():
        try:
            values[name] = _CONVERSIONS[name](value)
        except (TypeError, ValueError) as err:
            msg = f'{path}: {name} is {value!r}: {err}'
            raise RecipeError(msg) from err
    settings = Settings(**values)
    if not settings.pairs or not settings.seeds:
        msg = f'{path}: pairs and seeds must not be empty'
        raise RecipeError(msg)
    for name in ('pairs', 'seeds', 'heights', 'pitches', 'annotated'):
        if len(set(getattr(settings, name))) < len(getattr(settings, name)):
            msg = f'{path}: {name} names something twice'
            raise RecipeError(msg)
    for source, target in settings.pairs:
        if source == target:
            msg = f'{path}: pairs: {source} cannot be its own target'
            raise RecipeError(msg)
    for name in ('frames', 'image_scale_steps', 'continual_steps', 'height'):
        if not getattr(settings, name) > 0:
            msg = f'{path}: {name} is {getattr(settings, name)}, must be above 0'
            raise RecipeError(msg)
    for name in _SET_BY_THE_PLAN.intersection(settings.recipe):
        msg = f'{path}: recipe must leave {name} out: the experiments set it'
        raise RecipeError(msg)
    plan = Plan.of(settings)  # raises where a recipe cannot be trained
    for row in plan.rows:
        tested = {name for entry in (*row.validation, *row.test) for name in sequence_names(entry)}
        for name in plan.networks_of(row):
            recipe = plan.networks[name].recipe
            for entry in ('source', 'target', 'replay'):
                if not tested.isdisjoint(recipe.drives(entry)):
                    msg = f'{path}: validation and test must be held out of train'
                    raise RecipeError(msg)
    return settings


class Plan:
    """All networks and all rows, the first seed first, so that early results are whole.

    Attributes:
        settings: What it follows from.
        networks: By name, in the order in which they are trained.
        rows: In the order of the page.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.networks: dict[str, Network] = {}
        self.rows: list[Row] = []

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """The plan of some settings."""
        plan = cls(settings)
        for seed in settings.seeds:
            for source, target in settings.pairs:
                plan._main(source, target, seed)
            plan._sweeps(*settings.pairs[0], seed)
            plan._continual(*settings.pairs[0], seed)
        return plan

    def _main(self, source: str, target: str, seed: int) -> None:
        weight = self.settings.source_depth_weight
        supervised: dict[str, Any] = {'source_depth_weight': 1.0, 'reconstruction_weight': 0.0}
        mixed = self._train('mixed', source, target, seed)
        unaligned = self._train('unaligned', source, target, seed, aligned=False)
        guided = self._train('source_supervised', source, target, seed, source_depth_weight=weight)
        alone = self._train('alone', source, '', seed)
        target_alone = self._train('alone', target, '', seed)
        source_truth = self._train('supervised', source, '', seed, **supervised)
        target_truth = self._train('supervised', target, '', seed, **supervised)
        row = (source, target, seed)
        self._row('mixed', *row, mixed, image_scales=True)
        self._row('unaligned', *row, unaligned)
        self._row('target_only', *row, target_alone, scale_network=alone)
        self._row('source_only', *row, alone)
        self._row('target_supervised', *row, target_truth, validation=target)
        self._row('source_supervised', *row, guided)
        self._row('source_supervision_alone', *row, source_truth)

    def _sweeps(self, source: str, target: str, seed: int) -> None:
        settings = self.settings
        row = source, target, seed
        consistent = self._train(
            'geometry', source, target, seed, geometry_weight=settings.geometry_weight
        )
        self._row('geometry', *row, consistent)
        for height in settings.heights:
            mount = f'@{height:g}'
            network = self._train(f'height_{height:g}', source, target, seed, target_mount=mount)
            self._row(f'height_{height:g}', *row, network, target_mount=mount)
        # Unknown pitch: the source's camera looks along the road, the target's does not.
        straight = f'{settings.level}+0.00'
        for pitch in settings.pitches:
            mount = f'{settings.level}{pitch:+.2f}'
            mounts: dict[str, Any] = {'source_mount': straight, 'target_mount': mount}
            variant = f'pitch_{pitch:+.2f}'
            network = self._train(variant, source, target, seed, levelled=False, **mounts)
            self._row(variant, *row, network, **mounts)
            # The same cameras, their pitch known: the network of the main experiment.
            mixed = f'mixed-{source}-{target}-{seed}'
            self._row(f'known_{variant}', *row, mixed, target_mount=mount)
        # Every camera at its own height, with its own pitch and roll.
        own: dict[str, Any] = {'source_mount': '', 'target_mount': ''}
        for variant, levelled in (('own_mounts', False), ('own_mounts_levelled', True)):
            network = self._train(variant, source, target, seed, levelled=levelled, **own)
            self._row(variant, *row, network, **own)
        variant = 'own_mounts_source_supervised'
        weight = settings.source_depth_weight
        network = self._train(variant, source, target, seed, source_depth_weight=weight, **own)
        self._row(variant, *row, network, **own)

    def _continual(self, source: str, target: str, seed: int) -> None:
        settings = self.settings
        third = next(
            (name for pair in settings.pairs for name in pair if name not in (source, target)), ''
        )
        if not third:
            return
        mixed = f'mixed-{source}-{target}-{seed}'
        self._row('continual_before', source, third, seed, mixed)
        steps = settings.continual_steps
        for variant, replay in (('continual', True), ('continual_without_replay', False)):
            network = self._train(
                variant,
                source,
                third,
                seed,
                start=mixed,
                steps=steps,
                replay=settings.drives(target, 'train', settings.level) if replay else (),
            )
            self._row(variant, source, third, seed, network)
            self._row(f'{variant}_kept', source, target, seed, network)

    def _train(
        self,
        variant: str,
        source: str,
        target: str,
        seed: int,
        *,
        source_mount: str | None = None,
        target_mount: str | None = None,
        start: str = '',
        **changes: Any,
    ) -> str:
        """Add a network, unless it is there already; its name."""
        settings = self.settings
        name = '-'.join(part for part in (variant, source, target, str(seed)) if part)
        at = settings.level if source_mount is None else source_mount
        there = settings.level if target_mount is None else target_mount
        alone = {
            'target': (),
            'target_batch': 0,
            # As many images as a mixed batch has.
            'source_batch': settings.recipe['source_batch'] + settings.recipe['target_batch'],
        }
        entries = {
            'source_depth_weight': 0.0,
            **settings.recipe,
            'name': name,
            'seed': seed,
            'source': settings.drives(source, 'train', at),
            'source_validation': settings.drives(source, 'validation', at),
            **({'target': settings.drives(target, 'train', there)} if target else alone),
            **changes,
        }
        self.networks.setdefault(name, Network(name, build_recipe(entries), start))
        return name

    def _row(
        self,
        variant: str,
        source: str,
        target: str,
        seed: int,
        network: str,
        *,
        scale_network: str = '',
        validation: str = '',
        source_mount: str | None = None,
        target_mount: str | None = None,
        image_scales: bool = False,
    ) -> None:
        settings = self.settings
        at = settings.level if source_mount is None else source_mount
        there = settings.level if target_mount is None else target_mount
        self.rows.append(
            Row(
                name=f'{source}-{target}-{variant}-{seed}',
                variant=variant,
                source=source,
                target=target,
                seed=seed,
                network=network,
                scale_network=scale_network or network,
                validation=settings.drives(validation or source, 'validation', at),
                test=settings.drives(target, 'test', there),
                control=settings.drives(source, 'train', at),
                image_scales=image_scales,
            )
        )

    def networks_of(self, row: Row) -> Iterator[str]:
        """The networks that a row needs, and those that they start from."""
        for name in dict.fromkeys((row.network, row.scale_network)):
            if self.networks[name].start:
                yield self.networks[name].start
            yield name
