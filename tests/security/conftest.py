"""Images that somebody made to do harm."""

from pathlib import Path

import pytest

from ..stack import Api, Json, Task
from .hostile import Hostile


@pytest.fixture
def hostile(alice_api: Api, project: Json, tmp_path: Path, task: Task) -> Hostile:
    return Hostile(alice_api, project, tmp_path, task)
