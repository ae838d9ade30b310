import subprocess
import sys
from pathlib import Path

from openhtc.lifecycle.locks import FileLock

HOLD = """
import sys
from pathlib import Path
from openhtc.lifecycle.locks import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
input()
"""


def test_the_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not FileLock(path).acquire()
        found = FileLock(path).holder()
        assert found is not None and found.pid == holder.pid
        holder.kill()
        holder.wait()
        assert FileLock(path).holder() is None
    with FileLock(path) as lock:
        assert lock.acquire()
        assert not FileLock(path).acquire()
    assert FileLock(path).acquire()
