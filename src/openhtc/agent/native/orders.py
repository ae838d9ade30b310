"""From a leased job to the request that starts it. What the jobs of a batch share is put together once."""

from collections import OrderedDict
from dataclasses import dataclass

from openhtc.agent.held import HeldJob
from openhtc.agent.images.config import Identity, command, environment, resolve_user
from openhtc.agent.images.store import Image
from openhtc.agent.native import frames
from openhtc.agent.runtimes import program
from openhtc.agent.runtimes.base import ContainerSpec
from openhtc.domain.work import BatchWork

_KEPT = 256
_MAX_OWN_UNSEEN = 32 * 1024
"""Variables of one job that take more bytes are looked at one by one."""
_MAX_SHM = 1 << 30


class CannotStart(Exception):
    """The text is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for all jobs of a batch whose own variables have the same names."""

    own_names: tuple[str, ...]
    head: bytes
    image: bytes
    middle: bytes
    """After the host name: directories, arguments and the variables that no job has of its own."""


class Orders:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[int, str], _Shared] = OrderedDict()
        self._identities: OrderedDict[str, Identity] = OrderedDict()

    def request(self, job: HeldJob, image: Image) -> bytes:
        """The frame that starts the job. Raises CannotStart, ImageError."""
        lease = job.lease
        shared = self._shared(job, image)
        own = "".join(f"{name}={value}\0" for name, value in lease.envs).encode("utf-8", "surrogateescape")
        if own.count(b"\0") != len(lease.envs) or len(own) > _MAX_OWN_UNSEEN:
            _check(self.spec(job, image))
        name = f"job-{lease.lease}\0".encode()
        return frames.run(lease.lease, b"".join((shared.head, shared.image, name, shared.middle, own)))

    def spec(self, job: HeldJob, image: Image) -> ContainerSpec:
        """The same as the reference runtimes get it, over the image itself: to explain why a job did not start."""
        identity = self._identity(image)
        return ContainerSpec(
            name=f"job-{job.lease.lease}",
            rootfs=image.rootfs,
            args=command(image.config, job.work.commands),
            env=environment(image.config, identity, job.work.envs, job.lease.envs),
            cwd=job.work.working_dir or image.config.workdir or "/",
            uid=identity.uid,
            gid=identity.gid,
            groups=identity.groups,
            cgroup=None,
            network=None,
        )

    def _shared(self, job: HeldJob, image: Image) -> _Shared:
        names = tuple(name for name, _ in job.lease.envs)
        key = (job.work.batch, image.digest)
        found = self._batches.get(key)
        if found is None or found.own_names != names:
            found = self._batches[key] = self._put_together(job, image, names)
            if len(self._batches) > _KEPT:
                self._batches.popitem(last=False)
        return found

    def _put_together(self, job: HeldJob, image: Image, names: tuple[str, ...]) -> _Shared:
        spec = self.spec(job, image)
        _check(spec)
        own = set(names)
        variables = [f"{name}={value}" for name, value in spec.env if name not in own]
        words = [spec.cwd, image.config.workdir, *spec.args, *variables]
        head = frames.run_head(
            spec.uid, spec.gid, spec.groups, len(spec.args), len(variables) + len(names), shm_bytes(job.work)
        )
        return _Shared(
            own_names=names,
            head=head,
            image=_zero_ended([str(image.rootfs)]),
            middle=_zero_ended(words),
        )

    def _identity(self, image: Image) -> Identity:
        found = self._identities.get(image.digest)
        if found is None:
            found = self._identities[image.digest] = resolve_user(image.rootfs, image.config.user)
            if len(self._identities) > _KEPT:
                self._identities.popitem(last=False)
        return found


def _check(spec: ContainerSpec) -> None:
    reason = program.bad_words(spec)
    if reason is not None:
        raise CannotStart(reason)


def shm_bytes(work: BatchWork) -> int:
    return min(_MAX_SHM, (work.needs.memory_mib << 20) // 2)


def _zero_ended(words: list[str]) -> bytes:
    return "".join(f"{word}\0" for word in words).encode("utf-8", "surrogateescape")
