"""Generates `gen/` from `protos/`: `python -m mesh.codegen`, or `--check` to say whether `gen/` is what would come out.

Imports nothing that is generated, so that it also works when `gen/` is empty.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "protos"
# Google's protos, from the installed package; `buf.yaml` names this directory.
SHARED_PROTOS = ROOT / ".venv" / "share" / "protos"
_GOOGLE_FILES = ("google/api/annotations.proto", "google/api/field_behavior.proto", "google/api/http.proto")
_BIN = Path(sys.executable).parent


def main() -> int:
    """Generates, or with `--check` compares; 1 when `gen/` is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when gen/ is stale")
    parser.add_argument("--protos-only", action="store_true", help="only put Google's protos where buf finds them")
    options = parser.parse_args()
    if options.protos_only:
        copy_google_protos()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        stale = differences(fresh, ROOT / "gen")
        if options.check:
            for line in stale:
                sys.stderr.write(f"stale: gen/{line}\n")
            return 1 if stale else 0
        for line in stale:
            _replace(fresh / line, ROOT / "gen" / line)
    sys.stdout.write(f"gen/: {len(stale)} files changed\n")
    return 0


def generate(folder: Path) -> Path:
    """Writes everything under `folder/gen` and returns that directory. Raises CalledProcessError when a generator fails."""
    copy_google_protos()
    output = folder / "gen"
    output.mkdir()
    _run(str(_BIN / "buf"), "generate", "--output", str(folder))
    services = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("treadle/**/*_service.proto"))
    includes = [f"--proto_path={PROTOS}", f"--proto_path={SHARED_PROTOS}"]
    _run(sys.executable, "-m", "grpc_tools.protoc", *includes, f"--grpc_python_out={output}", *services)
    for directory in [output / "treadle", *(path for path in (output / "treadle").rglob("*") if path.is_dir())]:
        (directory / "__init__.py").touch()
    descriptors = output / "descriptor.binpb"
    _run(str(_BIN / "buf"), "build", "--as-file-descriptor-set", "--output", str(descriptors))
    _run(sys.executable, "-m", "mesh.http.openapi", str(descriptors), str(output / "openapi.json"), path=output)
    _run(sys.executable, "-m", "gateway.graphql.schema", str(output / "schema.graphql"), path=output)
    return output


def copy_google_protos() -> None:
    """Puts the annotations where buf finds them, from the package googleapis-common-protos."""
    spec = find_spec("google.api")
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise SystemExit("googleapis-common-protos is not installed; run `make venv`")
    source = Path(places[0]).parent.parent
    for name in _GOOGLE_FILES:
        target = SHARED_PROTOS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)


def differences(fresh: Path, current: Path) -> list[str]:
    """Files that are missing, too many, or different, relative to `gen/`."""
    names = {path.relative_to(base) for base in (fresh, current) for path in base.rglob("*") if path.is_file() and _counts(path)}
    return sorted(str(name) for name in names if not _same(fresh / name, current / name))


def _replace(source: Path, target: Path) -> None:
    if not source.exists():
        target.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _counts(path: Path) -> bool:
    return "__pycache__" not in path.parts


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and filecmp.cmp(one, other, shallow=False)


def _run(*command: str, path: Path | None = None) -> None:
    """Runs a generator; with `path`, one of ours that imports what was just generated there."""
    environment = os.environ | {"PYTHONPATH": str(path)} if path else None
    subprocess.run(command, check=True, cwd=ROOT, env=environment)  # noqa: S603 - our own argument list


if __name__ == "__main__":
    raise SystemExit(main())
