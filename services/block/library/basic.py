"""Blocks without a theme: keep, print, note, convert."""

import logging
from enum import StrEnum
from typing import Any, ClassVar

from services.block.library.support.files import read_bytes
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
from services.block.sdk.coercion import convert

_LOG = logging.getLogger(__name__)


class StoreValueBlock(Block):
    """Keeps a value and hands it on; links that leave it are static, so later firings use the value again."""

    id = "1ff065e9-88e8-4358-9d82-8dc91f622ba9"
    categories = (Category.BASIC,)
    effect = Effect.PURE
    static_output = True

    class Input(BlockInput):
        """A trigger, and the value to keep where it is not the trigger itself."""

        input: Any = pin(description="Starts the block; kept itself when there is no data")
        data: Any = pin(None, description="What to keep instead of the input")

    class Output(BlockOutput):
        """The kept value."""

        output: Any = pin(description="The kept value")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Data that is empty in any way (0, "", []) gives way to the input."""
        yield "output", input.data or input.input

    vectors = (
        Vector(input={"input": "go", "data": 5}, outputs=[("output", 5)]),
        Vector(input={"input": "go", "data": []}, outputs=[("output", "go")]),
    )


class PrintToConsoleBlock(Block):
    """Hands a value on after noting in the worker's log that it passed; for trying things out."""

    id = "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c"
    categories = (Category.BASIC,)
    effect = Effect.IDEMPOTENT

    class Input(BlockInput):
        """What to print."""

        text: Any = pin(description="What to print")

    class Output(BlockOutput):
        """What was printed."""

        output: Any = pin(description="What was printed")
        status: str = pin(description="Always `printed`")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """The log holds the length, not the text: values may be secret."""
        _LOG.info("block_print", extra={"node_execution_id": ctx.node_execution_id, "length": len(str(input.text))})
        yield "output", input.text
        yield "status", "printed"

    vectors = (Vector(input={"text": "hi"}, outputs=[("output", "hi"), ("status", "printed")]),)


class NoteBlock(Block):
    """A note on the canvas; it never runs in a graph."""

    id = "cc10ff7b-7753-4ff2-9af6-9399b1a7eddc"
    block_type: ClassVar[BlockType] = BlockType.NOTE
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The note."""

        text: str = pin(description="The text of the note")

    class Output(BlockOutput):
        """The note."""

        output: str = pin(description="The text of the note")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Yields the text."""
        yield "output", input.text

    vectors = (Vector(input={"text": "x"}, outputs=[("output", "x")]),)


class TypeName(StrEnum):
    """What UniversalTypeConverterBlock converts to."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    DICTIONARY = "dictionary"


_PYTHON_TYPES: dict[TypeName, Any] = {
    TypeName.STRING: str,
    TypeName.NUMBER: float,
    TypeName.BOOLEAN: bool,
    TypeName.LIST: list,
    TypeName.DICTIONARY: dict,
}


class UniversalTypeConverterBlock(Block):
    """Converts a value to text, number, true/false, list or dictionary, by the rules that pins use."""

    id = "95d1b990-ce13-4d88-9737-ba5c2070c97b"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The value and the type it should have."""

        value: Any = pin(description="The value to convert")
        type: TypeName = pin(description="The type to convert it to")

    class Output(BlockOutput):
        """The converted value."""

        value: Any = pin(description="The converted value")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails: what cannot be a number is 0, what is no list becomes a list of one."""
        yield "value", convert(input.value, _PYTHON_TYPES[input.type])

    vectors = (
        Vector(input={"value": "1e3", "type": "number"}, outputs=[("value", 1000.0)]),
        Vector(input={"value": 3, "type": "dictionary"}, outputs=[("value", {"value": 3})]),
    )


class FileStoreBlock(Block):
    """Keeps a file for the run and hands its reference on; links that leave it are static."""

    id = "cbb50872-625b-42f0-8203-a2ae78242d8a"
    categories = (Category.BASIC, Category.MULTIMEDIA)
    effect = Effect.PURE
    static_output = True

    class Input(BlockInput):
        """The file."""

        file_in: str = pin(description="Reference to the file", format="file")
        base_64: bool = pin(False, description="Give the content as a data URI instead of a reference")

    class Output(BlockOutput):
        """The kept file."""

        file_out: str = pin(description="Reference to the kept file")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the file cannot be read."""
        read_bytes(input.file_in)
        yield "file_out", input.file_in

    vectors = (
        Vector(input={"file_in": "data:text/plain;base64,SGk="}, outputs=[("file_out", "data:text/plain;base64,SGk=")]),
        Vector(input={"file_in": "nope.txt"}, error="does not exist"),
    )
