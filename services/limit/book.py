"""The plans in force and who has which, made from what the settings bucket holds."""

from collections.abc import Mapping

from mesh.logs import get_logger
from services.limit.plans import ADDRESS, BUILT_IN_PLANS, DEFAULT, Plan, PlanError, check_name, check_subject, read_plan

# Keys of the settings bucket are this, then `plan.<name>` or `has.<subject>`; the value of the latter is the plan's name.
PREFIX = "limits."
PLAN, HAS = "plan", "has"

_log = get_logger("limit")


class Book:
    """What counts now. A value that makes no sense is reported and changes nothing: the one before it stays in force."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = dict(BUILT_IN_PLANS)
        # Name of the plan by subject.
        self.assignments: dict[str, str] = {}
        # What is wrong with the value of a key.
        self.rejected: dict[str, str] = {}

    def plan(self, kind: str, value: str) -> Plan:
        """The plan of a `user`, a `key` or an `address`."""
        if kind == ADDRESS:
            return self.plans[ADDRESS]
        return self.plans.get(self.assignments.get(f"{kind}.{value}", DEFAULT)) or self.plans[DEFAULT]

    def apply(self, settings: Mapping[str, bytes]) -> None:
        """Takes over what the bucket holds, by key without PREFIX."""
        plans, assignments, rejected = dict(BUILT_IN_PLANS), dict[str, str](), dict[str, str]()
        for key, value in settings.items():
            part, _, name = key.partition(".")
            try:
                if part == PLAN:
                    plans[name] = read_plan(name, value)
                elif part == HAS:
                    assignments[name] = _plan_name(name, value)
                else:
                    rejected[PREFIX + key] = f"keys begin with {PREFIX}{PLAN}. or {PREFIX}{HAS}."
            except PlanError as error:
                rejected[PREFIX + key] = str(error)
                if part == PLAN and name in self.plans:
                    plans[name] = self.plans[name]
                elif name in self.assignments:
                    assignments[name] = self.assignments[name]
        for key, problem in rejected.items():
            if self.rejected.get(key) != problem:
                _log.warning("setting_rejected", key=key, problem=problem)
        self.plans, self.assignments, self.rejected = plans, assignments, rejected


def _plan_name(subject: str, value: bytes) -> str:
    check_subject(subject)
    name = value.decode(errors="replace")
    check_name(name)
    return name
