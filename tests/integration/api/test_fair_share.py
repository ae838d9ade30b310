"""A project with very many queued jobs does not make the few of another one wait."""

import os
import time

from ...stack import IMAGE, Api, Image, Stack, Task, shell, wait_until

CROWD = int(os.environ.get("OPENHTC_FAIR_JOBS", "100000"))
FEW = 10
SECONDS = 1
BATCHES_AT_ONCE = 100


def seconds_for_ten(task: Task) -> float:
    """How long it takes from the submission of ten jobs of a second each to the last end."""
    wanted = task.counts()["SUCCEEDED"] + FEW
    began = time.monotonic()
    task.submit(shell(f"sleep {SECONDS}", size=FEW))
    counts = wait_until(task.counts, lambda counts: counts["SUCCEEDED"] == wanted, 60, pause=0.05)
    assert counts["FAILED"] == 0
    return time.monotonic() - began


def test_ten_jobs_beside_a_crowd_take_at_most_twice_their_time_alone(
    stack: Stack, alice_api: Api, busybox_image: Image, task: Task
) -> None:
    alone = seconds_for_ten(task)
    crowded = alice_api.new_project("crowded")
    alice_api.push(crowded, busybox_image, IMAGE)
    crowd = alice_api.new_task(crowded["projectId"])
    try:
        for begin in range(0, CROWD // 1000, BATCHES_AT_ONCE):
            number = min(BATCHES_AT_ONCE, CROWD // 1000 - begin)
            crowd.submit(*(shell("sleep 0.1", size=1000) for _ in range(number)))
        wait_until(crowd.counts, lambda counts: counts["SUCCEEDED"] >= 2 * stack.vcpus, 60)
        beside = seconds_for_ten(task)
        assert crowd.counts()["RUNNABLE"] > 0, "the crowd was there to the end"
    finally:
        crowd.cancel()
    print(f"ten jobs of {SECONDS} s: {alone:.2f} s alone, {beside:.2f} s beside {CROWD}")
    assert beside <= 2 * alone
