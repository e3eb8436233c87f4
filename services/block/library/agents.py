"""Runs other agents."""

from typing import Any, ClassVar

from services.block.sdk import (
    BareOutput,
    Block,
    BlockContext,
    BlockError,
    BlockInput,
    BlockResult,
    BlockType,
    Category,
    Child,
    Effect,
    Vector,
    Wait,
    pin,
)

_COMPLETED = "COMPLETED"


class AgentExecutorBlock(Block):
    """Runs another agent as an execution of its own and hands on what that puts out."""

    id = "e189baac-8c20-45a1-94a7-55177ea42565"
    block_type = BlockType.AGENT
    categories = (Category.AGENT,)
    effect = Effect.EFFECTFUL
    may_wait = True
    # The other execution is made once for each wait of a firing.
    uses_idempotency_key: ClassVar[bool] = True

    class Input(BlockInput):
        """Which agent, and its inputs."""

        user_id: str = pin(description="Whose agent it is; it always runs as the user of this execution")
        graph_id: str = pin(description="The agent")
        graph_version: int = pin(description="Its version; 0 for the active one")
        agent_name: str | None = pin(None, description="What people call it")
        inputs: dict[str, Any] = pin(description="Its inputs by name")
        input_schema: dict[str, Any] = pin(description="Its inputs as JSON Schema: the input pins of this node")
        output_schema: dict[str, Any] = pin(description="Its outputs as JSON Schema: the output pins of this node")
        nodes_input_masks: dict[str, dict[str, Any]] | None = pin(None, description="Values to replace in it, by node and pin")

    class Output(BareOutput):
        """The outputs of the agent, each on the pin with its name; why it failed on `error`."""

    def wait_for(self, input: Input, ctx: BlockContext) -> Wait:
        """Always runs the agent."""
        return Child(input.graph_id, input.graph_version, input.inputs, input.nodes_input_masks or {})

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the other execution was stopped or failed as a whole, after what it had put out; failed nodes in it do not matter."""
        child = ctx.answer or {}
        for name, value in child.get("outputs", ()):
            yield name, value
        status = child.get("status", "")
        if status != _COMPLETED:
            reason = child.get("error") or f"its status is {status or 'unknown'}"
            raise BlockError(f"The agent did not complete: {reason}", kind="AgentFailedError")

    vectors = (
        Vector(
            input={"user_id": "", "graph_id": "g", "graph_version": 1, "inputs": {}, "input_schema": {}, "output_schema": {}},
            error="runs another agent",
        ),
    )
