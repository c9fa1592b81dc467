# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a page in headless Chromium and says what it looks like there.

Run as ``python browser.py FILE WIDTH SCREENSHOT``, in a process of its own; writes JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ['QT_QPA_PLATFORM'] = 'offscreen'
os.environ['QTWEBENGINE_DISABLE_SANDBOX'] = '1'
os.environ['QTWEBENGINE_CHROMIUM_FLAGS'] = (
    '--disable-gpu --blink-settings=forceDarkModeEnabled=false'
)

from PySide6.QtCore import QTimer, QUrl
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWebEngineCore import QWebEnginePage, qWebEngineChromiumVersion
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication

_HEIGHT = 900
#: Milliseconds.
_PATIENCE, _PAUSE = 100_000, 60
_TRIES = 80

#: What is cut off: an element whose text is wider than it, or sticks out of the page.
_LOOK = """
(() => {
  const page = document.documentElement;
  const cut = [...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > page.clientWidth + 1 || box.left < -1
      || e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline');
  });
  return JSON.stringify({
    width: window.innerWidth,
    scrollWidth: page.scrollWidth,
    clientWidth: page.clientWidth,
    height: page.scrollHeight,
    cut: cut.map(e => e.outerHTML.slice(0, 120)),
    images: [...document.images].map(i => ({
      alt: i.alt, loaded: i.complete && i.naturalWidth > 0,
      width: i.getBoundingClientRect().width, height: i.getBoundingClientRect().height,
    })),
    text: document.body.innerText,
    title: document.title,
    scripts: document.scripts.length,
  });
})()
"""


def blank(shot: QImage) -> bool:
    colours = {shot.pixel(x, y) for x in range(0, shot.width(), 7) for y in range(0, _HEIGHT, 9)}
    return len(colours) < 4


class _Page(QWebEnginePage):
    def __init__(self, parent: object) -> None:
        super().__init__(parent)
        self.console: list[str] = []

    def javaScriptConsoleMessage(self, level, message, line, source) -> None:  # noqa: N802
        self.console.append(f'{line}: {message}')


def main(path: Path, width: int, screenshot: Path) -> None:
    application = QApplication([])
    view = QWebEngineView()
    page = _Page(view)
    found: dict[str, Any] = {}
    view.setPage(page)
    view.resize(width, _HEIGHT)
    view.show()

    shots: list[tuple[int, QImage]] = []
    tries = 0

    def look() -> None:
        page.runJavaScript(_LOOK, begin)

    def begin(text: str) -> None:
        found.update(json.loads(text))
        scroll()

    def scroll() -> None:
        nonlocal tries
        top = len(shots) * _HEIGHT
        if top >= found['height']:
            finish()
            return
        tries = 0
        page.runJavaScript(f'window.scrollTo(0, {top}); window.scrollY', painted)

    def painted(top: float) -> None:
        """Wait until the screen shows something, and something new."""
        nonlocal tries
        shot = view.grab().toImage()
        tries += 1
        new = not shots or shot != shots[-1][1]
        if tries < _TRIES and (tries < 3 or not new or blank(shot)):
            QTimer.singleShot(_PAUSE, lambda: painted(top))
            return
        shots.append((round(top), shot))
        scroll()

    def finish() -> None:
        whole = QImage(width, found['height'], QImage.Format.Format_RGB32)
        painter = QPainter(whole)
        for top, shot in shots:
            painter.drawImage(0, top, shot)
        painter.end()
        whole.save(str(screenshot))
        chromium = qWebEngineChromiumVersion()
        print(json.dumps({**found, 'console': page.console, 'chromium': chromium}))
        application.quit()

    page.loadFinished.connect(lambda done: QTimer.singleShot(_PAUSE, look))
    QTimer.singleShot(_PATIENCE, application.quit)
    page.load(QUrl.fromLocalFile(str(path.resolve())))
    application.exec()
    # Qt takes its time to tear Chromium down, and may trip over it.
    sys.stdout.flush()
    os._exit(0)


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
