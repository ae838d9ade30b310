"""Which processes belong to what: parts of an installation, jobs of an agent."""

from collections.abc import Iterator
from pathlib import Path

from openhtc.embedded.child import read_record
from openhtc.embedded.layout import DataLayout
from openhtc.lifecycle.identity import ProcessIdentity, process_identity

_PROC = Path("/proc")


def part_process(layout: DataLayout, part: str) -> ProcessIdentity | None:
    """The process that the supervisor started last for a part; None when it does not run."""
    record = read_record(layout.run / f"{part}.json")
    return record.identity if record is not None and record.identity.is_alive() else None


def descendants(pid: int) -> Iterator[int]:
    """Children, their children, and so on, as far as they are there to be seen."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    waiting = list(children.get(pid, []))
    while waiting:
        child = waiting.pop()
        yield child
        waiting += children.get(child, [])


def job_processes(agent: int) -> list[ProcessIdentity]:
    """Processes of an agent's jobs: those that live in another pid namespace than it."""
    own = _pid_namespace(agent)
    found = [process_identity(pid) for pid in descendants(agent) if _pid_namespace(pid) not in (None, own)]
    return [identity for identity in found if identity is not None]


def helper_processes(agent: int) -> list[ProcessIdentity]:
    """Programs that the agent works with: those of its slots and their networks."""
    own = _pid_namespace(agent)
    found = [process_identity(pid) for pid in descendants(agent) if _pid_namespace(pid) == own]
    return [identity for identity in found if identity is not None]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _pid_namespace(pid: int) -> str | None:
    try:
        return str((_PROC / str(pid) / "ns" / "pid").readlink())
    except OSError:
        return None
