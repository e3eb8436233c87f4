"""The HTTP/JSON door: an ASGI app that serves the methods of a dispatcher by the REST routes in their contracts.

Raw ASGI, no framework: a request costs a walk through the route tree, one decode, the chain with the handler, one encode.
"""

from collections.abc import Iterable, Mapping

from google.protobuf.message import Message
from starlette.types import ASGIApp, Receive, Scope, Send

from mesh.call import Call
from mesh.chain.errors import mapped
from mesh.contract import Method
from mesh.dispatch import Dispatcher, Read
from mesh.errors import TreadleError
from mesh.http.answers import Answer, Answers
from mesh.http.attention import WhileClientStays
from mesh.http.errors import RouteUnknownError, VerbNotAllowedError
from mesh.http.requests import Body, check_media_type, headers_of, refuse_body
from mesh.http.responses import etag_of, headers_for, is_current, refuse, send_body, send_error, send_not_modified
from mesh.http.route import Route
from mesh.http.routes import Match, RouteTree, variables_of
from mesh.http.streaming import SSE, StreamResponse
from mesh.metrics import Metrics

HEALTH_PATH = b"/healthz"


def http_door(
    dispatcher: Dispatcher, extra: ASGIApp | None = None, *, max_body_bytes: int, metrics: Metrics | None = None, cookie_life_s: int = 0
) -> ASGIApp:
    """The door for all methods of the dispatcher. Paths that no contract names go to `extra`, or get a JSON 404 without one.

    `cookie_life_s` is how long browsers keep a credential in a cookie.

    Raises ContractError when a route does not fit its messages.
    """
    return HttpDoor(dispatcher, extra, max_body_bytes, Answers(metrics or Metrics()), cookie_life_s)


def route_tree(methods: Iterable[Method], cookie_life_s: int = 0) -> RouteTree[Route]:
    """The routes of the methods that have one. Raises ContractError."""
    tree: RouteTree[Route] = RouteTree()
    for method in methods:
        if method.http is not None:
            tree.add(method.http.verb, method.http.path, Route(method, variables_of(method.http.path), cookie_life_s))
    return tree


class HttpDoor:
    """See `http_door`."""

    def __init__(self, dispatcher: Dispatcher, extra: ASGIApp | None, max_body_bytes: int, answers: Answers, cookie_life_s: int) -> None:
        """Compiles all routes."""
        self._dispatcher = dispatcher
        self._extra = extra
        self._max_body_bytes = max_body_bytes
        self._answers = answers
        self._routes = route_tree(dispatcher.methods.values(), cookie_life_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection scope of ASGI."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif self._extra is not None:
            await self._extra(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        else:
            await _lifespan(receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        match = self._routes.find(path)
        is_head = scope["method"] == "HEAD"
        if match is None:
            await self._serve_other(path, scope, receive, send, is_head=is_head)
            return
        try:
            await self._serve_route(match, scope, receive, send, is_head=is_head)
        except TreadleError as error:
            await refuse(scope, send, error, is_head=is_head)

    async def _serve_other(self, path: bytes, scope: Scope, receive: Receive, send: Send, *, is_head: bool) -> None:
        if path == HEALTH_PATH:
            is_serving = self._dispatcher.is_serving
            body = b'{"status":"SERVING"}' if is_serving else b'{"status":"NOT_SERVING"}'
            await send_body(send, 200 if is_serving else 503, body, {"cache-control": "no-store"}, is_head=is_head)
        elif self._extra is not None:
            await self._extra(scope, receive, send)
        else:
            error = RouteUnknownError("There is nothing at this path.", metadata={"path": scope["path"]})
            await refuse(scope, send, error, is_head=is_head)

    async def _serve_route(self, match: Match[Route], scope: Scope, receive: Receive, send: Send, *, is_head: bool) -> None:
        route = match.by_verb.get("GET" if is_head else scope["method"])
        if route is None and match.values and b":" in match.values[-1]:
            # Taken for a part of an id it would be a resource that has other verbs; it is a verb behind a colon that nobody knows.
            raise RouteUnknownError("There is nothing at this path.", metadata={"path": scope["path"]})
        if route is None or (is_head and route.method.is_server_streaming):
            raise VerbNotAllowedError(scope["method"], _allowed(match.by_verb))
        headers = headers_of(scope["headers"])
        body = Body(receive, headers, self._max_body_bytes)

        async def read() -> Message:
            content = await body.read()
            if not route.takes_body:
                refuse_body(content)
            elif content:
                check_media_type(headers)
            return route.request(match.values, scope["query_string"], content, headers)

        call = self._dispatcher.new_call(route.method, headers)
        if route.method.is_server_streaming:
            media_type = route.method.media_type
            is_sse = not media_type and SSE in headers.get("accept", "")
            stream = StreamResponse(send, route.write, is_sse=is_sse, media_type=media_type)
            await stream.run(self._dispatcher, call, read, body.client_gone)
        else:
            answer = self._answers.for_request(scope["raw_path"], scope["query_string"], headers.get("if-none-match"))
            if route.is_get:
                call.has_answer = answer.has
            await self._serve_unary(route, call, read, body, send, answer=answer, is_head=is_head)

    async def _serve_unary(self, route: Route, call: Call, read: Read, body: Body, send: Send, *, answer: Answer, is_head: bool) -> None:
        try:
            with WhileClientStays(body.client_gone) as client:
                response = await self._dispatcher.unary(call, read)
            if client.is_gone:
                return
            extra = {**route.cache_headers, **headers_for(call)}
            if route.cookie is not None:
                response = route.cookie.hidden(response, call.metadata, extra)
            text, is_known = _conditional(route, response, extra, answer)
        except TreadleError as error:
            extra = headers_for(call)
            if route.cookie is not None:
                route.cookie.forget(error, call.metadata, extra)
            await send_error(send, route.as_client_sent(error), extra, is_head=is_head)
        except Exception as error:
            await send_error(send, mapped(call, error), headers_for(call), is_head=is_head)
        else:
            if is_known:
                await send_not_modified(send, extra)
            else:
                await send_body(send, 200, text, extra, is_head=is_head)


def _conditional(route: Route, response: Message, extra: dict[str, str], answer: Answer) -> tuple[bytes, bool]:
    """The body, and whether the client has it already. Every answer to a GET gets an entity tag; the handler's own spares the writing."""
    if not route.is_get:
        return route.write(response), False
    own_etag = extra.get("etag")
    if own_etag is None:
        text = route.write(response)
        extra["etag"] = etag_of(text)
        return text, is_current(extra["etag"], answer.if_none_match)
    if not answer.has(own_etag):
        text = route.write(response)
        answer.keep(own_etag, text)
        return text, False
    return answer.body or b"", answer.is_known


def _allowed(by_verb: Mapping[str, Route]) -> list[str]:
    """HEAD goes with GET, but not with a stream, whose headers are only known by running it."""
    has_head = "GET" in by_verb and not by_verb["GET"].method.is_server_streaming
    return sorted({*by_verb, "HEAD"} if has_head else by_verb)


async def _lifespan(receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
