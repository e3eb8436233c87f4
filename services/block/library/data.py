"""Data formats: JSON and CSV."""

import csv
import io
from typing import Any

from mesh import jsontext
from services.block.library.support.files import read_text
from services.block.library.support.offload import offloaded
from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin
from services.block.sdk.jsonread import read_json

_MAX_CELL_CHARS = 10 * 1024 * 1024
# Larger tables are read in a thread.
_QUICK_CHARS = 512 * 1024


class JSONEncoderBlock(Block):
    """Writes a value as compact JSON text."""

    id = "9a9d20c5-5b4d-4e94-8022-83b6cb72648a"
    categories = (Category.DATA, Category.TEXT)
    effect = Effect.PURE

    class Input(BlockInput):
        """The value."""

        data: Any = pin(description="The value to write")

    class Output(BlockOutput):
        """The JSON text."""

        json_str: str = pin(description="The JSON text")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails on values that came over a link."""
        yield "json_str", jsontext.dumps(input.data)

    vectors = (Vector(input={"data": {"b": [1, "é"], "a": None}}, outputs=[("json_str", '{"b":[1,"é"],"a":null}')]),)


class JSONDecoderBlock(Block):
    """Reads a value from JSON text."""

    id = "2b935639-65bc-48fd-9f88-823cd706fcd9"
    categories = (Category.DATA, Category.TEXT)
    effect = Effect.PURE

    class Input(BlockInput):
        """The JSON text."""

        json_str: str = pin(description="The JSON text")

    class Output(BlockOutput):
        """The value."""

        data: Any = pin(description="The value")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for text that is not JSON."""
        yield "data", read_json(input.json_str)

    vectors = (
        Vector(input={"json_str": '{"b": [1, 9007199254740993]}'}, outputs=[("data", {"b": [1, 9007199254740993]})]),
        Vector(input={"json_str": "{oops"}, error="line 1"),
    )


class ReadSpreadsheetBlock(Block):
    """Reads the rows of a table from CSV text, all at once or one by one."""

    id = "acf7625e-d2cb-4941-bfeb-2819fc6fc015"
    categories = (Category.TEXT, Category.DATA)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text or file, and how it is written."""

        contents: str | None = pin(None, description="CSV text", placeholder="a, b, c\n1,2,3\n4,5,6", advanced=False)
        file_input: str | None = pin(None, description="Reference to a CSV file, used without contents", advanced=False, format="file")
        delimiter: str = pin(",", description="Character between cells")
        quotechar: str = pin('"', description="Character around cells that hold a delimiter")
        escapechar: str = pin("\\", description="Character before one that should be taken as it is")
        has_header: bool = pin(True, description="The first row names the columns; otherwise they are called 0, 1, 2, …")
        skip_rows: int = pin(0, description="Rows to leave out, after the header")
        strip: bool = pin(True, description="Drop the blanks around each cell")
        skip_columns: list[str] = pin(default_factory=list, description="Columns to leave out, by name or number from 0")
        produce_singular_result: bool = pin(False, description="Emit the rows one by one")

    class Output(BlockOutput):
        """The rows, each an object by column."""

        row: dict[str, str] = pin(description="A row; once for each, when asked for one by one")
        rows: list[dict[str, str]] = pin(description="All rows")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails without contents, and for text that cannot be read as CSV."""
        contents = _contents(input)
        if len(contents) > _QUICK_CHARS:
            rows = await offloaded(lambda _limit_s: _read_rows(input, contents), "The table")
        else:
            rows = _read_rows(input, contents)
        if input.produce_singular_result:
            for row in rows:
                yield "row", row
        else:
            yield "rows", rows

    vectors = (
        Vector(input={"contents": "a,b\n1,2"}, outputs=[("rows", [{"a": "1", "b": "2"}])]),
        Vector(input={"contents": "a\n1\n2", "produce_singular_result": True}, outputs=[("row", {"a": "1"}), ("row", {"a": "2"})]),
    )


def _contents(input: ReadSpreadsheetBlock.Input) -> str:
    if input.contents:
        return input.contents
    if input.file_input:
        return read_text(input.file_input)
    raise BlockError("Either 'contents' or 'file_input' must be provided")


def _read_rows(input: ReadSpreadsheetBlock.Input, contents: str) -> list[dict[str, str]]:
    csv.field_size_limit(_MAX_CELL_CHARS)
    try:
        table = list(
            csv.reader(
                io.StringIO(contents, newline=""),
                delimiter=input.delimiter,
                quotechar=input.quotechar or None,
                escapechar=input.escapechar or None,
            )
        )
    except (csv.Error, TypeError) as error:
        raise BlockError(f"The text is not CSV: {error}", kind=type(error).__name__) from error
    header = table.pop(0) if input.has_header and table else []
    if input.strip:
        header = [name.strip() for name in header]
    skipped = set(input.skip_columns)
    names = [(at, header[at] if at < len(header) else str(at)) for at in range(max(map(len, table), default=0))]
    kept = [(at, name) for at, name in names if name not in skipped and str(at) not in skipped]
    rows = table[max(input.skip_rows, 0) :]
    if input.strip:
        return [{name: row[at].strip() for at, name in kept if at < len(row)} for row in rows]
    return [{name: row[at] for at, name in kept if at < len(row)} for row in rows]
