"""Where values enter an agent: one block per kind of editor. The pin `name` is what callers know the value by."""

import datetime as dt
from typing import Any, ClassVar

from services.block.sdk import (
    BareOutput,
    Block,
    BlockContext,
    BlockInput,
    BlockResult,
    BlockType,
    Category,
    Effect,
    PinModel,
    Vector,
    pin,
)


class AnyOutput(BareOutput):
    """A value of any kind."""

    result: Any = pin(description="The value")


class TextOutput(BareOutput):
    """A value that is text."""

    result: str = pin(description="The value")


class InputBlock(Block):
    """Common ground of all input blocks: hands the value on, and nothing when there is none."""

    block_type: ClassVar[BlockType] = BlockType.INPUT
    categories = (Category.INPUT, Category.BASIC)
    effect = Effect.PURE
    static_output = True

    class Input(BlockInput):
        """Pins that every input block has."""

        name: str = pin(description="What callers of the agent know this value by")
        value: Any = pin(None, description="The value; what is set here is used when the caller gives none")
        title: str | None = pin(None, description="Heading in forms")
        description: str | None = pin(None, description="Help text in forms")
        advanced: bool = pin(False, description="Show only among the advanced inputs")
        secret: bool = pin(False, description="Hide the value in forms and exports")

    Output: ClassVar[type[PinModel]] = AnyOutput

    async def run(self, input: Any, ctx: BlockContext) -> BlockResult:
        """Yields `result` unless the value is null."""
        if input.value is not None:
            yield "result", input.value


class AgentInputBlock(InputBlock):
    """Takes a value of any kind into the agent."""

    id = "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b"
    vectors = (
        Vector(input={"name": "city", "value": "Oslo"}, outputs=[("result", "Oslo")]),
        Vector(input={"name": "city"}, outputs=[]),
    )


class AgentShortTextInputBlock(InputBlock):
    """Takes one line of text into the agent."""

    id = "7fcd3bcb-8e1b-4e69-903d-32d3d4a92158"

    class Input(InputBlock.Input):
        """As every input block, with a text."""

        value: str | None = pin(None, description="One line of text", advanced=False, title="Default Value")

    Output = TextOutput
    vectors = (Vector(input={"name": "city", "value": ""}, outputs=[("result", "")]),)


class AgentLongTextInputBlock(InputBlock):
    """Takes a text of several lines into the agent."""

    id = "90a56ffb-7024-4b2b-ab50-e26c5e5ab8ba"

    class Input(InputBlock.Input):
        """As every input block, with a text."""

        value: str | None = pin(None, description="Text of any length", advanced=False, title="Default Value")

    Output = TextOutput
    vectors = (Vector(input={"name": "letter", "value": "a\nb"}, outputs=[("result", "a\nb")]),)


class AgentNumberInputBlock(InputBlock):
    """Takes a whole number into the agent."""

    id = "96dae2bb-97a2-41c2-bd2f-13a3b5a8ea98"

    class Input(InputBlock.Input):
        """As every input block, with a whole number."""

        value: int | None = pin(None, description="A whole number", advanced=False, title="Default Value")

    class Output(BareOutput):
        """The number."""

        result: int = pin(description="The number")

    vectors = (Vector(input={"name": "n", "value": "42"}, outputs=[("result", 42)]),)


class AgentDateInputBlock(InputBlock):
    """Takes a date into the agent."""

    id = "7e198b09-4994-47db-8b4d-952d98241817"

    class Input(InputBlock.Input):
        """As every input block, with a date."""

        value: dt.date | None = pin(None, description="A date, YYYY-MM-DD", advanced=False, title="Default Value")

    Output = TextOutput
    vectors = (
        Vector(input={"name": "day", "value": "2024-02-29"}, outputs=[("result", "2024-02-29")]),
        Vector(input={"name": "day", "value": "soon"}, error="valid date"),
    )


class AgentTimeInputBlock(InputBlock):
    """Takes a time of day into the agent."""

    id = "2a1c757e-86cf-4c7e-aacf-060dc382e434"

    class Input(InputBlock.Input):
        """As every input block, with a time of day."""

        value: dt.time | None = pin(None, description="A time of day, HH:MM:SS", advanced=False, title="Default Value")

    Output = TextOutput
    vectors = (Vector(input={"name": "at", "value": "23:59"}, outputs=[("result", "23:59:00")]),)


class AgentFileInputBlock(InputBlock):
    """Takes a file into the agent, as a reference (a data URI or the URI of a stored file)."""

    id = "95ead23f-8283-4654-aef3-10c053b74a31"

    class Input(InputBlock.Input):
        """As every input block, with a reference to a file."""

        value: str | None = pin(None, description="Reference to the file", advanced=False, title="Default Value", format="file")
        base_64: bool = pin(False, description="Give the content as a data URI instead of a reference")

    Output = TextOutput

    async def run(self, input: Any, ctx: BlockContext) -> BlockResult:
        """Yields the reference unless it is empty."""
        if input.value:
            yield "result", input.value

    vectors = (Vector(input={"name": "f", "value": "data:text/plain;base64,SGk="}, outputs=[("result", "data:text/plain;base64,SGk=")]),)


class AgentDropdownInputBlock(InputBlock):
    """Takes one of several given texts into the agent."""

    id = "655d6fdf-a334-421c-b733-520549c07cd1"

    class Input(InputBlock.Input):
        """As every input block, with the choices."""

        value: str | None = pin(None, description="The chosen text", advanced=False, title="Default Value")
        options: list[Any] = pin(default_factory=list, description="What there is to choose from", advanced=False)

    Output = TextOutput
    vectors = (Vector(input={"name": "n", "value": "B", "options": ["A", "B"]}, outputs=[("result", "B")]),)


class AgentToggleInputBlock(InputBlock):
    """Takes a yes or no into the agent."""

    id = "cbf36ab5-df4a-43b6-8a7f-f7ed8652116e"

    class Input(InputBlock.Input):
        """As every input block, with true or false."""

        value: bool = pin(False, description="Yes or no", advanced=False, title="Default Value")

    class Output(BareOutput):
        """The answer."""

        result: bool = pin(description="Yes or no")

    vectors = (Vector(input={"name": "n"}, outputs=[("result", False)]),)


class AgentTableInputBlock(InputBlock):
    """Takes a table into the agent: a list of rows, each an object by column."""

    id = "5603b273-f41e-4020-af7d-fbc9c6a8d928"

    class Input(InputBlock.Input):
        """As every input block, with rows and column names."""

        value: list[dict[str, Any]] | None = pin(None, description="The rows", advanced=False, title="Default Value")
        column_headers: list[str] = pin(default_factory=lambda: ["Column 1", "Column 2", "Column 3"], description="Names of the columns")

    class Output(BareOutput):
        """The rows."""

        result: list[dict[str, Any]] = pin(description="The rows; an empty list when there are none")

    async def run(self, input: Any, ctx: BlockContext) -> BlockResult:
        """Yields the rows, none as an empty list."""
        yield "result", input.value if input.value is not None else []

    vectors = (Vector(input={"name": "n"}, outputs=[("result", [])]),)
