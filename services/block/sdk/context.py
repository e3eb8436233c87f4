"""What a block may know about the firing that runs it."""

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class BlockContext:
    """One firing of one node. All ids are empty when a block runs outside a graph.

    `idempotency_key` is the same for every attempt of a firing; blocks that reach the outside pass it on. `timezone` is the IANA name of
    the user's zone. `http_allow_hosts` holds `host` or `host:port` that blocks may call although they are not on the public internet.
    `answer` is what the firing waited for (`sdk.waits` says what it looks like), `waits` how many answers it has got; None and 0 when it
    did not wait.
    """

    execution_id: str = ""
    node_id: str = ""
    node_execution_id: str = ""
    graph_id: str = ""
    graph_version: int = 0
    user_id: str = ""
    timezone: str = "UTC"
    idempotency_key: str = ""
    http_allow_hosts: frozenset[str] = frozenset()
    answer: Any = None
    waits: int = 0
