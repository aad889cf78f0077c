"""A real browser for tests: Chromium, headless, by its DevTools protocol.

Spoken over a pair of pipes, so that no driver and no package is needed.
"""
from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
#: WebGL by the processor, no network, no first-run pages
FLAGS = (
    '--headless=new', '--no-sandbox', '--disable-dev-shm-usage',
    '--disable-background-networking', '--disable-component-update',
    '--disable-sync', '--no-first-run', '--mute-audio', '--hide-scrollbars',
    '--use-angle=swiftshader', '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist', '--remote-debugging-pipe')
#: an answer that takes longer never comes
LIMIT_SECONDS = 60

PROGRAM = next((p for p in map(shutil.which, NAMES) if p), None)
needs_browser = pytest.mark.skipif(
    PROGRAM is None, reason='there is no Chromium (jobs/environment.sh '
    'browser installs it as root on Debian or Ubuntu)')


class Browser:
    """One page of a browser; `errors` and `requests` are what it did."""

    def __init__(self, home: Path, width: int = 1400,
                 height: int = 1000) -> None:
        assert PROGRAM is not None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._count = 0
        self._rest = b''
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        # Chromium reads its file descriptor 3 and writes to 4
        self._process = subprocess.Popen(
            ['bash', '-c', f'exec 3<&{down} 4>&{up}; exec "$@"', 'chromium',
             PROGRAM, *FLAGS, f'--user-data-dir={home}',
             f'--window-size={width},{height}', 'about:blank'],
            pass_fds=(down, up), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        os.close(down)
        os.close(up)
        self._session = ''
        pages = self.send('Target.getTargets')['targetInfos']
        page = next(p for p in pages if p['type'] == 'page')
        self._session = self.send(
            'Target.attachToTarget', targetId=page['targetId'],
            flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.send(f'{domain}.enable')

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        message = {'id': self._count, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._write, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == self._count:
                assert 'error' not in answer, answer
                result: dict[str, Any] = answer['result']
                return result

    def _receive(self) -> dict[str, Any]:
        while b'\0' not in self._rest:
            ready, _, _ = select.select([self._read], [], [], LIMIT_SECONDS)
            assert ready, 'the browser does not answer'
            part = os.read(self._read, 1 << 20)
            assert part, 'the browser has gone'
            self._rest += part
        text, _, self._rest = self._rest.partition(b'\0')
        message: dict[str, Any] = json.loads(text)
        self._note(message.get('method', ''), message.get('params', {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        """Keep what a page must not do."""
        if method == 'Runtime.exceptionThrown':
            self.errors.append(str(params['exceptionDetails']))
        elif method == 'Log.entryAdded' \
                and params['entry']['level'] == 'error':
            self.errors.append(str(params['entry']))
        elif method == 'Runtime.consoleAPICalled' \
                and params['type'] in ('error', 'warning', 'assert'):
            self.errors.append(str(params['args']))
        elif method == 'Network.requestWillBeSent':
            self.requests.append(params['request']['url'])

    def open(self, path: Path, ready: str) -> float:
        """Load a file until an expression is true; return the seconds."""
        began = time.monotonic()
        self.send('Page.navigate', url=path.absolute().as_uri())
        self.wait(ready)
        return time.monotonic() - began

    def run(self, expression: str) -> Any:
        """Return the value of an expression of the page; waits for it."""
        answer = self.send('Runtime.evaluate', expression=expression,
                           returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def wait(self, expression: str) -> None:
        """Return when an expression is true."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not self.run(expression):
            assert time.monotonic() < deadline, f'never: {expression}'
            time.sleep(0.02)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        answer = self.send('Page.captureScreenshot', format='png',
                           captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer['data']))
