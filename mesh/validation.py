"""Checks messages by the `buf.validate` rules in their contracts, and by three of our own: text holds no NUL, a JsonValue holds JSON, and
a request does not set what `google.api.field_behavior` calls OUTPUT_ONLY.

The rules of a message type are compiled once into a list of small checks; both doors run them through the chain. Paths are those of
protovalidate: `graph.nodes[0].block_id`, `inputs["name"]`.
"""

import json
from collections.abc import Callable
from typing import Any, cast

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh import jsoncheck
from mesh.errors import Violation
from mesh.maporder import order_fields
from mesh.rules import tests_of

JSON_VALUE = "treadle.type.v1.JsonValue"
# More would only hide the first ones.
MAX_VIOLATIONS = 50

# Takes a value and its path; adds what is wrong.
_Check = Callable[[Any, str, list[Violation]], None]


def violations(message: Message) -> list[Violation]:
    """Everything that breaks the rules of the message's contract, at most 50 things; empty when it is valid."""
    found: list[Violation] = []
    _rules_of(cast(Descriptor, message.DESCRIPTOR)).check(message, "", found)
    return found[:MAX_VIOLATIONS]


class _MessageRules:
    """The checks of one message type."""

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def fill(self, descriptor: Descriptor) -> None:
        # What is wrong with a key is said of the map, not of its order once more.
        orders = order_fields(descriptor)
        self._checks = [_field_check(field) for field in descriptor.fields if _needs_check(field) and field.name not in orders]

    def check(self, message: Any, prefix: str, found: list[Violation]) -> None:
        for check in self._checks:
            check(message, prefix, found)
            if len(found) >= MAX_VIOLATIONS:
                return


_rules: dict[str, _MessageRules] = {}


def _rules_of(descriptor: Descriptor) -> _MessageRules:
    known = _rules.get(descriptor.full_name)
    if known is None:
        known = _rules[descriptor.full_name] = _MessageRules()
        known.fill(descriptor)
    return known


def _options(field: FieldDescriptor) -> validate_pb2.FieldRules:
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def _is_output_only(field: FieldDescriptor) -> bool:
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _needs_check(field: FieldDescriptor) -> bool:
    if _is_output_only(field):
        return True
    is_free = field.type not in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE}
    return not is_free or field.GetOptions().HasExtension(validate_pb2.field)


def _field_check(field: FieldDescriptor) -> _Check:
    """A check that takes the message that holds the field, and the path in front of the field's name."""
    if _is_output_only(field):
        return _unset_check(field)
    name, rules = field.name, _options(field)
    check_value = _value_check(field, rules)
    is_required = rules.required
    has_presence = field.has_presence

    def check(message: Any, prefix: str, found: list[Violation]) -> None:
        if has_presence:
            if not message.HasField(name):
                if is_required:
                    found.append(Violation(prefix + name, "is required"))
                return
        elif is_required and not getattr(message, name):
            found.append(Violation(prefix + name, "is required"))
            return
        check_value(getattr(message, name), prefix + name, found)

    return check


def _unset_check(field: FieldDescriptor) -> _Check:
    name, has_presence = field.name, field.has_presence

    def check(message: Any, prefix: str, found: list[Violation]) -> None:
        if message.HasField(name) if has_presence else getattr(message, name):
            found.append(Violation(prefix + name, "is set by the service, not by callers"))

    return check


def _value_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> _Check:
    if field.type == FieldDescriptor.TYPE_MESSAGE and _message_type(field).GetOptions().map_entry:
        return _map_check(field, rules.map)
    if field.is_repeated:
        return _list_check(field, rules.repeated)
    return _single_check(field, rules)


def _single_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> _Check:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _message_check(_message_type(field))
    tests = tests_of(field, rules)

    def check(value: Any, path: str, found: list[Violation]) -> None:
        for test in tests:
            if wrong := test(value):
                found.append(Violation(path, wrong))
                return

    return check


def _message_check(descriptor: Descriptor) -> _Check:
    if descriptor.full_name == JSON_VALUE:
        return _check_json
    rules = _rules_of(descriptor)
    return lambda message, path, found: rules.check(message, f"{path}.", found)


def _check_json(value: Any, path: str, found: list[Violation]) -> None:
    text: str = value.json
    if not text:
        return
    try:
        jsoncheck.check(text.encode())
    except ValueError as error:
        found.append(Violation(path, f"is not valid JSON: {error}"))


def _list_check(field: FieldDescriptor, rules: validate_pb2.RepeatedRules) -> _Check:
    check_item = _single_check(field, rules.items)
    lowest, highest = rules.min_items, rules.max_items if rules.HasField("max_items") else None

    def check(items: Any, path: str, found: list[Violation]) -> None:
        count = len(items)
        if count < lowest:
            found.append(Violation(path, f"must have at least {lowest} items"))
        if highest is not None and count > highest:
            found.append(Violation(path, f"must have at most {highest} items, not {count}"))
            return
        for index, item in enumerate(items):
            check_item(item, f"{path}[{index}]", found)
            if len(found) >= MAX_VIOLATIONS:
                return

    return check


def _map_check(field: FieldDescriptor, rules: validate_pb2.MapRules) -> _Check:
    parts = _message_type(field).fields_by_name
    check_key, check_value = _single_check(parts["key"], rules.keys), _single_check(parts["value"], rules.values)
    highest = rules.max_pairs if rules.HasField("max_pairs") else None

    def check(pairs: Any, path: str, found: list[Violation]) -> None:
        if highest is not None and len(pairs) > highest:
            found.append(Violation(path, f"must have at most {highest} entries, not {len(pairs)}"))
            return
        for key in pairs:
            inner = f"{path}[{json.dumps(key, ensure_ascii=False)}]"
            check_key(key, inner, found)
            check_value(pairs[key], inner, found)
            if len(found) >= MAX_VIOLATIONS:
                return

    return check


def _message_type(field: FieldDescriptor) -> Descriptor:
    return cast(Descriptor, field.message_type)
