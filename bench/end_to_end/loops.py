"""The simplest runner there is: a loop that starts a program and waits for it, two at a time.

`python -m bench.end_to_end.loops RUNS COMMAND…`, where {} in the command becomes a number that no other run has.
Prints the seconds.
"""

import os
import sys
import time


def loop(command: list[str], numbers: range) -> None:
    """Raises RuntimeError when a run fails."""
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in range(3)]
    for number in numbers:
        words = [word.replace("{}", str(number)) for word in command]
        pid = os.posix_spawnp(words[0], words, dict(os.environ), file_actions=actions)
        if (code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {code}")


def measured(runs: int, command: list[str], loops: int = 2) -> float:
    """Seconds for all runs, by so many processes."""
    began = time.monotonic()
    children = []
    for part in range(loops):
        if (pid := os.fork()) == 0:
            try:
                loop(command, range(part, runs, loops))
            except (RuntimeError, OSError) as error:
                print(error, file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    if any(codes):
        sys.exit(1)
    return time.monotonic() - began


if __name__ == "__main__":
    print(measured(int(sys.argv[1]), sys.argv[2:]), flush=True)
