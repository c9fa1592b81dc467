# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Losses, mixed batches, trainer and export."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from scipy.spatial.transform import Rotation

from mono_metric_depth.camera import Camera
from mono_metric_depth.commands import train
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import read_card
from mono_metric_depth.scale import ScaleError
from mono_metric_depth.training import drive_cache
from mono_metric_depth.training.aligned_drive import AlignedDrive, align_drive
from mono_metric_depth.training.checkpoint import CheckpointError
from mono_metric_depth.training.export import ExportError
from mono_metric_depth.training.fresh_drives import FreshDrives
from mono_metric_depth.training.held_out import predicted_depth
from mono_metric_depth.training.losses import (
    Reference,
    geometry_consistency_loss,
    log_depth_loss,
    photometric_error,
    smoothness_loss,
    unwarped_error,
    view_reconstruction_loss,
    warp,
)
from mono_metric_depth.training.mixed_batches import MixedBatches
from mono_metric_depth.training.networks import MAX_DEPTH, MIN_DEPTH, build_depth_network
from mono_metric_depth.training.pose_network import PoseNetwork, transform
from mono_metric_depth.training.recipe import RecipeError, load_recipe
from mono_metric_depth.training.trainer import Trainer, TrainingError
from mono_metric_depth.worlds import Drive

CANONICAL = Camera(128, 64, 100.0, 100.0, 63.5, 27.0)
SMALL = {
    'name': 'small',
    'source': ['world:town:0x5'],
    'target': ['world:suburb:0x5'],
    'source_validation': ['world:town:900x4'],
    'target_test': ['world:suburb:900x4'],
    'canonical_camera': {'width': 64, 'height': 64, 'fx': 50, 'fy': 50, 'cx': 31.5, 'cy': 27},
    'source_batch': 2,
    'target_batch': 1,
    'steps': 4,
}


@pytest.fixture(scope='module')
def drive() -> Drive:
    return Drive('suburb', 7, 6, camera=CANONICAL)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / 'small.yaml'
    path.write_text(yaml.safe_dump(SMALL))
    return path


def tensors(drive: Drive, index: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    frame = drive[index]
    image = torch.from_numpy(frame.image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    assert frame.depth is not None
    assert frame.pose is not None
    return image, torch.from_numpy(frame.depth)[None, None].clamp(max=200.0), frame.pose


def motion(drive: Drive, current: int, neighbour: int) -> torch.Tensor:
    poses = [tensors(drive, index)[2] for index in (current, neighbour)]
    return torch.from_numpy(np.linalg.inv(poses[1]) @ poses[0]).float()[None]


INTRINSICS = torch.tensor([[CANONICAL.fx, CANONICAL.fy, CANONICAL.cx, CANONICAL.cy]])


def reconstruction(
    image: torch.Tensor,
    neighbours: list[torch.Tensor],
    seen: torch.Tensor,
    neighbours_seen: list[torch.Tensor],
    depth: torch.Tensor,
    motions: list[torch.Tensor],
    intrinsics: torch.Tensor = INTRINSICS,
) -> torch.Tensor:
    reference = Reference.of(image)
    pairs = zip(neighbours, neighbours_seen, strict=True)
    return view_reconstruction_loss(
        reference,
        [torch.cat(pair, dim=1) for pair in pairs],
        unwarped_error(reference, neighbours),
        seen,
        depth,
        motions,
        intrinsics,
    )


def test_true_depth_and_motion_reconstruct_the_view(drive: Drive) -> None:
    image, depth, _ = tensors(drive, 2)
    neighbour = tensors(drive, 3)[0]
    view, inside = warp(neighbour, depth, motion(drive, 2, 3), INTRINSICS)
    assert inside.float().mean() > 0.8
    reference = Reference.of(image)
    warped = photometric_error(view, reference)[inside].mean()
    identity = photometric_error(neighbour, reference)[inside].mean()
    assert warped < 0.6 * identity
    # The classic mistake, the motion inverted, must be worse than not moving at all.
    wrong, _ = warp(neighbour, depth, torch.linalg.inv(motion(drive, 2, 3)), INTRINSICS)
    assert photometric_error(wrong, reference)[inside].mean() > identity


def test_the_loss_is_lowest_at_true_depth(drive: Drive) -> None:
    image, depth, _ = tensors(drive, 2)
    neighbours = [tensors(drive, index)[0] for index in (1, 3)]
    motions = [motion(drive, 2, index) for index in (1, 3)]
    seen = torch.ones_like(depth)

    def loss(factor: float) -> float:
        return float(
            reconstruction(image, neighbours, seen, [seen, seen], depth * factor, motions)
        )

    best = loss(1.0)
    assert best < loss(0.75)
    assert best < loss(1.35)


def test_depth_that_agrees_between_frames_is_consistent(drive: Drive) -> None:
    current, neighbour = tensors(drive, 2)[1], tensors(drive, 3)[1]
    seen = torch.ones_like(current)

    def loss(factor: float) -> float:
        depths = current * factor, neighbour
        return float(geometry_consistency_loss(*depths, seen, motion(drive, 2, 3), INTRINSICS))

    # Moving cars and edges seen from one side alone remain.
    assert loss(1.0) < 0.04
    assert loss(1.2) > 2 * loss(1.0)
    assert loss(0.8) > 2 * loss(1.0)


def test_what_stands_still_in_the_image_does_not_count() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 64)
    seen = torch.ones(1, 1, 32, 64)
    forward = transform(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
    intrinsics = torch.tensor([[50.0, 50.0, 31.5, 15.5]])
    views = [image, image]
    loss = reconstruction(
        image, views, seen, [seen, seen], seen * 5, [forward, forward], intrinsics
    )
    assert float(loss) == 0.0


def test_unseen_pixels_do_not_count() -> None:
    torch.manual_seed(0)
    image, other = torch.rand(2, 1, 3, 32, 64)
    none = torch.zeros(1, 1, 32, 64)
    still = transform(torch.zeros(1, 3), torch.zeros(1, 3))
    intrinsics = torch.tensor([[50.0, 50.0, 31.5, 15.5]])
    for seen, other_seen in ((none, none + 1), (none + 1, none)):
        loss = reconstruction(image, [other], seen, [other_seen], none + 5, [still], intrinsics)
        assert float(loss) == 0.0


def test_transforms_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(20, 3)), rng.normal(size=(5, 3)) * 1e-9])
    found = transform(torch.from_numpy(vectors), torch.zeros(25, 3, dtype=torch.float64))
    expected = Rotation.from_rotvec(vectors).as_matrix()
    np.testing.assert_allclose(found[:, :3, :3].numpy(), expected, atol=1e-9)


def test_depth_loss_knows_sky_and_ignores_the_unknown() -> None:
    true = torch.tensor([10.0, float('nan'), float('inf'), 10.0]).view(1, 1, 1, 4)
    good = torch.tensor([10.0, 3.0, 95.0, 10.0]).view(1, 1, 1, 4)
    assert float(log_depth_loss(good, true, 80.0)) == pytest.approx(0.0, abs=1e-6)
    near_sky = good.clone().requires_grad_()
    near_sky.data[..., 2] = 20.0
    loss = log_depth_loss(near_sky, true, 80.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(4.0) / 4, abs=1e-5)
    # Beyond the furthest distance, a wrongly far pixel must still be pulled back.
    far = torch.full((1, 1, 1, 4), 99.0, requires_grad=True)
    log_depth_loss(far, true, 80.0).backward()
    assert far.grad is not None
    assert float(far.grad[..., 0]) > 0


def test_smoothness_prefers_steps_at_edges() -> None:
    step = torch.cat([torch.full((1, 1, 16, 16), 5.0), torch.full((1, 1, 16, 16), 10.0)], dim=3)
    edge = torch.cat([torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)], dim=3)
    assert smoothness_loss(step, edge) < smoothness_loss(step, torch.zeros(1, 3, 16, 32))
    assert float(smoothness_loss(torch.full((1, 1, 16, 32), 7.0), edge)) == 0.0


def drives(
    name: str, depth: float, count: int = 2, camera: Camera = CANONICAL
) -> list[AlignedDrive]:
    rng = np.random.default_rng(1)
    size = (5, CANONICAL.height, CANONICAL.width)
    return [
        AlignedDrive(
            f'{name}-{number}',
            rng.integers(0, 255, (*size, 3), dtype=np.uint8),
            np.full(size, depth, np.float16),
            np.ones(size[1:], bool),
            camera,
            None,
        )
        for number in range(count)
    ]


def test_batches_mix_both_domains_and_never_show_target_depth() -> None:
    batches = MixedBatches(drives('source', 10), drives('target', 20), 3, 2, seed=4)
    batch, again, other = batches.batch(7), batches.batch(7), batches.batch(8)
    assert [name.split('-')[0] for name in batch.names] == ['source'] * 3 + ['target'] * 2
    seen = batch.seen[:3] > 0
    assert (batch.depth[:3][seen] == 10).all()
    assert batch.depth[:3][~seen].isnan().all()
    assert 0.3 < float(batch.seen.mean()) < 1
    assert batch.depth[3:].isnan().all()
    taken, jittered = batch.views()
    assert torch.equal(jittered, again.views()[1])
    assert not torch.equal(batch.images, other.images)
    assert 0 <= float(taken.min()) < float(taken.max()) <= 1
    changed = (taken - jittered).abs().amax(dim=(0, 2, 3, 4)) > 1e-6
    assert changed.any()


def test_processes_together_draw_what_one_would() -> None:
    pools = drives('source', 10), drives('target', 20), 4, 2, 4
    whole = MixedBatches(*pools).batch(3)
    parts = [MixedBatches(*pools, part=(rank, 2)).batch(3) for rank in (0, 1)]
    assert [part.sources for part in parts] == [2, 2]
    assert parts[0].names + parts[1].names == [whole.names[i] for i in (0, 2, 4, 1, 3, 5)]
    views = [part.views()[1] for part in parts]
    torch.testing.assert_close(views[1][:, 2], whole.views()[1][:, 5])


def test_the_oldest_drive_gives_way_to_the_next() -> None:
    made = []

    def make(name: str) -> Future[list[AlignedDrive]]:
        made.append(name)
        future: Future[list[AlignedDrive]] = Future()
        future.set_result(drives(name, 10, count=1))
        return future

    first = [drives(name, 10, count=1) for name in 'ab']
    fresh = FreshDrives('abcd', 2, 10, first, make)
    names = [[drive.name[0] for drive in fresh.at(step)] for step in (0, 9, 10, 20, 35, 40)]
    assert names == [['a', 'b'], ['a', 'b'], ['b', 'c'], ['c', 'd'], ['d', 'a'], ['a', 'b']]
    assert made[:3] == ['c', 'd', 'a']  # before they are due
    # A training that goes on has what it would have had.
    later = FreshDrives('abcd', 2, 10, first, make)
    assert [drive.name[0] for drive in later.at(35)] == ['d', 'a']
    batches = MixedBatches(FreshDrives('abcd', 2, 10, first, make), drives('t', 10), 4, 1, seed=0)
    assert {name[0] for name in batches.batch(25).names} <= {'c', 'd', 't'}


def test_a_damaged_drive_of_the_cache_is_named(tmp_path: Path) -> None:
    def align() -> list[AlignedDrive]:
        return drive_cache.align_drives(
            ('world:town:0x2',), CANONICAL, levelled=True, with_depth=True, cache=tmp_path
        )

    align()
    (file,) = tmp_path.glob('*.npz')
    whole = file.read_bytes()
    for damaged in (whole[:-40], b'\x80' * 2000, whole[:1000] + b'~' * 9 + whole[1009:]):
        file.write_bytes(damaged)
        with pytest.raises(drive_cache.DriveCacheError, match='is damaged; remove it'):
            align()


def test_training_on_fresh_drives_goes_on_exactly(
    recipe_file: Path, tmp_path: Path, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_cache, '_MAKERS', 1)
    drives = {'source': ['world:town:0-1x3'], 'held_drives': 1, 'fresh_every': 2}
    recipe = load_recipe(recipe_file, **drives)
    whole = Trainer(recipe, tmp_path / 'whole', cache=rendered)
    assert whole.train()
    asked = iter([False, True])
    assert not Trainer(
        recipe, tmp_path / 'parts', stopped=lambda: next(asked), cache=rendered
    ).train()
    resumed = Trainer(recipe, tmp_path / 'parts', cache=rendered)
    assert resumed.step == 2
    assert resumed.train()
    for name, value in whole.depth_network.state_dict().items():
        torch.testing.assert_close(
            value, resumed.depth_network.state_dict()[name], rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize('name', ['world:suburb:9x4@9', 'world:moon:9x4', 'nowhere/bag'])
def test_a_drive_that_is_not_there_is_named_before_any_is_rendered(
    name: str, recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    changes = {'target': [*SMALL['target'], name], 'held_drives': 1}  # type: ignore[misc]
    with pytest.raises(DatasetError, match=name):
        Trainer(load_recipe(recipe_file, **changes), tmp_path / 'run', cache=rendered)
    assert not (tmp_path / 'run').exists()


def test_a_share_of_the_target_half_replays_earlier_targets() -> None:
    batches = MixedBatches(
        drives('source', 10),
        drives('target', 20),
        2,
        40,
        0,
        replay=drives('earlier', 30),
        replay_share=0.25,
    )
    names = [name for step in range(5) for name in batches.batch(step).names]
    assert not any(name.startswith('earlier') for name in names[:2])
    assert 30 < sum(name.startswith('earlier') for name in names) < 70


def test_a_mirrored_image_has_a_mirrored_principal_point() -> None:
    ramp = drives('ramp', 10, count=1, camera=Camera(128, 64, 100, 100, 50.0, 27))
    ramp[0].images[:] = np.arange(CANONICAL.width, dtype=np.uint8)[None, None, :, None]
    batches = MixedBatches(ramp, ramp, 8, 8, seed=0)
    batch = batches.batch(0)
    mirrored = batch.images[0, :, 0, 0, 0] > batch.images[0, :, 0, -1, 0]
    assert mirrored.any()
    assert not mirrored.all()
    expected = torch.where(mirrored, 127.0 - 50.0, 50.0)
    assert torch.equal(batch.intrinsics[:, 2], expected)


def test_a_drive_is_aligned_with_its_depth(drive: Drive) -> None:
    canonical = Camera(64, 32, 60.0, 60.0, 31.5, 13.0)
    (aligned,) = align_drive(drive, canonical, levelled=False, with_depth=True)
    assert aligned.images.shape == (6, 32, 64, 3)
    assert aligned.seen.all()
    assert np.isfinite(aligned.depth[:, -1]).all()
    # A flat road at a level camera: depth of the lowest row is height * fy / (v - cy).
    (level,) = align_drive(drive, canonical, levelled=True, with_depth=True)
    assert level.mount is not None
    assert level.mount.height is not None
    expected = level.mount.height * 60 / (31 - 13)
    assert np.median(level.depth[:, -1]) == pytest.approx(expected, rel=0.08)


def test_without_alignment_images_are_only_resized(drive: Drive) -> None:
    canonical = Camera(64, 64, 50.0, 50.0, 31.5, 27.0)
    (resized,) = align_drive(drive, canonical, levelled=False, with_depth=True, aligned=False)
    camera = drive.camera.resized(64, 64)
    assert resized.camera == dataclasses.replace(camera, distortion=())
    assert resized.seen.mean() > 0.98
    # Each sample is warped by its own intrinsics, those of the image that it is.
    batch = MixedBatches([resized], drives('target', 20), 1, 0, seed=0).batch(0)
    assert batch.intrinsics[0, :2].tolist() == pytest.approx([camera.fx, camera.fy])
    (aligned,) = align_drive(drive, canonical, levelled=False, with_depth=False)
    assert aligned.camera == canonical


@pytest.mark.parametrize('supervised', [False, True])
def test_one_domain_trains_alone(
    recipe_file: Path, tmp_path: Path, rendered: Path, supervised: bool
) -> None:
    changes = {'target': [], 'target_batch': 0, 'target_test': []}
    weights = (1.0, 0.0) if supervised else (0.0, 1.0)
    changes |= dict(zip(('source_depth_weight', 'reconstruction_weight'), weights, strict=True))
    trainer = Trainer(load_recipe(recipe_file, **changes), tmp_path / 'run', cache=rendered)
    before = {name: value.clone() for name, value in trainer.pose_network.state_dict().items()}
    assert trainer.train()
    after = trainer.pose_network.state_dict()
    moved = [not torch.equal(before[name], after[name]) for name in before if 'weight' in name]
    assert any(moved) != supervised  # without view reconstruction no motion is learnt


def test_supervision_alone_looks_at_one_frame(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    changes = {'target': [], 'target_batch': 0, 'reconstruction_weight': 0.0}
    trainer = Trainer(load_recipe(recipe_file, **changes), tmp_path / 'run', cache=rendered)
    batch = MixedBatches(drives('source', 10), [], 2, 0, seed=0).batch(0)
    black = batch.images.clone()
    black[1:] = 0
    losses = [
        trainer._loss(dataclasses.replace(batch, images=images))[0]
        for images in (batch.images, black)
    ]
    assert torch.equal(*losses)


def test_networks_start_sane_and_small() -> None:
    torch.manual_seed(0)
    network, pose = build_depth_network('default', 3).eval(), PoseNetwork().eval()
    image = torch.randn(2, 3, 64, 128)
    depths = network(image)
    assert [tuple(depth.shape[2:]) for depth in depths] == [(64, 128), (32, 64), (16, 32)]
    for depth in depths:
        assert (depth > MIN_DEPTH).all()
        assert (depth < MAX_DEPTH).all()
        assert 3 < float(depth.detach().median()) < 8
    assert float(pose(image, image)[:, :3, 3].detach().abs().max()) < 0.3
    assert 1.5e6 < sum(p.numel() for p in build_depth_network('default').parameters()) < 4e6


def test_one_command_trains_stops_resumes_and_exports(
    recipe_file: Path, tmp_path: Path, rendered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(recipe_file)
    whole = Trainer(recipe, tmp_path / 'whole', cache=rendered)
    assert whole.train()

    asked = iter([False, True])
    stopped = Trainer(recipe, tmp_path / 'parts', stopped=lambda: next(asked), cache=rendered)
    assert not stopped.train()
    assert stopped.step == 2
    resumed = Trainer(recipe, tmp_path / 'parts', cache=rendered)
    assert resumed.step == 2
    assert resumed.train()
    for name, value in whole.depth_network.state_dict().items():
        torch.testing.assert_close(
            value, resumed.depth_network.state_dict()[name], rtol=1e-3, atol=1e-5
        )

    longer = Trainer(load_recipe(recipe_file, steps=5), tmp_path / 'parts', cache=rendered)
    assert longer.train()
    assert longer.step == 5
    recipe_file.write_text(yaml.safe_dump({**SMALL, 'learning_rate': 1e-5}))
    with pytest.raises(SystemExit):
        train.main(['--config', str(recipe_file), '--folder', str(tmp_path / 'parts')])
    assert 'another configuration: learning_rate differ' in capsys.readouterr().err
    checkpoint = tmp_path / 'parts' / 'checkpoint.pt'
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r'checkpoint\.pt is damaged'):
        Trainer(recipe, tmp_path / 'parts', cache=rendered)


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Trainer:
    """Trained until its depth rises with true depth."""
    folder = tmp_path_factory.mktemp('trained')
    settings = {**SMALL, 'steps': 60, 'learning_rate': 3e-3, 'source_depth_weight': 1.0}
    (folder / 'small.yaml').write_text(yaml.safe_dump(settings))
    trainer = Trainer(load_recipe(folder / 'small.yaml'), folder / 'run', cache=rendered)
    assert trainer.train()
    return trainer


def test_a_trained_network_becomes_one_file_with_its_scale(
    trained: Trainer, tmp_path: Path
) -> None:
    recipe = trained.recipe
    path = tmp_path / 'model.onnx'
    train.export(trained, path)
    onnx.checker.check_model(onnx.load(path))
    card = read_card(path)
    assert card.canonical_camera == recipe.canonical_camera
    assert card.scale.images == 2
    assert card.scale.doubts is not None  # it was judged
    assert card.camera_height is not None
    assert 1.2 < card.camera_height < 1.8
    assert card.mounts is not None
    assert card.mounts.height == (card.camera_height, card.camera_height)
    assert abs(card.mounts.pitch[0]) < 5
    assert card.provenance['target_test']['abs_rel'] > 0
    assert [file.name for file in tmp_path.glob('*.part')] == []
    # Through the estimator the same depth comes out as from torch, times the scale.
    # The estimator's camera is the canonical one and sees all of it: so does the network here.
    (drive,) = trained.drives('source_validation', with_depth=True)
    drive = dataclasses.replace(drive, seen=np.ones_like(drive.seen))
    estimate = DepthEstimator.load(path, threads=1).estimate(
        Image(drive.images[0], 'rgb'), recipe.canonical_camera
    )
    assert estimate.alignment.seen.all()
    expected = predicted_depth(trained.depth_network, drive, 0) * card.scale.value
    np.testing.assert_allclose(1 / estimate.inverse_depth, expected, rtol=2e-3)


def test_a_loss_that_is_not_finite_names_its_batch(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    trainer = Trainer(load_recipe(recipe_file), tmp_path / 'run', cache=rendered)
    with torch.no_grad():
        trainer.depth_network.decoder.heads[0].bias.fill_(float('nan'))
    with pytest.raises(TrainingError, match=r'not finite .* at step 0 for world:town:0x5 frame'):
        trainer.train()


def test_a_collapse_ends_training(recipe_file: Path, tmp_path: Path, rendered: Path) -> None:
    trainer = Trainer(load_recipe(recipe_file), tmp_path / 'run', cache=rendered)
    with torch.no_grad():
        trainer.depth_network.decoder.heads[0].weight.zero_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mono_metric_depth.training.trainer._COLLAPSE_AFTER', -1)
        with pytest.raises(TrainingError, match='collapsed to a constant by step 0'):
            trainer.train()
        upside_down = Trainer(load_recipe(recipe_file), tmp_path / 'down', cache=rendered)
        upside_down._agreement = -0.5
        with pytest.raises(TrainingError, match='runs against that of the source'):
            upside_down.train()


@pytest.mark.parametrize(
    ('depth', 'message'),
    [(np.nan, 'no image has true depth'), (9000.0, 'the median true depth is 9000.*millimetres')],
)
def test_ground_truth_that_is_missing_or_no_metres_is_refused(
    depth: float, message: str, recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    trainer = Trainer(load_recipe(recipe_file), tmp_path / 'run', cache=rendered)
    trainer._drives._aligned['source_validation', True] = drives('wrong', depth)
    with pytest.raises(ScaleError, match=f'source_validation .*{message}'):
        trainer.train()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'stepz': 3}, "unknown entry 'stepz'"),
        ({'steps': 0}, 'steps must be at least 1'),
        ({'steps': 'many'}, 'steps must be of type int'),
        ({'learning_rate': float('nan')}, 'learning_rate must be'),
        ({'source': []}, 'source names no drive'),
        ({'source': ['world:town:9-3']}, 'seeds 9-3'),
        ({'canonical_camera': {'width': 60}}, 'canonical_camera needs exactly'),
        (
            {'canonical_camera': dict(SMALL['canonical_camera'], width=60)},  # type: ignore[call-overload]
            'multiples of 32',
        ),
        ({'depth_range': [5, 1]}, 'nearest < furthest'),
        ({'depth_range': ['a', 1]}, "depth_range must be of type float, got 'a'"),
        ({'source': 'world:town:0'}, 'source must be a list such as'),
        ({'source_validation': ['world:town:0-1x5']}, 'source_validation must be held out'),
        ({'start': 'no.onnx'}, 'start: there is no file'),
        ({'replay_share': 1.0}, 'replay_share must be at most 0.9'),
        ({'patience': -1}, 'patience must be'),
        ({'target': []}, r'target is \[\], but target_batch is 1'),
        ({'target_batch': 0}, 'but target_batch is 0'),
        ({'target': [], 'target_batch': 0, 'replay': ['world:town:7x3']}, 'replay is a share'),
        (
            {'source_depth_weight': 0, 'reconstruction_weight': 0},
            'both 0: nothing to learn from',
        ),
        (
            {'reconstruction_weight': 0, 'geometry_weight': 0.5},
            'geometry_weight needs the motion',
        ),
        ({'randomised': True}, 'randomised changes one frame and not its neighbours'),
    ],
)
def test_a_wrong_configuration_is_named_before_any_work(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / 'wrong.yaml'
    path.write_text(yaml.safe_dump({**SMALL, **change}))
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_a_number_without_a_point_is_a_number(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text() + 'learning_rate: 1e-3\n')
    assert load_recipe(recipe_file).learning_rate == 1e-3


def test_ground_truth_that_contradicts_the_mounting_height_is_refused(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    # As if millimetres had been read as 1/256 m.
    camera = {'width': 128, 'height': 96, 'fx': 100, 'fy': 100, 'cx': 63.5, 'cy': 40}
    recipe = load_recipe(recipe_file, canonical_camera=camera)
    trainer = Trainer(recipe, tmp_path / 'run', cache=rendered)
    right = trainer.drives('source_validation', with_depth=True)
    wrong = [dataclasses.replace(d, depth=(d.depth * 3.9).astype(np.float16)) for d in right * 2]
    trainer._drives.check_truth('source_validation')
    trainer._drives._aligned['source_validation', True] = wrong
    with pytest.raises(ScaleError, match=r'the road lies 3\.[89]\d times as far'):
        trainer._drives.check_truth('source_validation')


def test_a_source_without_ground_truth_serves_the_papers_recipe(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    recipe = load_recipe(recipe_file, source_depth_weight=0.0, steps=1)
    trainer = Trainer(recipe, tmp_path / 'run', cache=rendered)
    blind = trainer.drives('source', with_depth=True)
    unknown = np.full_like(blind[0].depth, np.nan)
    trainer._drives._aligned['source', True] = [
        dataclasses.replace(d, depth=unknown) for d in blind
    ]
    assert trainer.train()
    assert 'control_abs_rel' not in trainer.target_errors(1.0)


def test_a_model_that_appears_during_training_stays(trained: Trainer, tmp_path: Path) -> None:
    path = tmp_path / 'model.onnx'
    path.write_text('precious')
    with pytest.raises(ExportError, match='has appeared during training'):
        train.export(trained, path, new=True)
    assert path.read_text() == 'precious'
    assert [file.name for file in tmp_path.glob('*.part')] == []


def test_the_shipped_configurations_write_every_entry_down() -> None:
    config = Path(__file__).parents[1] / 'config'
    recipes = {}
    for name in ('source_supervised', 'one_scalar'):
        recipe = recipes[name] = load_recipe(config / f'{name}.yaml')
        written = yaml.safe_load((config / f'{name}.yaml').read_text())
        assert set(written) == {item.name for item in dataclasses.fields(recipe)}
    supervised, paper = recipes['source_supervised'], recipes['one_scalar']
    assert paper.source_depth_weight == 0 < supervised.source_depth_weight
    changed = {'name': paper.name, 'source_depth_weight': 0.0}
    assert dataclasses.replace(supervised, **changed) == paper
    alone = load_recipe(config / 'supervised.yaml')
    assert not alone.target
    assert alone.reconstruction_weight == 0
    randomised = load_recipe(config / 'randomised.yaml')
    assert randomised.randomised
    other = {'name': 'supervised', 'steps': alone.steps, 'randomised': False}
    assert dataclasses.replace(randomised, **other) == alone
