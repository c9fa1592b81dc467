# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The report, as a browser shows it on a phone and on a desk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import TINY_CAMERA, TINY_DEPTH, write_tiny_model

from mono_metric_depth.camera import Mount
from mono_metric_depth.commands import evaluate
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.evaluation.comparison import leaders
from mono_metric_depth.evaluation.drive_labels import drive_labels
from mono_metric_depth.evaluation.image_errors import ImageErrors, image_errors
from mono_metric_depth.evaluation.protocol import PROTOCOLS
from mono_metric_depth.evaluation.report_pictures import (
    chosen_frames,
    error_colours,
    points_off_the_road,
)
from mono_metric_depth.evaluation.summary import advice, summarise
from mono_metric_depth.frame import Frame
from mono_metric_depth.model_card import read_card, write_card

HOSTILE = '<script>alert("$a$")</script>&{x}%s'


def write_drive(folder: Path, factors: np.ndarray[Any, Any], depth: bool = True) -> Path:
    rows = np.broadcast_to(TINY_DEPTH[:, None], (32, 64))
    rng = np.random.default_rng(0)
    frames = [
        Frame(
            number * 10**8,
            rng.integers(0, 255, (32, 64, 3), dtype=np.uint8),
            TINY_CAMERA,
            (factor * rows).astype(np.float32) if depth else None,
        )
        for number, factor in enumerate(factors)
    ]
    write_sequence(folder, frames)
    return folder


@pytest.fixture(scope='module')
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two models with hostile names, on drives with hostile names."""
    pytest.importorskip('matplotlib')
    folder = tmp_path_factory.mktemp('report')
    factors = np.linspace(0.7, 1.1, 15)
    drives = [
        write_drive(folder / f'{n} <u>{"long" * 30}&amp; $\\frac {n}$', factors) for n in (1, 2)
    ]
    drives.append(write_drive(folder / '<i>bare', factors[:2], depth=False))
    models = [folder / '<img src=x onerror=alert(1)>.onnx', folder / f'{"wide" * 12}.onnx']
    for number, model in enumerate(models):
        write_tiny_model(model, TINY_DEPTH * np.float32(1 - 0.1 * number))
        card = read_card(model)
        provenance = {'trained': HOSTILE, 'source': [HOSTILE], 'long': 'x' * 400}
        scale = replace(card.scale, source=HOSTILE)
        write_card(model, replace(card, name=HOSTILE, scale=scale, provenance=provenance))
    output = folder / 'out'
    arguments = [*models, '--data', *drives, '--output', output, '--control', drives[0]]
    # One of the drives has no ground truth.
    with pytest.raises(SystemExit):
        evaluate.main([*map(str, arguments), '--processes', '1'])
    return output / 'report.html'


def test_a_report_of_one_frame_and_one_model_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('matplotlib')
    model = tmp_path / 'tiny.onnx'
    write_tiny_model(model, TINY_DEPTH)
    drive = write_drive(tmp_path / 'drive', np.array([0.9]))
    arguments = [model, '--data', drive, '--output', tmp_path / 'out', '--control']
    evaluate.main([*map(str, arguments), '--processes', '1'])
    text = (tmp_path / 'out' / 'report.html').read_text()
    assert text.count('<div class="frame">') == 1
    assert 'over 1 image of 1 drive;' in text
    assert 'nan' not in re.sub('base64,[A-Za-z0-9+/=]*', '', text)
    assert 'Which model is better' not in text
    assert '1 image in 1 independent part say little' in text
    printed = capsys.readouterr().out
    assert 'AbsRel \n' not in printed
    assert 'intervals         none: so few images of one drive' in printed


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_from_files_are_text_and_nothing_is_fetched(page: Path) -> None:
    parser = _Tags()
    text = page.read_text()
    parser.feed(text)
    tags = {tag for tag, _ in parser.found}
    assert not tags & {'script', 'iframe', 'object', 'embed', 'form', 'i', 'u'}
    for tag, attributes in parser.found:
        assert not [name for name in attributes if name.startswith('on')], tag
        for name in ('src', 'href', 'srcset'):
            assert (attributes.get(name) or 'data:').startswith('data:')
    assert '&lt;img src=x onerror=alert(1)&gt;' in text
    assert '&lt;script&gt;alert(' in text
    assert 'drive left out: ' in text
    # As the paired comparison has it.
    assert f'cannot tell which of 2 models is the best: <b>{"wide" * 12}</b> (0.1' in text
    assert 'has the smallest error' not in text
    assert text.count('cannot be told apart by these images') == 2
    assert "default-src 'none'" in text
    assert 'http://' not in text
    assert 'https://' not in text
    pictures = [attributes for tag, attributes in parser.found if tag == 'img']
    assert len(pictures) == 6 + 4 * 6
    assert all(picture['alt'] for picture in pictures)


@pytest.mark.parametrize(
    ('width', 'name'), [(390, 'phone'), (1280, 'desk'), (718, 'paper of A4 with its margins')]
)
def test_the_page_is_whole_in_chromium(width: int, name: str, page: Path, tmp_path: Path) -> None:
    pytest.importorskip('PySide6.QtWebEngineWidgets', exc_type=ImportError)
    if name.startswith('paper'):
        text = page.read_text()
        page = tmp_path / 'printed.html'
        page.write_text(
            text.replace('@media screen', '@media none').replace('@media print', '@media all')
        )
    picture = tmp_path / f'{name}.png'
    browser = Path(__file__).with_name('browser.py')
    done = subprocess.run(
        [sys.executable, browser, page, str(width), picture],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen['width'] == width
    assert seen['console'] == []
    assert seen['scrollWidth'] <= seen['clientWidth']
    assert seen['cut'] == []
    assert len(seen['images']) == 30
    for image in seen['images']:
        assert image['loaded'], image
        assert image['width'] > 100, image
        assert image['height'] > 40, image
    # Pictures of a frame lie side by side, without a hole beside one of them.
    frames = [image for image in seen['images'] if ' frame ' in image['alt']]
    assert len(frames) == 24
    for first in range(0, 24, 4):
        heights = [image['height'] for image in frames[first : first + 4]]
        assert max(heights) < 1.1 * min(heights)
    for words in ('AbsRel', 'Stored scale against oracle', 'Worst and best frames', HOSTILE):
        assert words in seen['text']
    assert seen['title'].startswith('Depth evaluation: <img src=x')
    shown = cv2.imread(str(picture))
    assert shown is not None
    # Painted from top to bottom.
    for part in np.array_split(shown, 8):
        assert part.std() > 5


def test_from_above_the_road_is_left_out_and_an_obstacle_is_where_it_is() -> None:
    # A wall 10 m ahead on the right, on a flat road 1.5 m below a camera that looks down.
    mount = Mount(pitch=0.05, height=1.5)
    rays = TINY_CAMERA.rays(np.stack(np.meshgrid(np.arange(64), np.arange(32)), axis=-1))
    down, right = (rays @ mount.rotation().T)[..., 1], (rays @ mount.rotation().T)[..., 0]
    ahead = (rays @ mount.rotation().T)[..., 2]
    with np.errstate(divide='ignore'):
        road = np.where(down > 0, 1.5 / down, np.inf)
    depth = np.where(right > 0, np.minimum(road, 10 / ahead), road).astype(np.float32)
    points = points_off_the_road(depth, TINY_CAMERA, mount)
    assert len(points) > 100
    np.testing.assert_allclose(points[:, 2], 10, atol=1e-4)
    assert (points[:, 0] > 0).all()
    assert len(points_off_the_road(depth, TINY_CAMERA, None)) > len(points) + 100


def errors(values: list[float]) -> list[ImageErrors]:
    """Images with these AbsRel."""
    true = np.full((6, 6), 10, np.float32)
    return [
        ImageErrors(
            'drive',
            n,
            '',
            n,
            **image_errors(true * np.float32(1 + v), true, 1.0, PROTOCOLS['all_pixels']),
        )
        for n, v in enumerate(values)
    ]


def test_worst_and_best_are_no_neighbours_where_there_are_others() -> None:
    values = [0.5, 0.9, 0.89, *[0.2] * 20, 0.6, *[0.1] * 20]
    chosen = chosen_frames(errors(values))
    assert [label for _, label in chosen] == ['W1', 'W2', 'W3', 'B1', 'B2', 'B3']
    worst = [number for number, label in chosen if label[0] == 'W']
    assert worst[:2] == [1, 23]
    assert min(abs(a - b) for a in worst for b in worst if a != b) >= 10


def test_frames_are_numbered_over_all_drives() -> None:
    # Neighbours in a short drive that are worse than the worst of others.
    found = errors([1.405, 1.395, 0.3, 0.189, 0.186, 0.3, 0.755, 0.725, 0.19])
    found = [replace(each, drive=f'drive{n // 3}', index=n % 3) for n, each in enumerate(found)]
    chosen = {label: number for number, label in chosen_frames(found)}
    assert [chosen[label] for label in ('W1', 'W2', 'W3')] == [0, 1, 6]
    assert [chosen[label] for label in ('B1', 'B2', 'B3')] == [4, 3, 8]


def test_a_model_leads_only_where_the_images_show_it() -> None:
    better, worse = errors([0.1] * 40), errors([0.2] * 40)
    mixed = errors([0.05, 0.05, 0.05, 0.05, 0.2, 0.2, 0.2, 0.2] * 5)
    assert leaders([('worse', worse), ('better', better)]) == ['better']
    assert leaders([('mixed', mixed), ('worse', worse), ('better', better)]) == ['better', 'mixed']
    # A single part tells nothing.
    assert leaders([('worse', worse[:2]), ('better', better[:2])]) == ['better', 'worse']


@pytest.mark.parametrize(
    ('names', 'labels'),
    [
        (['/data/run/bag#/front/image_raw'], ['bag#/front/image_raw']),
        (
            [f'/d/c3#/camera_0{n}/image_raw/compressed,/lidar/points' for n in (1, 5)],
            ['camera_01', 'camera_05'],
        ),
        (
            [
                f'/d/scene_0{n}/scene_{n}a8dc5ed1da092.json#CAMERA_0{c}'
                for n in (1, 2)
                for c in (1, 5)
            ],
            [
                'scene_01/...#CAMERA_01',
                'scene_01/...#CAMERA_05',
                'scene_02/...#CAMERA_01',
                'scene_02/...#CAMERA_05',
            ],
        ),
        (['/d/kitti/a', '/d/bag#/front/image_raw'], ['kitti/a', 'bag#/front/image_raw']),
        (
            ['/d/Scene01/clone', '/d/Scene01/fog', '/d/Scene20/fog'],
            ['Scene01/clone', 'Scene01/fog', 'Scene20/fog'],
        ),
        (
            [f'/d/{bag}#/{name}/image' for bag in 'ab' for name in ('left', 'right')],
            ['a#/left', 'a#/right', 'b#/left', 'b#/right'],
        ),
        (['/d', '/d/a', '/d/a#b', '/d#a/b'], ['/d', '/d/a', '/d/a#b', '/d#a/b']),
        (['world:town:0', 'world:town:1'], ['world:town:0', 'world:town:1']),
    ],
)
def test_drives_have_the_shortest_names_that_tell_them_apart(
    names: list[str], labels: list[str]
) -> None:
    assert list(drive_labels(names).values()) == labels


def test_the_gravest_finding_is_first_with_what_to_do() -> None:
    # Ten times nearer in every other image, and noisy: no scale at all is what matters.
    rng = np.random.default_rng(0)
    true = np.tile(np.linspace(5, 70, 30, dtype=np.float32), (30, 1))
    found = []
    for number in range(40):
        noisy = true * (10 if number % 2 else 1) * rng.uniform(0.4, 1.6, true.shape)
        values = image_errors(noisy.astype(np.float32), true, 1.0, PROTOCOLS['all_pixels'])
        found.append(ImageErrors('drive', number, '', number, **values))
    summary = summarise('m', found, 1.0, PROTOCOLS['all_pixels'])
    kinds = list(summary.findings)
    fatal = [kind in ('images', 'distance') for kind in kinds]
    assert len(kinds) > 1
    assert fatal[0]
    assert fatal == sorted(fatal, reverse=True)
    assert advice(kinds).startswith('do not use its metres on such data')
    assert advice([]) == ''


@pytest.mark.parametrize('count', [1, 2, 3, 5])
def test_few_frames_are_shown_once(count: int) -> None:
    chosen = [number for number, _ in chosen_frames(errors([0.1 * n for n in range(count)]))]
    assert len(set(chosen)) == len(chosen) == count


def test_errors_have_colours_that_tell_near_from_far() -> None:
    near, right, far = error_colours(np.array([-0.5, 0.0, 0.9])).astype(int)
    assert near[2] > near[0] + 100  # BGR: red
    assert far[0] > far[2] + 100
    assert np.ptp(right) < 5
