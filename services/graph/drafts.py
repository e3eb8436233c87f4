"""What somebody is working on: a graph beside its versions, which may have problems."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from mesh.http.responses import is_current, quoted
from services.graph.catalogue import Catalogue
from services.graph.model import Graph
from services.graph.validation import Problem, validate
from services.graph.versions import Prepared, prepared

# A draft with thousands of problems still fits into a message, and nobody reads more.
MAX_PROBLEMS = 200


@dataclass(frozen=True, slots=True)
class Content:
    """What a draft is to hold. `revision` is the same for the same graph, and for no other."""

    made: Prepared
    revision: str
    problems: tuple[Problem, ...]
    problem_count: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is kept. In lists the document (JSON text), the schemas and the problems are left out."""

    graph_id: str
    base_version: int
    revision: str
    name: str
    description: str
    instructions: str
    problem_count: int
    create_time: datetime
    update_time: datetime
    document: str = ""
    input_schema: str = ""
    output_schema: str = ""
    problems: Sequence[Problem] = ()

    @property
    def etag(self) -> str:
        """Changes with the content and the base version."""
        return etag_of(self.base_version, self.revision)


@dataclass(frozen=True, slots=True)
class Condition:
    """Which draft a call goes on from: one that each of `if_match` names, and that `if_none_match` does not. Empty for any or none."""

    if_match: tuple[str, ...] = ()
    if_none_match: str = ""

    @classmethod
    def of(cls, etag: str, if_match: str = "", if_none_match: str = "") -> "Condition":
        """From an etag as drafts have it, and from headers; clients put it there as it is, too."""
        return cls(tuple(_tags(text) for text in (etag, if_match) if text), if_none_match)

    def holds(self, etag: str) -> bool:
        """Whether the draft with this etag is the one; empty when there is none."""
        current = quoted(etag) if etag else ""
        return all(is_current(current, tags) for tags in self.if_match) and not is_current(current, self.if_none_match)


class StaleError(Exception):
    """The draft is not the one that a call goes on from. `stored` is what is there; None when there is none."""

    def __init__(self, stored: Draft | None) -> None:
        super().__init__("the draft is another one now")
        self.stored = stored


class OutdatedError(Exception):
    """The version that a draft was made from is no longer the newest."""


def content_of(graph: Graph, catalogue: Catalogue) -> Content:
    """The content of a draft with this graph, with all that keeps it from being published or run."""
    made = prepared(graph, catalogue)
    problems = validate(graph, catalogue, for_run=True)
    return Content(made, revision_of(made.document), tuple(problems[:MAX_PROBLEMS]), len(problems))


def revision_of(document: str) -> str:
    """SHA-256 of a document, in hexadecimal digits."""
    return sha256(document.encode()).hexdigest()


def _tags(text: str) -> str:
    return text if text == "*" or '"' in text else quoted(text)


def etag_of(base_version: int, revision: str) -> str:
    """The etag of a draft."""
    return f"{base_version}-{revision}"
