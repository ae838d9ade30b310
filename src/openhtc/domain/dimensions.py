"""Dimensions: the environments that jobs may run in, as lists of entries for a workspace and for a project."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from openhtc.domain.enums import Priority
from openhtc.domain.errors import InvalidRequest
from openhtc.domain.regions import Region

MAX_ENTRIES = 100
MAX_MACHINE_TYPE = 128
_SHOWN_AT_MOST = 10


class ScalingProfile(StrEnum):
    """How eagerly a cloud's cluster shrinks. Kept and answered; nothing here acts on it."""

    PROFILE_UNSPECIFIED = "PROFILE_UNSPECIFIED"
    OPTIMIZE_UTILIZATION = "OPTIMIZE_UTILIZATION"
    BALANCED = "BALANCED"
    UNRECOGNIZED = "UNRECOGNIZED"


@dataclass(frozen=True, slots=True)
class Environment:
    """One entry: a job fits when everything that is named here fits. None: anything does."""

    machine_type: str | None = None
    priority: Priority | None = None
    region: Region | None = None
    scaling_policy: ScalingProfile | None = None
    hyperthreading: bool | None = None

    def narrowing(self) -> dict[str, object]:
        """What the entry names, by the API's names, without what has no effect."""
        named = {
            "machineType": self.machine_type,
            "priority": self.priority,
            "region": self.region,
            "hyperthreading": self.hyperthreading,
        }
        return {name: value for name, value in named.items() if value is not None}


def compatible(one: Environment, other: Environment) -> bool:
    """Whether some job and node can fit both."""
    wanted = other.narrowing()
    return all(wanted.get(name, value) == value for name, value in one.narrowing().items())


def check_entries(entries: Sequence[Environment], available: Sequence[Environment]) -> None:
    """Raises InvalidRequest at the first entry that cannot be.

    ``available`` is the list that every entry must be compatible with; an empty one allows everything.
    """
    if len(entries) > MAX_ENTRIES:
        raise InvalidRequest(f"the body has {len(entries)} entries, at most {MAX_ENTRIES} are allowed")
    for position, entry in enumerate(entries):
        where = f"[{position}]"
        if entry.machine_type is not None:
            check_machine_type(f"{where}.machineType", entry.machine_type)
        if available and not any(compatible(entry, other) for other in available):
            raise InvalidRequest(_refusal(where, entry, available))


def check_machine_type(where: str, name: str) -> None:
    if not 1 <= len(name) <= MAX_MACHINE_TYPE or not name.isprintable():
        raise InvalidRequest(
            f"{where}: {name[:MAX_MACHINE_TYPE]!r}: expected 1 to {MAX_MACHINE_TYPE} printable characters"
        )


def _refusal(where: str, entry: Environment, available: Sequence[Environment]) -> str:
    """Names the member that nothing in the workspace's list allows, or else all of them together."""
    for name, value in entry.narrowing().items():
        others = [other.narrowing().get(name, value) for other in available]
        if value not in others:
            allowed = sorted({_shown(other) for other in others})
            more = ", …" if len(allowed) > _SHOWN_AT_MOST else ""
            return (
                f"{where}.{name}: {_shown(value)} is in no entry of the workspace's dimensions, which allow "
                f"{', '.join(allowed[:_SHOWN_AT_MOST])}{more}"
            )
    together = ", ".join(f"{name} {_shown(value)}" for name, value in entry.narrowing().items())
    return f"{where}: no single entry of the workspace's dimensions allows {together} together"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
