"""Where values leave an agent."""

from typing import Any, ClassVar

from services.block.library.support.templating import render
from services.block.sdk import (
    BareOutput,
    Block,
    BlockContext,
    BlockError,
    BlockInput,
    BlockResult,
    BlockType,
    Category,
    Effect,
    Vector,
    pin,
)


class AgentOutputBlock(Block):
    """Hands a value out of the agent under a name, formatted by a template where one is given."""

    id = "363ae599-353e-4804-937e-b2ee3cef3da4"
    block_type: ClassVar[BlockType] = BlockType.OUTPUT
    categories = (Category.OUTPUT, Category.BASIC)
    effect = Effect.PURE
    static_output = True

    class Input(BlockInput):
        """The value, its name and how to show it."""

        value: Any = pin(None, description="The value to hand out", advanced=False)
        name: str = pin(description="What callers of the agent know this value by")
        title: str | None = pin(None, description="Heading in results")
        description: str | None = pin(None, description="Help text in results")
        format: str = pin("", description="Jinja2 template; the value is known in it by the output's name", placeholder="Dear {{ name }}")
        escape_html: bool = pin(False, description="Escape HTML in the value")
        advanced: bool = pin(False, description="Show only among the advanced outputs")
        secret: bool = pin(False, description="Hide the value")

    class Output(BareOutput):
        """The value as it is shown."""

        output: Any = pin(description="The value, formatted where a format is given")
        name: Any = pin(description="The name of the output; only without a format")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """A template that fails becomes a text that says so: an output must not vanish over its looks."""
        if input.format:
            try:
                yield "output", await render(input.format, {input.name: input.value}, escape_html=input.escape_html)
            except BlockError as error:
                yield "output", f"Error: {error.message}, {input.value}"
            return
        yield "output", input.value
        yield "name", input.name

    vectors = (
        Vector(input={"name": "o", "value": 0}, outputs=[("output", 0), ("name", "o")]),
        Vector(input={"name": "o", "value": "<b>", "format": "{{ o }}", "escape_html": True}, outputs=[("output", "&lt;b&gt;")]),
    )
