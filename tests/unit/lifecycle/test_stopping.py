"""Stop requests by signal and by thread."""

import os
import signal
import threading

from openhtc.lifecycle.stopping import Stop, stop_on_signals


def test_a_second_request_is_urgent() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request()
    assert (stop.requested, stop.at_once) == (True, False)
    stop.request()
    assert stop.at_once


def test_signals_are_requests_and_their_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    stop = Stop()
    with stop_on_signals(stop, (signal.SIGUSR1,)):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.wait(10)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.wait_at_once(10)
    assert signal.getsignal(signal.SIGUSR1) == before
    assert not any(thread.name == "signals" for thread in threading.enumerate())
