"""Blocks that wait without holding a place in a worker: for a person, for a time."""

from typing import Any

from services.block.sdk import (
    Block,
    BlockContext,
    BlockInput,
    BlockOutput,
    BlockResult,
    BlockType,
    Category,
    Effect,
    Review,
    Timer,
    Vector,
    Wait,
    pin,
)

MAX_DELAY_S = 366 * 86400


class HumanInTheLoopBlock(Block):
    """Shows data to a person and waits for the decision: approved data goes one way, rejected data the other."""

    id = "8b2a7b3c-6e9d-4a5f-8c1b-2e3f4a5b6c7d"
    block_type = BlockType.HUMAN_IN_THE_LOOP
    categories = (Category.BASIC,)
    effect = Effect.PURE
    may_wait = True

    class Input(BlockInput):
        """What is to be decided on."""

        data: Any = pin(description="What the person sees")
        name: str = pin(description="What it is, in a few words")
        editable: bool = pin(True, description="Whether the person may change the data")

    class Output(BlockOutput):
        """The decision."""

        approved_data: Any = pin(description="The data, as edited, when it was approved")
        rejected_data: Any = pin(description="The data when it was rejected")
        review_message: str = pin(description="What the person wrote, if anything")

    def wait_for(self, input: Input, ctx: BlockContext) -> Wait:
        """Always asks."""
        return Review(input.name, input.data, input.editable)

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails. A firing whose node was approved once for all goes through as approved."""
        decision = ctx.answer or {}
        if decision.get("approved"):
            yield "approved_data", decision.get("data")
        else:
            yield "rejected_data", input.data
        if decision.get("message"):
            yield "review_message", decision["message"]

    vectors = (Vector(input={"data": {"total": 3}, "name": "Order"}, error="waits for a person"),)


class DelayBlock(Block):
    """Hands a value on after some time. The wait outlives restarts and costs nothing, be it a second or a year."""

    id = "5d3f0d0e-6d7c-4c62-9a7b-1f5f0f0c4f1a"
    categories = (Category.BASIC,)
    effect = Effect.PURE
    may_wait = True

    class Input(BlockInput):
        """The value and the time."""

        input: Any = pin(description="What to hand on")
        seconds: float = pin(description="How long to wait", ge=0, le=MAX_DELAY_S)

    class Output(BlockOutput):
        """The value."""

        output: Any = pin(description="The input, later")

    def wait_for(self, input: Input, ctx: BlockContext) -> Wait | None:
        """Not at all for 0 seconds."""
        return Timer(input.seconds) if input.seconds > 0 else None

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "output", input.input

    vectors = (Vector(input={"input": {"a": 1}, "seconds": 0}, outputs=[("output", {"a": 1})]),)
