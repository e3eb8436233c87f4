"""REST calls through the edge, for commands whose JSON is exactly what REST shows."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from mesh import jsontext
from mesh.cli.output import CliError, Exit
from mesh.cli.patience import Patience
from mesh.cli.session import CALL_TIMEOUT_S, Session
from mesh.errors import Code

_FIRST_ERROR = 400
_EXITS = {
    Code.INVALID_ARGUMENT: Exit.BAD_INPUT,
    Code.NOT_FOUND: Exit.BAD_INPUT,
    Code.FAILED_PRECONDITION: Exit.BAD_INPUT,
    Code.ALREADY_EXISTS: Exit.BAD_INPUT,
    Code.RESOURCE_EXHAUSTED: Exit.BAD_INPUT,
    Code.UNAVAILABLE: Exit.UNREACHABLE,
    Code.DEADLINE_EXCEEDED: Exit.UNREACHABLE,
}


class Rest:
    """Calls as the session's user, or as whoever `token` names."""

    def __init__(self, session: Session, token: str = "") -> None:
        """Uses the session's edge, and its token unless another is given."""
        self._session = session
        self._token = token

    def text(self, verb: str, path: str, body: str | None = None, **query: object) -> str:
        """The body of the answer. Raises CliError with the service's words when the call fails."""
        connection = http.client.HTTPConnection(self._session.target, timeout=CALL_TIMEOUT_S)
        try:
            response = self._send(connection, verb, path, body, query)
            return response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"The stack does not answer: {error}", Exit.UNREACHABLE) from error
        finally:
            connection.close()

    def json(self, verb: str, path: str, body: str | None = None, **query: object) -> Any:
        """The same, parsed."""
        return jsontext.loads(self.text(verb, path, body, **query))

    def events(self, execution_id: str, after_seq: int) -> Iterator[str]:
        """The events of an execution as JSON texts, in order and each once, until it ends. Goes on after the last one when the connection
        breaks, and with a new token when the stream's one ends.
        """
        seen, patience = after_seq, Patience()
        while True:
            patience.opens()
            try:
                for line in self._lines(f"/v1/executions/{execution_id}:watch", after_seq=seen):
                    event = jsontext.loads(line)
                    if "seq" not in event:
                        raise _to_cli_error(0, jsontext.dumps(event["error"]).encode())
                    seen = event["seq"]
                    patience.hears()
                    yield line
            except CliError as error:
                if not patience.tries_again(reason=error.reason, is_passing=error.code is Exit.UNREACHABLE):
                    raise
            else:
                return

    def _lines(self, path: str, **query: object) -> Iterator[str]:
        connection = http.client.HTTPConnection(self._session.target, timeout=None)
        try:
            for line in self._send(connection, "GET", path, None, query):
                yield line.decode().rstrip("\n")
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"The stream broke: {error}", Exit.UNREACHABLE) from error
        finally:
            connection.close()

    def _send(
        self, connection: http.client.HTTPConnection, verb: str, path: str, body: str | None, query: dict[str, object]
    ) -> http.client.HTTPResponse:
        headers = {"authorization": f"Bearer {self._token or self._session.token()}", "content-type": "application/json"}
        given = {name: value for name, value in query.items() if value not in (None, "", 0)}
        target = f"{path}?{urlencode(given)}" if given else path
        connection.request(verb, target, body.encode() if body is not None else None, headers)
        response = connection.getresponse()
        if response.status >= _FIRST_ERROR:
            raise _to_cli_error(response.status, response.read())
        return response


def _to_cli_error(status: int, body: bytes) -> CliError:
    try:
        document = json.loads(body)
        code = Code(document["code"])
        lines, reason = [document["message"]], ""
        for detail in document.get("details", ()):
            reason = reason or detail.get("reason", "")
            lines += [f"  {item.get('field', '')}: {item['description']}" for item in detail.get("field_violations", ())]
    except (ValueError, KeyError, TypeError):
        return CliError(f"HTTP {status}: {body[:500].decode(errors='replace')}")
    return CliError("\n".join(lines), _EXITS.get(code, Exit.FAILED), reason)
