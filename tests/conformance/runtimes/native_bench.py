"""The native slots behind the interface of the reference runtimes: one job at a time, from outside the agent."""

import contextlib
import os
import signal
import threading
from pathlib import Path

from openhtc.agent.held import HeldJob
from openhtc.agent.native import frames
from openhtc.agent.native import program as native_program
from openhtc.agent.native.orders import shm_bytes
from openhtc.agent.native.run import usage_of, verdict_on
from openhtc.agent.native.slot import Common, NativeSlot
from openhtc.agent.runtimes import program
from openhtc.agent.runtimes.base import ContainerSpec, Exit
from openhtc.agent.runtimes.ending import cannot_start
from openhtc.agent.sandbox.sandbox import Sandbox
from openhtc.agent.sandbox.slot import Collected
from openhtc.domain.enums import Outcome
from openhtc.domain.work import BatchWork, Capacity, ImageSource, JobLease, Usage


class OneByOne:
    """Slot and runtime in one."""

    name = "native"

    def __init__(self, mode, sandbox: Sandbox, images: Path, name: str) -> None:
        self._ids = mode.ids
        self._common = Common.make(mode, sandbox.shared, images, sandbox.slots_dir / "etc")
        directory = sandbox.slots_dir / name
        directory.mkdir(mode=0o711, exist_ok=True)
        self.slot = NativeSlot(self._common, name, directory)
        self.slot_name = name
        self._number = 0
        self._needs, self._image, self._workdir = Capacity(1, 1, 1), None, ""
        self._last: _Running | None = None
        self.ended_with: int | None = None
        """The exit code of the slot's program that ended last."""

    def prepare(self, image, needs, identity, workdir=None) -> None:
        self._needs, self._image, self._workdir = needs, image, workdir or ""
        if self.slot.needs != needs:
            self.slot.fit(needs)

    def spec(self, *, name, args, env, cwd, identity) -> ContainerSpec:
        uid, gid, groups = identity.uid, identity.gid, identity.groups
        return ContainerSpec(name, self._image.rootfs, args, env, cwd, uid, gid, groups, None, None)

    def start(self, spec: ContainerSpec, output: int):
        reason = program.bad_words(spec)
        if reason is not None:
            return cannot_start(reason)
        self._number += 1
        words = [
            str(spec.rootfs),
            spec.name,
            spec.cwd,
            self._workdir,
            *spec.args,
            *(f"{k}={v}" for k, v in spec.env),
        ]
        head = frames.run_head(
            spec.uid, spec.gid, spec.groups, len(spec.args), len(spec.env), shm_bytes(self._work())
        )
        self.slot.send(frames.run(self._number, head + b"".join(os.fsencode(word) + b"\0" for word in words)))
        self._last = _Running(self, self._number, spec, output)
        return self._last

    def collect(self) -> Collected:
        ended = self._last.ended if self._last is not None else None
        if ended is None:
            return Collected(0, False, Usage())
        return Collected(ended.oom_kills, ended.disk_full, usage_of(ended) or Usage())

    def reset(self) -> None:
        """The program does that by itself; where it cannot, it ends."""
        if self._last is not None and (self._last.program_gone or self._last.program_goes):
            self.ended_with = self.slot.program_ended()
            self.slot.restart(new_network=self.ended_with not in native_program.NETWORK_UNUSED)

    def close(self) -> None:
        self.slot.close()

    def _work(self) -> BatchWork:
        image = ImageSource("", "", "", "")
        return BatchWork(1, "", image, [], None, [], self._needs, 3600)

    def verdict(self, spec: ContainerSpec, ended: frames.Ended):
        job = HeldJob(JobLease(1, 1, 0, 1, []), self._work())
        return verdict_on(job, ended, spec, self._ids)


class _Running:
    def __init__(self, bench: OneByOne, number: int, spec: ContainerSpec, output: int) -> None:
        self._bench, self._number, self._spec = bench, number, spec
        self._output = os.dup(output)
        self.ended: frames.Ended | None = None
        self.program_gone = self.program_goes = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        reader, slot = frames.Reader(), self._bench.slot
        slot._socket.setblocking(True)
        while not self._done.is_set():
            data = slot.receive(1 << 18)
            if not data:
                self.program_gone = True
                break
            for kind, number, payload in reader.feed(data):
                if kind == frames.Kind.OUTPUT:
                    with contextlib.suppress(OSError):
                        os.write(self._output, payload)
                elif kind == frames.Kind.RESTING:
                    self.program_goes = True
                elif kind == frames.Kind.ENDED and number == self._number:
                    self.ended = frames.ended(payload)
                    self._done.set()
        os.close(self._output)
        self._done.set()

    def signal(self, number: int) -> None:
        if self.ended is None:
            self._bench.slot.signal(self._number, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> Exit | None:
        if not self._done.wait(timeout):
            return None
        if self.ended is None:
            return Exit(125, node_error="the slot's program ended")
        if self.ended.stage is frames.Stage.NOT_BEGUN:
            return Exit(128 + signal.SIGKILL)
        verdict = self._bench.verdict(self._spec, self.ended)
        if self.ended.stage is frames.Stage.RAN:
            return Exit(self.ended.exit_code)
        if verdict.outcome is Outcome.CANNOT_START:
            return Exit(verdict.exit_code or 127, start_error=verdict.reason)
        return Exit(125, node_error=verdict.reason)
