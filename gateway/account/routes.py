"""Serves the page. One for all: its script sees from the path what is wanted."""

import asyncio
import base64
import hashlib
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent


async def account(_: Request) -> Response:
    """GET /account/…: the page, whole in one answer. It talks to this origin only, and no other page may frame it."""
    body, policy = await asyncio.to_thread(_page)
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
    return Response(body, headers=headers, media_type="text/html")


ROUTES = [Route(f"/account/{path}", account) for path in ("verify-email", "reset-password", "sign-in", "oidc/{provider}")]


@cache
def _page() -> tuple[bytes, str]:
    style, script = (_FOLDER / "page.css").read_text(), (_FOLDER / "page.js").read_text()
    html = (_FOLDER / "page.html").read_text().replace("{{ style }}", style).replace("{{ script }}", script)
    sources = f"style-src {_hash(style)}; script-src {_hash(script)}; connect-src 'self'"
    return html.encode(), f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
