"""How this service says no."""

from collections.abc import Sequence

from mesh.errors import AbortedError, Detail, EtagMismatchError, InvalidArgumentError, NotFoundError, Violation
from services.graph.validation import Problem

# A graph with thousands of problems gets an answer that fits a response header.
MAX_VIOLATIONS = 50


class GraphChangedError(EtagMismatchError):
    """The graph is no longer the one that the caller saw (its `If-Match`)."""

    default_reason = "GRAPH_CHANGED"


class DraftChangedError(EtagMismatchError):
    """The draft is no longer the one that the caller goes on from. The detail holds both contents."""

    default_reason = "DRAFT_CHANGED"


def draft_outdated(graph_id: str, base_version: int, newest_version: int, conflict: Detail) -> AbortedError:
    """A version was saved since the draft was begun; the detail holds both."""
    return AbortedError(
        f"The draft was made from version {base_version}, and version {newest_version} is the newest.",
        reason="DRAFT_OUTDATED",
        metadata={"graph_id": graph_id, "base_version": str(base_version), "newest_version": str(newest_version)},
        detail=conflict,
    )


def draft_moved_on(graph_id: str, revision: str) -> AbortedError:
    """The draft that is to be run has another revision now, which is `revision`."""
    return AbortedError(
        "The draft has changed since it was read.", reason="DRAFT_CHANGED", metadata={"graph_id": graph_id, "graph_revision": revision}
    )


def draft_not_found(graph_id: str) -> NotFoundError:
    """No draft of such a graph, or not the caller's."""
    return NotFoundError(f"There is no draft of graph {graph_id}.", reason="DRAFT_NOT_FOUND", metadata={"graph_id": graph_id})


def base_version_invalid(asked: int, newest: int) -> InvalidArgumentError:
    """A draft cannot be made from a version that is not there."""
    has = f"its newest is {newest}" if newest else "it has none yet"
    return InvalidArgumentError(
        f"The graph has no version {asked}.",
        reason="BASE_VERSION_INVALID",
        violations=[Violation("base_version", f"must be a version of the graph; {has}")],
    )


def graph_not_found(graph_id: str, version: int = 0) -> NotFoundError:
    """No such graph or version, or not the caller's."""
    which = f"version {version} of graph {graph_id}" if version else f"graph {graph_id}"
    metadata = {"graph_id": graph_id} | ({"graph_version": str(version)} if version else {})
    return NotFoundError(f"There is no {which}.", reason="GRAPH_NOT_FOUND", metadata=metadata)


def graph_invalid(problems: Sequence[Problem]) -> InvalidArgumentError:
    """The graph cannot be saved; one violation per problem, at most MAX_VIOLATIONS."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    violations = [
        Violation(f"graph.{item.path}", f"node {item.node_id}: {item.message}" if item.node_id else item.message)
        for item in problems[:MAX_VIOLATIONS]
    ]
    return InvalidArgumentError(
        f"The graph has {len(problems)} problem{'s' if len(problems) > 1 else ''}: {first.path}: {first.message}{more}.",
        reason="GRAPH_INVALID",
        metadata={"problems": str(len(problems))},
        violations=violations,
    )


def document_invalid(field: str, description: str) -> InvalidArgumentError:
    """The document to import is no graph. `field` is a path in the document."""
    where = field if field == "document" else f"document.{field}"
    return InvalidArgumentError(
        f"The document cannot be imported: {field}: {description}.", reason="DOCUMENT_INVALID", violations=[Violation(where, description)]
    )
