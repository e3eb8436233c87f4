"""The auth and user services as their callers meet them: a hosted process, real calls, the whole chain."""

import base64
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from joserfc import jwt
from joserfc.jwk import ECKey
from treadle.auth.v1 import auth_service_pb2 as auth
from treadle.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from treadle.user.v1 import user_service_pb2 as user
from treadle.user.v1.user_service_pb2_grpc import UserServiceStub

from mesh.host import Host, find_services, hosted
from mesh.settings import Settings
from services.auth.roles import SCOPES_OF, Role

_PASSWORD = "correct horse battery"


@pytest_asyncio.fixture(scope="module")
async def host(migrated: Settings) -> AsyncIterator[Host]:
    """A process with both services."""
    async with hosted(find_services(["auth", "user"]), migrated) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def channel(host: Host) -> AsyncIterator[grpc.aio.Channel]:
    """A client's channel to it."""
    async with grpc.aio.insecure_channel(host.grpc_address) as opened:
        yield opened


@pytest.fixture
def accounts(channel: grpc.aio.Channel) -> Any:
    """The auth service's stub."""
    return AuthServiceStub(channel)


@pytest.fixture
def people(channel: grpc.aio.Channel) -> Any:
    """The user service's stub."""
    return UserServiceStub(channel)


@pytest_asyncio.fixture
async def ann(accounts: Any) -> Any:
    """Somebody who has just registered."""
    return await accounts.Register(auth.RegisterRequest(email=_address(), password=_PASSWORD, display_name="Ann Ä"))


def _address() -> str:
    return f"Ann.{uuid4().hex}@Example.com"


def _as(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def _refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers: dict[str, Any] = dict(cast(Any, caught.value.trailing_metadata()) or ())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


async def test_register_gives_tokens_that_anybody_can_verify(accounts: Any, ann: Any, migrated: Settings) -> None:
    assert ann.user.display_name == "Ann Ä"
    assert ann.user.email == ann.user.email.lower()
    assert ann.expires_in == migrated.access_token_ttl_s
    keys = {key.kid: key for key in (await accounts.GetJwks(auth.GetJwksRequest())).keys}
    header = jwt.decode(ann.access_token, _key(next(iter(keys.values()))), algorithms=["ES256"]).header
    claims = jwt.decode(ann.access_token, _key(keys[header["kid"]]), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["aud"], claims["sub"]) == (migrated.issuer, "treadle", ann.user.id)
    assert claims["email"] == ann.user.email
    assert (frozenset(claims["scope"].split()), list(claims["roles"])) == (SCOPES_OF[Role.USER], ["user"])
    assert claims["exp"] - claims["iat"] == ann.expires_in
    assert abs(claims["iat"] - time.time()) < 60


def _key(published: Any) -> ECKey:
    return ECKey.import_key({"kty": published.kty, "crv": published.crv, "x": published.x, "y": published.y})


async def test_taken_address_wrong_password_and_reuse_have_their_reasons(accounts: Any, ann: Any) -> None:
    email = ann.user.email.upper()
    assert await _refusal(accounts.Register(auth.RegisterRequest(email=email, password=_PASSWORD))) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "EMAIL_TAKEN",
    )
    for address in (email, _address()):
        assert await _refusal(accounts.Login(auth.LoginRequest(email=address, password="wrong"))) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "INVALID_CREDENTIALS",
        )
    again = await accounts.Refresh(auth.RefreshRequest(refresh_token=ann.refresh_token))
    assert again.user == ann.user
    reused = await _refusal(accounts.Refresh(auth.RefreshRequest(refresh_token=ann.refresh_token)))
    assert reused == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
    ended = await _refusal(accounts.Refresh(auth.RefreshRequest(refresh_token=again.refresh_token)))
    assert ended == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")


async def test_login_refresh_and_logout(accounts: Any, ann: Any) -> None:
    session = await accounts.Login(auth.LoginRequest(email=ann.user.email, password=_PASSWORD))
    session = await accounts.Refresh(auth.RefreshRequest(refresh_token=session.refresh_token))
    for _ in range(2):
        await accounts.Logout(auth.LogoutRequest(refresh_token=session.refresh_token))
    code, reason = await _refusal(accounts.Refresh(auth.RefreshRequest(refresh_token=session.refresh_token)))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")


async def test_the_profile_comes_from_the_claims_and_changes_by_mask(people: Any, ann: Any) -> None:
    made = (await people.GetMe(user.GetMeRequest(), metadata=_as(ann.access_token))).user
    assert (made.id, made.email, made.display_name, made.timezone) == (ann.user.id, ann.user.email, "Ann Ä", "UTC")
    request = user.UpdateMeRequest(
        user=user.User(display_name="ignored", timezone="Europe/Berlin"),
        update_mask=FieldMask(paths=["timezone"]),
    )
    changed = (await people.UpdateMe(request, metadata=_as(ann.access_token))).user
    assert (changed.id, changed.email, changed.display_name, changed.timezone) == (made.id, made.email, "Ann Ä", "Europe/Berlin")
    assert (await people.GetMe(user.GetMeRequest(), metadata=_as(ann.access_token))).user == changed


async def test_a_bad_change_names_its_field_and_changes_nothing(people: Any, ann: Any) -> None:
    before = (await people.GetMe(user.GetMeRequest(), metadata=_as(ann.access_token))).user
    for request, reason in (
        (user.UpdateMeRequest(user=user.User(timezone="Mars/Olympus", display_name="x")), "TIMEZONE_UNKNOWN"),
        (user.UpdateMeRequest(user=user.User(), update_mask=FieldMask(paths=["email"])), "UPDATE_MASK_INVALID"),
    ):
        refused = await _refusal(people.UpdateMe(request, metadata=_as(ann.access_token)))
        assert refused == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert (await people.GetMe(user.GetMeRequest(), metadata=_as(ann.access_token))).user == before


async def test_without_or_with_a_changed_token_there_is_no_profile(people: Any, ann: Any) -> None:
    assert await _refusal(people.GetMe(user.GetMeRequest())) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    head, payload, signature = ann.access_token.split(".")
    claims = base64.urlsafe_b64decode(payload + "==").replace(b"ann", b"bob")
    forged = ".".join((head, base64.urlsafe_b64encode(claims).decode().rstrip("="), signature))
    code, reason = await _refusal(people.GetMe(user.GetMeRequest(), metadata=_as(forged)))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


async def test_two_processes_verify_each_others_tokens(migrated: Settings, ann: Any) -> None:
    async with hosted(find_services(["auth", "user"]), migrated) as other, grpc.aio.insecure_channel(other.grpc_address) as channel:
        me = await UserServiceStub(channel).GetMe(user.GetMeRequest(), metadata=_as(ann.access_token))
        assert me.user.id == ann.user.id
