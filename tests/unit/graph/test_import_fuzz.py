"""Whatever a document holds, an import makes a graph that can be saved, shown and exported again, or says that it is none."""

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh import jsontext
from mesh.errors import InvalidArgumentError
from services.graph.exporting import export_document
from services.graph.importing import import_document
from services.graph.messages import graph_of, parts_message
from services.graph.model import parse_object
from services.graph.validation import unknown_block_ids, validate
from services.graph.versions import Head, prepared, read_document
from tests.unit.graph.installed import block_id, installed
from tests.unit.graph.making import exported_calculator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = Head("0190a000-0000-7000-8000-000000000000", 3, True, "t", "", "", "{}", "{}", NOW, NOW)

# What JSON can say; a lone surrogate is refused before anybody reads a document.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
# Words that mean something to the reader.
WORDS = st.sampled_from(
    [
        *("id", "name", "version", "nodes", "links", "sub_graphs", "subgraphs", "graph", "graph_data", "block_id", "input_default"),
        *("metadata", "source_id", "sink_id", "source_name", "sink_name", "is_static", "output_links", "input_links", "position"),
        *("graph_id", "graph_version", "input_schema", "retry", "credentials", "api_key", "provider"),
    ]
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | TEXT, inner, max_size=4), max_leaves=12)
DOCUMENTS = st.dictionaries(WORDS | TEXT, VALUES, max_size=6)
IDS = st.sampled_from(["in", "sum", "out", "", "a" * 200, "\0", "é", "858e2226-e047-4d19-a832-3be4a134d155"])
BLOCKS = st.sampled_from([block_id("CalculatorBlock"), block_id("AgentExecutorBlock"), "gone", ""])

MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def take(document: dict[str, Any]) -> None:
    """All that happens to a document that is saved, read and exported."""
    read = parse_object(jsontext.dumps(document))
    if read is None:
        return
    try:
        graph, _ = import_document(read, installed())
    except InvalidArgumentError:
        return
    problems = validate(graph, installed(), tolerated=unknown_block_ids(graph, installed()))
    if problems:
        assert all(problem.message for problem in problems)
        return
    made = prepared(graph, installed())
    kept = read_document(made.document)
    assert graph_of(parts_message(kept)).nodes == kept.nodes
    again, report = import_document(jsontext.loads(export_document(kept, HEAD, installed())), installed())
    assert [node.block_id for node in again.nodes] == [node.block_id for node in kept.nodes]
    assert len(again.links) == len(kept.links)
    assert report is not None


@MANY
@given(DOCUMENTS)
def test_any_document(document: dict[str, Any]) -> None:
    take(document)


@MANY
@given(st.data())
def test_an_export_in_which_anything_was_changed(data: st.DataObject) -> None:
    document = copy.deepcopy(exported_calculator())
    for _ in range(data.draw(st.integers(1, 4))):
        _change(document, data)
    take(document)


@MANY
@given(st.data())
def test_a_graph_inside_of_wrappers_and_of_itself(data: st.DataObject) -> None:
    document: dict[str, Any] = copy.deepcopy(exported_calculator())
    for _ in range(data.draw(st.integers(0, 2))):
        document["sub_graphs"] = [{**copy.deepcopy(exported_calculator()), "id": data.draw(IDS), "version": data.draw(PLAIN)}, document]
        document = {
            "name": "outer",
            "nodes": data.draw(st.lists(VALUES, max_size=1)),
            "links": [],
            "sub_graphs": document["sub_graphs"][:1],
        }
    for word in data.draw(st.lists(st.sampled_from(["graph", "graph_data"]), max_size=2)):
        document = {word: document, **data.draw(st.dictionaries(WORDS, PLAIN, max_size=2))}
    take(document)


def _change(document: Any, data: st.DataObject) -> None:
    """Changes something somewhere: a value, a name, a place in a list."""
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, (dict, list)) and inner and data.draw(st.booleans()):
            place = inner
            continue
        match data.draw(st.sampled_from(["value", "remove", "id", "block", "repeat"])):
            case "value":
                place[key] = data.draw(VALUES)
            case "remove":
                del place[key]
            case "id":
                place[key] = data.draw(IDS)
            case "block":
                place[key] = data.draw(BLOCKS)
            case "repeat" if isinstance(place, list):
                place.append(copy.deepcopy(inner))
            case _:
                place[key] = [inner, inner]
        return
