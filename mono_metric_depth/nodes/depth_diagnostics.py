# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the depth node says of itself on ``/diagnostics``."""

from __future__ import annotations

from collections.abc import Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.nodes.camera_stream import CameraStream
from mono_metric_depth.nodes.model_loading import LoadedModel

#: Level and message.
Health = tuple[bytes, str]


def depth_statuses(
    node: str,
    streams: Sequence[CameraStream],
    *,
    state: str,
    refusal: str,
    loading: str,
    working: bool,
    model: LoadedModel | None,
) -> list[DiagnosticStatus]:
    """The node's status, and with several cameras one of each after it.

    Args:
        node: Its name, which begins those of the statuses.
        streams: Its cameras.
        state: Its lifecycle's state.
        refusal: Why the last transition failed; '' if it did not.
        loading: The model that is being loaded; '' if none is.
        working: Whether frames are taken.
        model: What it runs, while configured.

    Returns:
        The statuses.
    """
    # First: what is counted by now has its problem, too.
    values = [stream.diagnostics() for stream in streams]
    healths = [stream.health() for stream in streams]
    found = {'state': state, **_engine_values(model)}
    statuses = []
    if len(streams) == 1:
        found |= values[0]
    else:
        statuses = [
            _status(f'{node}: {stream.name}', health, own)
            for stream, health, own in zip(streams, healths, values, strict=True)
        ]
    if refusal:
        health = DiagnosticStatus.ERROR, f'{state}: {refusal}'
    elif loading:
        health = DiagnosticStatus.OK, f'{state}: loading {loading}'
    elif not working or model is None:
        health = DiagnosticStatus.OK, state
    else:
        health = _with_doubts(_worst(streams, healths), model.estimator.card)
    return [_status(f'{node}: depth', health, found), *statuses]


def _status(name: str, health: Health, values: dict[str, str]) -> DiagnosticStatus:
    level, text = health
    return DiagnosticStatus(
        level=level,
        name=name,
        message=text,
        hardware_id='',
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _engine_values(model: LoadedModel | None) -> dict[str, str]:
    if model is None:
        return {}
    card, engine = model.estimator.card, model.estimator.engine
    assert card.scale is not None
    # ONNX Runtime is what others compare with.
    parity = getattr(engine, 'parity', None)
    return {
        'model': card.name,
        'model sha256': model.sha256[:12],
        'scale': f'{card.scale.value:.6g}',
        'scale interval': f'{card.scale.low:.6g} .. {card.scale.high:.6g}',
        'scale doubts': scale_doubts(card),
        'engine': engine.name,
        'provider': engine.provider,
        # Engines that know others than that of their buffers say so.
        'precision': str(getattr(engine, 'precision', engine.output.dtype)),
        'batch': str(len(engine.input)),
        **({} if parity is None else {'parity': str(parity)}),
    }


def _worst(streams: Sequence[CameraStream], healths: Sequence[Health]) -> Health:
    """That of the worst of the cameras."""
    if len(healths) == 1:
        return healths[0]
    level = max(level for level, _ in healths)
    told = [
        f'{stream.name}: {text}'
        for stream, (found, text) in zip(streams, healths, strict=True)
        if found == level
    ]
    return level, 'running' if level == DiagnosticStatus.OK else '; '.join(told)


def _with_doubts(health: Health, card: ModelCard) -> Health:
    """With the gravest doubt of the scale; the others are among the values, and in the log."""
    if all(doubt.scatter for doubt in card.doubts):
        return health
    others = len(card.doubts) - 1
    more = f' (and {others} more: scale doubts)' if others else ''
    doubtful = f'the scale of {card.name} is doubtful: {card.doubts[0]}{more}'
    level, text = health
    if level == DiagnosticStatus.OK:
        return DiagnosticStatus.WARN, doubtful
    return level, f'{text}; {doubtful}'


def scale_doubts(card: ModelCard) -> str:
    """All that speaks against a model's scale."""
    if card.doubts:
        return '; '.join(map(str, card.doubts))
    return 'not judged' if card.scale is None or card.scale.doubts is None else 'none'
