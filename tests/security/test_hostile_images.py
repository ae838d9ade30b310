"""Images that lie about themselves or are too much, on a real node: what they cost, and whom."""

import os
import secrets

import pytest

from openhtc.client.images.layout import layer_files

from ..stack import Stack, Task, shell, wait_until
from .hostile import AGENT_MIB, Hostile, agent_peak_mib

MANY = int(os.environ.get("OPENHTC_HOSTILE_FILES", "30000"))


def neighbour_is_well(task: Task) -> None:
    job = task.submit_one(shell("echo well"))
    assert task.wait_for(job, "SUCCEEDED")["container"]["exitCode"] == 0
    assert task.log(job) == ["well"]


def is_refused_by_the_node(stack: Stack, words: str) -> None:
    log = stack.data / "logs" / "agent.log"
    wait_until(log.read_text, lambda text: words in text, 60)


def test_a_layer_that_is_not_what_its_digest_says_never_runs(
    hostile: Hostile, stack: Stack, task: Task
) -> None:
    """One byte changed where the registry keeps it; once that is mended, the same job runs."""
    image = hostile.with_files(1, secrets.token_bytes(1000))
    hostile.push("altered", image)
    (layer,) = layer_files(image)
    (stored,) = (stack.data / "registry").glob(f"**/blobs/sha256/{layer.name[:2]}/{layer.name}/data")
    honest = stored.read_bytes()
    stored.write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
    job = hostile.submit("altered", "sh", "-c", "echo ran")
    is_refused_by_the_node(stack, f"than the layer sha256:{layer.name}")
    neighbour_is_well(task)
    assert task.job(job)["status"] in ("RUNNABLE", "STARTING")
    assert task.log(job) == []
    stored.write_bytes(honest)
    task.wait_for(job, "SUCCEEDED", 120)
    assert task.log(job) == ["ran"]


@pytest.mark.parametrize(("name", "size"), [("vast", 1 << 50), ("endless", 2**63 - 1)])
def test_an_image_of_an_absurd_size_is_refused_before_it_is_read(
    hostile: Hostile, task: Task, name: str, size: int
) -> None:
    hostile.push_liar(name, hostile.with_files(1, name.encode()), size)
    job = hostile.submit(name, "sh", "-c", "echo ran")
    ended = task.wait_for(job, "FAILED")
    assert (ended["failureCode"], task.log(job)) == ("ErrorStartingContainer", [])
    assert "at most" in ended["statusReason"]


def test_a_layer_that_is_larger_than_it_says_never_runs(hostile: Hostile, stack: Stack, task: Task) -> None:
    image = hostile.with_files(1, secrets.token_bytes(100_000))
    hostile.push_liar("modest", image, 100)
    job = hostile.submit("modest", "sh", "-c", "echo ran")
    is_refused_by_the_node(stack, f"than the layer sha256:{layer_files(image)[0].name}")
    neighbour_is_well(task)
    assert task.job(job)["status"] in ("RUNNABLE", "STARTING")
    assert task.log(job) == []


@pytest.mark.timeout(600)
def test_very_many_files_are_only_files(hostile: Hostile, stack: Stack, task: Task) -> None:
    """A million with OPENHTC_HOSTILE_FILES; other jobs run while they are unpacked, and the agent does not grow."""
    hostile.push("many", hostile.with_files(MANY))
    job = hostile.submit("many", "sh", "-c", "find /many -type f | wc -l")
    while (status := task.job(job)["status"]) != "SUCCEEDED":
        assert status != "FAILED"
        neighbour_is_well(task)
    assert task.log(job) == [str(MANY)]
    assert agent_peak_mib(stack) < AGENT_MIB
