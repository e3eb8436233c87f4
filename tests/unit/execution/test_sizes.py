"""What an execution shows fits into one message, and nothing of it is lost."""

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.execution.sizes import MAX_SHOWN_BYTES, PART_BYTES, Shown, content, shown

MIB = 1024 * 1024


def text_of(sizes: dict[str, int]) -> str:
    return json.dumps({name: "x" * size for name, size in sizes.items()}, separators=(",", ":"))


def lists_of(sizes: dict[str, list[int]]) -> str:
    return json.dumps({name: ["y" * size for size in items] for name, items in sizes.items()}, separators=(",", ":"))


def shown_bytes(found: Shown) -> int:
    return sum(len(text.encode()) for part in (found.inputs, found.outputs) for text in part.values())


def restored(found: Shown) -> tuple[dict[str, object], dict[str, object]]:
    """Inputs and outputs, put together again."""
    inputs = {name: json.loads(text) for name, text in found.inputs.items()}
    inputs |= {name: json.loads(piece.content) for name, piece in found.input_refs.items()}
    outputs = {name: json.loads(text) for name, text in found.outputs.items()}
    outputs |= {name: [value for piece in pieces for value in json.loads(piece.content)] for name, pieces in found.output_refs.items()}
    return inputs, outputs


def test_what_is_small_is_shown_as_it_is() -> None:
    found = shown('{"z":1,"a":[1.0,null]}', '{"R":["ü"],"E":[]}', "{}")
    assert (found.inputs, found.outputs) == ({"z": "1", "a": "[1.0,null]"}, {"R": '["ü"]', "E": "[]"})
    assert (found.input_names, found.output_names) == (("z", "a"), ("R", "E"))
    assert not found.input_refs
    assert not found.output_refs


def test_large_inputs_go_first_then_large_outputs_and_no_more_than_must() -> None:
    found = shown(text_of({"a": 2 * MIB, "b": 100}), lists_of({"r": [3 * MIB], "s": [1000]}), "{}")
    assert (set(found.input_refs), set(found.output_refs)) == ({"a"}, set())
    assert (set(found.inputs), set(found.outputs)) == ({"b"}, {"r", "s"})
    assert found.input_names == ("a", "b")
    found = shown(text_of({"a": MIB, "b": 100}), lists_of({"r": [3 * MIB], "t": [MIB], "s": [1000]}), "{}")
    assert (set(found.input_refs), set(found.output_refs)) == ({"a"}, {"r"})


SIZES = st.sampled_from([0, 10, 70_000, MIB, 3 * MIB])
NAMES = st.text("abü", min_size=1, max_size=3)


@settings(max_examples=20, deadline=None, database=None)
@given(st.dictionaries(NAMES, SIZES, max_size=4), st.dictionaries(NAMES, st.lists(SIZES, max_size=5), max_size=4))
@example({}, {"R": [MIB] * 8})
@example({"x": 3 * MIB}, {"y": [3 * MIB]})
@example({}, {"R": [10] * 400_000})
def test_it_fits_and_nothing_is_lost(given_sizes: dict[str, int], made: dict[str, list[int]]) -> None:
    inputs, outputs = text_of(given_sizes), lists_of(made)
    found = shown(inputs, outputs, "{}")
    assert shown_bytes(found) <= MAX_SHOWN_BYTES
    assert restored(found) == (json.loads(inputs), json.loads(outputs))
    assert (list(found.input_names), list(found.output_names)) == (list(given_sizes), list(made))
    pieces = [*found.input_refs.values(), *(piece for part in found.output_refs.values() for piece in part)]
    for piece in pieces:
        assert content(inputs, outputs, piece.sha256) == piece.content.decode()
    for name, parts in found.output_refs.items():
        largest = max(made[name], default=0)
        assert all(len(piece.content) <= max(PART_BYTES, largest) + 10 for piece in parts)


def test_no_other_hash_is_known() -> None:
    assert content('{"a":1}', '{"R":[1]}', "0" * 64) is None
