"""The far side of the agent protocol, and the agent program."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from openhtc.domain.enums import Outcome
from openhtc.domain.work import (
    AgentHello,
    AgentSession,
    BatchWork,
    Capacity,
    ImageSource,
    JobLease,
    JobReport,
    LeaseAnswer,
    LeaseRequest,
    LogChunk,
    Report,
    ReportAnswer,
)

from .agent_services import LogBucket, end_process, wait_until

AGENT_KEY = "agent-key"
SMALL = Capacity(1, 64, 1)
AGAIN = (Outcome.HANDED_BACK, Outcome.NODE_FAULT)


@dataclass
class Job:
    """What the far side knows of one job."""

    batch: BatchWork
    index: int
    lease: int | None = None
    attempts: int = 0
    ends: list[JobReport] = field(default_factory=list)
    started: int = 0
    chunks: list[LogChunk] = field(default_factory=list)
    cancel: bool = False

    @property
    def end(self) -> JobReport | None:
        return next((end for end in self.ends if end.outcome not in AGAIN), None)


class FarSide:
    """The four operations of the agent protocol over state in memory."""

    def __init__(self, bucket: LogBucket) -> None:
        self.bucket = bucket
        self.lock = threading.Condition()
        self.jobs: list[Job] = []
        self.queue: deque[Job] = deque()
        self.leases: dict[int, Job] = {}
        self.hellos: list[AgentHello] = []
        self.agent = 0
        self.token = ""
        self.held: list[int] = []
        self.stopping = False
        self.lease_requests: list[LeaseRequest] = []
        self.reports: list[Report] = []
        self.fail: dict[str, int] = {}
        """Operation -> status with which it is answered instead."""
        self.refuse: Callable[[bytes], bool] = lambda body: False
        """Bodies that are answered with 400."""
        self.keep_leases = False
        """A new session does not end the leases of the one before."""
        self.lease_seconds = 40
        self._batches = 0
        self._fence = 100
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def submit(
        self,
        image: ImageSource,
        commands: list[str],
        count: int = 1,
        *,
        needs: Capacity = SMALL,
        timeout: int = 60,
        envs: list[tuple[str, str]] | None = None,
        working_dir: str | None = None,
    ) -> list[Job]:
        with self.lock:
            self._batches += 1
            work = BatchWork(
                batch=self._batches,
                parent_job_id=f"parent-{self._batches}",
                image=image,
                commands=commands,
                working_dir=working_dir,
                envs=envs or [],
                needs=needs,
                exec_timeout_seconds=timeout,
            )
            jobs = [Job(work, index) for index in range(count)]
            self.jobs += jobs
            self.queue.extend(jobs)
            self.lock.notify_all()
        return jobs

    def wait_ended(self, jobs: list[Job], timeout: float = 60.0) -> None:
        wait_until(lambda: all(job.end for job in jobs), timeout, lambda: _describe(jobs))

    def lines(self, job: Job) -> list[str]:
        """The log of a job, checked to be in order of time."""
        lines = [line for chunk in job.chunks for line in self.bucket.read(chunk)]
        times = [ns for ns, _ in lines]
        assert times == sorted(set(times))
        assert [chunk.lines for chunk in job.chunks] == [len(self.bucket.read(c)) for c in job.chunks]
        return [text for _, text in lines]

    def session(self, body: bytes) -> AgentSession:
        with self.lock:
            self.hellos.append(msgspec.json.decode(body, type=AgentHello))
            if not self.keep_leases:
                for job in self.leases.values():
                    job.lease = None
                    self.queue.append(job)
                self.leases.clear()
            self.agent += 1
            return self._answer_session()

    def renew(self, body: bytes) -> AgentSession:
        with self.lock:
            return self._answer_session()

    def _answer_session(self) -> AgentSession:
        self.token = secrets.token_hex(8)
        access = self.bucket.access(f"logs/{id(self)}/{self.agent}/")
        return AgentSession(self.agent, self.token, access.expires_at, self.lease_seconds, access)

    def lease(self, body: bytes) -> LeaseAnswer:
        request = msgspec.json.decode(body, type=LeaseRequest)
        with self.lock:
            self.lease_requests.append(request)
            self.lock.wait_for(lambda: self.queue, request.wait_seconds)
            granted, left = [], request.free
            while self.queue and len(granted) < request.max_jobs:
                needs = self.queue[0].batch.needs
                left = Capacity(
                    left.vcpus - needs.vcpus,
                    left.memory_mib - needs.memory_mib,
                    left.disk_gib - needs.disk_gib,
                )
                if min(left.vcpus, left.memory_mib, left.disk_gib) < 0:
                    break
                granted.append(self._grant(self.queue.popleft()))
            batches = {job.batch.batch: job.batch for job, _ in granted}
            return LeaseAnswer(list(batches.values()), [lease for _, lease in granted])

    def _grant(self, job: Job) -> tuple[Job, JobLease]:
        self._fence += 1
        job.lease = self._fence
        job.attempts += 1
        self.leases[self._fence] = job
        envs = [("AWS_BATCH_JOB_ARRAY_INDEX", str(job.index))]
        return job, JobLease(self._fence, job.batch.batch, job.index, job.attempts, envs)

    def report(self, body: bytes) -> ReportAnswer:
        report = msgspec.json.decode(body, type=Report)
        gone = []
        with self.lock:
            self.reports.append(report)
            self.stopping = self.stopping or report.stopping
            for chunk in report.chunks:
                if chunk.lease in self.leases:
                    self.leases[chunk.lease].chunks.append(chunk)
            for news in report.jobs:
                if not self._apply(news):
                    gone.append(news.lease)
            if report.held is not None:
                self.held = report.held
                gone += [lease for lease in report.held if lease not in self.leases]
            stop = [lease for lease, job in self.leases.items() if job.cancel]
            return ReportAnswer(stop=stop, gone=gone)

    def _apply(self, news: JobReport) -> bool:
        job = self.leases.get(news.lease)
        if job is None:
            return False
        if news.started_at is not None and news.outcome is None:
            job.started += 1
        if news.outcome is not None:
            job.ends.append(news)
            job.lease = None
            del self.leases[news.lease]
            if news.outcome in AGAIN:
                self.queue.append(job)
        self.lock.notify_all()
        return True

    def _handler(far) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.path.removeprefix("/agent/v1/")
                wanted = f"Token {AGENT_KEY}" if operation == "session" else f"Bearer {far.token}"
                if operation in far.fail:
                    self._send(far.fail[operation], b"{}")
                elif far.refuse(body):
                    self._send(400, b"{}")
                elif self.headers["Authorization"] != wanted:
                    self._send(401, b'{"code":"UNAUTHORIZED"}')
                else:
                    self._send(200, msgspec.json.encode(getattr(far, operation)(body)))

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        return Handler


def _describe(jobs: list[Job]) -> object:
    return [(job.index, job.lease, job.attempts, job.ends[-1:], len(job.chunks)) for job in jobs][:20]


class AgentProcess:
    """The real agent program."""

    def __init__(self, directory: Path, server_url: str) -> None:
        self.directory = directory
        self.status_file = directory / "status.json"
        self._settings = {
            "server_url": server_url,
            "key": AGENT_KEY,
            "data_dir": str(directory / "data"),
            "vcpus": "4",
            "memory_mib": "2000",
            "disk_gib": "20",
            "status_file": str(self.status_file),
        }
        self.log = directory / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> "AgentProcess":
        program = (
            "import os, sys; from openhtc.agent.main import run; from openhtc.settings.agent import AgentSettings;"
            "from openhtc.settings.source import load; sys.exit(run(load(AgentSettings, None, os.environ)))"
        )
        values = {**self._settings, **settings}
        env = {**os.environ, **{f"OPENHTC_{name.upper()}": value for name, value in values.items()}}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", program], stdout=log, stderr=log, env=env)
        return self

    def status(self) -> dict[str, Any]:
        """The status file; empty while there is none."""
        try:
            return json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {}

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = 40.0) -> int:
        assert self.process is not None
        wait_until(lambda: self.process.poll() is not None, timeout, lambda: self.log.read_text()[-3000:])
        return self.process.returncode

    def end(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        for _ in range(60):  # two signals at the same moment are one
            self.signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.3)
                return
        end_process(self.process)
