"""Under which ids graphs are kept that have none of their own."""


def draft_id(graph_id: str, revision: str) -> str:
    """The id of a revision of a draft, with version 0; without a revision, the graph's own."""
    return f"{graph_id}@{revision}" if revision else graph_id


def embedded_id(graph_id: str, graph_version: int, sub_id: str) -> str:
    """The id of a graph that is embedded in a version of another, or in one that is itself kept so.

    What is embedded has the id that its author gave it, which may be that of any graph: it must never be taken for that one.
    """
    top = graph_id if "/" in graph_id else f"{graph_id}/{graph_version}"
    return f"{'/'.join(top.split('/')[:2])}/{sub_id}"
