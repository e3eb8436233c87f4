"""One REST route: from the parts of an HTTP request to the request message, and from the response to bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from google.protobuf.message import Message

from mesh.chain.auth import AUTHORIZATION
from mesh.contract import ContractError, Method
from mesh.errors import InvalidArgumentError, TreadleError, Violation
from mesh.http.cookies import CredentialCookie
from mesh.http.decode import Arguments, body_reader
from mesh.http.encode import response_writer
from mesh.http.errors import request_invalid
from mesh.http.query import QueryReader, decode_part, path_reader
from mesh.ids import canonical_uuid

IDEMPOTENCY_HEADER = "idempotency-key"
MAX_KEY_LENGTH = 255
_REQUEST_ID = "request_id"
# Under which keys that are no UUIDs become ones.
_KEYS = UUID("6f0f3c2e-5d0b-4f7a-9d53-0c4c8f4a7e11")


def request_id_of(key: str) -> str:
    """The request id that an `Idempotency-Key` stands for: the UUID in it, else one made from its text.

    Raises InvalidArgumentError when the key is longer than MAX_KEY_LENGTH.
    """
    text = key.strip()
    text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not 0 < len(text) <= MAX_KEY_LENGTH:
        raise request_invalid([Violation(IDEMPOTENCY_HEADER, f"must have 1 to {MAX_KEY_LENGTH} characters")])
    return canonical_uuid(text) or str(uuid5(_KEYS, text))


class Route:
    """A method as REST sees it; everything that its contract says is compiled here once."""

    def __init__(self, method: Method, variables: Sequence[str], cookie_life_s: int = 0) -> None:
        """`variables` are the path's variables in order. Raises ContractError when the rule does not fit the messages."""
        rule = method.http
        if rule is None:
            raise ContractError(f"{method.full_name} has no REST route")
        descriptor = method.request_descriptor
        self.method = method
        self.write = _bytes_of(rule.response_body) if method.media_type else response_writer(method.response_descriptor, rule.response_body)
        self.is_get = rule.verb == "GET"
        self.cache_headers = _cache_headers(method) if self.is_get else {}
        self.takes_body = bool(rule.body)
        self._read_body = body_reader(descriptor, rule.body)
        self._body = rule.body
        self._body_prefix = f"{rule.body}." if rule.body not in {"", "*"} else ""
        self._query = QueryReader(descriptor, (*variables, rule.body))
        self._variables = [(name, path_reader(descriptor, name)) for name in variables]
        self._takes_request_id = _REQUEST_ID in descriptor.fields_by_name
        self._new_request: Any = method.request_type
        self.cookie = CredentialCookie(method, cookie_life_s) if method.cookie else None

    def request(self, values: Sequence[bytes], query: bytes, body: bytes, headers: Mapping[str, str]) -> Message:
        """The request message. Raises InvalidArgumentError with the paths of what does not fit."""
        arguments: Arguments = {} if self._read_body is None else self._read_body(body)
        if query:
            arguments |= self._query.read(query)
        for (name, read), raw in zip(self._variables, values, strict=True):
            value = read(decode_part(raw, name))
            if arguments.get(name, value) != value:
                raise request_invalid([Violation(name, "differs from the path")])
            arguments[name] = value
        if self._takes_request_id and headers.get(IDEMPOTENCY_HEADER):
            _put_request_id(arguments, request_id_of(headers[IDEMPOTENCY_HEADER]))
        if self.cookie is not None:
            arguments = {**self.cookie.credential(headers), **arguments}
        request: Message = self._new_request(**arguments)
        return request

    def as_client_sent(self, error: TreadleError) -> TreadleError:
        """The same error with field paths as they are in the body: without the name of the field that the body fills."""
        prefix = self._body_prefix
        if not prefix or not isinstance(error, InvalidArgumentError) or not error.violations:
            return error
        for_client = [Violation(item.field.removeprefix(prefix), item.description) for item in error.violations]
        error.message = error.message.removeprefix(prefix)
        error.violations = tuple(for_client)
        return error


def _cache_headers(method: Method) -> Mapping[str, str]:
    """Who may keep an answer, and for how long. What depends on the caller is kept for that caller alone."""
    scope = "public" if method.is_shared else "private"
    headers = {"cache-control": f"{scope}, no-cache" if method.max_age_s is None else f"{scope}, max-age={method.max_age_s}"}
    return headers if method.is_public else {**headers, "vary": AUTHORIZATION}


def _put_request_id(arguments: Arguments, from_header: str) -> None:
    """Raises InvalidArgumentError when the request says another one itself: which of the two counts, nobody could know."""
    own = arguments.get(_REQUEST_ID)
    if own and own.lower() != from_header:
        raise request_invalid([Violation(_REQUEST_ID, f"differs from the header {IDEMPOTENCY_HEADER}: send one of the two")])
    arguments[_REQUEST_ID] = from_header


def _bytes_of(field: str) -> Callable[[Message], bytes]:
    def read(message: Message) -> bytes:
        content: bytes = getattr(message, field)
        return content

    return read
