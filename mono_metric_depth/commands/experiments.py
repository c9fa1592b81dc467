# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``experiments``: is one scalar enough? Train, measure, and write the page that tells."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from mono_metric_depth.commands import (
    configuration_file,
    errors_in_one_line,
    fail,
    require_device,
)
from mono_metric_depth.commands.train import require_training


def main(arguments: list[str] | None = None) -> None:
    """Run the experiments."""
    with errors_in_one_line():
        _experiments(arguments)


def _experiments(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='experiments', description=__doc__)
    parser.add_argument('--config', type=Path, help='YAML; config/experiments.yaml by default')
    parser.add_argument(
        '--output', type=Path, default=Path('docs/one_scalar'), help='results, page and figure'
    )
    parser.add_argument(
        '--folder', type=Path, default=Path('training/experiments'), help='drives, weights'
    )
    parser.add_argument(
        '--devices',
        nargs='+',
        help='one training at a time on each: cuda:0 cuda:1, or cpu cpu for two on one processor',
    )
    parser.add_argument('--only', default='', help='only rows whose name holds this')
    parser.add_argument('--page', action='store_true', help='write the page from the results')
    options = parser.parse_args(arguments)
    from mono_metric_depth.evaluation.one_scalar_page import write_page
    from mono_metric_depth.training.experiments.results import read_results

    results = options.output / 'results.json'
    config = options.config or configuration_file('experiments.yaml')
    if not options.page:
        _run(config, results, options)
    elif not results.is_file():
        fail(f'there are no results {results}; run the experiments without --page first')
    write_page(read_results(results), options.output)
    print(f'wrote {options.output / "README.md"}')


def _run(config: Path, results: Path, options: argparse.Namespace) -> None:
    require_training()
    import torch

    from mono_metric_depth.training.experiments.plan import Plan, load_settings
    from mono_metric_depth.training.experiments.runs import run_plan

    count = torch.cuda.device_count()
    devices = options.devices or [f'cuda:{index}' for index in range(count)] or ['cpu']
    for device in devices:
        require_device(device)
    # As Ctrl-C: the processes that train and render must end with this one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = Plan.of(load_settings(config))
    if not any(options.only in row.name for row in plan.rows):
        fail(f'no row has {options.only!r} in its name; there are {plan.rows[0].name}, ...')
    rows = 0
    for row in run_plan(plan, options.folder, results, devices, options.only):
        print(row, flush=True)
        rows += 1
    if not rows:
        print(f'all rows are in {results} already; another --output begins anew')


if __name__ == '__main__':
    main()
