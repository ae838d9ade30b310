"""What handlers call, put together by the server."""

from dataclasses import dataclass

from openhtc.services.authentication import Authentication
from openhtc.services.images import Images, RegistryAccess
from openhtc.services.jobs import Jobs
from openhtc.services.leasing import Leasing
from openhtc.services.logs import Logs
from openhtc.services.projects import Projects, Tasks
from openhtc.services.reports import Reports
from openhtc.services.storage_access import StorageAccess
from openhtc.services.submission import Submission
from openhtc.services.tokens import Tokens
from openhtc.storage.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    database: Database
    authentication: Authentication
    tokens: Tokens
    projects: Projects
    tasks: Tasks
    images: Images
    registry: RegistryAccess
    submission: Submission
    jobs: Jobs
    logs: Logs
    storage: StorageAccess
    leasing: Leasing
    reports: Reports
    bucket: str
    s3_endpoint: str
    """As users see it."""
    trusted_proxies: frozenset[str]
