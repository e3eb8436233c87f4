"""Serves the document and the page."""

import asyncio
import base64
import hashlib
from functools import cache
from pathlib import Path

import orjson
import treadle
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mesh.http.responses import is_current

# Beside the generated modules.
DOCUMENT = Path(treadle.__path__[0]).parent / "openapi.json"
_FOLDER = Path(__file__).parent
_CACHE = "public, max-age=300"


async def openapi(request: Request) -> Response:
    """GET /openapi.json."""
    body, etag = await asyncio.to_thread(_document)
    headers = {"etag": etag, "cache-control": _CACHE, "access-control-allow-origin": "*"}
    return _unless_known(request, Response(body, headers=headers, media_type="application/json"))


async def docs(request: Request) -> Response:
    """GET /docs: the page, whole in one answer. It runs no script and loads nothing."""
    body, etag, policy = await asyncio.to_thread(_page)
    headers = {"etag": etag, "cache-control": _CACHE, "content-security-policy": policy}
    return _unless_known(request, Response(body, headers=headers, media_type="text/html"))


ROUTES = [Route("/openapi.json", openapi), Route("/docs", docs)]


def _unless_known(request: Request, response: Response) -> Response:
    if is_current(response.headers["etag"], request.headers.get("if-none-match")):
        kept = {name: value for name, value in response.headers.items() if name not in {"content-length", "content-type"}}
        return Response(status_code=304, headers=kept)
    return response


@cache
def _document() -> tuple[bytes, str]:
    body = orjson.dumps(orjson.loads(DOCUMENT.read_bytes()))
    return body, _etag(body)


@cache
def _page() -> tuple[bytes, str, str]:
    # Loaded with the first visitor only: most gateways never have one.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    from gateway.reference.model import groups, prose, schemas  # noqa: PLC0415
    from gateway.reference.types import anchor  # noqa: PLC0415

    document = orjson.loads(DOCUMENT.read_bytes())
    style = (_FOLDER / "page.css").read_text()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["anchor"] = anchor
    html = environment.get_template("page.html").render(
        info=document["info"], about=prose(document["info"]["description"]), groups=groups(document), schemas=schemas(document), style=style
    )
    body = html.encode()
    return body, _etag(body), _policy(style)


def _policy(style: str) -> str:
    """Nothing may run or be loaded but the style of the page itself."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'
