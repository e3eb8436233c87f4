"""HTTP."""

from enum import StrEnum
from typing import Any

from services.block.library.support.files import read_bytes
from services.block.library.support.http_client import WebRequest, WebResponse, send
from services.block.sdk import Block, BlockContext, BlockInput, BlockOutput, BlockResult, Category, Effect, Vector, pin
from services.block.sdk.jsonread import read_json

IDEMPOTENCY_HEADER = "Idempotency-Key"
_HTTP_OK = range(200, 300)
_HTTP_CLIENT_ERRORS = range(400, 500)


class HttpMethod(StrEnum):
    """The methods of SendWebRequestBlock."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    PATCH = "PATCH"
    OPTIONS = "OPTIONS"
    HEAD = "HEAD"


class SendWebRequestBlock(Block):
    """Sends an HTTP request to the public internet and gives the answer. JSON answers arrive as values, others as text."""

    id = "6595ae1f-b924-42cb-9a41-551a0611c4b4"
    categories = (Category.OUTPUT,)
    effect = Effect.EFFECTFUL
    uses_idempotency_key = True

    class Input(BlockInput):
        """The request."""

        url: str = pin(description="The URL", placeholder="https://api.example.com")
        method: HttpMethod = pin(HttpMethod.POST, description="The method")
        headers: dict[str, str] = pin(default_factory=dict, description="Headers by name")
        json_format: bool = pin(True, description="Send the body as JSON instead of form fields")
        body: dict[Any, Any] | None = pin(None, description="The body: a JSON object or form fields")
        files_name: str = pin("file", description="Form field that carries the files")
        files: list[str] = pin(default_factory=list, description="References to files to send as a multipart form")

    class Output(BlockOutput):
        """The body of the answer, by its status."""

        response: Any = pin(description="The answer, for a status from 200 to 299")
        client_error: Any = pin(description="The answer, for a status from 400 to 499")
        server_error: Any = pin(description="The answer, for any other status")

    async def run(self, input: Input, ctx: BlockContext) -> BlockResult:
        """Every attempt of a firing sends the same `Idempotency-Key`. Fails when no answer comes or the address is not public."""
        answer = await send(_request(input, ctx), ctx.http_allow_hosts)
        if answer.status in _HTTP_OK:
            yield "response", _value(answer)
        elif answer.status in _HTTP_CLIENT_ERRORS:
            yield "client_error", _value(answer)
        else:
            yield "server_error", _value(answer)

    vectors = (
        Vector(
            input={"url": "https://example.com/orders", "method": "GET"},
            outputs=[("response", {"example": True})],
            needs_network=True,
        ),
        Vector(input={"url": "http://127.0.0.1/", "method": "GET"}, error="not allowed"),
        Vector(input={"url": "ftp://example.com/"}, error="Scheme 'ftp' is not allowed"),
    )


def _request(input: SendWebRequestBlock.Input, ctx: BlockContext) -> WebRequest:
    headers = dict(input.headers)
    if ctx.idempotency_key and not any(name.lower() == IDEMPOTENCY_HEADER.lower() for name in headers):
        headers[IDEMPOTENCY_HEADER] = ctx.idempotency_key
    files = tuple((input.files_name, (f"file{at}", read_bytes(reference))) for at, reference in enumerate(input.files))
    body = None if input.body is None else {str(name): value for name, value in input.body.items()}
    has_json = input.json_format and not files and body is not None
    return WebRequest(
        method=input.method.value,
        url=input.url,
        headers=headers,
        json=body if has_json else None,
        form=None if has_json else body,
        files=files,
        has_json=has_json,
    )


def _value(answer: WebResponse) -> Any:
    """JSON as a value; text that only claims to be JSON as text; nothing as null when JSON was announced."""
    is_json = answer.content_type == "application/json" or answer.content_type.endswith("+json")
    if not is_json:
        return answer.text
    if not answer.text.strip():
        return None
    try:
        return read_json(answer.text)
    except ValueError:
        return answer.text
