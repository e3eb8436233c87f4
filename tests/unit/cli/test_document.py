"""Graph files for people become graph documents."""

import json
from pathlib import Path

import pytest

from mesh.cli.document import BlockIds, read_document
from mesh.cli.inputs import read_inputs
from mesh.cli.output import CliError, Exit

BLOCKS = {"ReadSpreadsheetBlock": "id-read", "AgentOutputBlock": "id-out"}


def document(tmp_path: Path, text: str) -> dict[str, object]:
    file = tmp_path / "sales.yaml"
    file.write_text(text)
    parsed = json.loads(read_document(file, BlockIds(lambda: BLOCKS)))
    assert isinstance(parsed, dict)
    return parsed


def test_nodes_and_links_by_name(tmp_path: Path) -> None:
    graph = document(
        tmp_path,
        """
nodes:
  rows: {block: ReadSpreadsheetBlock, input: {has_header: true}}
  out: {block: AgentOutput, input: {name: Rows}}
links:
  - rows.rows -> out.value
  - "rows.row_#_a.b -> out.value"
""",
    )
    assert graph["name"] == "sales"
    nodes = graph["nodes"]
    assert isinstance(nodes, list)
    assert [(n["id"], n["block_id"], n["input_default"]) for n in nodes] == [
        ("rows", "id-read", {"has_header": True}),
        ("out", "id-out", {"name": "Rows"}),
    ]
    assert graph["links"] == [
        {"source_id": "rows", "source_name": "rows", "sink_id": "out", "sink_name": "value"},
        {"source_id": "rows", "source_name": "row_#_a.b", "sink_id": "out", "sink_name": "value"},
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nodes: {a: {block: NoSuch}}", "NoSuch"),
        ("nodes: {a: {block: AgentOutput, inputs: {}}}", "inputs"),
        ("nodes: {a: {block: AgentOutput}}\nlinks: [a.x -> b.y]", "'b'"),
        ("nodes: {a: {block: AgentOutput}}\nlinks: [a to a]", "a to a"),
        ("nodes: {a: {block: AgentOutput, input: {day: !!binary aGk=}}}", "JSON has no word"),
        ("nodes: [", "not YAML"),
        ("3", "mapping"),
        ("nodes: {}", "nodes"),
        ("nodes: {a: {block: AgentOutput}}\nlink: []", "link"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(CliError, match=names) as caught:
        document(tmp_path, text)
    assert caught.value.code == Exit.BAD_INPUT


def test_dates_and_words_stay_text(tmp_path: Path) -> None:
    graph = document(tmp_path, "nodes: {a: {block: AgentOutput, input: {day: 2024-01-02, on: no, really: true}}}")
    assert graph["nodes"][0]["input_default"] == {"day": "2024-01-02", "on": "no", "really": True}  # type: ignore[index]


def test_json_passes_untouched(tmp_path: Path) -> None:
    text = '{ "name": "x",\n "nodes": [{"input_default": {"b": 9007199254740993, "a": 1.0}}] }'
    file = tmp_path / "graph.json"
    file.write_text(text)
    assert read_document(file, BlockIds(dict)) == text


def test_inputs_are_json_when_they_parse(tmp_path: Path) -> None:
    (tmp_path / "text.csv").write_text("a,b\n")
    (tmp_path / "value.json").write_text('{"z": 1, "a": 9007199254740993}')
    pairs = ["A=3", "B=three", 'C="4"', "D=", "E=a=b", f"F=@{tmp_path}/text.csv", f"G=@{tmp_path}/value.json", "H=9007199254740993"]
    assert read_inputs(pairs, None) == {
        "A": "3",
        "B": '"three"',
        "C": '"4"',
        "D": '""',
        "E": '"a=b"',
        "F": '"a,b\\n"',
        "G": '{"z": 1, "a": 9007199254740993}',
        "H": "9007199254740993",
    }


def test_pairs_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"A": 1, "B": [2]}')
    assert read_inputs(["A=5"], file) == {"A": "5", "B": "[2]"}


@pytest.mark.parametrize("pair", ["A", "=3", "A=@/no/such/file"])
def test_bad_pairs_are_bad_input(pair: str) -> None:
    with pytest.raises(CliError) as caught:
        read_inputs([pair], None)
    assert caught.value.code == Exit.BAD_INPUT
