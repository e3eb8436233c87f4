"""Path templates of `google.api.http` to a tree that finds the route of a request.

Understood are literal segments, `{field}` for one whole segment, and a custom verb after the last segment (`{id}:cancel`). A variable
matches any segment that is not empty; a percent-encoded slash or colon in it stays part of the value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mesh.contract import ContractError

T = TypeVar("T")

_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*)\}(:[A-Za-z][A-Za-z0-9_]*)?")
_LITERAL = re.compile(r"[A-Za-z0-9._~:-]+")


@dataclass(frozen=True, slots=True)
class Match(Generic[T]):
    """The routes of a path by HTTP verb, and the raw texts of the path's variables in order."""

    by_verb: dict[str, T]
    values: tuple[bytes, ...]


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[bytes, "_Node[T]"] = field(default_factory=dict)
    # By custom verb, "" for none.
    variables: dict[bytes, "_Node[T]"] = field(default_factory=dict)
    by_verb: dict[str, T] = field(default_factory=dict)


class RouteTree(Generic[T]):
    """Maps verbs and paths to routes."""

    def __init__(self) -> None:
        """An empty tree."""
        self._root: _Node[T] = _Node()

    def add(self, verb: str, template: str, route: T) -> None:
        """Adds a route. Raises ContractError for what is there already or not understood."""
        node = self._root
        *inner, last = template.removeprefix("/").split("/")
        for segment in (*inner, last):
            variable = _VARIABLE.fullmatch(segment)
            if variable and (variable[2] is None or segment is last):
                node = node.variables.setdefault((variable[2] or "").encode(), _Node())
            elif _LITERAL.fullmatch(segment):
                node = node.literals.setdefault(segment.encode(), _Node())
            else:
                raise ContractError(f"{template}: cannot route {segment!r}")
        if verb in node.by_verb:
            raise ContractError(f"{verb} {template} is there twice")
        node.by_verb[verb] = route

    def find(self, path: bytes) -> Match[T] | None:
        """The routes of a raw path (not percent-decoded); None when there are none. Literals go before variables."""
        if not path.startswith(b"/"):
            return None
        return next(_walk(self._root, path[1:].split(b"/"), 0, ()), None)


def variables_of(template: str) -> tuple[str, ...]:
    """The names of a template's variables in order."""
    return tuple(match[1] for match in _VARIABLE.finditer(template))


def _walk(node: _Node[T], segments: list[bytes], index: int, values: tuple[bytes, ...]) -> Iterator[Match[T]]:
    if index == len(segments):
        if node.by_verb:
            yield Match(node.by_verb, values)
        return
    segment = segments[index]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, index + 1, values)
    if not segment or not node.variables:
        return
    value, colon, word = segment.rpartition(b":")
    suffixed = node.variables.get(colon + word) if colon and value else None
    if suffixed is not None:
        yield from _walk(suffixed, segments, index + 1, (*values, value))
    plain = node.variables.get(b"")
    if plain is not None:
        yield from _walk(plain, segments, index + 1, (*values, segment))
