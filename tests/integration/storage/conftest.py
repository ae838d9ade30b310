"""The core on a database of its own."""

import pytest

from openhtc.storage.database import Database

from ..world import Clock, World


@pytest.fixture
def world(database: Database, clock: Clock) -> World:
    return World(database, clock)
