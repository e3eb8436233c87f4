"""The plain page at `/`, for people who open the edge in a browser."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "cache-control": "public, max-age=3600",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_ROOT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Treadle</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222; background: #fff }
code { background: #f2f2f2; padding: .1em .3em; border-radius: 3px }
td, th { text-align: left; padding: .2rem 1.2rem .2rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616 } code { background: #2a2a2a } a { color: #8ab4f8 } }
</style>
</head>
<body>
<h1>Treadle</h1>
<p>Build, run and watch AI agents. This is the edge: REST, GraphQL, gRPC, gRPC-Web and WebSocket on one port.</p>
<table>
<tr><th>What</th><th>Where</th></tr>
<tr><td>Reference of the REST API</td><td><a href="/docs">/docs</a>, <a href="/openapi.json">/openapi.json</a></td></tr>
<tr><td>Sign up, sign in</td><td><code>POST /v1/auth/register</code>, <code>/v1/auth/login</code></td></tr>
<tr><td>Keys that verify access tokens</td><td><a href="/.well-known/jwks.json">/.well-known/jwks.json</a></td></tr>
<tr><td>Your profile</td><td><code>GET /v1/users/me</code></td></tr>
<tr><td>Graphs</td><td><code>/v1/graphs</code>; import with <code>POST /v1/graphs:import</code></td></tr>
<tr><td>Drafts of graphs</td><td><code>/v1/drafts</code></td></tr>
<tr><td>Blocks</td><td><code>/v1/blocks</code></td></tr>
<tr><td>Executions</td><td><code>POST /v1/executions</code>; <code>GET /v1/executions/{id}:watch</code> streams its events</td></tr>
<tr><td>GraphQL</td><td><code>POST /graphql</code>; subscriptions by <code>graphql-transport-ws</code> on the same path</td></tr>
<tr><td>Live events</td><td>WebSocket <code>/v1/ws</code>; browsers get a ticket by <code>POST /v1/ws-tickets</code></td></tr>
<tr><td>gRPC, with reflection and health</td><td>this port; <code>grpcurl -plaintext HOST:PORT list</code></td></tr>
</table>
<p>All but signing in takes <code>Authorization: Bearer TOKEN</code>; <code>treadle token</code> prints one.</p>
</body>
</html>
"""


async def root(_: Request) -> Response:
    """Says where things are."""
    return HTMLResponse(_ROOT, headers=_HEADERS)
