"""Which host user ids stand behind the ids that a container sees.

Privileged: 0..65535 inside are base..base+65535 outside, so that root in a container owns the image's
files and is nobody on the host. Rootless: the one id the agent has stands behind whichever id a job asks for.
"""

from dataclasses import dataclass

FIRST_HOST_ID = 1_000_000
ID_COUNT = 65536


@dataclass(frozen=True, slots=True)
class IdMap:
    base: int
    count: int

    @classmethod
    def privileged(cls) -> "IdMap":
        return cls(FIRST_HOST_ID, ID_COUNT)

    @classmethod
    def rootless(cls) -> "IdMap":
        return cls(0, 1)

    @property
    def is_single(self) -> bool:
        return self.count == 1

    def host(self, inside: int) -> int:
        """The host's id; an id that the map lacks becomes that of the container's root."""
        return self.base + inside if 0 <= inside < self.count else self.base
