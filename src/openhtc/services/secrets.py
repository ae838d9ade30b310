"""Long-lived secrets: how they are made and how they are compared."""

import hashlib
import secrets

PREFIXES = {"api_key": "ohk", "refresh_token": "ohr", "agent_key": "oha", "metrics_key": "ohm"}
"""Each kind can be recognised, for instance by a scanner for leaked secrets."""


def new_secret(kind: str) -> str:
    """256 random bits in characters that are safe in URLs, headers and shells."""
    return f"{PREFIXES[kind]}_{secrets.token_urlsafe(32)}"


def secret_hash(secret: str) -> bytes:
    """A plain digest is enough: the secret itself is random, there is nothing to guess."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
