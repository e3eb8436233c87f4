"""A credential that only the browser sees: a cookie stands for a field of the messages, in calls that ask for that by a header.

No page of another origin can send that header unless the edge lets it; a cookie alone, which browsers send along for anybody, is nothing.
"""

import posixpath
from collections.abc import Mapping

from google.protobuf.message import Message

from mesh.contract import ContractError, Method, methods
from mesh.errors import TreadleError, UnauthenticatedError

HEADER = "x-use-cookie"
ASKED = "true"

_SCHEME = "x-forwarded-proto"


class CredentialCookie:
    """The cookie of one method: what is read from it, and what the browser is told to keep. It goes to its own paths and site only."""

    def __init__(self, method: Method, life_s: int) -> None:
        """`life_s` is how long the browser keeps it. Raises ContractError when the method has no such field."""
        self._name, self._field = method.cookie, method.cookie_field
        self._is_taken = method.takes_cookie
        self._is_given = self._field in method.response_descriptor.fields_by_name
        if not (self._is_taken or self._is_given):
            raise ContractError(f"{method.full_name} has no field {self._field!r} that a cookie could stand for")
        self._life_s = life_s
        self._path = _path_of(self._name)

    def credential(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The field that the cookie stands for; nothing when the call does not ask for that, or brings none."""
        if not self._is_taken or headers.get(HEADER) != ASKED:
            return {}
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return next(({self._field: value} for name, _, value in pairs if name == self._name and value), {})

    def hidden(self, response: Message, headers: Mapping[str, str], extra: dict[str, str]) -> Message:
        """The response without the credential, which goes into a cookie; one that has none ends the cookie. As it is for other calls."""
        if headers.get(HEADER) != ASKED:
            return response
        if not self._is_given:
            extra["set-cookie"] = self._cookie("", 0, headers)
            return response
        extra["set-cookie"] = self._cookie(getattr(response, self._field), self._life_s, headers)
        bare = type(response)()
        bare.CopyFrom(response)
        bare.ClearField(self._field)
        return bare

    def forget(self, error: TreadleError, headers: Mapping[str, str], extra: dict[str, str]) -> None:
        """Ends a cookie that is worth nothing any more."""
        if isinstance(error, UnauthenticatedError) and self.credential(headers):
            extra["set-cookie"] = self._cookie("", 0, headers)

    def _cookie(self, value: str, life_s: int, headers: Mapping[str, str]) -> str:
        secure = "; Secure" if headers.get(_SCHEME) == "https" else ""
        return f"{self._name}={value}; Path={self._path}; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}"


def _path_of(name: str) -> str:
    """What the routes have in common that take the cookie."""
    paths = [method.http.path for method in methods().values() if method.http is not None and method.takes_cookie and method.cookie == name]
    return posixpath.commonpath(paths) if paths else "/"
