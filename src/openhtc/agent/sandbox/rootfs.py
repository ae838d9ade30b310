"""The root file system of one job: the image below, the job's own disk space above."""

import contextlib
import os
import stat
from pathlib import Path

from openhtc.agent.sandbox import linux
from openhtc.agent.sandbox.ids import IdMap

_NEEDED = (("tmp", 0o1777), ("proc", 0o555), ("sys", 0o555), ("dev", 0o755))


class RootFs:
    """An overlay mount point, used for one job after the other by one thread."""

    def __init__(self, mount_point: Path, ids: IdMap, etc: dict[str, bytes]) -> None:
        """``etc``: files that every container gets in /etc, by name."""
        self.path = mount_point
        self._ids = ids
        self._etc = etc
        self._mounted = False
        mount_point.mkdir(parents=True, exist_ok=True)

    def mount(self, image: Path, space: Path) -> None:
        """Mount ``image`` (never changed) with what is written going to ``space``. Raises OSError."""
        upper, work = space / "upper", space / "work"
        work.mkdir()
        self._fill(image, upper)
        options = f"lowerdir={_escaped(image)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
        # Nobody needs this tree after a crash: "volatile" leaves out every sync. As an ordinary user the
        # overlay keeps its own marks in attributes that such a user may write.
        options += ",userxattr" if self._ids.is_single else ",index=off,metacopy=off,volatile"
        linux.mount("overlay", str(self.path), "overlay", linux.MS_NOSUID | linux.MS_NODEV, options)
        self._mounted = True

    def unmount(self) -> None:
        """Idempotent. Busy or not, the mount is gone from here when this returns."""
        if not self._mounted:
            return
        try:
            linux.umount(str(self.path))
        except OSError:
            linux.umount(str(self.path), linux.MNT_DETACH | linux.UMOUNT_NOFOLLOW)
        self._mounted = False

    def make_directory(self, path: str, uid: int, gid: int) -> None:
        """Make ``path`` in the container, with its parents, if it is missing; links stay inside."""
        root = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        try:
            if _is_there(root, path):
                return
            parts, parent = [part for part in path.split("/") if part not in ("", ".")], "/"
            for part in parts:
                self._make_one(root, parent, part, (uid, gid))
                parent = f"{parent.rstrip('/')}/{part}"
        finally:
            os.close(root)

    def _make_one(self, root: int, parent: str, name: str, owner: tuple[int, int]) -> None:
        fd = linux.open_in_root(root, parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chown(
                    name, self._ids.host(owner[0]), self._ids.host(owner[1]), dir_fd=fd, follow_symlinks=False
                )
        finally:
            os.close(fd)

    def _fill(self, image: Path, upper: Path) -> None:
        """What a container needs and the image may lack, put where the job's own files go."""
        self._directory(upper, image, 0o755)
        for name, mode in _NEEDED:
            if not os.path.lexists(image / name):
                self._directory(upper / name, None, mode)
        etc = image / "etc"
        if os.path.lexists(etc) and not stat.S_ISDIR(etc.lstat().st_mode):
            return  # /etc is a link in this image: leave it as it is
        self._directory(upper / "etc", etc if etc.exists() else None, 0o755)
        for name, content in self._etc.items():
            file = upper / "etc" / name
            file.write_bytes(content)
            file.chmod(0o644)
            os.chown(file, self._ids.base, self._ids.base)

    def _directory(self, path: Path, like: Path | None, mode: int) -> None:
        uid = gid = self._ids.base
        if like is not None:
            status = like.stat()
            mode, uid, gid = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        path.mkdir()
        path.chmod(mode)
        os.chown(path, uid, gid)


def _is_there(root: int, path: str) -> bool:
    try:
        os.close(linux.open_in_root(root, path, os.O_PATH))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _escaped(path: Path) -> str:
    """An overlay option's value: a comma or colon would end it."""
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")
