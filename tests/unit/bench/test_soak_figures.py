"""The arithmetic behind a soak's report."""

from collections import Counter
from pathlib import Path

import pytest
from bench.soak.run import judge
from bench.soak.samples import Sample, disk_bytes, growth_mib, rate_between
from bench.soak.verify import Findings, Workload
from bench.soak.workload import KINDS, Kind, kind_of, line_of, lines_of

from openhtc.domain.enums import JobStatus

PARTS = ("postgres", "s3", "registry", "server", "agent-server", "agent")
BY_NAME = {kind.name: kind for kind in KINDS}


def sample(seconds: float, ended: int, memory: float = 100.0) -> Sample:
    return Sample(
        seconds=seconds,
        submitted=1000,
        ended=ended,
        memory_mib=dict.fromkeys(PARTS, memory),
        cpu_seconds=dict.fromkeys(PARTS, 0.0),
        database_bytes=0,
        disk_bytes=0,
        log_slices=0,
    )


def test_a_rate_is_that_between_two_shares_of_the_jobs() -> None:
    samples = [sample(0, 0), sample(10, 100), sample(20, 500), sample(60, 700)]
    assert rate_between(samples, 1000, 0, 0.1) == pytest.approx(10)
    assert rate_between(samples, 1000, 0.1, 0.2) == pytest.approx(40)
    assert rate_between(samples, 1000, 0.4, 0.6) == pytest.approx(200 / (40 - 17.5))
    assert rate_between(samples, 1000, 0.6, 0.8) == 0, "so many have not ended"


def test_growth_is_the_slope_after_the_first_fifth() -> None:
    steady = [sample(n, 100 * n, 50 + n) for n in range(11)]
    assert growth_mib([sample(0, 0, 5), *steady[1:]], 1000, "agent") == pytest.approx(8)
    assert growth_mib([sample(n, 100 * n) for n in range(11)], 1000, "agent") == 0


def course(tenth: float, last_fifth: float, memory: float = 100.0, growth: float = 0.0) -> list[Sample]:
    """A thousand jobs: seconds for each tenth, and for those of the last fifth; MiB at first, and more at the end."""
    samples = [sample(0, 0, memory)]
    for n in range(1, 11):
        seconds = samples[-1].seconds + (tenth if n <= 8 else last_fifth)
        samples.append(sample(seconds, 100 * n, memory + growth * n / 10))
    return samples


@pytest.mark.parametrize(
    ("samples", "problems"),
    [
        (course(20, 20), []),
        (course(20, 10), []),
        (course(20, 22), []),
        (course(20, 40), ["the last tenth ran at"]),
        (course(2, 4), []),
        (course(20, 20, memory=151), ["the agent took 151 MiB"]),
        (course(20, 20, growth=40), []),
        (
            course(20, 20, memory=50, growth=70),
            ["the memory of the server", "the memory of the agent-server", "the memory of the agent grew"],
        ),
    ],
    ids=["steady", "faster", "a little slower", "decaying", "too short to say", "large", "a bit", "growing"],
)
def test_a_run_is_judged(samples: list[Sample], problems: list[str]) -> None:
    found = Findings()
    judge(samples, 1000, True, found)
    assert len(found.problems) == len(problems), found.problems
    for problem, begin in zip(found.problems, problems, strict=True):
        assert problem.startswith(begin)


def test_the_pace_of_a_run_that_was_interrupted_is_not_judged() -> None:
    found = Findings()
    judge(course(20, 40), 1000, False, found)
    assert found.problems == []


def test_every_kind_has_its_share() -> None:
    assert sum(kind.share for kind in KINDS) == 100_000
    jobs = 20_000
    drawn = Counter(kind_of(4, job).name for job in range(jobs))
    for name, kind in BY_NAME.items():
        expected = jobs * kind.share / 100_000
        assert abs(drawn[name] - expected) < 5 * max(1, expected) ** 0.5, name


@pytest.mark.parametrize(
    ("name", "status", "attempts", "lines"),
    [
        ("no-op", JobStatus.SUCCEEDED, 1, 0),
        ("ten lines", JobStatus.SUCCEEDED, 1, 10),
        ("exit code 3", JobStatus.FAILED, 2, 2),
        ("fails once", JobStatus.SUCCEEDED, 2, 20),
        ("killed by a signal", JobStatus.FAILED, 2, 0),
        ("time-out", JobStatus.FAILED, 1, 10),
    ],
)
def test_what_is_expected_of_a_kind(name: str, status: JobStatus, attempts: int, lines: int) -> None:
    kind = BY_NAME[name]
    assert (kind.status, kind.attempts, len(list(lines_of(7, kind)))) == (status, attempts, lines)


def test_lines_tell_where_they_belong_and_are_as_long_as_they_should() -> None:
    assert len({line_of(job, 1, number) for job in range(20) for number in range(20)}) == 400
    assert {len(line_of(job, 1, 10**7)) for job in (0, 10**6)} == {99}


def test_a_workload_of_one_kind_tells_the_worker_its_place() -> None:
    only: Kind = BY_NAME["ten lines"]
    assert Workload(4, 10, []).words(2) == ["soak", "4", "2"]
    assert Workload(4, 10, [], only).words(2) == ["soak", "4", "2", "1"]
    assert {Workload(4, 100, [], only).kind(job).name for job in range(100)} == {"ten lines"}


def test_disk_is_what_files_take(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 10_000)
    assert disk_bytes(tmp_path) == 12_288
