"""Keeps worker processes alive until the server is to stop."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import structlog

from openhtc.server.worker import STOP_SECONDS

_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 2.0
"""Between two begins of a worker that ends again and again."""
_KILL_SECONDS = STOP_SECONDS + 10

log = structlog.get_logger(__name__)


def supervise(number: int, serve: Callable[[], None]) -> None:
    """Run ``serve`` in so many processes, and again where one ends; SIGTERM and SIGINT stop them all."""
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    workers: list[_Worker] = []
    try:
        workers += (_Worker(serve) for _ in range(number))
        while not stopping:
            wait([worker.process.sentinel for worker in workers if worker.process.is_alive()], _LOOK_SECONDS)
            for worker in workers:
                worker.keep_alive()
    finally:
        _stop([worker.process for worker in workers])


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _KILL_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()


class _Worker:
    def __init__(self, serve: Callable[[], None]) -> None:
        self._serve = serve
        self._begin()

    def _begin(self) -> None:
        self._began = time.monotonic()
        process = multiprocessing.get_context("spawn").Process(target=self._serve)
        process.start()
        self.process: BaseProcess = process

    def keep_alive(self) -> None:
        if self.process.is_alive() or time.monotonic() - self._began < _PAUSE_SECONDS:
            return
        log.warning("worker_ended", pid=self.process.pid, exit_code=self.process.exitcode)
        try:
            self._begin()
        except OSError as error:  # no process can be made now; it is tried again
            log.error("worker_not_begun", reason=str(error))
