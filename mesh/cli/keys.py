"""`treadle keys`: the keys that access tokens are signed with."""

from typing import Annotated, Any

import typer

from mesh.cli.options import NO_HOME, AsJson, Home
from mesh.cli.output import note, say, say_json

_PATH = "/v1/auth/signing_keys"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Signing keys of access tokens: list, rotate.", no_args_is_help=True)
    group.command("list")(list_keys)
    group.command("rotate")(rotate)
    app.add_typer(group, name="keys")


def list_keys(home: Home = NO_HOME, is_json: AsJson = False) -> None:
    """Lists the keys that sign or still verify, newest first."""
    keys = _call(home, "GET", _PATH)["keys"]
    if is_json:
        say_json(keys)
        return
    for key in keys:
        say(f"{key['kid']}  signs from {key['activate_time']} until {key.get('retire_time') or 'rotated'}")


def rotate(
    revoke: Annotated[bool, typer.Option("--revoke", help="The keys are in wrong hands: end them and their tokens at once.")] = False,
    home: Home = NO_HOME,
    is_json: AsJson = False,
) -> None:
    """Makes a new key. It signs when all who keep the published keys have it; nobody is signed out."""
    import json

    key = _call(home, "POST", f"{_PATH}:rotate", json.dumps({"revoke": revoke}))
    if is_json:
        say_json(key)
        return
    note("All access tokens have ended." if revoke else f"It signs from {key['activate_time']} on.")
    say(key["kid"])


def _call(home: Any, verb: str, path: str, body: str | None = None) -> Any:
    from mesh.cli.rest import Rest
    from mesh.cli.session import Session

    with Session(home) as session:
        return Rest(session).json(verb, path, body)
