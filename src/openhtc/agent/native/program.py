"""Where the slots' own program is. It is built from the sources beside this file by tools/build-native.sh."""

import os
from pathlib import Path

from openhtc.domain.errors import SettingsError

NAME = "openhtc-slot"
DISK_NOT_EMPTIED, RESTED, UNCLEAN, NETWORK_USED = 73, 74, 75, 76
"""It ends so when a job left more on its disk than it removes itself; after what a job had left in sockets has
gone; when that is still there after minutes; when a job used the network."""
BETWEEN_JOBS = (DISK_NOT_EMPTIED, RESTED, UNCLEAN, NETWORK_USED)
"""No job ran then."""
NETWORK_UNUSED = (DISK_NOT_EMPTIED, RESTED)
"""The slot's network is as it was made."""
_BUILT = Path(__file__).parent / "bin" / NAME


def find() -> Path:
    """Raises SettingsError when it was not built for this machine."""
    if not os.access(_BUILT, os.X_OK):
        raise SettingsError(
            f"the program {_BUILT} is missing: run tools/build-native.sh, which needs a C compiler, "
            "or set runtime to bubblewrap"
        )
    return _BUILT
