"""Bodies of the dimensions operations."""

from typing import Annotated, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from openhtc.api.schemas.pieces import ReadOnly
from openhtc.domain.dimensions import MAX_MACHINE_TYPE, Environment, ScalingProfile
from openhtc.domain.enums import Architecture, Priority
from openhtc.domain.regions import Region
from openhtc.storage.dimensions import Entry, MachineType

MachineTypeName = Annotated[
    str,
    Meta(
        max_length=MAX_MACHINE_TYPE,
        min_length=1,
        description="The kind of node, as its agent names it",
        examples=["t2d-standard-16"],
    ),
]
Scaling = Annotated[ScalingProfile, Meta(description="Kept and answered; it has no effect here")]
Hyperthreading = Annotated[bool, Meta(description="Whether the node's vCPUs are threads that share cores")]


class EnvironmentEntry(Struct, frozen=True, rename="camel"):
    """What jobs are held to: everything that is named must fit. ``derived`` is ignored, like any other member."""

    machine_type: MachineTypeName | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    compute_scaling_policy: Scaling | UnsetType = UNSET
    hyperthreading: Hyperthreading | UnsetType = UNSET


class DerivedAttributes(Struct, frozen=True, rename="camel"):
    """What the machine type is, as the last agent on such a node described it."""

    architecture: Architecture | UnsetType = UNSET
    vcpus: int | UnsetType = field(default=UNSET, name="vCPUs")
    memory: Annotated[float, Meta(description="GiB that jobs may use")] | UnsetType = UNSET
    swap: Annotated[bool, Meta(description="Left out: nodes here tell nothing of it")] | UnsetType = UNSET


class EnvironmentBody(EnvironmentEntry, frozen=True, rename="camel"):
    """An entry, and what is known of its machine type."""

    derived: Annotated[DerivedAttributes | UnsetType, ReadOnly] = UNSET


T = TypeVar("T")


def _or_none(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def environment(entry: EnvironmentEntry) -> Environment:
    return Environment(
        machine_type=_or_none(entry.machine_type),
        priority=_or_none(entry.priority),
        region=_or_none(entry.region),
        scaling_policy=_or_none(entry.compute_scaling_policy),
        hyperthreading=_or_none(entry.hyperthreading),
    )


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def environment_body(entry: Entry) -> EnvironmentBody:
    named = entry.environment
    return EnvironmentBody(
        machine_type=_or_unset(named.machine_type),
        priority=_or_unset(named.priority),
        region=_or_unset(named.region),
        compute_scaling_policy=_or_unset(named.scaling_policy),
        hyperthreading=_or_unset(named.hyperthreading),
        derived=UNSET if entry.machine is None else _derived(entry.machine),
    )


def _derived(machine: MachineType) -> DerivedAttributes:
    return DerivedAttributes(machine.architecture, machine.vcpus, round(machine.memory_mib / 1024, 2))
