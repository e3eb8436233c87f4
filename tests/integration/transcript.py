"""Calls over REST as text that people read, and that tests compare with a file.

After a wanted change write the files anew: run their tests with `TREADLE_UPDATE_GOLDEN=1`.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_WIDE = re.compile(r'"(long ){20,}"')


class Transcript:
    """Calls over REST, written down. Ids and times that are new each time get names; hashes too, which nobody can read."""

    def __init__(self, client: httpx.AsyncClient, title: str, known: Iterable[str]) -> None:
        """`known` are ids that are always the same."""
        self._client = client
        self._known = frozenset(known)
        self._ids: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self.text = f"# {title}\n"

    async def call(self, title: str, verb: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """One exchange. Returns what came."""
        response = await self._client.request(verb, path, json=body, headers=headers)
        said = "".join(f"`{name}: {self._blotted(value)}`\n\n" for name, value in (headers or {}).items())
        sent = "" if body is None else f"`{self._blotted(json.dumps(body, ensure_ascii=False))}`\n\n"
        came = self._blotted(json.dumps(response.json(), indent=2, ensure_ascii=False))
        self.text += f"\n## {title}\n\n`{verb} {self._blotted(path)}`\n\n{said}{sent}```\n{response.status_code}\n\n{came}\n```\n"
        return response.json()

    def compare(self, golden: Path) -> None:
        """Fails when it is not what the file says."""
        if os.environ.get("TREADLE_UPDATE_GOLDEN"):
            golden.write_text(self.text)
        assert self.text == golden.read_text()

    def _blotted(self, text: str) -> str:
        text = _UUID.sub(lambda found: self._id(found[0]), text)
        text = _HASH.sub(lambda found: self._hashes.setdefault(found[0], f"hash-{len(self._hashes) + 1}"), text)
        return _WIDE.sub('"long long …"', _TIME.sub("(time)", text))

    def _id(self, found: str) -> str:
        return found if found in self._known else self._ids.setdefault(found, f"id-{len(self._ids) + 1}")
