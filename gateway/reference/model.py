"""The OpenAPI document as the page shows it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from gateway.reference.types import type_line

Json = Mapping[str, Any]

_CODE = re.compile(r"`([^`]+)`")
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, or a property of a schema."""

    name: str
    place: str
    type: Markup
    is_required: bool
    about: Markup


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation may answer."""

    status: str
    about: Markup
    kinds: list[tuple[str, Markup]]
    example: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and verb."""

    id: str
    verb: str
    path: str
    summary: str
    about: Markup
    scopes: list[str]
    is_public: bool
    parameters: list[Row]
    body: Markup | None
    body_rows: list[Row]
    answers: list[Answer]
    command: str


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one domain."""

    name: str
    about: Markup
    operations: list[Operation]


@dataclass(frozen=True, slots=True)
class NamedSchema:
    """A message or an enum."""

    name: str
    about: Markup
    rows: list[Row]


def groups(document: Json) -> list[Group]:
    """All operations, by tag, in the order of their paths."""
    by_tag: dict[str, list[Operation]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            by_tag[operation["tags"][0]].append(_operation(document, path, verb.upper(), operation))
    return [Group(tag["name"], prose(tag["description"]), by_tag[tag["name"]]) for tag in document["tags"]]


def schemas(document: Json) -> list[NamedSchema]:
    """All named schemas."""
    return [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]


def prose(text: str) -> Markup:
    """Text with `code`, paragraphs and `- ` lists as HTML."""
    return Markup("").join(_block(block) for block in re.split(r"\n\s*\n", text.strip()) if block)


def _block(block: str) -> Markup:
    lines = block.splitlines()
    if all(line.startswith("- ") for line in lines):
        return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(_inline(line[2:])) for line in lines))
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _inline(text: str) -> Markup:
    # Every second part is what stood between backticks.
    parts = _CODE.split(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def _operation(document: Json, path: str, verb: str, operation: Json) -> Operation:
    security = operation["security"]
    body = operation.get("requestBody", {}).get("content", {}).get(_JSON)
    return Operation(
        id=operation["operationId"],
        verb=verb,
        path=path,
        summary=operation["summary"],
        about=prose(operation["description"]),
        scopes=sorted({scope for choice in security for scopes in choice.values() for scope in scopes}),
        is_public=not security or {} in security,
        parameters=[_parameter(item) for item in operation["parameters"]],
        body=type_line(body["schema"]) if body else None,
        body_rows=_rows(_resolved(document, body["schema"])) if body else [],
        answers=[_answer(document, status, answer) for status, answer in operation["responses"].items()],
        command=_command(path, verb, operation, body),
    )


def _parameter(item: Json) -> Row:
    return Row(item["name"], item["in"], type_line(item["schema"]), bool(item.get("required")), _inline(item["description"]))


def _answer(document: Json, status: str, answer: Json) -> Answer:
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    contents = answer.get("content", {})
    kinds = [(kind, type_line(content.get("x-line-schema", {}).get("anyOf", [content["schema"]])[0])) for kind, content in contents.items()]
    return Answer(status, _inline(answer["description"]), kinds, "".join(_examples(contents)))


def _examples(contents: Json) -> Iterator[str]:
    for content in contents.values():
        example = content.get("example")
        if example is not None:
            yield example if isinstance(example, str) else _pretty(example)
            return


def _command(path: str, verb: str, operation: Json, body: Json | None) -> str:
    """How to call it with curl, ready to paste."""
    samples = {item["name"]: str(item.get("example", "")) for item in operation["parameters"] if item["in"] == "path"}
    filled = re.sub(r"\{(\w+)\}", lambda match: samples[match[1]], path)
    parts = [f'curl {"" if verb == "GET" else f"-X {verb} "}"$TREADLE{filled}"']
    if operation["security"]:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if body:
        parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(_pretty(body['example']))}"]
    return " \\\n  ".join(parts)


def _schema(name: str, schema: Json) -> NamedSchema:
    return NamedSchema(name, prose(schema.get("description", "")), _rows(schema))


def _resolved(document: Json, schema: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Json = document["components"]["schemas"][name] if name else schema
    return found


def _rows(schema: Json) -> list[Row]:
    required = set(schema.get("required", ()))
    return [
        Row(field, "read only" if value.get("readOnly") else "", type_line(value), field in required, _inline(value.get("description", "")))
        for field, value in schema.get("properties", {}).items()
    ]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
