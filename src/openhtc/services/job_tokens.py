"""Bearer tokens of jobs, made by the thousand: compact JWTs (RFC 7515, 7519) signed with ES256 (RFC 7518)."""

from base64 import urlsafe_b64encode
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

ALGORITHM = "ES256"
_COORDINATE_BYTES = 32
_SHA256 = ECDSA(SHA256())


class JobKey:
    """A private P-256 key that signs the tokens of jobs and nothing else."""

    def __init__(self, kid: str, private: EllipticCurvePrivateKey) -> None:
        self.kid = kid
        self._private = private
        self._header = _base64(msgspec.json.encode({"alg": ALGORITHM, "kid": kid})) + b"."

    def sign(self, payload: bytes) -> str:
        """The compact token around a JSON object."""
        signed = self._header + _base64(payload)
        r, s = decode_dss_signature(self._private.sign(signed, _SHA256))
        seal = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return (signed + b"." + _base64(seal)).decode()


class BatchTokens:
    """The tokens of one batch's jobs: their claims are written once, only job and token id differ."""

    def __init__(self, key: JobKey, claims: dict[str, Any]) -> None:
        self._key = key
        self._claims = msgspec.json.encode(claims)[:-1]

    def token(self, job_id: str, token_id: bytes) -> str:
        """``job_id`` is ``parent:index``, which JSON needs not escape; ``token_id`` random bytes."""
        own = f',"jobId":"{job_id}","jti":"{token_id.hex()}"}}'
        return self._key.sign(self._claims + own.encode())


def _base64(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")
