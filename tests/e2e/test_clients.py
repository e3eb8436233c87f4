"""Clients in another language, in front of the whole stack: gRPC from Node, gRPC-Web and REST from a page in headless Chromium.

They skip where Node, npm's packages or Chromium are missing; CI brings them.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mesh.http_server import HttpServer, bind
from tests.e2e.conftest import Stack

FOLDER = Path(__file__).parent / "node"
GEN = Path(__file__).parents[2] / "gen"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = "<!doctype html><meta charset=utf-8><title>A page</title><script type=module src=/page.js></script>"
PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def node() -> str:
    """The Node program, with the packages installed."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("Node or npm is not installed")
    installed, lock = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=150)
        if result.returncode:
            pytest.skip(f"npm cannot install the packages: {result.stderr.strip()[-300:]}")
        installed.touch()
    return program


@pytest.fixture(scope="session")
def documents() -> dict[str, Any]:
    """A graph that ends at once, and one that waits for an hour."""
    openapi = orjson.loads((GEN / "openapi.json").read_bytes())
    greeting = openapi["paths"]["/v1/graphs:import"]["post"]["requestBody"]["content"]["application/json"]["example"]
    timer = {"id": "timer", "block_id": "d67a9c52-5e4e-11e2-bcfd-0800200c9a71", "input_default": {"hours": 1}}
    return {"graph": greeting, "waiting": {"name": "Waiting", "nodes": [timer], "links": []}}


@pytest.fixture
def told(stack: Stack, documents: dict[str, Any]) -> dict[str, Any]:
    """What a client is told."""
    return {"edge": stack.status["edge_url"], "token": stack.treadle("token").strip(), **documents}


def test_a_node_client_speaks_grpc_with_the_edge(stack: Stack, node: str, told: dict[str, Any]) -> None:
    command = [node, "grpc_client.mjs", stack.status["grpc_target"], str(GEN / "descriptor.binpb")]
    result = subprocess.run(command, cwd=FOLDER, input=json.dumps(told), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stderr
    saw = json.loads(result.stdout)
    assert (saw["email"], saw["request_id"]) == ("owner@treadle.example", "from-node")
    assert saw["seqs"] == list(range(1, len(saw["seqs"]) + 1))
    assert (saw["last_kind"], saw["stream_code"]) == ("EVENT_KIND_EXECUTION_COMPLETED", 0)
    assert saw["outputs"] == [["Greeting", ["Hello, Node!"]]]
    assert saw["cancelled_code"] == 1
    assert saw["stopped_status"] == "EXECUTION_STATUS_TERMINATED"
    assert (saw["missing"]["code"], saw["missing"]["reason"]) == (5, "GRAPH_NOT_FOUND")
    assert (saw["stranger"]["code"], saw["stranger"]["reason"]) == (16, "TOKEN_MISSING")
    assert saw["invalid"]["code"] == 3
    assert saw["late"]["code"] == 4


@pytest.fixture
def bundle(node: str) -> Iterator[Path]:
    """The page's script, as one file."""
    with tempfile.TemporaryDirectory(prefix="page-") as folder:
        script = Path(folder) / "page.js"
        esbuild = str(FOLDER / "node_modules" / ".bin" / "esbuild")
        subprocess.run([esbuild, "page.js", "--bundle", "--format=esm", f"--outfile={script}", "--log-level=error"], cwd=FOLDER, check=True)
        yield script


async def test_a_page_in_a_browser_speaks_grpc_web_and_rest_with_the_edge(told: dict[str, Any], bundle: Path, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    saw = await _result_of_page(CHROMIUM, told, bundle, tmp_path)
    assert "failed" not in saw, saw
    assert saw["email"] == "owner@treadle.example"
    assert saw["seqs"] == list(range(1, len(saw["seqs"]) + 1))
    assert saw["same_over_rest"] == {"kind": "application/x-ndjson", "seqs": saw["seqs"]}
    assert (saw["left"], saw["missing"], saw["stranger"], saw["late"]) == ("Canceled", "NotFound", "Unauthenticated", "DeadlineExceeded")
    assert saw["rest"] == {"email": "owner@treadle.example", "has_request_id": True, "kept": 304}


async def _result_of_page(browser: str, told: dict[str, Any], bundle: Path, profile: Path) -> dict[str, Any]:
    """Serves the page, opens it, and waits for what it posts."""
    result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def take(request: Request) -> Response:
        if not result.done():
            result.set_result(await request.json())
        return Response(status_code=204)

    async def config(_: Request) -> Response:
        return JSONResponse(told)

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def script(_: Request) -> Response:
        return FileResponse(bundle, media_type="text/javascript")

    async def descriptors(_: Request) -> Response:
        return FileResponse(GEN / "descriptor.binpb")

    served = {"/": page, "/page.js": script, "/config": config, "/descriptors": descriptors}
    app = Starlette(routes=[Route("/result", take, methods=["POST"]), *(Route(path, endpoint) for path, endpoint in served.items())])
    sock, address = bind("127.0.0.1:0")
    server = HttpServer(app, sock, drain_s=1)
    await server.start()
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--no-first-run")
    process = await asyncio.create_subprocess_exec(
        browser, *options, f"http://{address}/", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await result
    finally:
        process.terminate()
        await process.wait()
        await server.stop()
