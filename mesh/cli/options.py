"""Options that many commands share. `--home` and `--json` may stand before or after the command's name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_HOME = Path(".treadle")


@dataclass(slots=True)
class Common:
    """What was said before the command's name; `is_json` also what was said after it."""

    home: Path = DEFAULT_HOME
    is_json: bool = False


common = Common()


def _home(value: Path | None) -> Path:
    return value if value is not None else common.home


def _json(value: bool) -> bool:
    common.is_json = common.is_json or value
    return common.is_json


Home = Annotated[Path, typer.Option("--home", help="Data directory of the stack.", readable=False, callback=_home, show_default=".treadle")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", callback=_json)]
NO_HOME: Path = None  # type: ignore[assignment] # the callback puts the real default in its place
