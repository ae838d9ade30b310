"""What the supervisor knows about a program that it keeps running."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openhtc.embedded.programs import SYSTEM_PATH, find_program

PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
)
"""All a child gets of our environment. Proxies, certificate bundles and the like are for other networks: each
part talks to loopback, and docker-registry does not even start with AWS_CA_BUNDLE set."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a program: no shell, a complete environment."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True, slots=True)
class StopStep:
    """A signal and the seconds to wait for its effect."""

    signal: signal.Signals
    seconds: float


class Part(ABC):
    """One child of the supervisor."""

    name: str
    address: str
    log: Path
    ports: tuple[int, ...] = ()
    start_seconds: float = 60.0
    """How long a start may take until ``ready`` answers None."""
    stop_steps: tuple[StopStep, ...] = (StopStep(signal.SIGTERM, 5.0),)
    """SIGKILL follows the last of them."""
    stays_down: frozenset[int] = frozenset()
    """Exit codes after which it is not started again: somebody wanted its end."""

    @abstractmethod
    def prepare(self) -> None:
        """Make its files ready for a start; called before every start. Raises SettingsError."""

    @abstractmethod
    def command(self) -> Command:
        """The program to start. Raises SettingsError when it is not installed."""

    @abstractmethod
    async def check(self) -> str | None:
        """None when the part does its work now, else what is wrong. Changes nothing, takes seconds."""

    async def ready(self) -> str | None:
        """Like ``check``, and may finish what can only be set up in the running program."""
        return await self.check()

    def tidy(self) -> None:  # noqa: B027 (most leave nothing)
        """Remove what the stopped program left outside its directory."""


def die_with_parent(number: str = "KILL") -> tuple[str, ...]:
    """Arguments before a program so that the kernel sends it this signal when its parent ends in any way."""
    return (str(find_program("setpriv")), "--pdeathsig", number, "--")


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a child: a short list of ours, and ``more``."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {"LANG": "C.UTF-8", "HOME": "/", **passed, "PATH": SYSTEM_PATH, **more}
