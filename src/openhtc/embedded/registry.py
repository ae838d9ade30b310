"""CNCF Distribution (Debian's docker-registry) as a child, opened by tokens that our server signs."""

import datetime
import json
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openhtc.embedded.installation import Installation
from openhtc.embedded.part import Command, Part, child_environment, die_with_parent
from openhtc.embedded.ports import LOOPBACK
from openhtc.embedded.private_files import private_directory, write_private
from openhtc.embedded.programs import find_program

SERVICE = "openhtc-registry"
ISSUER = "openhtc"
CHECK_SECONDS = 5.0
CERTIFICATE_DAYS = 36_500


class RegistryPart(Part):
    """The registry with images, configuration and the token key in ``directory``."""

    name = "registry"

    def __init__(self, directory: Path, installation: Installation, *, log: Path) -> None:
        self.directory = directory
        self.log = log
        self.host = f"{LOOPBACK}:{installation.ports.registry}"
        self.address = f"http://{self.host}"
        self.ports = (installation.ports.registry,)
        self._realm = f"http://{LOOPBACK}:{installation.ports.api}/registry/token"
        self._http_secret = installation.secrets.registry_http_secret

    @property
    def key_file(self) -> Path:
        """The private key (PEM, EC P-256) that tokens are signed with, ES256."""
        return self.directory / "token-key.pem"

    @property
    def certificate_file(self) -> Path:
        return self.directory / "token-cert.pem"

    def prepare(self) -> None:
        private_directory(self.directory)
        private_directory(self.directory / "images")
        self._create_key_if_missing()
        write_private(self.directory / "config.yml", self._configuration())

    def command(self) -> Command:
        program = str(find_program("docker-registry"))
        args = (*die_with_parent(), program, "serve", str(self.directory / "config.yml"))
        return Command(args, child_environment(HOME=str(self.directory)), self.directory)

    async def check(self) -> str | None:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=CHECK_SECONDS) as client:
                answer = await client.get(f"{self.address}/v2/")
        except httpx.HTTPError as error:
            return f"no answer: {type(error).__name__}"
        # 401 with our service named: it runs, and it asks for our tokens.
        asked = answer.headers.get("www-authenticate", "")
        if answer.status_code == 401 and SERVICE in asked:
            return None
        return f"/v2/ answers {answer.status_code} instead of asking for a token"

    def _create_key_if_missing(self) -> None:
        """The certificate is written last: with it there, both are."""
        if self.certificate_file.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(self.key_file, pem)
        certificate = _self_signed(key).public_bytes(serialization.Encoding.PEM)
        write_private(self.certificate_file, certificate, mode=0o644)

    def _configuration(self) -> bytes:
        """JSON, which is YAML too and needs no quoting rules of our own."""
        token = {
            "realm": self._realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(self.certificate_file),
        }
        document = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.directory / "images")},
                "delete": {"enabled": True},
            },
            "http": {"addr": self.host, "secret": self._http_secret},
            "auth": {"token": token},
        }
        return json.dumps(document, indent=1).encode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    # A day back: clocks of the machine may step, and the key is known to this installation alone.
    builder = builder.not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
    return builder.sign(key, hashes.SHA256())
