"""Signing keys and their seal."""

import base64
import os

import pytest

from services.auth.keys import KeyRing, Seal, SealError, SigningKey


def _seal() -> Seal:
    return Seal(base64.b64encode(os.urandom(32)).decode())


def test_a_sealed_key_opens_to_the_same_key() -> None:
    seal = _seal()
    key = SigningKey.generate()
    opened = SigningKey.unseal(key.sealed(seal), key.kid, seal)
    assert opened.kid == key.kid
    assert opened.public_jwk == key.public_jwk
    assert opened.pair.as_der(private=True) == key.pair.as_der(private=True)


def test_a_sealed_key_shows_nothing_of_the_private_key() -> None:
    key = SigningKey.generate()
    sealed = key.sealed(_seal())
    secret = key.pair.as_dict(private=True)["d"]
    assert isinstance(secret, str)
    assert base64.urlsafe_b64decode(secret + "==") not in sealed


def test_another_master_key_does_not_open_it() -> None:
    key = SigningKey.generate()
    with pytest.raises(SealError, match="another TREADLE_MASTER_KEY"):
        SigningKey.unseal(key.sealed(_seal()), key.kid, _seal())


def test_a_key_under_another_label_or_changed_does_not_open() -> None:
    seal = _seal()
    key = SigningKey.generate()
    sealed = key.sealed(seal)
    with pytest.raises(SealError):
        SigningKey.unseal(sealed, "another", seal)
    with pytest.raises(SealError):
        SigningKey.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), key.kid, seal)
    with pytest.raises(SealError):
        SigningKey.unseal(b"", key.kid, seal)


@pytest.mark.parametrize("master_key", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_malformed_master_key_is_refused_at_start(master_key: str) -> None:
    with pytest.raises(SealError, match="TREADLE_MASTER_KEY"):
        Seal(master_key)


def test_the_public_key_says_what_it_is_for_and_keeps_the_private_half() -> None:
    jwk = SigningKey.generate().public_jwk
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    assert (jwk["kty"], jwk["crv"], jwk["alg"], jwk["use"]) == ("EC", "P-256", "ES256", "sig")


def test_the_first_key_of_a_ring_signs() -> None:
    keys = [SigningKey.generate(), SigningKey.generate()]
    assert KeyRing(keys).signer is keys[0]
