"""What the chain is made of."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from google.protobuf.message import Message

from mesh.call import Call
from mesh.chain.faults import translate
from mesh.errors import Code, TreadleError

# Runs when the call ends: takes what went wrong, or None, and returns what goes wrong for the elements outside of it.
Leave = Callable[[BaseException | None], BaseException | None]


@runtime_checkable
class Element(Protocol):
    """One concern of every call, which is settled before anyone looks at its message.

    The dispatcher enters elements in order and leaves them in reverse, for unary calls and streams alike.
    """

    @property
    def name(self) -> str:
        """Its name in the order of the chain."""

    async def enter(self, call: Call) -> Leave | None:
        """Lets the call in or raises. Returns what is to run at its end, when anything is; a stream ends after its last message."""


@runtime_checkable
class Check(Protocol):
    """One demand on messages. Runs when the message has been read, which is after all elements have let the call in."""

    @property
    def name(self) -> str:
        """Its name in the order of the chain."""

    def check(self, call: Call, request: Message) -> None:
        """Raises when the message will not do."""


# One place in the chain. Checks come last.
Link: TypeAlias = Element | Check


def code_of(error: BaseException | None) -> Code:
    """The code that the caller will see for what a handler raised: the same verdict as the `errors` element gives, further out."""
    if error is None:
        return Code.OK
    if isinstance(error, TreadleError):
        return error.code
    if is_own_cancellation(error):
        return Code.CANCELLED
    known = translate(error)
    return known.code if known is not None else Code.INTERNAL


def is_own_cancellation(error: BaseException) -> bool:
    """True when the call was cancelled from outside; a CancelledError that nobody asked for is a fault like any other."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
