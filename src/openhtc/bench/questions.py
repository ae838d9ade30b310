"""How fast the API answers what clients ask most."""

import random
from collections.abc import Iterator, Sequence

from openhtc.bench.figures import Figures, Say, milliseconds
from openhtc.bench.place import Place
from openhtc.bench.reader import Answered, Question, read


def about_task(prefix: str, batches: Sequence[str], sizes: int, requests: int) -> Iterator[Question]:
    """All kinds in turns, so that each meets the same conditions. ``prefix``: the path of the task."""
    choice = random.Random(4)  # noqa: S311 (the same questions every time)
    for _ in range(requests):
        job = f"{choice.choice(batches)}:{choice.randrange(sizes)}"
        yield "status", f"{prefix}/jobs/{job}"
        yield "page", f"{prefix}/jobs"
        yield "page of 1000", f"{prefix}/jobs?pageSize=1000"
        yield "summary", f"{prefix}/summary-statistics"
        yield "events", f"{prefix}/jobs/{job}/events"
        yield "logs", f"{prefix}/jobs/{job}/logs"


def measure(place: Place, jobs: int, requests: int, say: Say) -> Figures:
    """About a task with so many ended jobs."""
    task = place.new_task("questions")
    batches = place.submit(task, jobs)
    place.wait(task, jobs)
    origin, api = _origin(place.client.base_url)
    prefix = f"{api}/htc/projects/{place.project.project_id}/tasks/{task}"
    say(f"asking {requests} times each")
    size = jobs - 1000 * (len(batches) - 1) if len(batches) == 1 else 1000
    answers = read(
        origin, place.client.bearer_token(), about_task(prefix, batches[:-1] or batches, size, requests)
    )
    return {"jobs": jobs, "answers": {kind: _figures(found) for kind, found in answers.items()}}


def _figures(found: Answered) -> Figures:
    return {**milliseconds(found.seconds), "items": max(found.items)}


def _origin(base_url: str) -> tuple[str, str]:
    """``http://host:port`` and the path of the API."""
    scheme, _, rest = base_url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}", slash + path
