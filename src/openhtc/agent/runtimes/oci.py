"""Containers by an OCI runtime program: runc, or crun where it accepts the machine's control groups.

Slower than bubblewrap, and for places that already trust one of these. The runtime makes a control group of
its own; a hook moves the container's first process from there into the slot's before the program runs, so
that limits and counters are the slot's. It starts the program detached, which alone hands our descriptor to
the program as it is (otherwise output and errors pass through two pipes and lose their order); so the program
becomes an orphan, and ours because we reap orphans. It outlives a killed agent: the next one ends it by the
slot's control group, and removes the runtime's own.
"""

import json
import os
import shutil
import signal
from pathlib import Path

import structlog

from openhtc.agent.runtimes import oci_config, program
from openhtc.agent.runtimes.base import Container, ContainerSpec
from openhtc.agent.runtimes.ending import cannot_start, node_failure
from openhtc.agent.runtimes.oci_container import OciContainer
from openhtc.agent.sandbox import cgroups, linux
from openhtc.agent.sandbox.files import remove_tree
from openhtc.agent.sandbox.mode import Mode
from openhtc.domain.errors import SettingsError

log = structlog.get_logger(__name__)

_REAPERS = ("catatonit", "tini-static", "docker-init")
_RESET_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
)
# Finds "pid": in the container's state, which the runtime writes to standard input.
_ENTER = 's=$(cat); s=${s#*\\"pid\\":}; p=${s%%[,\\}]*}; for f in "$@"; do echo $p > "$f" || exit 1; done'


class Oci:
    """Runtime by runc(8) or crun(1). Raises SettingsError when it cannot work here. Thread-safe.

    ``missing``: what this runtime cannot do as the others do, in short sentences.
    """

    def __init__(self, mode: Mode, state_dir: Path, name: str = "runc") -> None:
        """``state_dir`` is this runtime's own; unprivileged users must be able to traverse its parents."""
        found = shutil.which(name)
        if found is None:
            raise SettingsError(f"the program {name} (package {name}) is missing")
        if not mode.privileged:
            raise SettingsError(f"the runtime {name} needs root; an ordinary user runs jobs with bubblewrap")
        self.name = name
        self._program = found
        self._ids = mode.ids
        self._state_dir = state_dir
        self._reaper = next((Path(path) for word in _REAPERS if (path := shutil.which(word))), None)
        self.missing: list[str] = []
        if self._reaper is None:
            self.missing.append(
                f"{name}: no {' or '.join(_REAPERS)}: TERM stops only programs that handle it"
            )
        self._cgroup_prefix = f"{cgroups.scope(state_dir)}-{name}-"
        linux.become_subreaper()
        for mount in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")):
            for left in mount.glob(f"{self._cgroup_prefix}*"):
                cgroups.clear(left)
        if state_dir.exists():
            remove_tree(state_dir)
        state_dir.mkdir(mode=0o711, parents=True)

    def start(self, spec: ContainerSpec, output: int) -> Container:
        try:
            root = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY)
            try:
                reason = program.why_not(spec, root, self._ids)
            finally:
                os.close(root)
            return cannot_start(reason) if reason is not None else self._launch(spec, output)
        except OSError as error:
            log.warning("container_not_started", name=spec.name, error=str(error))
            return node_failure(f"{self.name} could not be started: {error}")

    def _launch(self, spec: ContainerSpec, output: int) -> Container:
        unique = f"{spec.name}-{os.urandom(4).hex()}"
        bundle = self._state_dir / unique
        bundle.mkdir(mode=0o711)
        config = oci_config.build(
            spec,
            self._ids,
            reaper=self._reaper,
            cgroup=f"/{self._cgroup_prefix}{unique}",
            hook=_hook(spec),
        )
        file = bundle / "config.json"
        file.touch(mode=0o600)  # it holds the job's environment
        file.write_text(json.dumps(config))
        base = [
            self._program,
            "--root",
            str(bundle / "state"),
            "--log",
            str(bundle / "log"),
            "--log-format",
            "json",
        ]
        words = [*base, "run", "--detach", "--bundle", str(bundle)]
        words += ["--pid-file", str(bundle / "pid"), unique]
        pid = os.posix_spawn(
            self._program,
            words,
            {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_RESET_SIGNALS,
        )
        return OciContainer(self.name, os.pidfd_open(pid), bundle, [*base, "delete", "--force", unique])


def _hook(spec: ContainerSpec) -> list[str]:
    files = spec.cgroup.procs_files() if spec.cgroup else ()
    return ["/bin/sh", "-c", _ENTER, "enter", *(str(file) for file in files)] if files else []
