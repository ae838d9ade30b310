"""P20: a listing of more jobs than fit in a page."""

from rescalehtc import HtcSession, htcjobs
from rescalehtc.htctasks import HtcTask

from ..stack import IMAGE, ended, wait_until


def test_p20_1200_jobs(htc: HtcSession, htc_task: HtcTask) -> None:
    batches = [
        htcjobs.create_job_batch(
            htc, htc_task, 600, "ON_DEMAND_PRIORITY", IMAGE, 120, commands=command, max_memory_mib=32
        )
        for command in (["true"], ["sh", "-c", "exit $((AWS_BATCH_JOB_ARRAY_INDEX % 2))"])
    ]
    wait_until(lambda: htc_task.get_task_summary(htc)["jobStatuses"], ended, 120, pause=0.5)
    wanted = {f"{batch.json['parentJobId']}:{n}" for batch in batches for n in range(600)}
    everything = [job.json["jobUUID"] for job in htcjobs.get_jobs(htc, htc_task)]
    assert len(everything) == 1200 and set(everything) == wanted
    failed = {f"{batches[1].json['parentJobId']}:{n}" for n in range(1, 600, 2)}
    assert {job.json["jobUUID"] for job in htcjobs.get_jobs(htc, htc_task, "FAILED")} == failed
    assert {job.json["jobUUID"] for job in htcjobs.get_jobs(htc, htc_task, "SUCCEEDED")} == wanted - failed
