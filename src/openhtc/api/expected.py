"""What a place of a request may hold, found in the types of its handler."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def steps(path: str) -> Iterator[str | int]:
    """``data[3].htcJobDefinition`` as data, 3, htcJobDefinition."""
    for name, position in _STEP.findall(path):
        yield name or (int(position) if position.isdigit() else 0)


def allowed_values(annotation: Any, path: str) -> list[str]:
    """The names that an enum at a path below a type accepts; empty when there is no enum."""
    try:
        found = [msgspec.inspect.type_info(annotation)]
    except TypeError:
        return []
    for step in steps(path):
        found = [below for info in found for below in _below(info, step)]
    enums = [info for info in _flat(found) if isinstance(info, msgspec.inspect.EnumType)]
    return [str(member.value) for info in enums for member in info.cls]


def _flat(infos: list[msgspec.inspect.Type]) -> Iterator[msgspec.inspect.Type]:
    for info in infos:
        if isinstance(info, msgspec.inspect.UnionType):
            yield from _flat(list(info.types))
        elif isinstance(info, msgspec.inspect.Metadata):
            yield from _flat([info.type])
        else:
            yield info


def _below(info: msgspec.inspect.Type, step: str | int) -> Iterator[msgspec.inspect.Type]:
    for one in _flat([info]):
        if isinstance(one, msgspec.inspect.StructType):
            yield from (field.type for field in one.fields if field.encode_name == step)
        elif isinstance(one, msgspec.inspect.ListType):
            yield one.item_type
        elif isinstance(one, msgspec.inspect.DictType):
            yield one.value_type
