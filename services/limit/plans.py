"""Plans: how often somebody may call, by rate class. Read from the settings bucket, where anything may stand."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from mesh.rates import BUILT_IN, Rate

# Of every user and API key to which no other was assigned.
DEFAULT = "default"
# Of every client address.
ADDRESS = "address"
MAX_PER_SECOND = 1_000_000.0
MAX_BURST = 10_000_000

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SUBJECT = re.compile(r"user\.[0-9A-Za-z-]{1,59}|key\.[a-z0-9]{8}")


class PlanError(ValueError):
    """A plan, its name or a subject that makes no sense; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is granted, in every class."""

    name: str
    rates: Mapping[str, Rate]


def plan_of(name: str, rates: Iterable[tuple[str, Rate]]) -> Plan:
    """A plan with these limits; those of classes that are not named are the built-in ones. Raises PlanError."""
    check_name(name)
    given: dict[str, Rate] = {}
    for rate_class, rate in rates:
        if rate_class not in BUILT_IN:
            raise PlanError(f"there is no rate class {rate_class!r}; there are {', '.join(BUILT_IN)}")
        if rate_class in given:
            raise PlanError(f"{rate_class} comes twice")
        if not (math.isfinite(rate.per_second) and 0 < rate.per_second <= MAX_PER_SECOND):
            raise PlanError(f"{rate_class}: per_second must be more than 0 and at most {MAX_PER_SECOND:,.0f}")
        if not 1 <= rate.burst <= MAX_BURST:
            raise PlanError(f"{rate_class}: burst must be 1 to {MAX_BURST:,}")
        given[rate_class] = rate
    return Plan(name, {**BUILT_IN, **given})


def read_plan(name: str, text: bytes) -> Plan:
    """The plan in a setting: `{"read": {"per_second": 10, "burst": 100}}`. Raises PlanError."""
    try:
        rates = msgspec.json.decode(text, type=dict[str, Rate])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PlanError(f"this is no plan: {error}") from None
    return plan_of(name, rates.items())


def write_plan(plan: Plan) -> bytes:
    """The plan as a setting: what differs from the built-in one."""
    return msgspec.json.encode({name: rate for name, rate in plan.rates.items() if rate != BUILT_IN[name]})


def check_name(name: str) -> None:
    """Raises PlanError for what can be no plan's name."""
    if not _NAME.fullmatch(name):
        raise PlanError("the name of a plan has lower-case letters, digits and dashes, a letter first, at most 64 in all")


def check_subject(subject: str) -> None:
    """Raises PlanError for what names neither a user nor an API key."""
    if not _SUBJECT.fullmatch(subject):
        raise PlanError("a subject is `user.` and the id of a user, or `key.` and the eight characters after `trd_` in an API key")


BUILT_IN_PLANS: Mapping[str, Plan] = {name: Plan(name, BUILT_IN) for name in (DEFAULT, ADDRESS)}
