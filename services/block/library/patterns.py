"""Regular expressions. A pattern that would search for ever is stopped after two seconds."""

from typing import Any

from services.block.library.support.patterns import as_text, find_groups, flags_of
from services.block.sdk import Block, BlockContext, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin

MAX_MATCHES = 10_000


class MatchTextPatternBlock(Block):
    """Sends data on one of two ways, by whether a text matches a regular expression anywhere."""

    id = "3060088f-6ed9-4928-9ba7-9c92823a7ccd"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text, the pattern and what to send on."""

        text: Any = pin(description="The text; anything else is matched as JSON")
        match: str = pin(description="The regular expression")
        data: Any = pin(description="What to send on; the text itself when empty")
        case_sensitive: bool = pin(True, description="Tell capital letters from small ones")
        dot_all: bool = pin(True, description="Let a dot match line ends too")

    class Output(BlockOutput):
        """The data, on one of two ways."""

        positive: Any = pin(description="The data, when the text matches")
        negative: Any = pin(description="The data, when it does not")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for a pattern that is wrong or too slow."""
        flags = flags_of(case_sensitive=input.case_sensitive, dot_all=input.dot_all)
        found = await find_groups(input.match, as_text(input.text), flags)
        yield ("positive" if found else "negative"), input.data or input.text

    vectors = (
        Vector(input={"text": "a\nb", "match": "a.b", "data": "d"}, outputs=[("positive", "d")]),
        Vector(input={"text": "x", "match": "(", "data": "d"}, error="not a regular expression"),
    )


class ExtractTextInformationBlock(Block):
    """Takes the first match of a regular expression, or all, out of a text."""

    id = "3146e4fe-2cdd-4f29-bd12-0c9d5bb4deb0"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text and what to take."""

        text: Any = pin(description="The text; anything else is searched as JSON")
        pattern: str = pin(description="The regular expression")
        group: int = pin(0, description="Number of the group to take; 0 for the whole match")
        case_sensitive: bool = pin(True, description="Tell capital letters from small ones")
        dot_all: bool = pin(True, description="Let a dot match line ends too")
        find_all: bool = pin(False, description="Take all matches instead of the first")

    class Output(BlockOutput):
        """The matches."""

        positive: str = pin(description="A match; once for each")
        negative: str = pin(description="The text, when nothing matches")
        matched_results: list[str] = pin(description="All matches that were taken")
        matched_count: int = pin(description="Their number")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """A match without the group does not count. Fails for a pattern that is wrong or too slow. Stops after MAX_MATCHES matches."""
        text = as_text(input.text)
        flags = flags_of(case_sensitive=input.case_sensitive, dot_all=input.dot_all)
        limit = MAX_MATCHES if input.find_all else 1
        results = await find_groups(input.pattern, text, flags, group=input.group, limit=limit)
        for result in results:
            yield "positive", result
        if not results:
            yield "negative", text
        yield "matched_results", results
        yield "matched_count", len(results)

    vectors = (
        Vector(
            input={"text": "k=v", "pattern": "(?P<n>k)=(v)", "group": 2},
            outputs=[("positive", "v"), ("matched_results", ["v"]), ("matched_count", 1)],
        ),
    )
