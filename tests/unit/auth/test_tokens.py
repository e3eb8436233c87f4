"""Access tokens are what every service verifies; refresh tokens are random."""

import base64
import json
import time

import pytest

from mesh.errors import UnauthenticatedError
from mesh.identity.access_token import Jwk, TokenVerifier
from services.auth.account import Account, default_name, normal_email
from services.auth.keys import KeyRing, SigningKey
from services.auth.roles import SCOPES_OF, Role
from services.auth.tokens import AccessTokens, digest, new_refresh_token

_ACCOUNT = Account("0198c0de-0000-7000-8000-000000000001", "ann@example.com", "Ann")


def _verifier(ring: KeyRing, issuer: str = "https://issuer.test") -> TokenVerifier:
    async def keys() -> list[Jwk]:
        return [key.public_jwk for key in ring.keys]

    return TokenVerifier(issuer, keys)


async def test_a_token_verifies_by_the_published_key() -> None:
    ring = KeyRing([SigningKey.generate()])
    claims = await _verifier(ring).verify(AccessTokens(ring, "https://issuer.test", 900).issue(_ACCOUNT))
    assert (claims.user_id, claims.email) == (_ACCOUNT.id, _ACCOUNT.email)
    assert claims.scopes == SCOPES_OF[Role.USER]
    assert 890 < claims.expires_at - time.time() <= 900


async def test_a_retired_key_still_verifies() -> None:
    old = SigningKey.generate()
    token = AccessTokens(KeyRing([old]), "https://issuer.test", 900).issue(_ACCOUNT)
    claims = await _verifier(KeyRing([SigningKey.generate(), old])).verify(token)
    assert claims.user_id == _ACCOUNT.id


async def test_a_token_of_another_issuer_or_key_is_refused() -> None:
    ring = KeyRing([SigningKey.generate()])
    for token in (
        AccessTokens(ring, "https://elsewhere.test", 900).issue(_ACCOUNT),
        AccessTokens(KeyRing([SigningKey.generate()]), "https://issuer.test", 900).issue(_ACCOUNT),
    ):
        with pytest.raises(UnauthenticatedError) as caught:
            await _verifier(ring).verify(token)
        assert caught.value.reason == "TOKEN_INVALID"


def test_a_token_names_its_key_and_each_has_an_id_of_its_own() -> None:
    ring = KeyRing([SigningKey.generate()])
    tokens = AccessTokens(ring, "https://issuer.test", 900)
    parts = [[json.loads(base64.urlsafe_b64decode(part + "==")) for part in tokens.issue(_ACCOUNT).split(".")[:2]] for _ in range(2)]
    assert parts[0][0]["kid"] == ring.signer.kid
    assert parts[0][1]["jti"] != parts[1][1]["jti"]
    assert parts[0][1]["name"] == "Ann"


def test_refresh_tokens_hold_256_bits_and_are_kept_as_digests() -> None:
    tokens = {new_refresh_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(base64.urlsafe_b64decode(token + "=")) == 32 and len(digest(token)) == 32 for token in tokens)


def test_addresses_are_compared_in_one_form() -> None:
    assert normal_email(" Ann@Example.COM ") == "ann@example.com"
    assert default_name("ann@example.com") == "ann"
