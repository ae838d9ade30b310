"""The form of the tokens we sign for the image registry."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from openhtc.domain.errors import SettingsError
from openhtc.registry import Access, RegistryTokens

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def key_file(folder: Path, private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> Path:
    path = folder / "registry.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_claims_and_header(tmp_path: Path, kind: str) -> None:
    private = (
        rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    path = key_file(tmp_path, private)
    tokens = RegistryTokens(path, "issuer", "service")
    text = tokens.sign("alice", [Access("aws.com/p/app", ("pull", "push"))], 300, NOW)
    key = (RSAKey if kind == "rsa" else ECKey).import_key(path.read_bytes())
    decoded = jwt.decode(text, key, algorithms=["RS256", "ES256"])
    assert decoded.header["kid"] == tokens.key_id
    assert decoded.header["alg"] == ("RS256" if kind == "rsa" else "ES256")
    moment = int(NOW.timestamp())
    assert decoded.claims.pop("jti")
    assert decoded.claims == {
        "iss": "issuer",
        "aud": "service",
        "sub": "alice",
        "iat": moment,
        "nbf": moment - 30,
        "exp": moment + 300,
        "access": [{"type": "repository", "name": "aws.com/p/app", "actions": ["pull", "push"]}],
    }


def test_key_id_is_stable_and_in_the_registrys_form(tmp_path: Path) -> None:
    path = key_file(tmp_path, ec.generate_private_key(ec.SECP256R1()))
    key_id = RegistryTokens(path, "i", "s").key_id
    assert re.fullmatch(r"(?:[A-Z2-7]{4}:){11}[A-Z2-7]{4}", key_id)
    assert RegistryTokens(path, "other", "names").key_id == key_id


def test_unusable_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        RegistryTokens(tmp_path / "nowhere", "i", "s")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(SettingsError, match="cannot be read"):
        RegistryTokens(tmp_path / "text", "i", "s")
    other = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "ed").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SettingsError, match="RSA or EC"):
        RegistryTokens(tmp_path / "ed", "i", "s")
    with pytest.raises(SettingsError, match="RSA or EC"):
        RegistryTokens(key_file(tmp_path, ec.generate_private_key(ec.SECP384R1())), "i", "s")
