"""Gives every call an id that all its log lines carry."""

import re
from random import getrandbits

from mesh.call import Call
from mesh.chain.element import Leave

HEADER = "x-request-id"

# Ids from outside end up in logs: only harmless ones are taken over.
_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def harmless_or_new(given: str) -> str:
    """The id that came with a request, or a new one when it is none that may stand in logs and headers."""
    return given if _HARMLESS.fullmatch(given) else f"{getrandbits(128):032x}"


class RequestId:
    """Outermost, so that everything after it can log the id. Takes the caller's id when there is one, else makes one."""

    name = "request_id"

    async def enter(self, call: Call) -> Leave | None:
        """Sets `call.request_id`."""
        call.request_id = harmless_or_new(call.metadata.get(HEADER, ""))
        return None
