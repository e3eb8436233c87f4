"""What a provider says of a user holds only when it said so, to us, now, and in answer to our question."""

import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from pydantic import ValidationError

from mesh.errors import TreadleError
from services.auth.oidc_login import Login, LoginSeal
from services.auth.oidc_provider import Person, Provider, ProviderSettings, read_providers

ISSUER = "https://op.test"
SETTINGS = ProviderSettings(issuer=ISSUER, client_id="us")
LOGIN = Login.begin("op")


class Op:
    """A provider that says whatever a test wants."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
            "userinfo_endpoint": f"{ISSUER}/userinfo",
        }
        self.id_token = self.sign()
        self.userinfo: dict[str, Any] = {"sub": "s1", "email": "ann@example.com", "email_verified": True}
        self.token_status = 200

    def sign(self, key: Any = None, alg: str = "ES256", **changes: Any) -> str:
        """A good ID token but for the changes."""
        now = time.time()
        claims = {"iss": ISSUER, "aud": "us", "sub": "s1", "exp": now + 60, "iat": now, "nonce": LOGIN.nonce} | changes
        return jwt.encode({"alg": alg, "kid": "k1"}, {name: value for name, value in claims.items() if value is not None}, key or self.key)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """To any request."""
        path = request.url.path
        if path == "/token":
            return httpx.Response(self.token_status, json={"id_token": self.id_token, "access_token": "a"})
        documents = {
            "/.well-known/openid-configuration": self.metadata,
            "/keys": {"keys": [self.key.as_dict(private=False)]},
            "/userinfo": self.userinfo,
        }
        return httpx.Response(200, json=documents[path])


@pytest.fixture
def op() -> Op:
    return Op()


async def _person(op: Op) -> Person:
    async with httpx.AsyncClient(transport=httpx.MockTransport(op.answer)) as client:
        return await Provider(SETTINGS, "https://us.test/back", client).person("code", LOGIN)


async def _refusal(op: Op) -> str:
    with pytest.raises(TreadleError) as caught:
        await _person(op)
    return caught.value.reason


async def test_a_good_answer_and_what_the_provider_knows_besides(op: Op) -> None:
    assert await _person(op) == Person(ISSUER, "s1", "ann@example.com", True, "")


async def test_what_it_says_besides_of_somebody_else_is_not_taken(op: Op) -> None:
    op.userinfo["sub"] = "s2"
    assert (await _person(op)).email == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.test"},
        {"aud": "them"},
        {"aud": ["us", "them"]},
        {"aud": ["us", "them"], "azp": "them"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1_000_000_000.0},
        {"exp": None},
        {"iat": 4_000_000_000.0},
        {"sub": None},
        {"sub": ""},
    ],
)
async def test_claims_that_do_not_hold(op: Op, changes: dict[str, Any]) -> None:
    op.id_token = op.sign(**changes)
    assert await _refusal(op) == "OIDC_LOGIN_INVALID"


async def test_forged_answers(op: Op) -> None:
    head, body, signature = op.id_token.split(".")
    other = ECKey.generate_key("P-256", {"kid": "k1"})
    hmac = op.sign(OctKey.import_key(b"x" * 32), "HS256")
    for token in ("", "x", f"{head}.{body}.", f"eyJhbGciOiJub25lIn0.{body}.", f"{head}.{body}.{signature[::-1]}", op.sign(other), hmac):
        op.id_token = token
        assert await _refusal(op) == "OIDC_LOGIN_INVALID"


async def test_a_code_that_the_provider_refuses(op: Op) -> None:
    op.token_status = 400
    assert await _refusal(op) == "OIDC_LOGIN_INVALID"
    op.token_status = 500
    assert await _refusal(op) == "OIDC_PROVIDER_AWAY"


async def test_a_provider_that_calls_itself_another_is_none(op: Op) -> None:
    op.metadata["issuer"] = "https://evil.test"
    assert await _refusal(op) == "OIDC_PROVIDER_AWAY"


async def test_the_way_there_keeps_what_the_endpoint_has_already(op: Op) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(op.answer)) as client:
        url = await Provider(SETTINGS, "https://us.test/back", client).authorization_url(LOGIN)
    assert url.startswith(f"{ISSUER}/authorize?tenant=1&response_type=code&")


def test_a_login_ends_and_belongs_to_one_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    login = Login.begin("op")
    assert login.is_answered_by("op", login.state)
    assert not login.is_answered_by("other", login.state)
    assert not login.is_answered_by("op", "é")
    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)
    assert not login.is_answered_by("op", login.state)


def test_a_sealed_login_shows_nothing_and_opens_nowhere_else() -> None:
    seal, other = LoginSeal("A" * 43 + "="), LoginSeal("B" * 43 + "=")
    token = seal.close(LOGIN)
    assert seal.open(token) == LOGIN
    assert other.open(token) is None
    for wrong in ("", "x", token[:-2], "é"):
        assert seal.open(wrong) is None


def test_the_configuration_is_checked() -> None:
    assert read_providers("") == {}
    with pytest.raises(ValidationError, match="https"):
        read_providers('{"x": {"issuer": "http://op.test", "client_id": "us"}}')
    with pytest.raises(ValidationError):
        read_providers('{"x": {"issuer": "https://op.test", "client_id": "us", "client_secert": "x"}}')
