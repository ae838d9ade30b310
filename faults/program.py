"""Programs of the service that we run ourselves, beside those of `openhtc up`, and start again when they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from openhtc.embedded.own_programs import openhtc_command
from openhtc.lifecycle.identity import ProcessIdentity, process_identity

_STOP_SECONDS = 45.0
_AGAIN_SECONDS = 0.5


class Program:
    """``openhtc ARGUMENTS``, kept running by a thread of its own until it is closed.

    ``pythons``: of the releases that it is of by turns, each start the next one; none: of this one.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        env: Mapping[str, str],
        pythons: Sequence[Path] = (),
    ) -> None:
        self.name = name
        self._pythons = list(pythons)
        self.starts_by_python: Counter[Path] = Counter({python: 0 for python in pythons})
        self._arguments, self._log, self._env = list(arguments), log, dict(env)
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    @property
    def identity(self) -> ProcessIdentity | None:
        process = self._process
        return None if process is None or process.poll() is not None else process_identity(process.pid)

    def end_gently(self, number: signal.Signals = signal.SIGTERM) -> bool:
        """Ask by signal and wait for its end; the thread starts it again. False when it had to be killed."""
        process = self._process
        if process is None:
            return True
        process.send_signal(number)
        return self._wait(process)

    def close(self) -> None:
        self._closing.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            self._wait(process)
        self._thread.join(10)

    def _wait(self, process: "subprocess.Popen[bytes]") -> bool:
        until = time.monotonic() + _STOP_SECONDS
        while process.poll() is None:
            if time.monotonic() > until:
                process.kill()
                return False
            time.sleep(0.05)
        return True

    def _python(self) -> Path:
        starts = self.starts_by_python.total()
        return self._pythons[starts % len(self._pythons)] if self._pythons else Path(sys.executable)

    def _keep(self) -> None:
        """The signal at the parent's end is tied to this thread, which lives as long as the program is wanted."""
        while not self._closing.is_set():
            python = self._python()
            self.starts_by_python[python] += 1
            command = openhtc_command(*self._arguments, env=self._env, python=python)
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    command.args,
                    env={**command.env, **self._env},
                    cwd=command.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._process.wait()
            _end_session(self._process.pid)
            self._closing.wait(_AGAIN_SECONDS)


def _end_session(session: int) -> None:
    """What a killed program left behind ends with it, as under `openhtc up`."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        return
