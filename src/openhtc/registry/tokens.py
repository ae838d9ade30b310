"""Bearer tokens that the image registry (CNCF Distribution) accepts from us."""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from openhtc.domain.errors import SettingsError
from openhtc.registry.scopes import Access

_SKEW_SECONDS = 30
"""How much a registry's clock may be behind ours."""


class RegistryTokens:
    """Signs with one private key; the registry holds a certificate of the same key.

    key_file is a PEM of an RSA or EC P-256 private key without a password. issuer and service are what the
    registry's configuration says. Raises SettingsError when the key cannot be used.
    """

    def __init__(self, key_file: Path, issuer: str, service: str) -> None:
        self.issuer = issuer
        self.service = service
        private = _load(key_file)
        self.key_id = libtrust_key_id(private)
        self._algorithm = "RS256" if isinstance(private, RSAPrivateKey) else "ES256"
        kind = RSAKey if isinstance(private, RSAPrivateKey) else ECKey
        self._key: RSAKey | ECKey = kind.import_key(key_file.read_bytes())

    def sign(self, subject: str, access: Sequence[Access], seconds: int, now: datetime) -> str:
        """A token that gives ``subject`` the access for so many seconds; no access at all is a valid login."""
        issued = int(now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.service,
            "iat": issued,
            "nbf": issued - _SKEW_SECONDS,
            "exp": issued + seconds,
            "jti": secrets.token_urlsafe(12),
            "access": [
                {"type": "repository", "name": each.name, "actions": list(each.actions)} for each in access
            ],
        }
        header = {"alg": self._algorithm, "kid": self.key_id, "typ": "JWT"}
        return jwt.encode(header, claims, self._key)


def libtrust_key_id(private: RSAPrivateKey | EllipticCurvePrivateKey) -> str:
    """The name under which the registry knows the key: twelve groups of four base32 characters."""
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def _load(key_file: Path) -> RSAPrivateKey | EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"The registry's signing key {key_file} cannot be read: {error}") from error
    if isinstance(private, RSAPrivateKey):
        return private
    if isinstance(private, EllipticCurvePrivateKey) and isinstance(private.curve, SECP256R1):
        return private
    raise SettingsError(f"The registry's signing key {key_file} must be RSA or EC P-256")
