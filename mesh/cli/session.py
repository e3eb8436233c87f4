"""A signed-in client of a running stack, over gRPC through the edge."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_status import rpc_status
from treadle.auth.v1.auth_service_pb2 import LoginRequest
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.auth.v1.link_service_pb2 import CreateSignInLinkRequest
from treadle.auth.v1.link_service_pb2_grpc import LinkServiceStub

from mesh.cli.output import CliError, Exit
from mesh.local.account import OWNER_EMAIL, read_credentials
from mesh.local.keys import write_private
from mesh.local.state import live_state

CALL_TIMEOUT_S = 30.0
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024), ("grpc.enable_retries", 0)]
_TOKEN_MARGIN_S = 120
_BAD_INPUT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.OUT_OF_RANGE,
}

Metadata = tuple[tuple[str, str], ...]


class Session:
    """Finds the running stack of a home directory and calls it as the local owner. A context manager."""

    def __init__(self, home: Path) -> None:
        """Raises CliError (unreachable) when no stack runs there."""
        self.home = home.resolve()
        state = live_state(self.home)
        if state is None or not state.grpc_target:
            raise CliError(f"No stack is running in {self.home}. Start it with `treadle up`.", Exit.UNREACHABLE)
        self.target = state.grpc_target
        self.edge_url = state.edge_url
        self.channel = grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.channel.close()

    @property
    def metadata(self) -> Metadata:
        """Headers that sign a call in."""
        return (("authorization", f"Bearer {self.token()}"),)

    def token(self) -> str:
        """An access token that is good for the next minutes; kept in the home directory between commands."""
        path = self.home / "token.json"
        try:
            kept = json.loads(path.read_text())
            if kept["target"] == self.target and kept["until"] > time.time():
                return str(kept["token"])
        except (OSError, ValueError, KeyError):
            pass
        token, life_s = self._sign_in(OWNER_EMAIL)
        write_private(path, json.dumps({"target": self.target, "until": time.time() + life_s - _TOKEN_MARGIN_S, "token": token}))
        return token

    def fresh_token(self, email: str = "") -> str:
        """A new access token of a local account, the owner's by default."""
        return self._sign_in(email or OWNER_EMAIL)[0]

    def sign_in_link(self) -> str:
        """A link that signs the owner in elsewhere: once, within five minutes. Whoever has it is the owner."""
        return str(self.call(LinkServiceStub(self.channel).CreateSignInLink, CreateSignInLinkRequest()).link)

    def call(self, method: Callable[..., Any], request: Any) -> Any:
        """One signed-in call. Raises CliError with the service's own words when it fails."""
        with readable_errors():
            return method(request, metadata=self.metadata, timeout=CALL_TIMEOUT_S, wait_for_ready=False)

    def _sign_in(self, email: str) -> tuple[str, int]:
        credentials = read_credentials(self.home, email)
        if credentials is None:
            raise CliError(f"There are no credentials of {email} in {self.home / 'credentials.json'}.", Exit.BAD_INPUT)
        with readable_errors():
            request = LoginRequest(email=credentials.email, password=credentials.password)
            answer = AuthServiceStub(self.channel).Login(request, timeout=CALL_TIMEOUT_S)
        return answer.access_token, answer.expires_in


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turns a failed call into a CliError with the right exit code."""
    try:
        yield
    except grpc.RpcError as error:
        raise to_cli_error(error) from error


def to_cli_error(error: grpc.RpcError) -> CliError:
    """The message of the service, its field violations, and the exit code."""
    code = error.code()
    if code in _BAD_INPUT:
        return CliError("\n".join([error.details() or code.name, *violations(error)]), Exit.BAD_INPUT)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return CliError(f"The stack does not answer: {error.details()}", Exit.UNREACHABLE)
    return CliError(f"{code.name}: {error.details()}", Exit.FAILED)


def reason_of(error: grpc.RpcError) -> str:
    """The stable reason in the status of a failed call; empty when it has none."""
    from google.rpc.error_details_pb2 import ErrorInfo

    status = rpc_status.from_call(error)  # type: ignore[arg-type] # as below
    info = ErrorInfo()
    return next((str(info.reason) for detail in (status.details if status else ()) if detail.Unpack(info)), "")


def violations(error: grpc.RpcError) -> list[str]:
    """One line per field violation of the status."""
    from google.rpc.error_details_pb2 import BadRequest

    status = rpc_status.from_call(error)  # type: ignore[arg-type] # every RpcError of a client call is a Call too
    lines: list[str] = []
    for detail in status.details if status else ():
        bad = BadRequest()
        if detail.Is(BadRequest.DESCRIPTOR) and detail.Unpack(bad):
            lines += [f"  {item.field}: {item.description}" if item.field else f"  {item.description}" for item in bad.field_violations]
    return lines
