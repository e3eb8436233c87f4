"""What can go wrong on the user's machine, each with a message that says what to do."""


class LocalError(Exception):
    """The local stack cannot do what was asked. The message is for the person at the terminal."""


class MissingProgramError(LocalError):
    """A server program that should have come with a Python package is not there."""


class PortTakenError(LocalError):
    """Another program listens on a port that was asked for by number."""


class StartError(LocalError):
    """A component did not become ready. The message holds the end of its log."""
