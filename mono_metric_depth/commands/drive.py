# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``drive``: render a drive through a procedural world, as a ROS 2 bag or a folder.

``--gallery`` draws examples of all worlds instead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from mono_metric_depth.commands import errors_in_one_line, fail, require_device
from mono_metric_depth.image import MAX_SIZE

#: Least width and height (px): below, a road and what stands on it cannot be told apart.
_LEAST = 32


def main(arguments: list[str] | None = None) -> None:
    """Render a drive."""
    with errors_in_one_line():
        _render(arguments)


def _render(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='drive', description=__doc__)
    parser.add_argument('--domain', default='town', help='which kind of world')
    parser.add_argument('--seed', type=int, default=0, help='which of its worlds')
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--size', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'), help='px')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--bag', type=Path, help='write an MCAP bag to this new folder')
    parser.add_argument('--folder', type=Path, help='write a training sequence to this new folder')
    parser.add_argument('--gallery', type=Path, help='draw examples of all worlds to this PNG')
    options = parser.parse_args(arguments)
    if sum(where is not None for where in (options.bag, options.folder, options.gallery)) != 1:
        fail('give one of --bag, --folder and --gallery: where to write')
    try:
        from mono_metric_depth.worlds import DOMAINS, Drive
    except ImportError as err:
        fail(f"worlds need {err.name}: pip install 'mono_metric_depth[train]'")
    require_device(options.device)
    if options.gallery is not None:
        from mono_metric_depth.worlds.gallery import draw_gallery

        draw_gallery(options.gallery, options.device)
        print(f'drew {options.gallery}')
        return
    target = options.bag or options.folder
    if target.exists():
        fail(f'{target} exists already; choose another folder or remove it')
    camera = None
    if options.size:
        if not all(_LEAST <= side <= MAX_SIZE for side in options.size):
            width, height = options.size
            fail(f'--size must be {_LEAST}..{MAX_SIZE} px each way, got {width} and {height}')
        if options.domain not in DOMAINS:
            fail(f'there is no domain {options.domain!r}; known are {", ".join(DOMAINS)}')
        camera = DOMAINS[options.domain].camera.resized(*options.size)
    drive = Drive(
        options.domain, options.seed, options.frames, camera=camera, device=options.device
    )
    with tqdm(drive, desc=drive.name, unit='frame') as frames:
        if options.bag is not None:
            from mono_metric_depth.datasets.bag import write_drive

            count = write_drive(target, frames)
        else:
            from mono_metric_depth.datasets.sequence_folder import write_sequence

            count = write_sequence(target, frames)
    print(f'wrote {count} frames to {target}')


if __name__ == '__main__':
    main()
