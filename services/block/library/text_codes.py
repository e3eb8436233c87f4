"""Escapes in text, code in Markdown, files as text."""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from services.block.library.support.files import read_text
from services.block.sdk import Block, BlockContext, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin

_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|N\{([^}]{1,100})\}|([0-7]{1,3})|([\\'\"abfnrtv\n]))")
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\n": ""}
_MAX_CODE_POINT = 0x10FFFF


class TextEncoderBlock(Block):
    """Writes control and non-ASCII characters of a text as escapes such as `\\n` and `\\u4e16`."""

    id = "5185f32e-4b65-4ecf-8fbb-873f003f09d6"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text."""

        text: str = pin(description="The text")

    class Output(BlockOutput):
        """The text with escapes."""

        encoded_text: str = pin(description="The text with escapes")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "encoded_text", input.text.encode("unicode_escape").decode("ascii")

    vectors = (Vector(input={"text": "a\n世"}, outputs=[("encoded_text", "a\\n\\u4e16")]),)


class TextDecoderBlock(Block):
    """Turns escapes in a text, such as `\\n` and `\\u4e16`, into the characters they stand for."""

    id = "2570e8fe-8447-43ed-84c7-70d657923231"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The text with escapes."""

        text: str = pin(description="The text with escapes")

    class Output(BlockOutput):
        """The text."""

        decoded_text: str = pin(description="The text")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """What is no escape stays as it is."""
        text = _ESCAPE.sub(_unescaped, input.text)
        # Two escapes may be the halves of one character.
        yield "decoded_text", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    vectors = (Vector(input={"text": "é\\n\\u4e16\\ud83d\\ude80"}, outputs=[("decoded_text", "é\n世🚀")]),)


def _unescaped(match: "re.Match[str]") -> str:
    two, four, eight, name, octal, letter = match.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    if name is not None:
        try:
            return unicodedata.lookup(name)
        except KeyError:
            return match[0]
    point = int(octal, 8) if octal is not None else int(two or four or eight, 16)
    return chr(point) if point <= _MAX_CODE_POINT else match[0]


# Words after the fence, by pin.
_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "html": ("html", "htm"),
    "css": ("css",),
    "javascript": ("javascript", "js"),
    "python": ("python", "py"),
    "sql": ("sql",),
    "java": ("java",),
    "cpp": ("cpp", "c++"),
    "csharp": ("csharp", "c#", "cs"),
    "json_code": ("json",),
    "bash": ("bash", "shell", "sh"),
    "php": ("php",),
    "ruby": ("ruby", "rb"),
    "yaml": ("yaml", "yml"),
    "markdown": ("markdown", "md"),
    "typescript": ("typescript", "ts"),
    "xml": ("xml",),
}


_FENCE = "```"
_PIN_OF = {word: name for name, words in _LANGUAGES.items() for word in words}
_LANGUAGE = re.compile(rf"({'|'.join(map(re.escape, sorted(_PIN_OF, key=len, reverse=True)))})\s+", re.IGNORECASE)


class CodeExtractionBlock(Block):
    """Takes the fenced code out of a Markdown text, by language."""

    id = "d3a7d896-3b78-4f44-8b4b-48fbf4f0bcd8"
    categories = (Category.TEXT,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The Markdown text."""

        text: str = pin(description="The Markdown text")

    class Output(BlockOutput):
        """The code by language, and the rest."""

        html: str = pin(description="HTML code")
        css: str = pin(description="CSS code")
        javascript: str = pin(description="JavaScript code")
        python: str = pin(description="Python code")
        sql: str = pin(description="SQL code")
        java: str = pin(description="Java code")
        cpp: str = pin(description="C++ code")
        csharp: str = pin(description="C# code")
        json_code: str = pin(description="JSON")
        bash: str = pin(description="Shell code")
        php: str = pin(description="PHP code")
        ruby: str = pin(description="Ruby code")
        yaml: str = pin(description="YAML")
        markdown: str = pin(description="Markdown")
        typescript: str = pin(description="TypeScript code")
        xml: str = pin(description="XML")
        remaining_text: str = pin(description="The text without the code; code with a language in capitals stays")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Several pieces in one language come out as one text. Pins without code emit nothing."""
        code, rest = _parted(input.text)
        for name in _LANGUAGES:
            if code.get(name):
                yield name, "\n\n".join(code[name])
        if rest.strip():
            yield "remaining_text", rest.strip()

    vectors = (Vector(input={"text": "Hi\n```python\nx=1\n```"}, outputs=[("python", "x=1"), ("remaining_text", "Hi")]),)


def _parted(text: str) -> tuple[dict[str, list[str]], str]:
    """Pieces of code by pin, and the text without those whose language is in small letters. One pass: the text may be large."""
    code: dict[str, list[str]] = {}
    rest: list[str] = []
    kept_to = 0
    at = text.find(_FENCE)
    while at >= 0:
        start = at + len(_FENCE)
        language = _LANGUAGE.match(text, start)
        end = text.find(_FENCE, language.end()) if language else start
        if end < 0:
            break
        if language:
            piece = text[language.end() : end].strip()
            if piece:
                code.setdefault(_PIN_OF[language[1].lower()], []).append(piece)
            end += len(_FENCE)
            if language[1].islower():
                rest.append(text[kept_to:at])
                kept_to = end
        at = text.find(_FENCE, end)
    return code, "".join([*rest, text[kept_to:]])


class FileReadBlock(Block):
    """Reads a file as text: whole, in part, or in pieces of a size."""

    id = "3735a31f-7e18-4aca-9e90-08a7120674bc"
    categories = (Category.TEXT, Category.DATA)
    effect = Effect.PURE

    class Input(BlockInput):
        """The file and what of it to read."""

        file_input: str = pin(description="Reference to the file", format="file")
        delimiter: str = pin("", description="Text between rows")
        size_limit: int = pin(0, description="Characters of a piece; 0 for all in one")
        row_limit: int = pin(0, description="Rows to read; 0 for all")
        skip_size: int = pin(0, description="Characters to leave out at the start")
        skip_rows: int = pin(0, description="Rows to leave out at the start")

    class Output(BlockOutput):
        """The text."""

        content: str = pin(description="The text, or its pieces in order")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """An empty file gives nothing. Fails when the file cannot be read."""
        text = read_text(input.file_input)
        if not text:
            return
        for piece in _pieces(_rows(text[max(input.skip_size, 0) :], input), input.size_limit):
            yield "content", piece

    vectors = (
        Vector(input={"file_input": "data:text/plain;base64,YWJjZGVm", "size_limit": 4}, outputs=[("content", "abcd"), ("content", "ef")]),
    )


def _rows(text: str, input: FileReadBlock.Input) -> str:
    rows = text.split(input.delimiter) if input.delimiter else [text]
    rows = rows[max(input.skip_rows, 0) :]
    return input.delimiter.join(rows[: input.row_limit] if input.row_limit > 0 else rows)


def _pieces(text: str, size: int) -> Iterator[str]:
    if size <= 0 or not text:
        yield text
        return
    for start in range(0, len(text), size):
        yield text[start : start + size]
