"""XML, in the plain form that agents exchange: elements and text, no attributes, entities left as they are."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import regex  # type: ignore[import-untyped,unused-ignore]

from services.block.library.support.offload import TooSlowError, bounded
from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Effect, Vector, pin

_TOKEN = regex.compile(r"<!--.*?-->|<\?.*?\?>|<(/?)([^<>]*?)(/?)>", regex.DOTALL)
MAX_DEPTH = 200


class XMLParserBlock(Block):
    """Reads XML text as a dictionary: elements by name, text as text, repeated elements as a list."""

    id = "286380af-9529-4b55-8be0-1d7c854abdb5"
    effect = Effect.PURE

    class Input(BlockInput):
        """The XML text."""

        input_xml: str = pin(description="The XML text")

    class Output(BlockOutput):
        """The dictionary."""

        parsed_xml: dict[str, Any] = pin(description="The dictionary")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails for text that is not one well-formed element, and for attributes: a closing tag must repeat the whole opening one."""
        yield "parsed_xml", await bounded(partial(_parsed, input.input_xml), "The XML")

    vectors = (
        Vector(input={"input_xml": "<a><b>1</b><c>2</c></a>"}, outputs=[("parsed_xml", {"a": {"b": "1", "c": "2"}})]),
        Vector(input={"input_xml": "<a></b>"}, error="Mismatched tags"),
    )


def _parsed(xml: str, limit_s: float) -> dict[str, Any]:
    if not xml.strip():
        raise BlockError("XML input is empty.")
    # The outermost level stands for the document.
    levels: list[tuple[str, list[tuple[str, Any]], list[str]]] = [("", [], [])]
    end = 0
    for token in _tokens(xml, limit_s):
        _add_text(levels, xml[end : token.start()])
        end = token.end()
        if token[2] is None:
            continue
        name = "_".join(token[2].lower().split())
        if token[1]:
            _close(levels, name)
        elif token[3]:
            levels[-1][1].append((name, ""))
        else:
            if len(levels) > MAX_DEPTH:
                raise BlockError(f"Error in input xml syntax: more than {MAX_DEPTH} levels")
            levels.append((name, [], []))
    _add_text(levels, xml[end:])
    if len(levels) > 1:
        raise BlockError(f"Error in input xml syntax: Unclosed tag: {levels[-1][0]}")
    children = levels[0][1]
    if len(children) != 1:
        raise BlockError("XML contains several root elements; wrap content in a single root tag.")
    return dict(children)


def _tokens(xml: str, limit_s: float) -> Iterator["regex.Match[str]"]:
    try:
        # Comments that never end make the search quadratic.
        yield from _TOKEN.finditer(xml, timeout=limit_s, concurrent=True)
    except TimeoutError:
        raise TooSlowError from None


def _add_text(levels: list[tuple[str, list[tuple[str, Any]], list[str]]], text: str) -> None:
    if not text.strip():
        return
    if len(levels) == 1:
        raise BlockError("XML contains text outside the root element; wrap content in a single root tag.")
    levels[-1][2].append(text.strip())


def _close(levels: list[tuple[str, list[tuple[str, Any]], list[str]]], name: str) -> None:
    opened, children, texts = levels.pop()
    if not levels or opened != name:
        raise BlockError(f"Error in input xml syntax: Mismatched tags: {opened} and {name}")
    levels[-1][1].append((opened, _content(children, texts)))


def _content(children: list[tuple[str, Any]], texts: list[str]) -> Any:
    if not children:
        return " ".join(texts)
    if max(Counter(name for name, _ in children).values()) > 1:
        return [{name: value} for name, value in children]
    return dict(children)
