"""Temporary keys from the store's token service (STS AssumeRole)."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.config import Config

from openhtc.objects.errors import translated
from openhtc.objects.grants import Grant, session_policy

MIN_SECONDS = 900
MAX_SECONDS = 43_200
"""STS gives keys for 15 minutes to 12 hours; other durations are moved to the nearer end."""


@dataclass(frozen=True, slots=True)
class TemporaryKeys:
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires_at: datetime


class TokenService:
    """Asks for keys in a thread: the client library blocks, a request takes a few milliseconds."""

    def __init__(
        self, *, endpoint: str, region: str, access_key: str, secret_key: str, role_arn: str
    ) -> None:
        self._role_arn = role_arn
        self._client = _sts_client(endpoint, region, access_key, secret_key)

    async def temporary_keys(
        self, bucket: str, grants: Sequence[Grant], duration_seconds: int, session_name: str
    ) -> TemporaryKeys:
        """Keys that allow exactly the grants. Raises Unavailable; ValueError for grants that do not fit."""
        policy = session_policy(bucket, grants)
        seconds = min(max(duration_seconds, MIN_SECONDS), MAX_SECONDS)
        with translated("asking for temporary keys"):
            answer = await asyncio.to_thread(
                self._client.assume_role,
                RoleArn=self._role_arn,
                RoleSessionName=_session_name(session_name),
                DurationSeconds=seconds,
                Policy=policy,
            )
        return _keys(answer["Credentials"])


def _sts_client(endpoint: str, region: str, access_key: str, secret_key: str) -> Any:
    return botocore.session.Session().create_client(
        "sts",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=3,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=32,
        ),
    )


def _session_name(name: str) -> str:
    """STS allows 2 to 64 of a few characters; others become '-'."""
    return re.sub(r"[^\w+=,.@-]", "-", name, flags=re.ASCII)[:64].ljust(2, "-")


def _keys(credentials: dict[str, Any]) -> TemporaryKeys:
    return TemporaryKeys(
        access_key_id=credentials["AccessKeyId"],
        secret_access_key=credentials["SecretAccessKey"],
        session_token=credentials["SessionToken"],
        expires_at=credentials["Expiration"].astimezone(UTC),
    )
