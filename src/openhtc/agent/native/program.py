"""Where the slots' own program is. It is built from the sources beside this file by tools/build-native.sh."""

import os
from pathlib import Path

from openhtc.domain.errors import SettingsError

NAME = "openhtc-slot"
DISK_NOT_EMPTIED = 73
"""It ends so when a job left more behind than it removes itself."""
_BUILT = Path(__file__).parent / "bin" / NAME


def find() -> Path:
    """Raises SettingsError when it was not built for this machine."""
    if not os.access(_BUILT, os.X_OK):
        raise SettingsError(
            f"the program {_BUILT} is missing: run tools/build-native.sh, which needs a C compiler, "
            "or set runtime to bubblewrap"
        )
    return _BUILT
