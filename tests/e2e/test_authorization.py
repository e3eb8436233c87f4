"""A walk over every RPC of the contracts, over every door of a running stack: who is refused, and how.

Nothing here names a method: a new one is walked over from its first day. What a new method's ids refer to belongs into `ann_owns` or
`OF_NOBODY`.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from mesh.contract import EVERY_SERVICE, Method, methods
from mesh.errors import Code
from mesh.identity.service_token import ServiceTokens
from mesh.local.keys import load_keys
from services.auth.keys import SigningKey
from services.auth.roles import SCOPES_OF, Role
from tests.e2e.conftest import Stack
from tests.e2e.strangers import Answer, GrpcCaller, RestCaller, Tokens, doors_of, plain

METHODS = methods().values()
OF_CLIENTS = [method for method in METHODS if "edge" in method.callers]
GUARDED = [method for method in OF_CLIENTS if not method.is_public]
ALL_SCOPES = frozenset(scope for method in METHODS for scope in method.scopes)
WORKLOADS = frozenset(caller for method in METHODS for caller in method.callers) - {"edge", EVERY_SERVICE} | {"stranger"}
# Ids in requests that belong to no single user.
OF_NOBODY = {"block_id", "node_id", "request_id"}
# What else a request must hold to be looked at.
SAMPLES: Mapping[str, Any] = {
    "version": 1,
    "sha256": "0" * 64,
    "node_id": "a",
    "reviews": [{"node_execution_id": str(uuid4()), "approved": True}],
    "graph": {
        "name": "x",
        "nodes": [{"id": "a", "block_id": "1ff065e9-88e8-4358-9d82-8dc91f622ba9", "input_default": {"json": '{"input": 1}'}}],
    },
}

Caller = GrpcCaller | RestCaller


@dataclass(frozen=True)
class World:
    """The doors of a stack, tokens of all kinds, and two users who know nothing of each other."""

    edge: Mapping[str, Caller]
    inner: Mapping[str, Caller]
    tokens: Tokens
    services: ServiceTokens
    bob: str
    ann_owns: Mapping[str, str]

    @property
    def doors(self) -> Mapping[str, Caller]:
        """Through the edge and past it."""
        return {**self.edge, **self.inner}


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    """One for all walks."""
    url = stack.status["edge_url"]
    grpc_address, http_address = doors_of(stack, "services")
    with httpx.Client(base_url=url, timeout=30) as client:
        made = World(
            edge={"gRPC through the edge": GrpcCaller(stack.status["grpc_target"]), "REST through the edge": RestCaller(url)},
            inner={"gRPC": GrpcCaller(grpc_address), "REST": RestCaller(f"http://{http_address}")},
            tokens=Tokens(stack),
            services=ServiceTokens(_service_key(stack)),
            bob=_register(client, "bob")["access_token"],
            ann_owns=_things_of(client, _register(client, "ann")),
        )
        yield made
        for door in made.doors.values():
            door.close()


def _service_key(stack: Stack) -> bytes:
    return base64.b64decode(load_keys(stack.home).service_key)


def _register(client: httpx.Client, name: str) -> dict[str, Any]:
    body = {"email": f"{name}-{uuid4().hex}@example.com", "password": uuid4().hex, "display_name": name}
    answer: dict[str, Any] = client.post("/v1/auth/register", json=body).raise_for_status().json()
    return answer


def _things_of(client: httpx.Client, signed_in: dict[str, Any]) -> dict[str, str]:
    """One of each kind of thing that can be owned, by the name that requests give its id."""
    headers = {"authorization": f"Bearer {signed_in['access_token']}"}

    def make(path: str, body: Any) -> dict[str, Any]:
        response = client.post(path, json=body, headers=headers)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    graph = make("/v1/graphs", plain(SAMPLES["graph"]))
    client.put(f"/v1/drafts/{graph['id']}", json=plain(SAMPLES["graph"]), headers=headers).raise_for_status()
    execution = make("/v1/executions", {"graph_id": graph["id"]})
    key = make("/v1/api_keys", {"name": "x"})["api_key"]
    session = client.get("/v1/auth/sessions", headers=headers).json()["sessions"][0]
    return {
        "graph_id": graph["id"],
        "execution_id": execution["id"],
        "parent_id": execution["id"],
        "api_key_id": key["id"],
        "session_id": session["id"],
    }


def _empty(method: Method) -> Message:
    return method.request_type()


def _ids(method: Method) -> list[str]:
    return [field.name for field in method.request_descriptor.fields if field.name.endswith("_id")]


@pytest.mark.parametrize("method", GUARDED, ids=lambda method: method.full_name)
def test_who_proves_nothing_is_unauthenticated(world: World, method: Method) -> None:
    forged = world.tokens.sign(ALL_SCOPES, key=SigningKey.generate())
    expired = world.tokens.sign(ALL_SCOPES, life_s=-120)
    for token, reason in (("", "TOKEN_MISSING"), (expired, "TOKEN_EXPIRED"), (forged, "TOKEN_INVALID"), ("x.y.z", "TOKEN_INVALID")):
        for name, door in world.doors.items():
            answer = door.call(method, _empty(method), token)
            assert answer.code is Code.UNAUTHENTICATED, (name, token, answer)
            # Of Envoy itself gRPC callers get a status without details.
            assert answer.reason in {reason, ""}, (name, token, answer)
            assert answer.reason or name == "gRPC through the edge", (name, answer)


@pytest.mark.parametrize("method", GUARDED, ids=lambda method: method.full_name)
def test_a_token_must_grant_each_scope_of_the_method(world: World, method: Method) -> None:
    for missing in method.scopes:
        token = world.tokens.sign(ALL_SCOPES - {missing})
        for name, door in world.doors.items():
            answer = door.call(method, _empty(method), token)
            assert (answer.code, answer.reason) == (Code.PERMISSION_DENIED, "SCOPE_MISSING"), (name, answer)


@pytest.mark.parametrize("method", [method for method in OF_CLIENTS if method.is_public], ids=lambda method: method.full_name)
def test_a_public_method_asks_nobody_for_a_token(world: World, method: Method) -> None:
    for token in ("", world.tokens.sign(frozenset(), life_s=-120)):
        for name, door in world.doors.items():
            answer = door.call(method, _empty(method), token)
            assert answer.code is not Code.PERMISSION_DENIED, (name, answer)
            assert not answer.reason.startswith("TOKEN_"), (name, answer)


@pytest.mark.parametrize("method", GUARDED, ids=lambda method: method.full_name)
def test_a_role_opens_exactly_what_its_scopes_say(world: World, method: Method) -> None:
    door = world.inner["gRPC"]
    for role in Role:
        granted = SCOPES_OF[role]
        if method.scopes <= granted:
            continue
        answer = door.call(method, _empty(method), world.tokens.sign(granted))
        assert (answer.code, answer.reason) == (Code.PERMISSION_DENIED, "SCOPE_MISSING"), (role, answer)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_a_service_that_is_not_listed_is_refused(world: World, method: Method) -> None:
    for workload in WORKLOADS:
        if method.is_open_to(workload):
            continue
        for name, door in world.inner.items():
            if name == "REST" and method.http is None:
                continue
            for token in ("", world.bob):
                answer = door.call(method, _empty(method), token, world.services.token(workload))
                assert (answer.code, answer.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED"), (name, workload, answer)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_nobody_passes_for_a_service(world: World, method: Method) -> None:
    forged = ServiceTokens(b"f" * 32).token(next(iter(method.callers - {"edge", EVERY_SERVICE}), "gateway"))
    answer = world.inner["gRPC"].call(method, _empty(method), world.bob, forged)
    assert (answer.code, answer.reason) == (Code.UNAUTHENTICATED, "SERVICE_TOKEN_INVALID")


@pytest.mark.parametrize("method", [method for method in METHODS if "edge" not in method.callers], ids=lambda method: method.full_name)
def test_what_is_for_services_is_closed_to_clients(world: World, method: Method) -> None:
    token = world.tokens.sign(ALL_SCOPES)
    for door in (world.edge["gRPC through the edge"], world.inner["gRPC"]):
        answer = door.call(method, _empty(method), token)
        assert (answer.code, answer.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED"), answer


@pytest.mark.parametrize("method", [method for method in GUARDED if set(_ids(method)) - OF_NOBODY], ids=lambda method: method.full_name)
def test_what_is_anothers_does_not_exist(world: World, method: Method) -> None:
    if any(scope.startswith("admin:") for scope in method.scopes):
        pytest.skip("administrators see what is others'")
    wanted = [name for name in _ids(method) if name not in OF_NOBODY]
    unknown = [name for name in wanted if name not in world.ann_owns]
    assert not unknown, f"say whose {unknown} are: give Ann one of them, or name them in OF_NOBODY"
    ids = {name: world.ann_owns[name] for name in wanted}
    named = {field.name for field in method.request_descriptor.fields}
    samples = {name: value for name, value in SAMPLES.items() if name in named}
    request = ParseDict({**samples, **ids}, method.request_type())
    for name, door in world.doors.items():
        _assert_hidden(name, door.call(method, request, world.bob), ids)


def _assert_hidden(door: str, answer: Answer, ids: Mapping[str, str]) -> None:
    """NOT_FOUND; or, of a list that is narrowed by the id, nothing."""
    if answer.code is Code.OK:
        assert not any(value in answer.text for value in ids.values()), (door, answer)
    else:
        assert answer.code is Code.NOT_FOUND, (door, answer)
