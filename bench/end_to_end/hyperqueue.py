"""HyperQueue in a process of its own: `python -m bench.end_to_end.hyperqueue TASKS WORKERS COMMAND…`.

Prints one JSON object. Server and worker are those of HyperQueue's own package; no files for the tasks' output.
"""

import json
import resource
import shutil
import sys
import tempfile
import time
from typing import Any

from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.job import Job


def described(tasks: int, command: list[str]) -> Any:
    job = Job()
    for _ in range(tasks):
        job.program(command, stdout=None, stderr=None)
    return job


def resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Course:
    """When how many tasks had ended. HyperQueue's client looks once a second, so the end is reckoned: what was left at
    the last look but one, at the pace of the second before."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._seen = [(0.0, 0)]

    def look(self, jobs: dict[int, dict[str, Any]]) -> None:
        (job,) = jobs.values()
        self._seen.append((time.monotonic() - self.began, job["finished"]))

    def seconds(self, tasks: int) -> float:
        end = next(seconds for seconds, ended in self._seen if ended >= tasks)
        before = [seen for seen in self._seen if seen[1] < tasks]
        if len(before) < 2 or before[-1][1] == before[-2][1]:
            return end
        pace = (before[-1][1] - before[-2][1]) / (before[-1][0] - before[-2][0])
        return min(end, before[-1][0] + (tasks - before[-1][1]) / pace)


def measured(tasks: int, cores: int, command: list[str]) -> dict[str, float]:
    """Without cores nothing runs: then it is only told how long the submission took."""
    folder = tempfile.mkdtemp(prefix="bench-hyperqueue-")
    try:
        with LocalCluster(folder, WorkerConfig(cores=cores) if cores else None) as cluster:
            client = cluster.client()
            if cores:
                client.wait_for_jobs([client.submit(described(100, command))])
            job, before = described(tasks, command), resident_mib()
            course = Course()
            submitted = client.submit(job)
            found = {"accepted_seconds": time.monotonic() - course.began}
            if cores:
                if client.connection.wait_for_jobs([submitted.id], course.look):
                    sys.exit("tasks that cannot fail have failed")
                found["seconds"] = course.seconds(tasks)
            return {**found, "growth_mib": resident_mib() - before}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    tasks, cores, *command = sys.argv[1:]
    print(json.dumps(measured(int(tasks), int(cores), command)), flush=True)


if __name__ == "__main__":
    main()
