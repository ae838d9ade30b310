"""Debian packages with everything they depend on, downloaded and checked by apt, installed nowhere."""

import os
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path


class PackagesError(Exception):
    """apt could not tell or fetch the packages."""


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    file_name: str


def resolve(names: Sequence[str], without: Collection[str] = ()) -> list[Package]:
    """The packages and their dependencies, as if nothing were installed; sorted by file name.

    ``without`` leaves out packages that only maintainer scripts need: those never run here.
    """
    with tempfile.TemporaryDirectory() as empty:
        # apt names no address for a package that it finds in its cache: it gets an empty one.
        status = Path(empty, "status")
        status.touch()
        lines = _apt(
            "-o", f"Dir::State::status={status}", "-o", f"Dir::Cache::archives={empty}", "-o", "Debug::NoLocking=1",
            "-o", "APT::Install-Recommends=0", "--yes", "install", "--print-uris", *names,
        )  # fmt: skip
    found = [_package(line) for line in lines.splitlines() if line.startswith("'")]
    if not found:
        raise PackagesError(
            f"apt knows no way to install {' '.join(names)}: is its list of packages up to date?"
        )
    return sorted((each for each in found if each.name not in without), key=lambda each: each.file_name)


def fetch(packages: Sequence[Package], folder: Path) -> list[Path]:
    """The packages' files in ``folder``; those that are there already are not downloaded again."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [each for each in packages if not (folder / each.file_name).exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            wanted = [f"{each.name}={each.version}" for each in missing]
            _apt("-o", "APT::Sandbox::User=root", "download", *wanted, cwd=Path(fresh))
            for path in Path(fresh).glob("*.deb"):
                path.rename(folder / path.name)
    return [folder / each.file_name for each in packages]


def _package(line: str) -> Package:
    """From a line like ``'http://…/libc6_2.36-9_amd64.deb' libc6_2.36-9_amd64.deb 2759320 MD5Sum:…``."""
    file_name = line.split("'")[2].split(maxsplit=1)[0]
    name, version, _ = file_name.split("_")
    return Package(name, version.replace("%3a", ":"), file_name)


def _apt(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        ["apt-get", "--quiet=2", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
    )
    if done.returncode != 0:
        raise PackagesError(
            f"apt-get {' '.join(arguments[-3:])} failed; 'apt-get update' may help:\n{done.stderr.strip()}"
        )
    return done.stdout
