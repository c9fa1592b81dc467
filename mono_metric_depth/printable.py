# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Text of strangers, made fit for a terminal, a log and a page."""

from __future__ import annotations

#: More of one text helps nobody.
LONGEST = 2000


def printable(text: str, longest: int = LONGEST) -> str:
    r"""A text in which nothing acts on what shows it.

    Control characters (a terminal obeys those), line ends, characters that turn the direction of
    writing, invisible ones and lone surrogates (which cannot even be encoded) become escapes such
    as ``\x1b``. What is printable stays, so that nothing is escaped twice.

    Args:
        text: Any text.
        longest: Characters of it to keep; an ellipsis says that there were more.

    Returns:
        The text, in one line.
    """
    kept = text if len(text) <= longest else f'{text[:longest]}…'
    if kept.isprintable():
        return kept
    return ''.join(c if c.isprintable() else _escape(c) for c in kept)


def _escape(character: str) -> str:
    return character.encode('unicode_escape', 'backslashreplace').decode('ascii')
