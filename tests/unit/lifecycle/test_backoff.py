from openhtc.lifecycle.backoff import Backoff


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(first=1, cap=5, settled=60)
    assert [backoff.delay_after(0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_long_run_starts_the_delays_anew() -> None:
    backoff = Backoff(first=1, cap=5, settled=60)
    assert [backoff.delay_after(lasted) for lasted in (0, 59.9, 60, 0)] == [1, 2, 1, 2]
