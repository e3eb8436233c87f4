"""Reasons that the block service gives."""

from collections.abc import Sequence

from mesh.errors import DeadlineExceededError, FailedPreconditionError, InvalidArgumentError, NotFoundError, Violation


def block_not_found(block_id: str) -> NotFoundError:
    """There is no block with that id."""
    return NotFoundError(f"There is no block {block_id}", reason="BLOCK_NOT_FOUND", metadata={"block_id": block_id})


def block_disabled(block_id: str, reason: str) -> FailedPreconditionError:
    """The block is there but cannot be used."""
    why = f": {reason}" if reason else ""
    return FailedPreconditionError(f"The block {block_id} is disabled{why}", reason="BLOCK_DISABLED", metadata={"block_id": block_id})


def input_invalid(message: str, fields: Sequence[str] = ()) -> InvalidArgumentError:
    """The inputs of a trial run do not fit the block. `fields` are paths such as `inputs.a`."""
    return InvalidArgumentError(message, reason="INPUT_INVALID", violations=[Violation(field, message) for field in fields or ("inputs",)])


def too_slow() -> DeadlineExceededError:
    """The block did not end before the deadline of the call."""
    return DeadlineExceededError("The block did not end in time", reason="BLOCK_TOO_SLOW")
