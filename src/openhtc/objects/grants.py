"""What temporary keys may do, and its form as an S3 session policy."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_POLICY_CHARS = 2048
"""The limit of STS for an inline session policy."""

_READ = ("s3:GetObject",)
_WRITE = (
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
# Characters that mean something in the patterns of a policy, and control characters.
_UNSAFE = re.compile(r"[*?$\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Grant:
    """The right to objects whose keys begin with prefix, which ends in a slash."""

    prefix: str
    read: bool = False
    write: bool = False
    list: bool = False

    def __post_init__(self) -> None:
        parts = self.prefix.split("/")
        if parts[-1] != "" or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[:-1]):
            raise ValueError(f"{self.prefix!r} is no prefix of a grant: expected folders, each ended by '/'")
        if _UNSAFE.search(self.prefix):
            raise ValueError(
                f"{self.prefix!r} is no prefix of a grant: it has wildcard or control characters"
            )
        if not (self.read or self.write or self.list):
            raise ValueError(f"The grant of {self.prefix!r} allows nothing")

    @property
    def object_actions(self) -> tuple[str, ...]:
        return (_READ if self.read else ()) + (_WRITE if self.write else ())


def session_policy(bucket: str, grants: Sequence[Grant]) -> str:
    """The policy document that allows exactly these grants in one bucket.

    Raises ValueError when there are no grants (a session without a policy could do everything) or
    when the document is longer than STS takes.
    """
    if not grants:
        raise ValueError("Temporary keys need at least one grant")
    document = {"Version": "2012-10-17", "Statement": _statements(bucket, grants)}
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > MAX_POLICY_CHARS:
        raise ValueError(
            f"{len(grants)} grants make a policy of {len(text)} characters; {MAX_POLICY_CHARS} fit"
        )
    return text


def _statements(bucket: str, grants: Sequence[Grant]) -> list[dict[str, object]]:
    resources: dict[tuple[str, ...], list[str]] = {}
    for grant in grants:
        if grant.object_actions:
            resources.setdefault(grant.object_actions, []).append(f"arn:aws:s3:::{bucket}/{grant.prefix}*")
    statements: list[dict[str, object]] = [
        {"Effect": "Allow", "Action": list(actions), "Resource": names}
        for actions, names in resources.items()
    ]
    listed = [f"{grant.prefix}*" for grant in grants if grant.list]
    if listed:
        statements.append(
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": {"StringLike": {"s3:prefix": listed}},
            }
        )
    return statements
