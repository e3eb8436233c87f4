"""How a block fails. The text of these errors goes out on the pin `error` as it is."""


class BlockError(ValueError):
    """A block could not do its job. `kind` is the class of what went wrong, for the record of the run."""

    def __init__(self, message: str, *, kind: str = "") -> None:
        """`message` is for people and travels over links from the pin `error`."""
        super().__init__(message)
        self.message = message
        self.kind = kind or type(self).__name__


class BlockInputError(BlockError):
    """The input does not fit the block's pins."""


class BlockOutputError(BlockError):
    """The block emitted a value that does not fit the pin, or named a pin that it does not have."""
