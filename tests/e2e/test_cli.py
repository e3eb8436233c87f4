"""The command line against a running stack."""

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Stack, wait_for

REPEAT = """
name: Repeat
nodes:
  x: {block: AgentInput, input: {name: X}}
  timer: {block: CountdownTimer, input: {repeat: 6}}
  r: {block: AgentOutput, input: {name: R}}
links:
  - x.result -> timer.input_message
  - timer.output_message -> r.value
"""
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


def test_outputs_of_many_megabytes_are_printed_whole(stack: Stack, tmp_path: Path) -> None:
    file, text = tmp_path / "repeat.yaml", tmp_path / "text.txt"
    file.write_text(REPEAT)
    text.write_text("z" * 1_000_000)
    printed = stack.treadle("run", str(file), "-i", f"X=@{text}")
    assert printed.splitlines() == [f"R: {'z' * 1_000_000}"] * 6


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


def test_a_terminated_execution_is_exit_code_1(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "waits.yaml"
    file.write_text("name: Waits for its end\nnodes: {wait: {block: CountdownTimer, input: {seconds: 60}}}")
    graph_id = stack.json("graphs", "import", str(file))["graph"]["id"]
    run = stack.start("run", graph_id, "--json")
    running: list[str] = []

    def has_started() -> bool:
        executions = stack.json("executions", "list", "--graph", graph_id)["executions"]
        running[:] = [item["id"] for item in executions if item["status"] == "EXECUTION_STATUS_RUNNING"]
        return bool(running)

    wait_for(has_started, "the execution runs")
    stack.treadle("executions", "cancel", running[0])
    printed, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert json.loads(printed)["status"] == "EXECUTION_STATUS_TERMINATED"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["up"], 0),
        (["up", "--workers", "7"], 3),
        (["up", "--workers", "1000"], 2),
        (["up", "--edge-port", "70000"], 2),
        (["status"], 0),
        (["logs", "-n", "1"], 0),
        (["logs", "nobody"], 2),
        (["logs", "--follow"], 2),
        (["doctor"], 0),
        (["token"], 0),
        (["token", "--user", "nobody@treadle.example"], 2),
        (["run", "SUM"], 0),
        (["run", "SUM", "--no-wait"], 0),
        (["run", "SUM", "-i", "A"], 2),
        (["run", "SUM", "--inputs", "no-such-file.json"], 2),
        (["run", "no-such-file.yaml"], 2),
        (["run", "no-such-graph"], 2),
        (["run"], 2),
        (["graphs", "import", "SUM"], 0),
        (["graphs", "import", "no-such-file.json"], 2),
        (["graphs", "list"], 0),
        (["graphs", "export", "no-such-graph"], 2),
        (["graphs", "validate", "SUM"], 0),
        (["executions", "list"], 0),
        (["executions", "get", "no-such-execution"], 2),
        (["executions", "watch", "no-such-execution"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_json_is_one_document_alone_on_stdout(stack: Stack, sum_file: str, words: list[str], code: int) -> None:
    result = stack.run(*(sum_file if word == "SUM" else word for word in words), "--json")
    assert result.returncode == code, result.stderr
    document = json.loads(result.stdout)
    if code:
        assert document["error"]["exit_code"] == code
        assert document["error"]["message"] in result.stderr or "Usage" in result.stderr


def test_an_input_that_the_graph_does_not_have_is_warned_of(stack: Stack, sum_file: str) -> None:
    for extra in ([], ["--json"]):
        result = stack.run("run", sum_file, "-i", "nope=1", "-i", "A=2", *extra)
        assert result.returncode == 0, result.stderr
        assert "Warning: the graph has no input 'nope'; it has 'A'" in result.stderr
        assert "no input 'A'" not in result.stderr


@pytest.mark.parametrize("words", [["status"], ["token"], ["run", "x"], ["graphs", "list"], ["executions", "list"]], ids=" ".join)
def test_without_a_stack_every_command_says_so_and_ends_with_3(tmp_path: Path, words: list[str]) -> None:
    nowhere = Stack(tmp_path / "nowhere")
    result = nowhere.run(*words, "--json")
    assert result.returncode == 3
    assert "No stack is running" in result.stderr
    assert "treadle up" in result.stderr
    json.loads(result.stdout)
    assert not nowhere.home.exists()


def test_status_shows_where_to_go(stack: Stack) -> None:
    status = stack.status
    shown = stack.treadle("status")
    assert status["edge_url"] in shown
    assert status["home"] in shown
    gateway = next(process["address"] for process in status["processes"] if process["kind"] == "gateway")
    assert gateway in shown
    assert httpx.get(f"http://{gateway}/healthz").status_code == 200


def test_a_narrow_terminal_cuts_names_and_no_numbers(stack: Stack, sum_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    notes = stack.run("run", sum_file).stderr
    rows = [line.split() for line in notes.splitlines() if "…" in line]
    assert rows
    assert all(row[-1].isdigit() and row[-2].isdigit() for row in rows)
    assert max(map(len, notes.splitlines()[:4])) <= 44


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
