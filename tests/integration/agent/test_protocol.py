"""Session and reports over real HTTP: refusals, outages, new sessions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openhtc.agent.held import HeldJob, HeldJobs
from openhtc.agent.journal import Entry, Journal
from openhtc.agent.outbox import Outbox
from openhtc.agent.reporter import Reporter
from openhtc.agent.session import Session
from openhtc.agent.wire import RequestInvalid, ServerAway, ServerRefuses, Wire
from openhtc.domain.enums import Outcome
from openhtc.domain.work import (
    AgentHello,
    Capacity,
    ImageSource,
    JobReport,
    LeaseAnswer,
    LeaseRequest,
    Report,
    ReportAnswer,
)

from .agent_far_side import AGENT_KEY, FarSide
from .agent_services import wait_until

HELLO = AgentHello("n", ["AWS_US_WEST_2"], Capacity(100, 10_000, 100), "X86", "bubblewrap", "0")
NO_IMAGE = ImageSource("", "", "", "")


def session_with(far: FarSide, key: str = AGENT_KEY) -> Session:
    return Session(Wire(far.url, "test"), HELLO, key)


class Side:
    """A reporter with what it works on."""

    def __init__(self, far: FarSide, directory: Path) -> None:
        self.far = far
        self.session = session_with(far)
        self.session.open()
        self.held = HeldJobs()
        self.answers: list[ReportAnswer] = []
        self.refusals: list[ServerRefuses] = []
        self.outbox = Outbox(Journal(directory))
        self.reporter = Reporter(
            self.session, self.outbox, self.held, self.answers.append, self.refusals.append
        )

    def lease(self, count: int) -> list[HeldJob]:
        answer = self.session.post("lease", LeaseRequest(HELLO.capacity, count, 0.0), LeaseAnswer)
        jobs = [HeldJob(job, answer.batches[0]) for job in answer.jobs]
        self.held.add(jobs)
        return jobs

    def end(self, jobs: list[HeldJob]) -> None:
        ends = [JobReport(j.lease.lease, 1, j.lease.index, 1, 2, Outcome.EXITED, 0) for j in jobs]
        self.outbox.put([Entry(end=end) for end in ends])


@pytest.fixture
def side(far: FarSide, tmp_path: Path) -> Iterator[Side]:
    side = Side(far, tmp_path)
    yield side
    side.reporter.end_within(2.0)
    assert side.reporter.join(10.0)
    side.outbox.close()


def test_a_wrong_key_is_refused_for_good(far: FarSide) -> None:
    with pytest.raises(ServerRefuses, match="the agent key is not valid"):
        session_with(far, "wrong").open()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, ServerAway),
        (503, ServerAway),
        (429, ServerAway),
        (403, ServerRefuses),
        (409, ServerRefuses),
        (400, RequestInvalid),
        (413, RequestInvalid),
    ],
)
def test_what_an_answer_means(far: FarSide, status: int, error: type[Exception]) -> None:
    session = session_with(far)
    session.open()
    far.fail["report"] = status
    with pytest.raises(error, match=str(status)):
        session.post("report", Report(), ReportAnswer)


def test_a_server_that_is_not_there_is_away(far: FarSide) -> None:
    session = session_with(far)
    far.close()
    with pytest.raises(ServerAway):
        session.open()


def test_an_ended_token_means_a_new_session(far: FarSide) -> None:
    session = session_with(far)
    session.open()
    far.token = "another"
    session.post("report", Report(), ReportAnswer)
    assert session.current.agent == 2


def test_a_due_renewal_brings_fresh_keys_under_the_same_number(far: FarSide) -> None:
    session = session_with(far)
    before = session.open()
    session.renew_if_due()
    assert session.current is before
    session._renew_at = 0.0
    session.renew_if_due()
    assert session.current.agent == before.agent
    assert session.current.token != before.token
    assert session.current.logs.session_token != before.logs.session_token


def test_an_outage_loses_and_doubles_nothing(side: Side) -> None:
    jobs = side.far.submit(NO_IMAGE, [], 30)
    leased = side.lease(30)
    side.far.fail["report"] = 503
    side.reporter.start()
    side.end(leased[:20])
    wait_until(lambda: len(side.outbox) == 20)
    side.end(leased[20:])
    side.far.fail.clear()
    side.far.wait_ended(jobs)
    wait_until(lambda: len(side.outbox) == 0)
    assert len(side.held) == 0
    assert [len(job.ends) for job in jobs] == [1] * 30


def test_the_heartbeat_says_what_is_held(side: Side) -> None:
    side.far.submit(NO_IMAGE, [], 3)
    leased = side.lease(3)
    side.reporter.start()
    wait_until(lambda: sorted(side.far.held) == sorted(job.lease.lease for job in leased))
    side.end(leased[:1])
    wait_until(lambda: sorted(side.far.held) == sorted(job.lease.lease for job in leased[1:]))


def test_a_lease_that_is_gone_is_told(side: Side) -> None:
    side.far.submit(NO_IMAGE, [], 1)
    [job] = side.lease(1)
    side.far.leases.clear()
    side.reporter.start()
    wait_until(lambda: any(job.lease.lease in answer.gone for answer in side.answers))


def test_one_report_that_is_not_accepted_does_not_stop_the_others(side: Side) -> None:
    jobs = side.far.submit(NO_IMAGE, [], 20)
    leased = side.lease(20)
    poison = leased[7].lease.lease
    side.far.refuse = lambda body: f'"lease":{poison},'.encode() in body
    side.reporter.start()
    side.end(leased)
    side.far.wait_ended([job for job in jobs if job.index != 7])
    assert jobs[7].end is None


def test_a_refusal_ends_the_reporter(side: Side) -> None:
    side.far.fail["report"] = 409
    side.reporter.start()
    wait_until(lambda: side.refusals)
