"""The command line against a running stack."""

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

SUM = """
name: Sum
nodes:
  a: {block: AgentNumberInput, input: {name: A, value: 1}}
  b: {block: AgentNumberInput, input: {name: B, value: 2}}
  sum: {block: Calculator, input: {operation: Add}}
  out: {block: AgentOutput, input: {name: Sum}}
links: [a.result -> sum.a, b.result -> sum.b, sum.result -> out.value]
"""


@pytest.fixture(scope="module")
def sum_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("graphs") / "sum.yaml"
    file.write_text(SUM)
    return str(file)


def test_run_prints_the_outputs(stack: Stack, sum_file: str) -> None:
    assert stack.treadle("run", sum_file, "-i", "A=3", "-i", "B=4").strip() in {"Sum: 7", "Sum: 7.0"}
    execution = stack.json("run", sum_file, "-i", "A=5")
    assert execution["status"] == "EXECUTION_STATUS_COMPLETED"
    assert execution["outcome"] == "EXECUTION_OUTCOME_SUCCEEDED"
    assert execution["outputs"]["Sum"] == [7]
    assert execution["stats"]["node_error_count"] == 0


def test_a_failed_node_is_exit_code_1(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "fails.yaml"
    file.write_text("nodes: {get: {block: GetListItem, input: {list: [1], index: 5}}}")
    execution = stack.json("run", str(file), code=1)
    assert execution["stats"]["node_error_count"] == 1


def test_bad_input_is_exit_code_2(stack: Stack, tmp_path: Path) -> None:
    stack.treadle("run", "no-such-file.yaml", code=2)
    stack.treadle("run", "00000000-0000-7000-8000-000000000000", code=2)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    stack.treadle("run", str(broken), code=2)
    stack.treadle("no-such-command", code=2)
    stack.treadle("up", "--profile", "mesh", code=2)
    stack.treadle("up", "--llm", code=2)


def test_no_stack_is_exit_code_3(tmp_path: Path) -> None:
    nowhere = Stack(tmp_path / "nowhere")
    nowhere.treadle("run", "00000000-0000-7000-8000-000000000000", code=3)
    nowhere.treadle("status", code=3)
    nowhere.treadle("down")
    assert not (tmp_path / "nowhere").exists()


def test_graphs_go_in_and_out(stack: Stack, sum_file: str, tmp_path: Path) -> None:
    imported = stack.json("graphs", "import", sum_file)
    assert imported["report"]["unknown_blocks"] == []
    graph_id = imported["graph"]["id"]
    exported = tmp_path / "exported.json"
    exported.write_text(stack.treadle("graphs", "export", graph_id))
    assert stack.treadle("run", str(exported)).strip() in {"Sum: 3", "Sum: 3.0"}
    assert graph_id in stack.treadle("graphs", "list")
    assert stack.json("graphs", "validate", sum_file)["problems"] == []
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("nodes: {sum: {block: Calculator}}")
    problems = stack.json("graphs", "validate", str(wrong), code=2)["problems"]
    assert {problem["node_id"] for problem in problems} == {"sum"}


def test_executions_can_be_looked_at(stack: Stack, sum_file: str) -> None:
    execution_id = stack.treadle("run", sum_file, "--no-wait").strip()
    watched = [json.loads(line) for line in stack.treadle("executions", "watch", execution_id).splitlines()]
    listed = stack.json("executions", "events", execution_id)["events"]
    assert [event["seq"] for event in watched] == list(range(1, len(watched) + 1))
    assert watched == listed
    assert stack.json("executions", "get", execution_id)["status"] == "EXECUTION_STATUS_COMPLETED"
    assert execution_id in stack.treadle("executions", "list")
    assert stack.json("executions", "cancel", execution_id)["status"] == "EXECUTION_STATUS_COMPLETED"


def test_status_has_the_promised_shape(stack: Stack) -> None:
    status = stack.status
    assert set(status) >= {"edge_url", "grpc_target", "home", "profile", "processes"}
    assert status["profile"] == "solo"
    assert [set(p) for p in status["processes"]] == [{"name", "kind", "pid", "healthy", "restarts", "address"}] * len(status["processes"])
    kinds = sorted(process["kind"] for process in status["processes"])
    assert kinds == ["cache", "edge", "gateway", "nats", "postgres", "service", "worker", "worker"]


def test_secrets_are_for_the_owner_only(stack: Stack) -> None:
    for path in [stack.home / "credentials.json", stack.home / "token.json", *(stack.home / "secrets").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    before = stack.status["processes"]
    stack.treadle("up")
    assert stack.status["processes"] == before
    stack.treadle("up", "--edge-port", "1", code=3)


def test_bench_prints_its_figures(stack: Stack) -> None:
    figures = stack.json("bench", "chain", "--nodes", "5", "--runs", "5", "--in-flight", "2")
    assert set(figures) >= {"workload", "runs", "failed", "wall_s", "runs_per_s", "node_steps_per_s", "cpu_s_per_1000_steps", "rss_mb"}
    assert set(figures["latency_ms"]) == {"p50", "p95", "p99"}
    assert figures["failed"] == 0
