"""Dictionaries."""

from typing import Any

from services.block.sdk import Block, BlockContext, BlockError, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin
from services.block.sdk.jsonread import read_json

# What a plain number answers to by name, as it would in Python.
_NUMBER_PARTS = frozenset({"real", "imag", "numerator", "denominator"})


class CreateDictionaryBlock(Block):
    """Makes a dictionary of values that arrive one per key."""

    id = "b924ddf4-de4f-4b56-9a85-358930dcbc91"
    categories = (Category.DATA,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The entries."""

        values: dict[str, Any] = pin(description="Entries by key; link to `values_#_key` for one of them")

    class Output(BlockOutput):
        """The dictionary."""

        dictionary: dict[str, Any] = pin(description="The dictionary")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "dictionary", input.values

    vectors = (Vector(input={"values_#_a": 1, "values": {"b": 2}}, outputs=[("dictionary", {"a": 1, "b": 2})], is_exact=False),)


class AddToDictionaryBlock(Block):
    """Adds one entry, several, or both to a dictionary."""

    id = "31d1064e-7446-4693-a7d4-65e5ca1180d1"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The dictionary and what to add."""

        dictionary: dict[Any, Any] = pin(default_factory=dict, description="The dictionary; a new one when not set", advanced=False)
        key: str = pin("", description="Key of the new entry", placeholder="new_key", advanced=False)
        value: Any = pin(None, description="Value of the new entry", placeholder="new_value", advanced=False)
        entries: dict[Any, Any] = pin(default_factory=dict, description="More entries; they win over the single one")

    class Output(BlockOutput):
        """The larger dictionary."""

        updated_dictionary: dict[str, Any] = pin(description="The dictionary with the new entries")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """An empty key or a null value adds no single entry."""
        updated = dict(input.dictionary)
        if input.key and input.value is not None:
            updated[input.key] = input.value
        updated.update(input.entries)
        yield "updated_dictionary", updated

    vectors = (
        Vector(
            input={"dictionary": {"a": 1}, "key": "b", "value": 0, "entries": {"c": 6}},
            outputs=[("updated_dictionary", {"a": 1, "b": 0, "c": 6})],
        ),
    )


class FindInDictionaryBlock(Block):
    """Looks a key up in a dictionary, an index in a list, or a key in every dictionary of a list."""

    id = "0e50422c-6dee-4145-83d6-3a5a392f65de"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """Where to look and what for."""

        input: Any = pin(description="A dictionary or list, or JSON text of one")
        key: str | int = pin(description="Key or index")

    class Output(BlockOutput):
        """What was found, or what was searched."""

        output: Any = pin(description="The value that was found")
        missing: Any = pin(description="The input, when nothing was found")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when text input is not JSON."""
        holder = read_json(input.input) if isinstance(input.input, str) else input.input
        is_found, value = _found(holder, input.key)
        if is_found:
            yield "output", value
        else:
            yield "missing", input.input

    vectors = (
        Vector(input={"input": '{"a": {"b": 2}}', "key": "a"}, outputs=[("output", {"b": 2})]),
        Vector(input={"input": [{"k": 1}, {"z": 2}], "key": "k"}, outputs=[("output", [1])]),
        Vector(input={"input": {}, "key": "a"}, outputs=[("missing", {})]),
    )


def _found(holder: Any, key: str | int) -> tuple[bool, Any]:
    if isinstance(holder, dict):
        return key in holder, holder.get(key)
    if isinstance(holder, list):
        if isinstance(key, int):
            return (True, holder[key]) if 0 <= key < len(holder) else (False, None)
        return True, [item[key] for item in holder if isinstance(item, dict) and key in item]
    if isinstance(holder, int | float) and key in _NUMBER_PARTS and hasattr(holder, str(key)):
        return True, getattr(holder, str(key))
    return False, None


class RemoveFromDictionaryBlock(Block):
    """Removes an entry from a dictionary."""

    id = "46afe2ea-c613-43f8-95ff-6692c3ef6876"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The dictionary and the key."""

        dictionary: dict[Any, Any] = pin(description="The dictionary")
        key: str | int = pin(description="Key of the entry to remove")
        return_value: bool = pin(False, description="Also give the removed value")

    class Output(BlockOutput):
        """What is left."""

        updated_dictionary: dict[str, Any] = pin(description="The dictionary without the entry")
        removed_value: Any = pin(description="The removed value, when asked for")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when there is no such key."""
        updated = dict(input.dictionary)
        if input.key not in updated:
            raise _no_key(input.key)
        removed = updated.pop(input.key)
        yield "updated_dictionary", updated
        if input.return_value:
            yield "removed_value", removed

    vectors = (
        Vector(
            input={"dictionary": {"a": 1, "b": 2}, "key": "a", "return_value": True},
            outputs=[("updated_dictionary", {"b": 2}), ("removed_value", 1)],
        ),
        Vector(input={"dictionary": {}, "key": "z"}, error="Key 'z' not found"),
    )


class ReplaceDictionaryValueBlock(Block):
    """Replaces the value of an entry of a dictionary."""

    id = "27e31876-18b6-44f3-ab97-f6226d8b3889"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The dictionary, the key and the new value."""

        dictionary: dict[Any, Any] = pin(description="The dictionary")
        key: str | int = pin(description="Key of the entry to replace")
        value: Any = pin(description="The new value")

    class Output(BlockOutput):
        """The changed dictionary."""

        updated_dictionary: dict[str, Any] = pin(description="The dictionary with the new value")
        old_value: Any = pin(description="The value it had before")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Fails when there is no such key."""
        if input.key not in input.dictionary:
            raise _no_key(input.key)
        yield "updated_dictionary", {**input.dictionary, input.key: input.value}
        yield "old_value", input.dictionary[input.key]

    vectors = (
        Vector(
            input={"dictionary": {"a": 1}, "key": "a", "value": 2},
            outputs=[("updated_dictionary", {"a": 2}), ("old_value", 1)],
        ),
    )


class DictionaryIsEmptyBlock(Block):
    """Tells whether a dictionary has no entries."""

    id = "a3cf3f64-6bb9-4cc6-9900-608a0b3359b0"
    categories = (Category.BASIC,)
    effect = Effect.PURE

    class Input(BlockInput):
        """The dictionary."""

        dictionary: dict[Any, Any] = pin(description="The dictionary")

    class Output(BlockOutput):
        """The answer."""

        is_empty: bool = pin(description="Whether it has no entries")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Never fails."""
        yield "is_empty", not input.dictionary

    vectors = (Vector(input={"dictionary": {"a": None}}, outputs=[("is_empty", False)]),)


def _no_key(key: str | int) -> BlockError:
    return BlockError(f"Key {key!r} not found in dictionary.")
