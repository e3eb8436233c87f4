"""What can be wrong with a change of limits, with the reasons that programs see."""

from mesh.errors import InvalidArgumentError, NotFoundError, Violation


def plan_invalid(problem: str) -> InvalidArgumentError:
    """The plan makes no sense."""
    return InvalidArgumentError(f"plan: {problem}", reason="PLAN_INVALID", violations=[Violation("plan", problem)])


def subject_invalid(problem: str) -> InvalidArgumentError:
    """It is neither a user nor an API key."""
    return InvalidArgumentError(f"subject: {problem}", reason="SUBJECT_INVALID", violations=[Violation("subject", problem)])


def plan_not_found(name: str) -> NotFoundError:
    """There is no such plan."""
    return NotFoundError(f"There is no plan {name}.", reason="PLAN_NOT_FOUND", metadata={"plan": name})
