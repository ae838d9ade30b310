"""Data, signed URLs and temporary keys on a real S3 store. Invariant 8 for files."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from openhtc.domain.errors import InvalidRequest, NotFound, Unavailable
from openhtc.objects import Grant, ObjectStore, TemporaryKeys


def client(store: ObjectStore, keys: TemporaryKeys, service: str = "s3") -> Any:
    """A foreign S3 client that knows nothing but the temporary keys."""
    return botocore.session.Session().create_client(
        service,
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def folder() -> str:
    return f"t-{secrets.token_hex(6)}/"


async def full_keys(store: ObjectStore, prefix: str) -> TemporaryKeys:
    return await store.temporary_keys([Grant(prefix, read=True, write=True, list=True)], 3600, "job:1/2")


def refusal(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(Bucket="htc", **arguments)
    return str(refused.value.response["Error"]["Code"])


async def test_data_round_trip(store: ObjectStore) -> None:
    prefix = folder()
    await store.put(f"{prefix}a", bytes(range(200)))
    assert await store.get_range(f"{prefix}a", 10, 3) == bytes([10, 11, 12])
    assert await store.get_range(f"{prefix}a", 198, 50) == bytes([198, 199])
    await store.delete([f"{prefix}a", f"{prefix}never-there"])
    with pytest.raises(NotFound):
        await store.get_range(f"{prefix}a", 0, 1)


async def test_listing_is_of_the_folder_and_in_pages(store: ObjectStore) -> None:
    prefix = folder()
    names = [f"{prefix}{number:04}" for number in range(1005)]
    for start in range(0, len(names), 100):
        await asyncio.gather(*(store.put(name, b"x") for name in names[start : start + 100]))
    await store.put(f"{prefix.rstrip('/')}x/other", b"x")
    pages = [page async for page in store.list(prefix)]
    assert [found.key for page in pages for found in page] == names
    assert [len(page) for page in pages] == [1000, 5]
    assert pages[0][0].size == 1


@pytest.mark.parametrize("key", ["", "a//b", "../a", "a/./b", "a/", "a\nb", "a\x00b"])
async def test_impossible_keys_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.put(key, b"x")
    with pytest.raises(InvalidRequest):
        await store.presign_put(key, 60)


@pytest.mark.parametrize("name", ["plain.txt", "with space+plus%41.txt", "ä/x=1&y?#z", "~'()*!"])
async def test_a_signed_url_writes_its_object_and_no_other(store: ObjectStore, name: str) -> None:
    prefix = folder()
    url = await store.presign_put(f"{prefix}{name}", 60)
    assert url.startswith(store.endpoint)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.put(url.replace(prefix, f"{prefix}x"), content=b"evil")).status_code == 403
        assert (await http.get(url)).status_code == 403
        assert (await http.put(url, content=b"data")).status_code == 200
    assert await store.get_range(f"{prefix}{name}", 0, 10) == b"data"


async def test_a_signed_url_expires(store: ObjectStore) -> None:
    key = f"{folder()}late"
    url = await store.presign_put(key, 1)
    deadline = time.monotonic() + 15
    async with httpx.AsyncClient(trust_env=False) as http:
        status = (await http.put(url, content=b"early")).status_code
        assert status == 200
        while status == 200 and time.monotonic() < deadline:
            status = (await http.put(url, content=b"late")).status_code
    assert status == 403


async def test_temporary_keys_open_their_own_prefix(store: ObjectStore) -> None:
    prefix = folder()
    keys = await full_keys(store, prefix)
    lifetime = keys.expires_at - datetime.now(UTC)
    assert timedelta(minutes=55) < lifetime < timedelta(minutes=65)
    s3 = client(store, keys)
    s3.put_object(Bucket="htc", Key=f"{prefix}a/b", Body=b"mine")
    assert s3.get_object(Bucket="htc", Key=f"{prefix}a/b")["Body"].read() == b"mine"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket="htc", Prefix=prefix)["Contents"]] == [
        f"{prefix}a/b"
    ]
    s3.delete_object(Bucket="htc", Key=f"{prefix}a/b")
    assert s3.list_objects_v2(Bucket="htc", Prefix=prefix)["KeyCount"] == 0


async def test_temporary_keys_open_nothing_else(store: ObjectStore) -> None:
    mine, other = folder(), folder()
    sibling = f"{mine.rstrip('/')}x/"
    for prefix in (other, sibling):
        await store.put(f"{prefix}secret", b"not yours")
    s3 = client(store, await full_keys(store, mine))
    for prefix in (other, sibling):
        assert refusal(s3.get_object, Key=f"{prefix}secret") == "AccessDenied"
        assert refusal(s3.put_object, Key=f"{prefix}secret", Body=b"evil") == "AccessDenied"
        assert refusal(s3.delete_object, Key=f"{prefix}secret") == "AccessDenied"
        assert refusal(s3.list_objects_v2, Prefix=prefix) == "AccessDenied"
        copy = {"Bucket": "htc", "Key": f"{prefix}secret"}
        assert refusal(s3.copy_object, Key=f"{mine}stolen", CopySource=copy) == "AccessDenied"
        assert await store.get_range(f"{prefix}secret", 0, 20) == b"not yours"
    assert refusal(s3.list_objects_v2) == "AccessDenied"


async def test_each_right_is_given_alone(store: ObjectStore) -> None:
    prefix = folder()
    await store.put(f"{prefix}a", b"x")
    grants = {
        "read": Grant(prefix, read=True),
        "write": Grant(prefix, write=True),
        "list": Grant(prefix, list=True),
    }
    for right, grant in grants.items():
        s3 = client(store, await store.temporary_keys([grant], 900, right))
        calls = {
            "read": lambda s3=s3: s3.get_object(Bucket="htc", Key=f"{prefix}a"),
            "write": lambda s3=s3: s3.put_object(Bucket="htc", Key=f"{prefix}b", Body=b"y"),
            "list": lambda s3=s3: s3.list_objects_v2(Bucket="htc", Prefix=prefix),
        }
        for name, call in calls.items():
            if name == right:
                call()
                continue
            with pytest.raises(ClientError, match="AccessDenied"):
                call()


async def test_temporary_keys_cannot_ask_for_more(store: ObjectStore) -> None:
    sts = client(store, await full_keys(store, folder()), "sts")
    with pytest.raises(ClientError, match="AccessDenied"):
        sts.assume_role(RoleArn="arn:aws:iam::role/HtcRole", RoleSessionName="again")


async def test_forged_session_token_is_refused(store: ObjectStore) -> None:
    prefix = folder()
    keys = await full_keys(store, prefix)
    head, payload, signature = keys.session_token.split(".")
    forged = TemporaryKeys(
        keys.access_key_id,
        keys.secret_access_key,
        f"{head}.{payload}.{signature[::-1]}",
        keys.expires_at,
    )
    assert refusal(client(store, forged).put_object, Key=f"{prefix}a", Body=b"x") in (
        "InvalidAccessKeyId",
        "AccessDenied",
        "InvalidToken",
    )


async def test_own_environment_does_not_reach_the_store(
    seaweed: Any, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    again = ObjectStore(
        endpoint=store.endpoint,
        region=store.region,
        bucket=store.bucket,
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        sts_endpoint=store.endpoint,
        sts_role_arn="arn:aws:iam::role/HtcRole",
    )
    await again.put(f"{folder()}a", b"x")
    assert await full_keys(again, folder())


async def test_a_store_that_is_away_is_unavailable() -> None:
    store = ObjectStore(
        endpoint="http://127.0.0.1:9",
        region="us-east-1",
        bucket="htc",
        access_key="a",
        secret_key="b",
        sts_endpoint="http://127.0.0.1:9",
        sts_role_arn="arn:aws:iam::role/HtcRole",
    )
    with pytest.raises(Unavailable, match="writing a"):
        await store.put("a", b"x")
    with pytest.raises(Unavailable, match="temporary keys"):
        await store.temporary_keys([Grant("a/", read=True)], 900, "s")
    assert not await store.healthy()
