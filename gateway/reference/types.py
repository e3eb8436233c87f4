"""JSON Schemas as a line of HTML: `array of graph.v1.Node, at most 1,000`."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

Schema = Mapping[str, Any]

_LIMITS: Mapping[str, str] = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} entries",
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "pattern": "matches {}",
}
# What every number of the type has is not worth saying.
_TYPE_RANGES = (-(2**31), 2**31 - 1, 2**32 - 1)


def type_line(schema: Schema) -> Markup:
    """The type, with links to named schemas, and its limits."""
    said = [_type(schema), *(escape(text) for text in _limits(schema))]
    return Markup(", ").join(said)


def anchor(name: str) -> str:
    """The id of a named schema in the page."""
    return f"schema-{name}"


def _type(schema: Schema) -> Markup:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{}">{}</a>').format(anchor(name), name)
    kind = schema.get("type")
    if kind is None:
        return Markup("any JSON")
    if kind == "array":
        return Markup("array of {}").format(type_line(schema["items"]))
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return Markup("map of {}").format(type_line(schema["additionalProperties"]))
    names = kind if isinstance(kind, str) else " or ".join(kind)
    form = schema.get("format") or ("base64" if "contentEncoding" in schema else "")
    return Markup("{} ({})").format(names, form) if form else escape(names)


def _limits(schema: Schema) -> Iterator[str]:
    for name, text in _LIMITS.items():
        value = schema.get(name)
        if value is not None and value not in _TYPE_RANGES:
            yield text.format(value)
