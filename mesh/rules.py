"""The `buf.validate` rules for plain values: all that `protos/buf/validate/validate.proto` has, so a contract can use no other."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from mesh.ids import canonical_uuid

# Says what is wrong with a plain value; empty when nothing is.
Test = Callable[[Any], str]

_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
# What the rule means: a valid e-mail address of the HTML standard. It takes `ada@localhost` and special domains such as `.local`.
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_RE2_END = re.compile(r"(?<!\\)\$$")


def tests_of(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Sequence[Test]:
    """The tests of one plain value of the field."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_tests(rules.string)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum_tests(field, rules.enum)
    kind = rules.WhichOneof("type")
    if kind in {"int32", "int64"}:
        return _integer_tests(getattr(rules, kind))
    return ()


def _string_tests(rules: validate_pb2.StringRules) -> Sequence[Test]:
    # PostgreSQL cannot hold NUL in text, and nothing that people write needs it.
    tests: list[Test] = [lambda text: "must not hold a NUL character" if "\0" in text else ""]
    if rules.HasField("min_len"):
        tests.append(_min_len(rules.min_len))
    if rules.HasField("max_len"):
        tests.append(_max_len(rules.max_len))
    if rules.HasField("max_bytes"):
        highest = rules.max_bytes
        tests.append(lambda text: f"must be at most {highest} bytes long" if len(text.encode()) > highest else "")
    if rules.HasField("pattern"):
        tests.append(_pattern(rules.pattern))
    allowed = getattr(rules, "in")
    if allowed:
        words = frozenset(allowed)
        tests.append(lambda text: "" if text in words else f"must be one of {', '.join(sorted(words))}")
    if rules.email:
        tests.append(lambda text: "" if _EMAIL.fullmatch(text) else "must be an e-mail address")
    if rules.uuid:
        tests.append(lambda text: "must be a UUID" if canonical_uuid(text) is None else "")
    return tests


def _min_len(lowest: int) -> Test:
    wrong = "must not be empty" if lowest == 1 else f"must be at least {lowest} characters long"
    return lambda text: wrong if len(text) < lowest else ""


def _max_len(highest: int) -> Test:
    return lambda text: f"must be at most {highest} characters long" if len(text) > highest else ""


def _pattern(pattern: str) -> Test:
    # The rule is in RE2, whose `$` is the very end and whose classes are ASCII.
    compiled = re.compile(_RE2_END.sub(r"\\Z", pattern), re.ASCII)
    return lambda text: "" if compiled.search(text) else f"must match {pattern}"


def _enum_tests(field: FieldDescriptor, rules: validate_pb2.EnumRules) -> Sequence[Test]:
    tests: list[Test] = []
    if rules.defined_only and field.enum_type is not None:
        known = frozenset(field.enum_type.values_by_number)
        tests.append(lambda number: "" if number in known else "must be a value that the enum names")
    if rules.not_in:
        refused = frozenset(rules.not_in)
        tests.append(lambda number: "must be specified" if number in refused else "")
    return tests


def _integer_tests(rules: validate_pb2.Int32Rules | validate_pb2.Int64Rules) -> Sequence[Test]:
    tests: list[Test] = []
    if rules.HasField("gte"):
        lowest = rules.gte
        tests.append(lambda number: f"must be at least {lowest}" if number < lowest else "")
    if rules.HasField("lte"):
        highest = rules.lte
        tests.append(lambda number: f"must be at most {highest}" if number > highest else "")
    return tests
