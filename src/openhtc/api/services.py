"""What handlers call, put together by the server."""

from dataclasses import dataclass

from openhtc.services.authentication import Authentication
from openhtc.services.clusters import Clusters
from openhtc.services.dimensions import Dimensions
from openhtc.services.images import Images, RegistryAccess
from openhtc.services.jobs import Jobs
from openhtc.services.leasing import Leasing
from openhtc.services.limits import Limits
from openhtc.services.logs import Logs
from openhtc.services.metrics import Metrics
from openhtc.services.oauth2 import OAuth2
from openhtc.services.projects import Projects, Tasks
from openhtc.services.regions import Regions
from openhtc.services.reports import Reports
from openhtc.services.retention import Retention
from openhtc.services.storage_access import StorageAccess
from openhtc.services.submission import Submission
from openhtc.services.task_life import TaskLife
from openhtc.services.tokens import Tokens
from openhtc.storage.database import Database


@dataclass(frozen=True, slots=True)
class Services:
    database: Database
    authentication: Authentication
    oauth2: OAuth2
    tokens: Tokens
    projects: Projects
    tasks: Tasks
    task_life: TaskLife
    retention: Retention
    images: Images
    registry: RegistryAccess
    submission: Submission
    jobs: Jobs
    logs: Logs
    storage: StorageAccess
    regions: Regions
    dimensions: Dimensions
    clusters: Clusters
    metrics: Metrics
    limits: Limits
    leasing: Leasing
    reports: Reports
    trusted_proxies: frozenset[str]
