"""Text: joining, splitting, replacing, counting, filling in."""

from typing import Any

from services.block.library.support.templating import render
from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin

# A few small texts can make a huge one.
MAX_TEXT_CHARS = 10_000_000


class TextOutput(BlockOutput):
    """A text."""

    output: str = pin(description="The text")


class CombineTextsBlock(Block):
    """Joins texts, with a delimiter between them."""

    id = "e30a4d42-7b7d-4e6a-b36e-1f9b8e3b7d85"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The texts and the delimiter."""

        input: list[str] = pin(description="The texts, in order")
        delimiter: str = pin("", description="What to put between them")

    Output = TextOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the text would be longer than MAX_TEXT_CHARS characters."""
        _check_length(sum(map(len, input.input)) + len(input.delimiter) * max(0, len(input.input) - 1))
        yield "output", input.delimiter.join(input.input)

    vectors = (Vector(input={"input": ["a", "b"], "delimiter": ", "}, outputs=[("output", "a, b")]),)


class TextSplitBlock(Block):
    """Splits a text at a delimiter."""

    id = "d5ea33c8-a575-477a-b42f-2fe3be5055ec"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text and where to split it."""

        text: str = pin(description="The text")
        delimiter: str = pin(description="What to split at")
        strip: bool = pin(True, description="Drop the blanks around each part")

    class Output(BlockOutput):
        """The parts."""

        texts: list[str] = pin(description="The parts, in order; none for an empty text")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for an empty delimiter, unless there is nothing to split."""
        if not input.text:
            yield "texts", []
            return
        if not input.delimiter:
            raise BlockError("empty separator", kind="ValueError")
        parts = input.text.split(input.delimiter)
        yield "texts", [part.strip() for part in parts] if input.strip else parts

    vectors = (
        Vector(input={"text": "a, b", "delimiter": ","}, outputs=[("texts", ["a", "b"])]),
        Vector(input={"text": "abc", "delimiter": ""}, error="empty separator"),
    )


class TextReplaceBlock(Block):
    """Replaces a text within a text, everywhere."""

    id = "7e7c87ab-3469-4bcc-9abe-67705091b713"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text, what to replace and by what."""

        text: str = pin(description="The text")
        old: str = pin(description="What to replace")
        new: str = pin(description="What to put in its place")

    Output = TextOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when the text would be longer than MAX_TEXT_CHARS characters."""
        _check_length(len(input.text) + input.text.count(input.old) * (len(input.new) - len(input.old)))
        yield "output", input.text.replace(input.old, input.new)

    vectors = (Vector(input={"text": "aaa", "old": "a", "new": "b"}, outputs=[("output", "bbb")]),)


class WordCharacterCountBlock(Block):
    """Counts the words (parted by blanks) and characters of a text."""

    id = "ab2a782d-22cf-4587-8a70-55b59b3f9f90"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text."""

        text: str = pin(description="The text", placeholder="Enter your text here")

    class Output(BlockOutput):
        """The counts."""

        word_count: int = pin(description="Number of words")
        character_count: int = pin(description="Number of characters")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "word_count", len(input.text.split())
        yield "character_count", len(input.text)

    vectors = (Vector(input={"text": "one two"}, outputs=[("word_count", 2), ("character_count", 7)]),)


class FillTextTemplateBlock(Block):
    """Fills values into a Jinja2 template. Templates run sandboxed, for two seconds at most."""

    id = "db7d8f02-2f44-4c55-ab7a-eae0941f0c30"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The template and its values."""

        values: dict[str, Any] = pin(description="Values by name; link to `values_#_name` for one of them")
        format: str = pin(description="The template", placeholder="Hello, {{ name }}!")
        escape_html: bool = pin(False, description="Escape HTML in the values")

    Output = TextOutput

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for a template that is wrong, fails or goes beyond its limits."""
        yield "output", await render(input.format, input.values, escape_html=input.escape_html)

    vectors = (
        Vector(input={"values": {"a": {"b": 5}}, "format": "{{ a.b + 1 }}"}, outputs=[("output", "6")]),
        Vector(input={"values": {}, "format": "{{ 2 ** 2000 }}"}, error="Exponent too large"),
    )


def _check_length(length: int) -> None:
    if length > MAX_TEXT_CHARS:
        raise BlockError(f"The text would be longer than {MAX_TEXT_CHARS} characters")
