"""Shows a directory to other users at a place that they can reach, to one program only.

Root's data directory may be below a closed one (/root, or what mktemp -d makes), and parts of the service run as
other users: PostgreSQL, and the users that jobs are mapped to.
"""

from pathlib import Path

from openhtc.embedded.programs import find_program

PLACES = (Path("/srv"), Path("/mnt"), Path("/media"), Path("/opt"))
"""Directories that are on every Debian and open to all; a bind mount over one is seen by its program alone."""


def closed_to_others(path: Path) -> bool:
    """True when a directory above ``path`` cannot be passed by every user."""
    parents = [parent for parent in path.absolute().parents if parent.exists()]
    return any(not parent.stat().st_mode & 0o001 for parent in parents)


def open_place(*needed: Path) -> Path:
    """A place to show a directory at: one that hides none of the paths that the program needs."""
    for place in PLACES:
        if place.is_dir() and not any(path.is_relative_to(place) for path in needed):
            return place
    raise FileNotFoundError(f"none of {', '.join(map(str, PLACES))} is there and free to show a directory at")


def shown_at(source: Path, place: Path) -> tuple[str, ...]:
    """Arguments before a program that sees ``source`` at ``place``; needs root, makes no further process."""
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    unshare = (str(find_program("unshare")), "--mount", "--propagation", "private", "--")
    return (*unshare, "/bin/sh", "-c", script, "sh", str(source), str(place))
