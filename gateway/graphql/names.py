"""What things of the contracts are called in GraphQL."""

import re

_WORD = re.compile(r"_([a-z0-9])")
_START = re.compile(r"(?<!^)(?=[A-Z])")


def camel(name: str) -> str:
    """`next_page_token` to `nextPageToken`."""
    return _WORD.sub(lambda match: match[1].upper(), name)


def snake(name: str) -> str:
    """`NodeExecution` to `node_execution`."""
    return _START.sub("_", name).lower()


def field_name(method: str) -> str:
    """The root field of a method, in snake_case: `GetGraph` is `graph`, `ListGraphs` is `graphs`, others keep their verb."""
    return snake(re.sub(r"^(?:Get|List)(?=[A-Z])", "", method))


def child_name(method: str, parent: str) -> str:
    """The field of a parent's list, in snake_case: `ListExecutionEvents` is `events` of an Execution; others keep their whole name."""
    plain = method.removeprefix("List")
    short = plain.removeprefix(parent)
    return snake(short if short[:1].isupper() else plain)
