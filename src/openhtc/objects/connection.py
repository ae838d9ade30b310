"""How this service connects to an S3 endpoint, and how its bucket comes to be."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError
from obstore.store import S3Store

from openhtc.objects.errors import translated

if TYPE_CHECKING:
    from obstore.store import S3Credential


def connect(endpoint: str, region: str, bucket: str, access_key: str, secret_key: str) -> S3Store:
    """A client with exactly these keys, path-style addresses, bounded time-outs and retries.

    The keys come from a provider because the library would add AWS_SESSION_TOKEN of our own environment
    to keys given directly.
    """

    def keys() -> "S3Credential":
        return {
            "access_key_id": access_key,
            "secret_access_key": secret_key,
            "token": None,
            "expires_at": None,
        }

    return S3Store(
        bucket,
        endpoint=endpoint,
        region=region,
        virtual_hosted_style_request=False,
        credential_provider=keys,
        client_options={
            "allow_http": urlsplit(endpoint).scheme == "http",
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=30),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
    )


def blocking_client(endpoint: str, region: str, access_key: str, secret_key: str) -> Any:
    """A client for every key that S3 takes, with line breaks, empty parts or a slash at the end."""
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            connect_timeout=3,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 2},
            s3={"addressing_style": "path"},
        ),
    )


async def ensure_bucket(*, endpoint: str, region: str, bucket: str, access_key: str, secret_key: str) -> None:
    """Create the bucket unless these keys already own it. Raises Unavailable."""
    client = blocking_client(endpoint, region, access_key, secret_key)
    location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with translated(f"creating bucket {bucket}"):
        try:
            await asyncio.to_thread(client.create_bucket, Bucket=bucket, **location)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
