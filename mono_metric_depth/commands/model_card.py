# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``model_card``: print the card inside a model file."""

from __future__ import annotations

import argparse

from mono_metric_depth.card_description import describe_card
from mono_metric_depth.commands import fail
from mono_metric_depth.model_card import (
    ModelCardError,
    card_to_json,
    read_card,
)
from mono_metric_depth.model_files import DEFAULT_MODEL, model_file


def main(arguments: list[str] | None = None) -> None:
    """Print a card."""
    parser = argparse.ArgumentParser(prog='model_card', description=__doc__)
    parser.add_argument(
        'model', type=model_file, nargs='?', default=DEFAULT_MODEL, help='file, default or nano'
    )
    parser.add_argument('--json', action='store_true', help='as it is stored')
    options = parser.parse_args(arguments)
    try:
        card = read_card(options.model)
    except ModelCardError as err:
        fail(str(err))
    print(card_to_json(card) if options.json else describe_card(card))


if __name__ == '__main__':
    main()
