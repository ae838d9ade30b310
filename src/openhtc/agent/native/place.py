"""What the runner knows of one slot."""

from collections import deque
from dataclasses import dataclass, field

from openhtc.agent.held import HeldJob
from openhtc.agent.images.store import Image
from openhtc.agent.native.frames import Reader
from openhtc.agent.native.run import Run
from openhtc.agent.native.slot import NativeSlot


@dataclass(slots=True, eq=False)
class Place:
    """Belongs to the runner's thread, except while ``busy``: then another thread prepares the slot."""

    slot: NativeSlot
    number: int
    generation: int
    image: Image | None = None
    runs: deque[Run] = field(default_factory=deque)
    """The one that runs, then those that are lined up behind it."""
    reader: Reader = field(default_factory=Reader)
    busy: bool = False
    resting: bool = False
    """The program waits until nothing is left of the last job, and ends then."""
    watched: bool = False
    """Somebody measures its disk."""
    descriptor: int = -1
    """Of the socket that is listened to."""

    @property
    def is_idle(self) -> bool:
        """Nothing runs, and nobody else has it."""
        return not self.runs and not self.busy

    @property
    def is_free(self) -> bool:
        """A job can be sent here."""
        return self.is_idle and not self.resting

    def serves(self, job: HeldJob) -> bool:
        """The job can begin here at once."""
        image = self.image
        return (
            image is not None
            and image.digest == job.work.image.digest
            and self.slot.needs == job.work.needs
            and self.descriptor >= 0
        )

    def find(self, lease: int) -> Run | None:
        return next((run for run in self.runs if run.lease == lease), None)
