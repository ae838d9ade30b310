"""The object store's tests have a SeaweedFS of their own."""

import time
from collections.abc import AsyncIterator, Iterator

import pytest

from openhtc.domain.errors import Unavailable
from openhtc.objects import ObjectStore, ensure_bucket

from ...seaweed import BUCKET, REGION, ROLE, Seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    made = Seaweed(tmp_path_factory.mktemp("seaweed"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
async def store(seaweed: Seaweed) -> AsyncIterator[ObjectStore]:
    found = ObjectStore(
        endpoint=seaweed.endpoint,
        region=REGION,
        bucket=BUCKET,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        sts_endpoint=seaweed.endpoint,
        sts_role_arn=ROLE,
    )
    deadline = time.monotonic() + 30
    last = "not asked yet"
    while time.monotonic() < deadline:
        try:
            await ensure_bucket(
                endpoint=seaweed.endpoint,
                region=REGION,
                bucket=BUCKET,
                access_key=seaweed.access_key,
                secret_key=seaweed.secret_key,
            )
            if await found.healthy():
                break
            last = "bucket exists, sentinel not readable"
        except Unavailable as error:
            last = error.message
    else:
        pytest.fail(f"SeaweedFS is not usable after 30 s: {last}")
    yield found
