"""What a link is: a signed token that names a row, and the row that says whether it still works."""

import base64
import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.jwk import OctKey

from mesh.ids import canonical_uuid

_ALGORITHM = "HS256"
_AUDIENCE = "treadle-link"
_KEY_BYTES = 32


class Purpose(StrEnum):
    """What a link is good for."""

    RESET = "RESET"
    VERIFY = "VERIFY"
    SIGN_IN = "SIGN_IN"


# How long each works, in seconds.
LIFE_S = {Purpose.RESET: 3600, Purpose.VERIFY: 3 * 86400, Purpose.SIGN_IN: 300}
# Where its page is, below the public URL.
PATH_OF = {Purpose.RESET: "/account/reset-password", Purpose.VERIFY: "/account/verify-email", Purpose.SIGN_IN: "/account/sign-in"}


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that was made."""

    url: str
    token: str
    expire_time: datetime


class LinkSigner:
    """Signs and reads tokens of links, by a key of their own that comes from the master key."""

    def __init__(self, master_key: str, public_url: str) -> None:
        """`public_url` is where people reach the edge."""
        secret = base64.b64decode(master_key)
        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=b"treadle/auth/link").derive(secret)
        self._key = OctKey.import_key(derived)
        self._public_url = public_url.rstrip("/")

    def link(self, link_id: str, purpose: Purpose, expire_time: datetime) -> NewLink:
        """The link of a row."""
        claims = {"aud": _AUDIENCE, "jti": link_id, "purpose": purpose.value, "exp": int(expire_time.timestamp())}
        token = jwt.encode({"alg": _ALGORITHM}, claims, self._key)
        # Behind the #: what stands there is sent to no server and written to no log.
        return NewLink(f"{self._public_url}{PATH_OF[purpose]}#token={token}", token, expire_time)

    def read(self, token: str, purpose: Purpose) -> str | None:
        """The id of the row; None for a token that is forged, over, or for something else."""
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except Exception:  # hostile text makes the library stumble in any way
            return None
        end = claims.get("exp")
        if claims.get("aud") != _AUDIENCE or claims.get("purpose") != purpose.value:
            return None
        if not isinstance(end, (int, float)) or end <= time.time():
            return None
        return canonical_uuid(str(claims.get("jti", "")))
