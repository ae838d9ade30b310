"""Identifiers that the API exchanges."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from openhtc.domain.errors import NotFound

_EVENTS = UUID("6f6a1c1e-6c2b-4b1e-9d6e-0d5a8f0c7b11")


@dataclass(frozen=True, slots=True)
class JobId:
    """``<parentJobId>:<index>``."""

    parent: UUID
    index: int

    def __str__(self) -> str:
        return f"{self.parent}:{self.index}"


def parse_job_id(text: str) -> JobId | None:
    """None when the text is not the id of any job."""
    parent, colon, index = text.rpartition(":")
    if not colon or not index.isascii() or not index.isdigit() or len(index) > 4:
        return None
    try:
        return JobId(UUID(parent), int(index))
    except ValueError:
        return None


def parse_uuid(noun: str, text: str) -> UUID:
    """Raises NotFound, since an id of another form names nothing."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"there is no {noun} {text!r}") from None


def event_id(job: JobId, ordinal: int) -> UUID:
    """The same for the same event on every reading: events are derived, not stored."""
    return uuid5(_EVENTS, f"{job}#{ordinal}")
