"""Our own small client of the API, for Python programs, the command line and the demo."""

from openhtc.client.credentials import Credentials, read_credentials
from openhtc.client.errors import HtcError
from openhtc.client.htc import HtcClient
from openhtc.client.submissions import JobBatch, JobDefinition, Pair, RetryStrategy, SubmittedBatch
from openhtc.client.wait import watch, watch_group, watch_task

__all__ = [
    "Credentials",
    "HtcClient",
    "HtcError",
    "JobBatch",
    "JobDefinition",
    "Pair",
    "RetryStrategy",
    "SubmittedBatch",
    "read_credentials",
    "watch",
    "watch_group",
    "watch_task",
]
