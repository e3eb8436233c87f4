"""Checks of single values against the type of a pin, compiled once. They agree with the JSON Schema that the catalogue shows."""

from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

import jsonschema_rs
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

# Says what is wrong with a value; None when nothing is.
Check = Callable[[Any], str | None]

# Enough to recognise a value, and to tell what is wrong with it: the words end up in headers and logs.
_SHOWN_CHARS = 200
_MESSAGE_CHARS = 500
_PLAIN_KEYS = frozenset({"description", "title", "default", "secret", "advanced", "hidden", "placeholder", "type", "items", "anyOf"})


def value_check(annotation: Any, schema: dict[str, Any], definitions: dict[str, Any], discriminator: Any = None) -> Check | None:
    """The check for one pin. None when any value will do. `discriminator` is the key that tells the models of a union apart."""
    if annotation is Any:
        return None
    if _PLAIN_KEYS.issuperset(schema):
        quick = _quick_check(annotation)
        if quick is not None:
            return quick
    by_schema = _schema_check({**schema, "$defs": definitions} if "$ref" in str(schema) else schema)
    if not _holds_model(annotation):
        return by_schema
    # Without it the words would be about a model that was not meant.
    told_apart = Annotated[annotation, Field(discriminator=discriminator)] if discriminator else annotation
    return _both(by_schema, _model_check(told_apart))


def _holds_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(map(_holds_model, get_args(annotation)))


def _model_check(annotation: Any) -> Check:
    """Models may check more than their JSON Schema says, such as whether a time zone exists."""
    adapter = TypeAdapter[Any](annotation)

    def check(value: Any) -> str | None:
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            return error.errors(include_url=False, include_input=False)[0]["msg"]
        return None

    return check


def _both(first: Check, second: Check) -> Check:
    return lambda value: first(value) or second(value)


def _quick_check(annotation: Any) -> Check | None:
    origin = get_origin(annotation) or annotation
    arguments = get_args(annotation)
    if origin in _KINDS:
        return _KINDS[origin]
    if origin is list and (not arguments or arguments[0] is Any):
        return _kind_check("a list", lambda value: isinstance(value, list))
    if origin is dict and (not arguments or arguments[1] is Any):
        return _kind_check("an object", lambda value: isinstance(value, dict))
    if origin is list and arguments[0] is str:
        return _kind_check("a list of texts", lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value))
    if origin is Union and Any in arguments:
        return _anything
    return None


def _anything(_value: Any) -> str | None:
    return None


def _kind_check(wanted: str, is_kind: Callable[[Any], bool]) -> Check:
    def check(value: Any) -> str | None:
        return None if is_kind(value) else f"{_shown(value)} is not {wanted}"

    return check


def _shown(value: Any) -> str:
    try:
        return _short(repr(value), _SHOWN_CHARS)
    except ValueError:  # an integer that is too long to be written
        return f"a {type(value).__name__}"


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _schema_check(schema: dict[str, Any]) -> Check:
    validator = jsonschema_rs.validator_for(schema, validate_formats=False)

    def check(value: Any) -> str | None:
        try:
            if validator.is_valid(value):
                return None
            error = next(iter(validator.iter_errors(value)), None)
        except ValueError as refused:  # what JSON cannot hold, such as keys that are no text
            return _short(str(refused), _MESSAGE_CHARS)
        return None if error is None else _short(error.message, _MESSAGE_CHARS)

    return check


_KINDS: dict[Any, Check] = {
    str: _kind_check("a text", lambda value: isinstance(value, str)),
    bool: _kind_check("true or false", lambda value: isinstance(value, bool)),
    int: _kind_check("an integer", lambda value: type(value) is int or (isinstance(value, float) and value.is_integer())),
    float: _kind_check("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool)),
}
