"""Callers of every kind, and calls to any method over any door, for the walk over all that the contracts describe."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import httpx
import psutil
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from joserfc import jwt

from mesh.contract import Method
from mesh.database import role_of
from mesh.errors import Code
from mesh.identity.access_token import AUDIENCE
from mesh.identity.service_token import HEADER
from mesh.local import postgres
from mesh.local.keys import load_keys
from mesh.settings import Settings
from services.auth.keys import ALGORITHM, Seal, SigningKey
from tests.e2e.conftest import Stack

TIMEOUT_S = 20.0
_VARIABLE = re.compile(r"\{([^}=]+)[^}]*\}")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended. `reason` is empty when it went well; `text` is all that was said."""

    code: Code
    reason: str
    text: str


class Tokens:
    """Access tokens as the stack itself would sign them, with any claims."""

    def __init__(self, stack: Stack) -> None:
        """Reads the signing key that is in force from the stack's database."""
        with ThreadPoolExecutor(1) as pool:
            self._key = pool.submit(asyncio.run, _signing_key(stack)).result()

    def sign(self, scopes: frozenset[str], life_s: float = 300, key: SigningKey | None = None) -> str:
        """A token of somebody unknown; `key` signs it in place of the stack's own."""
        signer = key or self._key
        now = time.time()
        claims = {
            "iss": Settings().issuer,
            "aud": AUDIENCE,
            "sub": "0198c0de-0000-7000-8000-00000000000f",
            "scope": " ".join(sorted(scopes)),
            "iat": int(now),
            "exp": now + life_s,
        }
        return jwt.encode({"alg": ALGORITHM, "kid": self._key.kid}, claims, signer.pair)


class GrpcCaller:
    """Calls methods by descriptor over a gRPC channel."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def call(self, method: Method, request: Message, token: str = "", service_token: str = "") -> Answer:
        """One call; of a stream the first message."""
        make: Any = self._channel.unary_stream if method.is_server_streaming else self._channel.unary_unary
        stub = make(method.full_name, request_serializer=bytes, response_deserializer=method.response_type.FromString)
        metadata = [("authorization", f"Bearer {token}")] if token else []
        metadata += [(HEADER, service_token)] if service_token else []
        try:
            answer = stub(request.SerializeToString(), metadata=metadata, timeout=TIMEOUT_S)
            return Answer(Code.OK, "", str(next(iter(answer), "") if method.is_server_streaming else answer))
        except grpc.RpcError as error:
            return _refusal(error)


class RestCaller:
    """Calls methods by their REST route."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def call(self, method: Method, request: Message, token: str = "", service_token: str = "") -> Answer:
        """One call; of a stream the first line."""
        assert method.http is not None
        fields = MessageToDict(request, preserving_proto_field_name=True)
        path = _VARIABLE.sub(lambda match: str(fields.pop(match.group(1), "none")), method.http.path)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= {HEADER: service_token} if service_token else {}
        body = fields if method.http.body == "*" else fields.get(method.http.body, {})
        content = json.dumps(plain(body)) if method.http.body else None
        query = {} if method.http.body == "*" else {name: value for name, value in fields.items() if not isinstance(value, (dict, list))}
        query.pop(method.http.body, None)
        headers |= {"content-type": "application/json"} if content else {}
        with self._client.stream(method.http.verb, path, headers=headers, params=query, content=content) as response:
            text = next(response.iter_text(), "") if response.is_success and method.is_server_streaming else response.read().decode()
        if response.is_success:
            return Answer(Code.OK, "", text)
        document = json.loads(text)
        assert response.headers["content-type"].startswith("application/json"), text
        return Answer(Code(document["code"]), document["details"][0]["reason"] if document["details"] else "", text)


def doors_of(stack: Stack, name: str) -> tuple[str, str]:
    """gRPC and HTTP address of a process of the stack, past the edge."""
    pid = next(process["pid"] for process in stack.status["processes"] if process["name"] == name)
    environment = psutil.Process(pid).environ()
    return environment["TREADLE_GRPC_ADDRESS"], environment["TREADLE_HTTP_ADDRESS"]


async def _signing_key(stack: Stack) -> SigningKey:
    keys = load_keys(stack.home)
    port = next(process["address"] for process in stack.status["processes"] if process["kind"] == "postgres").rpartition(":")[2]
    connection = await asyncpg.connect(postgres.url(int(port), keys.postgres), server_settings={"role": role_of("auth")})
    try:
        row = await connection.fetchrow(
            "SELECT kid, sealed_key FROM auth.signing_key WHERE activate_time <= now() ORDER BY activate_time DESC LIMIT 1"
        )
    finally:
        await connection.close()
    assert row is not None
    return SigningKey.unseal(row["sealed_key"], row["kid"], Seal(keys.master_key))


def _refusal(error: Any) -> Answer:
    trailers: Mapping[str, Any] = dict(error.trailing_metadata() or ())
    info = ErrorInfo()
    status = Status.FromString(trailers.get("grpc-status-details-bin", b""))
    if status.details:
        status.details[0].Unpack(info)
    return Answer(Code(error.code().value[0]), info.reason, f"{error.details()} {status}")


def plain(value: Any) -> Any:
    """Free JSON values of gRPC messages as REST has them: inline."""
    if isinstance(value, dict):
        return json.loads(value["json"]) if set(value) == {"json"} else {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
