"""The settings loader: types, overrides, and refusals that say what is wrong."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from openhtc.domain.errors import SettingsError
from openhtc.settings.source import load


class Example(msgspec.Struct, frozen=True):
    url: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    data_dir: Path = Path("/var/lib/x")
    tags: list[str] = []
    regions: dict[str, str] = {}
    fast: bool = False
    signing_key: str | None = None
    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.url == "nowhere":
            raise ValueError("url is 'nowhere': expected a place")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_a_file_with_every_type_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'url="http://a"\nport=8080\ndata_dir="/d"\ntags=["a"]\nratio=0.5\n[regions]\nA="local"\n'
    )
    settings = load(Example, path, {})
    assert settings == Example("http://a", 8080, Path("/d"), ["a"], {"A": "local"}, ratio=0.5)


def test_the_environment_wins_and_is_converted(tmp_path: Path) -> None:
    path = write(tmp_path, 'url="http://a"\nport=8080\ntags=["a"]\n')
    environ = {
        "OPENHTC_PORT": "9",
        "OPENHTC_TAGS": "x, y",
        "OPENHTC_REGIONS": '{A="slurm"}',
        "OPENHTC_FAST": "true",
        "OPENHTC_RATIO": "2.5",
        "OPENHTC_DATA_DIR": "/e",
        "OPENHTC_SOMETHING_ELSE": "ignored",
        "PORT": "7",
    }
    settings = load(Example, path, environ)
    assert (settings.port, settings.tags, settings.regions) == (9, ["x", "y"], {"A": "slurm"})
    assert (settings.fast, settings.ratio, settings.data_dir) == (True, 2.5, Path("/e"))


def test_without_a_file_the_environment_is_enough() -> None:
    assert load(Example, None, {"OPENHTC_URL": "u"}).url == "u"


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ('url="u"\nprot=1', {}, ["prot", "did you mean port?"]),
        ('url="u"\nzzzzz=1', {}, ["zzzzz", "expected one of data_dir"]),
        ('url="u"\nport="80"', {}, ["port in", "'80'", "expected `int`"]),
        ('url="u"\nport=0', {}, ["port in", "0", ">= 1"]),
        ('url="u"', {"OPENHTC_PORT": "many"}, ["OPENHTC_PORT", "'many'", "expected `int`"]),
        ('url="u"', {"OPENHTC_FAST": "perhaps"}, ["OPENHTC_FAST", "'perhaps'", "expected `bool`"]),
        ("port=1", {}, ["url", "missing", "OPENHTC_URL"]),
        ('url="u"\ndata_dir=3', {}, ["data_dir", "3", "expected Path"]),
        ('url="nowhere"', {}, ["expected a place"]),
        ("url=u", {}, ["not valid TOML", "line 1"]),
    ],
)
def test_a_refusal_names_key_value_and_expectation(
    tmp_path: Path, text: str, environ: dict[str, str], expected: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(Example, write(tmp_path, text), environ)
    for part in expected:
        assert part in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: No such file"):
        load(Example, tmp_path / "absent.toml", {})


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(Example, write(tmp_path, 'url="u"\nsigning_key=123456'), {})
    assert "signing_key" in str(refused.value)
    assert "123456" not in str(refused.value)


def test_passwords_in_urls_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(Example, write(tmp_path, 'url=["postgres://u:hidden@h/d"]'), {})
    assert "hidden" not in str(refused.value)
    assert "postgres://u:***@h/d" in str(refused.value)
