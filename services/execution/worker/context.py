"""What a block may know about its firing, made for each firing and at little cost."""

from services.block.sdk import BlockContext
from services.execution.engine.state import Firing
from services.execution.repository.leases import Claim


class FiringContext(BlockContext):
    """The context of one firing. Its ids are computed when they are asked for, which most blocks never do."""

    __slots__ = ("_firing",)

    def __init__(self, claim: Claim, firing: Firing, http_allow_hosts: frozenset[str]) -> None:
        """Of a firing of the run that `claim` gives."""
        self._firing = firing
        self.execution_id = claim.execution_id
        self.node_id = firing.node.id
        self.graph_id = claim.graph_id
        self.graph_version = claim.graph_version
        self.user_id = claim.owner_id
        self.timezone = claim.timezone
        self.http_allow_hosts = http_allow_hosts
        course = firing.course
        self.answer = None if course is None else course.answer
        self.waits = 0 if course is None else course.answers

    @property
    def node_execution_id(self) -> str:  # type: ignore[override]  # nobody sets it
        """The firing's id."""
        return self._firing.id

    @property
    def idempotency_key(self) -> str:  # type: ignore[override]
        """The firing's id: the same for every attempt."""
        return self._firing.id
