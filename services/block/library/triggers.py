"""Blocks that start an agent from outside."""

from typing import Any, ClassVar

from services.block.sdk import (
    Block,
    BlockContext,
    BlockInput,
    BlockOutput,
    BlockResult,
    BlockType,
    Category,
    Effect,
    Vector,
    pin,
)


class GenericWebhookTriggerBlock(Block):
    """Starts the agent with what a webhook received. Give `payload` as a mask to start it by hand."""

    id = "8fa8c167-2002-47ce-aba8-97572fc5d387"
    block_type: ClassVar[BlockType] = BlockType.WEBHOOK_MANUAL
    categories = (Category.INPUT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """What came, and fixed values to go with it."""

        payload: dict[str, Any] = pin(default_factory=dict, description="What the webhook received", hidden=True)
        constants: dict[str, Any] = pin(default_factory=dict, description="Fixed values that go out beside the payload")

    class Output(BlockOutput):
        """What came, and the fixed values."""

        payload: dict[str, Any] = pin(description="What the webhook received")
        constants: dict[str, Any] = pin(description="The fixed values")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "constants", input.constants
        yield "payload", input.payload

    vectors = (Vector(input={"payload": {"a": 1}, "constants": {"b": 2}}, outputs=[("constants", {"b": 2}), ("payload", {"a": 1})]),)
