"""Pushing an image of a layout to a project's registry with skopeo."""

import base64
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from openhtc.client.images.layout import Image
from openhtc.domain.errors import OpenhtcError


class PushError(OpenhtcError):
    """skopeo refused, with what it said, or is missing."""


def push(image: Image, container_registry: str, name: str, token: str) -> None:
    """Push to ``<container_registry><name>``, e.g. ``127.0.0.1:5000/aws.com/<project>/`` and ``app:v1``.

    The token goes through a file that only we can read, never through a command line. Registries on
    this machine may speak plain HTTP.
    """
    if shutil.which("skopeo") is None:
        raise PushError("The program skopeo is needed to push an image: apt-get install skopeo")
    host = container_registry.split("/", 1)[0]
    verify = "false" if host.rsplit(":", 1)[0] in ("127.0.0.1", "localhost", "[::1]") else "true"
    with tempfile.TemporaryDirectory() as private:
        auth = Path(private, "auth.json")
        credentials = base64.b64encode(f"AWS:{token}".encode()).decode()
        auth.write_text(json.dumps({"auths": {host: {"auth": credentials}}}))
        done = subprocess.run(
            [
                "skopeo",
                "--insecure-policy",
                "copy",
                "--quiet",
                f"--dest-authfile={auth}",
                f"--dest-tls-verify={verify}",
                f"oci:{image.layout}:{image.tag}",
                f"docker://{container_registry}{name}",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise PushError(f"Pushing {name} to {container_registry} failed: {done.stderr.strip()}")
