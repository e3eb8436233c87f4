"""The shipped agents are sound, and do what they say. The engine runs here without journal and workers."""

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.document import BlockIds, read_document
from services.block.sdk import BlockRegistry
from services.execution.engine.outcome import Outcome, conclude
from services.execution.engine.plan import Plan
from services.graph.importing import import_document
from services.graph.validation import validate
from tests.e2e.orders_expected import ORDERS, expected_report
from tests.unit.execution.simulator import Simulation
from tests.unit.graph.installed import installed

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.yaml"))


def document(name: str) -> dict[str, Any]:
    ids = BlockIds(lambda: {block.name: block.id for block in installed()})
    found: dict[str, Any] = json.loads(read_document(EXAMPLES / name, ids))
    return found


def outputs(name: str, **inputs: Any) -> dict[str, list[Any]]:
    end = conclude(Simulation(Plan.compile(document(name), BlockRegistry.installed()), inputs).run().state)
    assert end.outcome is Outcome.SUCCEEDED
    return dict(end.outputs)


def test_there_are_a_demo_and_four_small_ones() -> None:
    assert FILES == ["addresses.yaml", "greeting.yaml", "orders-report.yaml", "savings-plan.yaml", "signing-keys.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_an_example_can_be_imported_and_run(name: str) -> None:
    graph, report = import_document(document(name), installed())
    assert validate(graph, installed(), for_run=True) == []
    assert not report.unknown_blocks
    assert graph.description


@pytest.mark.parametrize("smallest", [250, 0])
def test_the_demo_reports_what_plain_python_computes(smallest: int) -> None:
    contents = ORDERS.read_text()
    assert outputs("orders-report.yaml", orders=contents, smallest=smallest) == {"report": [expected_report(contents, smallest)]}


def test_the_demo_minds_no_blank_lines_at_the_end_of_the_file() -> None:
    contents = "".join(ORDERS.read_text().splitlines(keepends=True)[:200])
    for changed in (contents.rstrip("\n"), f"{contents}\n \n", contents.replace("\n", "\r\n")):
        assert outputs("orders-report.yaml", orders=changed) == {"report": [expected_report(contents)]}


def test_the_demo_reports_nothing_when_nothing_is_large_enough() -> None:
    contents = "".join(ORDERS.read_text().splitlines(keepends=True)[:20])
    assert outputs("orders-report.yaml", orders=contents, smallest=10**9) == {"report": [expected_report(contents, 10**9)]}


def test_the_data_is_what_its_script_makes() -> None:
    names: dict[str, Any] = {"__name__": "make_orders"}
    exec((EXAMPLES / "data" / "make_orders.py").read_text(), names)  # noqa: S102 - our own script, which is no module
    lines = ORDERS.read_text().splitlines()
    assert lines[0] == ",".join(names["HEADER"])
    assert len(lines) == names["ORDERS"] + 1
    assert {line.split(",")[0] for line in lines[1:]} == {order[0] for order in names["orders"]()}


def test_greeting() -> None:
    assert outputs("greeting.yaml", Name="Ada") == {"Greeting": ["Hello, Ada!"]}
    assert outputs("greeting.yaml") == {"Greeting": ["Hello, World!"]}


def test_savings_plan() -> None:
    balances = [1000 * 1.05]
    while balances[-1] < 2000:
        balances.append(balances[-1] * 1.05)
    lines = [f"{year}. {balance:,.2f}" for year, balance in enumerate(balances, start=1)]
    assert outputs("savings-plan.yaml")["plan"][0].splitlines() == [f"After {len(balances)} years:", *lines]


def test_addresses() -> None:
    assert outputs("addresses.yaml") == {"addresses": ["ann@example.com\nbob@example.org"], "mentions": [3]}
