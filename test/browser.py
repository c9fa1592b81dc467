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

os.environ['QT_QPA_PLATFORM'] = 'offscreen'
os.environ['QTWEBENGINE_DISABLE_SANDBOX'] = '1'
os.environ['QTWEBENGINE_CHROMIUM_FLAGS'] = (
    '--disable-gpu --blink-settings=forceDarkModeEnabled=false'
)

from PySide6.QtCore import QTimer, QUrl
from PySide6.QtWebEngineCore import QWebEnginePage, qWebEngineChromiumVersion
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication

_PATIENCE = 60_000
_PAINTED = 400
_TALLEST = 15_000

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
    view.setPage(page)
    view.resize(width, 900)
    view.show()

    def look() -> None:
        page.runJavaScript(_LOOK, grow)

    def grow(found: str) -> None:
        view.resize(width, min(json.loads(found)['height'] + 1, _TALLEST))
        QTimer.singleShot(_PAINTED, lambda: page.runJavaScript(_LOOK, finish))

    def finish(found: str) -> None:
        view.grab().save(str(screenshot))
        chromium = qWebEngineChromiumVersion()
        print(json.dumps({**json.loads(found), 'console': page.console, 'chromium': chromium}))
        application.quit()

    page.loadFinished.connect(lambda done: QTimer.singleShot(_PAINTED, look))
    QTimer.singleShot(_PATIENCE, application.quit)
    page.load(QUrl.fromLocalFile(str(path.resolve())))
    application.exec()
    # Qt takes its time to tear Chromium down, and may trip over it.
    sys.stdout.flush()
    os._exit(0)


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
