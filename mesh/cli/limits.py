"""`treadle limits`: how often whom may call."""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import CliError, Exit, say, say_json

_PLANS, _ASSIGNMENTS = "/v1/limits/plans", "/v1/limits/assignments"
_PREFIX = "RATE_CLASS_"
_SECONDS = {"s": 1, "m": 60, "h": 3600}

PlanName = Annotated[str, typer.Argument(help="Name of the plan; `default` is everybody's, `address` that of each client address.")]
Subject = Annotated[str, typer.Argument(help="`user.<id>`, or `key.<the eight characters after trd_>`.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Rate limits: plans, and who has which.", no_args_is_help=True)
    group.command("list")(list_plans)
    group.command("set")(set_plan)
    group.command("reset")(reset_plan)
    group.command("assignments")(list_assignments)
    group.command("assign")(assign)
    group.command("unassign")(unassign)
    app.add_typer(group, name="limits")


def list_plans(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Lists the plans, and settings that are not in force because they make no sense."""
    found = _call(home, "GET", _PLANS)
    if is_json:
        say_json(found)
        return
    for plan in found["plans"]:
        say(f"{plan['name']:<12} {'  '.join(map(_shown, plan['limits']))}")
    for rejected in found["rejected"]:
        say(f"rejected: {rejected['key']}: {rejected['problem']}")


def set_plan(
    name: PlanName,
    limits: Annotated[list[str], typer.Argument(help="CLASS=CALLS/s:BURST, such as execute=10/s:100 or auth=30/m:10.")],
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Makes or replaces a plan. Classes that are not named have the built-in limits. Counts within seconds."""
    import json

    body = json.dumps({"limits": [_read(text) for text in limits]})
    plan = _call(home, "PUT", f"{_PLANS}/{quote(name, safe='')}", body)
    if is_json:
        say_json(plan)
    else:
        say(f"{plan['name']:<12} {'  '.join(map(_shown, plan['limits']))}")


def reset_plan(name: PlanName, home: Home = NO_HOME) -> None:
    """Deletes a plan; a built-in one is again as it was shipped."""
    _call(home, "DELETE", f"{_PLANS}/{quote(name, safe='')}")


def list_assignments(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Lists who has another plan than `default`."""
    found: list[dict[str, str]] = []
    token = ""
    while True:
        page = _call(home, "GET", f"{_ASSIGNMENTS}?page_size=1000&page_token={quote(token)}")
        found += page["assignments"]
        token = page["next_page_token"]
        if not token:
            break
    if is_json:
        say_json(found)
        return
    for item in found:
        say(f"{item['subject']}  {item['plan']}")


def assign(subject: Subject, plan: PlanName, home: Home = NO_HOME) -> None:
    """Gives a user or an API key a plan."""
    import json

    _call(home, "POST", f"{_PLANS}/{quote(plan, safe='')}:assign", json.dumps({"subject": subject}))


def unassign(subject: Subject, home: Home = NO_HOME) -> None:
    """Takes it back: `default` counts again."""
    _call(home, "DELETE", f"{_ASSIGNMENTS}/{quote(subject, safe='')}")


def _read(text: str) -> dict[str, Any]:
    name, _, limit = text.partition("=")
    rate, _, burst = limit.partition(":")
    calls, _, unit = rate.partition("/")
    try:
        return {"rate_class": _PREFIX + name.upper(), "per_second": float(calls) / _SECONDS[unit], "burst": int(burst)}
    except (ValueError, KeyError):
        raise CliError(f"{text}: write CLASS=CALLS/s:BURST, such as execute=10/s:100 or auth=30/m:10", Exit.BAD_INPUT) from None


def _shown(limit: dict[str, Any]) -> str:
    rate, unit = limit["per_second"], "s"
    for wider in ("m", "h"):
        if rate < 1:
            rate, unit = limit["per_second"] * _SECONDS[wider], wider
    return f"{limit['rate_class'].removeprefix(_PREFIX).lower()}={rate:g}/{unit}:{limit['burst']}"


def _call(home: Any, verb: str, path: str, body: str | None = None) -> Any:
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        return Rest(session).json(verb, path, body)
