"""Inputs of a run from the command line, as JSON text."""

from collections.abc import Iterable
from pathlib import Path

from mesh import jsontext
from mesh.cli.output import CliError, Exit


def read_inputs(pairs: Iterable[str], file: Path | None) -> dict[str, str]:
    """JSON text by name, from a file with an object and from `NAME=VALUE` pairs, which win.

    A value is JSON when it parses, text otherwise. `@FILE` is the text of the file, or its JSON when its name ends in `.json`.
    """
    inputs = _from_file(file) if file is not None else {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CliError(f"-i {pair}: expected NAME=VALUE.", Exit.BAD_INPUT)
        inputs[name] = _value(name, value)
    return inputs


def _value(name: str, value: str) -> str:
    if value.startswith("@"):
        path = Path(value[1:])
        text = _read(f"-i {name}", path)
        return _json_or_fail(path, text) if path.suffix.lower() == ".json" else jsontext.dumps(text)
    try:
        jsontext.loads(value)
    except ValueError:
        return jsontext.dumps(value)
    return value


def _from_file(file: Path) -> dict[str, str]:
    document = jsontext.loads(_json_or_fail(file, _read("--inputs", file)))
    if not isinstance(document, dict):
        raise CliError(f"{file} must hold a JSON object.", Exit.BAD_INPUT)
    return {name: jsontext.dumps(value) for name, value in document.items()}


def _json_or_fail(path: Path, text: str) -> str:
    try:
        jsontext.loads(text)
    except ValueError as error:
        raise CliError(f"{path} is not JSON: {error}", Exit.BAD_INPUT) from error
    return text


def _read(option: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"{option}: {path} cannot be read: {error}", Exit.BAD_INPUT) from error
