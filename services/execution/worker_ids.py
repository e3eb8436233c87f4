"""Ids of workers. A cell's is its parent's with a number."""

CELL_MARK = "/"


def cell_id(parent_id: str, number: int) -> str:
    """The worker id of a cell."""
    return f"{parent_id}{CELL_MARK}{number}"


def is_cell(worker_id: str) -> bool:
    """True for a child of a worker."""
    return CELL_MARK in worker_id


def parent_of(worker_id: str) -> str:
    """The parent of a cell; of an ordinary worker the id itself."""
    return worker_id.partition(CELL_MARK)[0]


def name_without_mark(name: str) -> str:
    """The name as a part of worker ids that are no cells'."""
    return name.replace(CELL_MARK, "-")
