"""Followers of a run go on after the last event when a stream ends before the run does."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from treadle.execution.v1 import execution_service_pb2 as pb
from treadle.execution.v1.execution_service_pb2_grpc import ExecutionServiceServicer, add_ExecutionServiceServicer_to_server

from mesh.cli import patience
from mesh.cli.output import CliError
from mesh.cli.rest import Rest
from mesh.cli.watching import follow
from mesh.errors import NotFoundError, TreadleError, UnavailableError
from mesh.identity.access_token import token_expired
from mesh.status import DETAILS, to_json, to_status

LAST = 6
# What ends a stream after two events each.
ENDS: list[TreadleError] = [token_expired(), UnavailableError("Stopping.", reason="STOPPING")]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    monkeypatch.setattr(patience, "LEAST_LIFE_S", 0.0)


class Signed:
    """Counts the tokens it is asked for."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.tokens = 0

    def token(self) -> str:
        self.tokens += 1
        return f"t{self.tokens}"


def ends_of(error: TreadleError) -> Iterator[TreadleError | None]:
    yield error
    yield error
    yield None


@pytest.fixture(params=ENDS, ids=lambda error: error.reason)
def ends(request: pytest.FixtureRequest) -> Iterator[TreadleError | None]:
    return ends_of(request.param)


def test_over_grpc(ends: Iterator[TreadleError | None]) -> None:
    class Executions(ExecutionServiceServicer):
        def WatchExecution(self, request: pb.WatchExecutionRequest, context: Any) -> Iterator[pb.WatchExecutionResponse]:  # noqa: N802
            for seq in (request.after_seq + 1, request.after_seq + 2):
                kind = pb.EVENT_KIND_EXECUTION_COMPLETED if seq == LAST else pb.EVENT_KIND_NODE_OUTPUT
                yield pb.WatchExecutionResponse(event=pb.Event(seq=seq, kind=kind))
            error = next(ends)
            if error is not None:
                context.set_trailing_metadata(((DETAILS, to_status(error).SerializeToString()),))
                context.abort(next(code for code in grpc.StatusCode if code.value[0] == error.code), error.message)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_ExecutionServiceServicer_to_server(Executions(), server)  # type: ignore[abstract]  # what is missing is not called
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            session: Any = SimpleNamespace(channel=channel, metadata=(("authorization", "Bearer t"),))
            assert [event.seq for event in follow(session, "e")] == list(range(1, LAST + 1))
    finally:
        server.stop(None).wait()


@pytest.fixture
def stream() -> Iterator[Any]:
    """Serves `:watch` with what `stream.ends` says, and remembers the headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.authorizations.append(self.headers["authorization"])
            after_seq = int(parse_qs(urlsplit(self.path).query).get("after_seq", ["0"])[0])
            error = next(state.ends)
            self.send_response(200)
            self.end_headers()
            for seq in (after_seq + 1, after_seq + 2):
                self.wfile.write(json.dumps({"seq": seq, "error": ""}).encode() + b"\n")
            if error is not None:
                self.wfile.write(b'{"error":' + to_json(error) + b"}\n")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = SimpleNamespace(session=Signed(f"127.0.0.1:{server.server_port}"), ends=iter(()), authorizations=[])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_over_rest(stream: Any, ends: Iterator[TreadleError | None]) -> None:
    stream.ends = ends
    assert [json.loads(line)["seq"] for line in Rest(stream.session).events("e", 0)] == list(range(1, LAST + 1))
    assert stream.authorizations == ["Bearer t1", "Bearer t2", "Bearer t3"]


def test_an_error_of_another_kind_ends_it(stream: Any) -> None:
    stream.ends = iter([NotFoundError("Gone.", reason="EXECUTION_NOT_FOUND")])
    lines = Rest(stream.session).events("e", 0)
    assert [json.loads(next(lines))["seq"] for _ in range(2)] == [1, 2]
    with pytest.raises(CliError, match="Gone"):
        next(lines)


def test_a_token_that_is_refused_at_once_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LEAST_LIFE_S", 60.0)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.05)
    patient = patience.Patience()
    patient.opens()
    assert patient.tries_again(reason=patience.TOKEN_EXPIRED, is_passing=False)
    time.sleep(0.06)
    assert not patient.tries_again(reason=patience.TOKEN_EXPIRED, is_passing=False)
