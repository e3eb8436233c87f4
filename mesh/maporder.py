"""The order of maps: protobuf keeps none, so a field beside the map holds its keys (option `map_order`)."""

from collections.abc import Collection, Iterable
from typing import cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from treadle.options.v1 import fields_pb2

from mesh.contract import ContractError


def order_of(field: FieldDescriptor) -> str:
    """The name of the field that holds the keys of a map in order; empty when there is none. Raises ContractError for one that cannot."""
    name: str = field.GetOptions().Extensions[fields_pb2.map_order]
    if not name:
        return ""
    keys = cast(Descriptor, field.containing_type).fields_by_name.get(name)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if not is_map or keys is None or keys.type != FieldDescriptor.TYPE_STRING or not keys.is_repeated:
        raise ContractError(f"{field.full_name}: map_order must be on a map and name a repeated string beside it")
    return name


def order_fields(descriptor: Descriptor) -> frozenset[str]:
    """The names of the fields of a message that hold the order of a map."""
    return frozenset(name for field in descriptor.fields if (name := order_of(field)))


def in_order(keys: Collection[str], names: Iterable[str]) -> list[str]:
    """The keys of a map in the order of `names`; those that are not named come after, sorted. Names that are no keys are ignored."""
    if len(keys) < 2:  # noqa: PLR2004 - one key has one order
        return list(keys)
    named = dict.fromkeys(name for name in names if name in keys)
    return list(named) if len(named) == len(keys) else [*named, *sorted(key for key in keys if key not in named)]
