"""Selectors, merging and conversion against recorded results."""

import json
from pathlib import Path
from typing import Any, Optional

import pytest

from services.block.sdk.coercion import coercer, convert
from services.block.sdk.pins import NOTHING, Attributes, base_name, merge_inputs, select_output

RECORDED: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parents[2] / "data" / "semantics" / "functions.json").read_text())
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "list[str]": list[str],
    "list[int]": list[int],
    "list[list]": list[list[Any]],
    "dict[str,int]": dict[str, int],
    "Optional[int]": Optional[int],  # noqa: UP045 - both spellings must work
    "int|str": int | str,
    "str|list": str | list[Any],
    "Any": Any,
}


def cases(name: str) -> list[Any]:
    return [pytest.param(case, id=f"{number}") for number, case in enumerate(RECORDED[name])]


def shown(value: Any) -> Any:
    """As the records write it: attribute bags are marked, keys are text."""
    if isinstance(value, dict):
        plain = {str(key): shown(item) for key, item in value.items()}
        return {"$object": plain} if isinstance(value, Attributes) else plain
    return [shown(item) for item in value] if isinstance(value, list) else value


def same(left: Any, right: Any) -> bool:
    """Equal, with true and 1 told apart."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


@pytest.mark.parametrize("case", cases("convert"))
def test_an_element_is_converted_to_its_type(case: dict[str, Any]) -> None:
    assert same(shown(convert(case["value"], TYPES[case["type"]])), case["result"])


@pytest.mark.parametrize("case", cases("coerce_inputs_to_schema"))
def test_a_pin_converts_only_what_does_not_fit(case: dict[str, Any]) -> None:
    found = coercer(TYPES[case["type"]])
    assert same(shown(found(case["value"]) if found else case["value"]), case["result"])


@pytest.mark.parametrize("case", cases("merge_execution_input"))
def test_dynamic_pins_are_merged_in_order(case: dict[str, Any]) -> None:
    before = json.dumps(case["input"])
    if "error" in case:
        with pytest.raises(ValueError, match=case["error"]["message"]):
            merge_inputs(case["input"])
    else:
        assert same(shown(merge_inputs(case["input"])), case["result"])
    assert json.dumps(case["input"]) == before, "the input itself was changed"


@pytest.mark.parametrize("case", cases("parse_execution_output"))
def test_a_link_carries_what_its_selector_finds(case: dict[str, Any]) -> None:
    pin, value = case["output"]
    found = select_output(pin, value, case["source_name"], case.get("sink_node", ""), case.get("sink_pin", ""))
    assert same(None if found is NOTHING else found, case.get("result"))


def test_a_selector_that_finds_null_carries_nothing_but_an_exact_name_does() -> None:
    assert select_output("out", {"a": None}, "out_#_a") is NOTHING
    assert select_output("out", None, "out") is None


def test_unions_that_are_equal_as_types_convert_in_their_own_order() -> None:
    assert convert([1], int | str) == 1
    assert convert([1], str | int) == "[1]"


def test_integers_beyond_floats_stay_exact() -> None:
    assert convert("9007199254740993", int) == 9007199254740993


def test_an_index_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(IndexError):
        merge_inputs({"l_$_999999999": 1})


@pytest.mark.parametrize(("name", "base"), [("a", "a"), ("a_$_0", "a"), ("a_#_k_$_1", "a"), ("tools_^_n_~_p", "tools"), ("a_b", "a_b")])
def test_base_name(name: str, base: str) -> None:
    assert base_name(name) == base
