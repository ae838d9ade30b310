"""Jobs: submission, reading, events, logs, counts, cancelling."""

from collections.abc import Sequence
from typing import Annotated

from litestar import Response, get, post
from litestar.params import JSONBody, QueryParameter

from openhtc.api.requests import (
    DEFAULT_PAGE_SIZE,
    AnyRequest,
    PageIndex,
    PageSize,
    PathText,
    WithCaller,
    WithServices,
    next_page,
)
from openhtc.api.schemas.jobs import (
    EventPage,
    JobBody,
    JobPage,
    LogPage,
    SummaryBody,
    SummaryPage,
    event_body,
    job_bodies,
    job_body,
    log_line,
    summary,
)
from openhtc.domain.enums import JobStatus, SortOrder, ViewType
from openhtc.domain.submission import JobSubmitRequest
from openhtc.services.jobs import Wanted

_TASK = "/htc/projects/{project_id:str}/tasks/{task_id:str}"

MAX_SUBMISSION_BYTES = 32 * 1024 * 1024
"""100 batches with large environments fit."""

Group = Annotated[str, QueryParameter(name="group", required=False)]
Groups = Annotated[Sequence[str], QueryParameter(name="group", required=False)]
JobIds = Annotated[Sequence[str], QueryParameter(name="jobId", required=False)]
Status = Annotated[JobStatus | None, QueryParameter(name="status", required=False)]
View = Annotated[ViewType, QueryParameter(name="viewType", required=False)]
Sort = Annotated[SortOrder, QueryParameter(name="sort", required=False)]


@post(
    f"{_TASK}/jobs/batch",
    status_code=200,
    summary="Submit batches of jobs",
    request_max_body_size=MAX_SUBMISSION_BYTES,
)
async def submit_jobs(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    data: JSONBody[list[JobSubmitRequest]],
    group: Group = "",
) -> list[JobSubmitRequest]:
    """Every batch is stored or none: each element makes `batchSize` jobs with the ids `<parentJobId>:<index>`.
    Tags of images are pinned to what they stand for now. Under a vCPU limit jobs wait as
    SUBMITTED_TO_RESCALE.
    """
    return await services.submission.submit(caller, project_id, task_id, group, data)


@get(f"{_TASK}/jobs", summary="The task's jobs")
async def list_jobs(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    group: Group = "",
    job_ids: JobIds = (),
    status: Status = None,
    view_type: View = ViewType.FULL,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> JobPage:
    """By batch and index. Filters narrow the list together."""
    wanted = Wanted(group or None, status, job_ids or None)
    page = await services.jobs.page(caller, project_id, task_id, wanted, page_index, page_size)
    simple = view_type is ViewType.SIMPLE
    return JobPage(job_bodies(page.items, simple), next_page(request, services, page.cursor))


@post(f"{_TASK}/jobs/cancel", status_code=200, summary="Cancel the task's unfinished jobs, or one group's")
async def cancel_jobs(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    group: Group = "",
) -> Response[dict[str, str]]:
    """For the jobs' owner and admins. Waiting jobs end now, running ones are stopped soon; a member cancels
    the own jobs only.
    """
    await services.jobs.cancel(caller, project_id, task_id, group or None)
    return Response({})


@get(f"{_TASK}/jobs/{{job_id:str}}", summary="One job")
async def get_job(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    job_id: PathText,
) -> JobBody:
    """`statusReason` of a job that waits says what for, where that is known."""
    return job_body(await services.jobs.get(caller, project_id, task_id, job_id), simple=False)


@get(f"{_TASK}/jobs/{{job_id:str}}/events", summary="What happened to a job, oldest first")
async def list_events(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    job_id: PathText,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> EventPage:
    """For the job's owner, admins, and jobs of the same task. Every attempt is told."""
    job, page = await services.jobs.events(caller, project_id, task_id, job_id, page_index, page_size)
    items = [event_body(job, ordinal, event) for ordinal, event in page.items]
    return EventPage(items, next_page(request, services, page.cursor))


@get(f"{_TASK}/jobs/{{job_id:str}}/logs", summary="What a job printed, newest line first by default")
async def list_log_lines(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    job_id: PathText,
    sort: Sort = SortOrder.DESC,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> LogPage:
    """For the job's owner, admins, and jobs of the same task. Times increase strictly; lines are there while
    the job runs.
    """
    page = await services.logs.page(caller, project_id, task_id, job_id, sort, page_index, page_size)
    return LogPage([log_line(line) for line in page.items], next_page(request, services, page.cursor))


@get(f"{_TASK}/summary-statistics", summary="The task's jobs by status")
async def get_summary(
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
) -> SummaryBody:
    """All seven statuses are always there. Nothing is counted for it, so ask as often as you like."""
    return summary(None, await services.jobs.counts(caller, project_id, task_id))


@get(f"{_TASK}/group-summary-statistics", summary="Each group's jobs by status")
async def list_group_summaries(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    groups: Groups = (),
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> SummaryPage:
    """In the order of the labels; jobs without a group are in none of them."""
    page = await services.jobs.groups(caller, project_id, task_id, groups or None, page_index, page_size)
    items = [summary(label, counts) for label, counts in page.items]
    return SummaryPage(items, next_page(request, services, page.cursor))


@get(f"{_TASK}/groups", summary="The task's groups; a Link header leads to more")
async def list_groups(
    request: AnyRequest,
    services: WithServices,
    caller: WithCaller,
    project_id: PathText,
    task_id: PathText,
    page_index: PageIndex = "",
    page_size: PageSize = DEFAULT_PAGE_SIZE,
) -> Response[list[str]]:
    """The labels alone."""
    page = await services.jobs.groups(caller, project_id, task_id, None, page_index, page_size)
    following = next_page(request, services, page.cursor)
    headers = {"Link": f'<{following}>; rel="next"'} if isinstance(following, str) else {}
    return Response([label for label, _ in page.items], headers=headers)


HANDLERS = [
    submit_jobs,
    list_jobs,
    cancel_jobs,
    get_job,
    list_events,
    list_log_lines,
    get_summary,
    list_group_summaries,
    list_groups,
]
