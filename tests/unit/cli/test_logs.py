"""The logs that `treadle logs` prints."""

from pathlib import Path

import pytest

from mesh.cli.logs import follow_logs, last_lines, log_files
from mesh.cli.output import CliError, Exit


def test_the_last_lines_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "edge.log"
    file.write_bytes(b"one\ntwo\n\xff three\n")
    assert last_lines(file, 2) == (["two", "\ufffd three"], 16)
    assert last_lines(file, 0)[0] == []
    assert last_lines(file, 9)[0] == ["one", "two", "\ufffd three"]


def test_an_unknown_name_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no stack has run there"):
        log_files(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "edge.log").touch()
    with pytest.raises(CliError, match=r"no log 'egde'\. Known: edge") as raised:
        log_files(tmp_path, "egde")
    assert raised.value.code == Exit.BAD_INPUT


def test_what_comes_is_shown_in_whole_lines_also_from_a_log_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "edge.log"
    file.write_text("old\n")
    writes = iter(["half", "half of a line\nnext\n", "new\n"])
    shown: list[str] = []

    def show(_: Path, line: str) -> None:
        shown.append(line)
        if line == "new":
            raise KeyboardInterrupt

    def write(_: float) -> None:
        text = next(writes)
        mode = "w" if text == "new\n" else "a"
        with file.open(mode) as log:
            log.write(text)

    monkeypatch.setattr("mesh.cli.logs.time.sleep", write)
    with pytest.raises(KeyboardInterrupt):
        follow_logs({file: 4}, show)
    assert shown == ["halfhalf of a line", "next", "new"]
