"""Tokens: what is accepted, what is refused, and how often keys are fetched."""

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from mesh.errors import UnauthenticatedError, UnavailableError
from mesh.identity.access_token import AUDIENCE, Jwk, TokenVerifier
from mesh.identity.bearer import Bearers
from mesh.identity.service_token import ServiceTokens

ISSUER = "https://issuer.test"


class Issuer:
    """Signs access tokens and publishes its keys; counts how often it is asked for them."""

    def __init__(self) -> None:
        self.fetches = 0
        self.is_away = False
        self._keys: dict[str, ECKey] = {}
        self.add("k1")

    def add(self, key_id: str) -> None:
        """Adds a key."""
        self._keys[key_id] = ECKey.generate_key("P-256", {"kid": key_id})

    async def keys(self) -> list[Jwk]:
        """The public keys."""
        self.fetches += 1
        if self.is_away:
            raise UnavailableError("Away.")
        return [{str(name): str(value) for name, value in key.as_dict(private=False).items()} for key in self._keys.values()]

    def token(self, key_id: str = "k1", **changes: Any) -> str:
        """A good token but for the changes."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "email": "u@x.test", "scope": "a:read b:write", "exp": time.time() + 60}
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": key_id}, kept, self._keys[key_id])


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    return TokenVerifier(ISSUER, issuer.keys)


async def test_a_good_token_tells_its_claims(issuer: Issuer, verifier: TokenVerifier) -> None:
    token = issuer.token()
    for _ in range(3):
        claims = await verifier.verify(token)
    assert (claims.user_id, claims.email, claims.scopes) == ("u1", "u@x.test", frozenset({"a:read", "b:write"}))
    assert issuer.fetches == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": time.time() - 1}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"iss": "https://other.test"}, "TOKEN_INVALID"),
        ({"aud": "treadle-mesh"}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"sub": ""}, "TOKEN_INVALID"),
        ({"exp": "9999999999"}, "TOKEN_INVALID"),
        ({"nbf": time.time() + 3000}, "TOKEN_INVALID"),
        ({"exp": 1e30}, "TOKEN_INVALID"),
        ({"exp": 10**400}, "TOKEN_INVALID"),
        ({"exp": float("nan")}, "TOKEN_INVALID"),
        ({"exp": float("inf")}, "TOKEN_INVALID"),
        ({"exp": True}, "TOKEN_INVALID"),
        ({"nbf": "soon"}, "TOKEN_INVALID"),
        ({"nbf": float("nan")}, "TOKEN_INVALID"),
    ],
)
async def test_claims_that_do_not_hold(issuer: Issuer, verifier: TokenVerifier, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(issuer.token(**changes))
    assert caught.value.reason == reason


async def test_a_token_ends_although_it_is_known(issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.token()
    await verifier.verify(token)
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(token)
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_forged_tokens(issuer: Issuer, verifier: TokenVerifier) -> None:
    head, body, signature = issuer.token().split(".")
    other = Issuer().token()
    hmac = jwt.encode({"alg": "HS256", "kid": "k1"}, {"sub": "u1"}, OctKey.import_key(b"x" * 32))
    unsigned = f"eyJhbGciOiJub25lIiwia2lkIjoiazEifQ.{body}."
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for token in ("", "x", "a.b.c", f"{head}.{body}.", f"{head}.{body}.{flipped}", other, hmac, unsigned):
        with pytest.raises(UnauthenticatedError) as caught:
            await verifier.verify(token)
        assert caught.value.reason == "TOKEN_INVALID"


HEADERS: list[Any] = [
    [],
    1,
    None,
    "x",
    {},
    {"alg": "ES256", "kid": "k1", "crit": 1},
    {"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": False},
    {"alg": ["ES256"], "kid": "k1"},
    {"alg": "ES256", "kid": {}},
    {"alg": "ES256", "kid": "k1", "jku": "https://evil.test/keys"},
    [[[[]]]] * 2000,
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
async def test_no_header_however_odd_is_our_fault(issuer: Issuer, verifier: TokenVerifier, header: Any) -> None:
    _, body, signature = issuer.token().split(".")
    token = f"{base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip('=')}.{body}.{signature}"
    with pytest.raises(UnauthenticatedError) as caught:
        await verifier.verify(token)
    assert caught.value.reason == "TOKEN_INVALID"
    with pytest.raises(UnauthenticatedError):
        ServiceTokens(b"k" * 32).verify(token)


async def test_a_clock_that_is_a_little_ahead_is_no_reason_to_refuse(issuer: Issuer, verifier: TokenVerifier) -> None:
    assert (await verifier.verify(issuer.token(nbf=time.time() + 30))).user_id == "u1"


async def test_a_new_key_is_fetched_but_made_up_ones_do_not_flood_the_issuer(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await verifier.verify(issuer.token())
    issuer.add("k2")
    for _ in range(5):
        with pytest.raises(UnauthenticatedError):
            await verifier.verify(issuer.token("k2"))
    assert issuer.fetches == 1
    later = time.monotonic() + 6
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await verifier.verify(issuer.token("k2"))
    assert issuer.fetches == 2


async def test_while_the_issuer_is_away_known_keys_go_on_and_unknown_ones_are_no_verdict(
    issuer: Issuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    await verifier.verify(issuer.token())
    issuer.add("k2")
    issuer.is_away = True
    later = time.monotonic() + 400
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await verifier.verify(issuer.token(sub="u2"))
    later += 6
    with pytest.raises(UnavailableError):
        await verifier.verify(issuer.token("k2"))
    later += 3600
    with pytest.raises(UnavailableError):
        await verifier.verify(issuer.token(sub="u3"))
    issuer.is_away = False
    await verifier.verify(issuer.token("k2"))


def test_services_know_each_other() -> None:
    tokens = ServiceTokens(b"k" * 32)
    token = tokens.token("graph")
    assert tokens.token("graph") == token
    assert ServiceTokens(b"k" * 32).verify(token) == "graph"


def test_service_tokens_of_another_mesh_or_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = ServiceTokens(b"k" * 32)
    token = tokens.token("graph")
    with pytest.raises(UnauthenticatedError):
        ServiceTokens(b"x" * 32).verify(token)
    with pytest.raises(UnauthenticatedError):
        tokens.verify(jwt.encode({"alg": "HS256"}, {"sub": "graph", "exp": time.time() + 60}, OctKey.import_key(b"k" * 32)))
    tokens.verify(token)
    later = time.time() + 301
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(UnauthenticatedError):
        tokens.verify(token)
    assert tokens.token("graph") != token


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ServiceTokens(b"short")


async def test_what_is_revoked_ends_at_once_for_those_who_wait() -> None:
    bearers = Bearers(ISSUER, _nobody)
    waiting = [asyncio.create_task(bearers.ended(session)) for session in ("s1", "s1", "s2")]
    await asyncio.sleep(0)
    bearers.revoke("s1")
    await asyncio.gather(*waiting[:2])
    assert not waiting[2].done()
    waiting[2].cancel()
    await asyncio.gather(waiting[2], return_exceptions=True)
    bearers.revoke("s2")


def _nobody() -> Any:
    raise AssertionError("not asked")
