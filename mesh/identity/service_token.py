"""Tokens by which services know each other when no sidecar does it: short HS256 JWTs signed with the mesh's key."""

import base64
import time

from joserfc import jwt
from joserfc.jwk import OctKey

from mesh.errors import UnauthenticatedError
from mesh.settings import Settings

HEADER = "x-treadle-service-token"
AUDIENCE = "treadle-mesh"
LIFE_S = 300
# A new token is signed this long before the old one ends.
RENEW_BEFORE_S = 60
MAX_KNOWN = 1000

_ALGORITHM = "HS256"
_MIN_KEY_BYTES = 32


class ServiceTokens:
    """Signs this workload's token and verifies those of others; both remembered, so that a call costs a dictionary look-up."""

    def __init__(self, key: bytes) -> None:
        """`key` is at least 32 bytes, the same in all processes of the mesh."""
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"the service key must have at least {_MIN_KEY_BYTES} bytes")
        self._key = OctKey.import_key(key)
        self._own: dict[str, tuple[str, float]] = {}
        self._known: dict[str, tuple[str, float]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "ServiceTokens":
        """With the key of the settings. Raises ValueError when it is missing or short."""
        return cls(base64.b64decode(settings.service_key.get_secret_value()))

    def token(self, workload: str) -> str:
        """A token that says "I am `workload`", good for at least another minute."""
        now = time.time()
        known = self._own.get(workload)
        if known is None or known[1] - RENEW_BEFORE_S < now:
            claims = {"sub": workload, "aud": AUDIENCE, "iat": int(now), "exp": int(now) + LIFE_S}
            known = self._own[workload] = (jwt.encode({"alg": _ALGORITHM}, claims, self._key), now + LIFE_S)
        return known[0]

    def verify(self, token: str) -> str:
        """The workload that the token names. Raises UnauthenticatedError (SERVICE_TOKEN_INVALID)."""
        known = self._known.get(token)
        if known is None:
            known = self._decode(token)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[token] = known
        if known[1] <= time.time():
            self._known.pop(token, None)
            raise _refused()
        return known[0]

    def _decode(self, token: str) -> tuple[str, float]:
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
        except Exception:  # hostile text makes the library stumble in any way
            raise _refused() from None
        workload, end = claims.get("sub"), claims.get("exp")
        if claims.get("aud") != AUDIENCE or not isinstance(workload, str) or not workload or not isinstance(end, (int, float)):
            raise _refused()
        return workload, float(end)


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("The service token is not valid.", reason="SERVICE_TOKEN_INVALID")
