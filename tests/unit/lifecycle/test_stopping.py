"""Stop requests by signal and by thread."""

import os
import signal
import threading

from openhtc.lifecycle.stopping import DRAIN, Stop, stop_on_signals


def test_a_second_request_is_urgent() -> None:
    stop = Stop()
    assert not stop.wait(0)
    stop.request()
    assert (stop.requested, stop.at_once) == (True, False)
    stop.request()
    assert stop.at_once


def test_to_drain_is_the_mildest_request() -> None:
    stop = Stop()
    stop.drain()
    stop.drain()
    assert (stop.requested, stop.patient, stop.at_once) == (True, True, False)
    stop.request()
    assert (stop.patient, stop.at_once, stop.drained) == (False, False, True)
    stop.drain()
    assert not stop.patient, "nothing is taken back"
    stop.request()
    assert stop.at_once


def test_the_signal_to_drain_drains() -> None:
    stop = Stop()
    with stop_on_signals(stop):
        os.kill(os.getpid(), DRAIN)
        assert stop.wait(10)
        assert (stop.patient, stop.drained) == (True, True)


def test_signals_are_requests_and_their_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    stop = Stop()
    with stop_on_signals(stop, (signal.SIGUSR2,)):
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop.wait(10)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert stop.wait_at_once(10)
    assert signal.getsignal(signal.SIGUSR2) == before
    assert not any(thread.name == "signals" for thread in threading.enumerate())
