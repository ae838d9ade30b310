"""Reads a program's settings: a TOML file, then the environment, into one frozen struct.

The struct says which settings exist, their types, bounds (``msgspec.Meta``) and defaults. A key of the file
that the struct does not have is refused. ``OPENHTC_<KEY>`` in the environment wins over the file; variables
that name no field of this struct are left alone, because the programs share one environment. Types that
msgspec knows and ``pathlib.Path`` may be used; a list or table in the environment is written as in TOML, a
list of strings may also be written ``a,b,c``.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from openhtc.domain.errors import SettingsError

ENVIRONMENT_PREFIX = "OPENHTC_"

StructType = TypeVar("StructType", bound=msgspec.Struct)

_SECRET_NAME = re.compile(r"(key|secret|password|token)s?$")
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@/\s]*@")


def load(struct: type[StructType], path: Path | None, environ: Mapping[str, str]) -> StructType:
    """Settings from ``path`` (None: no file) with the overrides in ``environ``.

    Raises SettingsError naming the setting, its value (never a secret's) and what was expected.
    """
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    written = _read_file(path) if path is not None else {}
    for key in written:
        if key not in fields:
            raise SettingsError(_unknown_key(key, path, list(fields)))
    values: dict[str, object] = {}
    for name, field in fields.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in environ:
            text = environ[variable]
            values[name] = _convert(variable, _from_text(text, field.type), field.type, strict=False)
        elif name in written:
            values[name] = _convert(f"{name} in {path}", written[name], field.type, strict=True)
        elif field.required:
            raise SettingsError(_missing(name, variable, path))
    return _build(struct, values)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not valid TOML: {error}") from error


def _unknown_key(key: str, path: Path | None, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(sorted(known))}"
    return f"{path} has the unknown setting {key}: {hint}"


def _missing(name: str, variable: str, path: Path | None) -> str:
    where = f"in {path} or as {variable}" if path is not None else f"as {variable}"
    return f"the setting {name} is missing: expected it {where}"


def _from_text(text: str, wanted: Any) -> object:
    """What the environment's text says, by the field's type: lists and tables as TOML, else the text."""
    if not _is_composite(wanted):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return [part.strip() for part in text.split(",") if part.strip()]


def _is_composite(wanted: Any) -> bool:
    """True for a list, a table, and a union or annotation around one."""
    origin = get_origin(wanted)
    if origin in (Union, UnionType, Annotated):
        return any(_is_composite(part) for part in get_args(wanted))
    kind = origin or wanted
    return isinstance(kind, type) and issubclass(kind, list | tuple | dict | set | frozenset | msgspec.Struct)


def _convert(name: str, value: object, wanted: Any, *, strict: bool) -> object:
    try:
        return msgspec.convert(value, wanted, strict=strict, dec_hook=_decode_path)
    except (msgspec.ValidationError, NotImplementedError) as error:
        raise SettingsError(f"{name} is {_shown(name, value)}: {_expectation(error)}") from error


def _decode_path(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"expected {wanted.__name__}, got {type(value).__name__}")


def _expectation(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]


def _shown(name: str, value: object) -> str:
    """The value as it may be printed: without passwords."""
    key = name.split(" ", 1)[0].lower()
    if _SECRET_NAME.search(key):
        return "a secret of a wrong kind"
    return _URL_PASSWORD.sub(r"\1***@", repr(value))


def _build(struct: type[StructType], values: dict[str, object]) -> StructType:
    """The struct; a ValueError of its ``__post_init__`` is a sentence about the settings."""
    try:
        return struct(**values)
    except (ValueError, TypeError) as error:
        raise SettingsError(str(error)) from error
