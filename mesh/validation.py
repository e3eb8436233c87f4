"""Checks messages by the `buf.validate` rules in their contracts, and by two of our own: text holds no NUL, a JsonValue holds JSON.

The rules of a message type are compiled once into a list of small checks; both doors run them through the chain. Paths are those of
protovalidate: `graph.nodes[0].block_id`, `inputs["name"]`.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from buf.validate import validate_pb2
from email_validator import EmailNotValidError, validate_email
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh import jsoncheck
from mesh.errors import Violation

JSON_VALUE = "treadle.type.v1.JsonValue"
# More would only hide the first ones.
MAX_VIOLATIONS = 50

# Takes a value and its path; adds what is wrong.
_Check = Callable[[Any, str, list[Violation]], None]
# Says what is wrong with a plain value; empty when nothing is.
_Test = Callable[[Any], str]

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


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
        self._checks = [_field_check(field) for field in descriptor.fields if _needs_check(field)]

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


def _needs_check(field: FieldDescriptor) -> bool:
    is_free = field.type not in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE}
    return not is_free or field.GetOptions().HasExtension(validate_pb2.field)


def _field_check(field: FieldDescriptor) -> _Check:
    """A check that takes the message that holds the field, and the path in front of the field's name."""
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


def _value_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> _Check:
    if field.type == FieldDescriptor.TYPE_MESSAGE and _message_type(field).GetOptions().map_entry:
        return _map_check(field, rules.map)
    if field.is_repeated:
        return _list_check(field, rules.repeated)
    return _single_check(field, rules)


def _single_check(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> _Check:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _message_check(_message_type(field))
    tests = _tests(field, rules)

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


def _tests(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Sequence[_Test]:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_tests(rules.string)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum_tests(field, rules.enum)
    kind = rules.WhichOneof("type")
    if kind in {"int32", "int64"}:
        return _integer_tests(getattr(rules, kind))
    return ()


def _string_tests(rules: validate_pb2.StringRules) -> Sequence[_Test]:
    # PostgreSQL cannot hold NUL in text, and nothing that people write needs it.
    tests: list[_Test] = [lambda text: "must not hold a NUL character" if "\0" in text else ""]
    if rules.HasField("min_len"):
        tests.append(_min_len(rules.min_len))
    if rules.HasField("max_len"):
        tests.append(_max_len(rules.max_len))
    if rules.HasField("max_bytes"):
        highest = rules.max_bytes
        tests.append(lambda text: f"must be at most {highest} bytes long" if len(text.encode()) > highest else "")
    if rules.HasField("pattern"):
        pattern = re.compile(rules.pattern)
        tests.append(lambda text: "" if pattern.search(text) else f"must match {pattern.pattern}")
    allowed = getattr(rules, "in")
    if allowed:
        words = frozenset(allowed)
        tests.append(lambda text: "" if text in words else f"must be one of {', '.join(sorted(words))}")
    if rules.email:
        tests.append(_email)
    if rules.uuid:
        tests.append(lambda text: "" if _UUID.fullmatch(text) else "must be a UUID")
    return tests


def _min_len(lowest: int) -> _Test:
    wrong = "must not be empty" if lowest == 1 else f"must be at least {lowest} characters long"
    return lambda text: wrong if len(text) < lowest else ""


def _max_len(highest: int) -> _Test:
    return lambda text: f"must be at most {highest} characters long" if len(text) > highest else ""


def _email(text: str) -> str:
    try:
        validate_email(text, check_deliverability=False, allow_domain_literal=False)
    except EmailNotValidError:
        return "must be an e-mail address"
    return ""


def _enum_tests(field: FieldDescriptor, rules: validate_pb2.EnumRules) -> Sequence[_Test]:
    tests: list[_Test] = []
    if rules.defined_only and field.enum_type is not None:
        known = frozenset(field.enum_type.values_by_number)
        tests.append(lambda number: "" if number in known else "must be a value that the enum names")
    if rules.not_in:
        refused = frozenset(rules.not_in)
        tests.append(lambda number: "must be specified" if number in refused else "")
    return tests


def _integer_tests(rules: validate_pb2.Int32Rules | validate_pb2.Int64Rules) -> Sequence[_Test]:
    tests: list[_Test] = []
    if rules.HasField("gte"):
        lowest = rules.gte
        tests.append(lambda number: f"must be at least {lowest}" if number < lowest else "")
    if rules.HasField("lte"):
        highest = rules.lte
        tests.append(lambda number: f"must be at most {highest}" if number > highest else "")
    return tests
