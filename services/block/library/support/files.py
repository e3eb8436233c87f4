"""References to files. Today a file travels inside its reference, as a data URI."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from services.block.sdk import BlockError

MAX_FILE_BYTES = 10 * 1024 * 1024


def read_bytes(reference: str) -> bytes:
    """The content of a file. Raises BlockError when there is no such file, it is too large, or the reference is of an unknown kind."""
    if not reference.startswith("data:"):
        raise BlockError("File does not exist: only data URIs can be read")
    head, separator, body = reference[len("data:") :].partition(",")
    if not separator:
        raise BlockError("The data URI has no content")
    try:
        content = base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except binascii.Error as error:
        raise BlockError(f"The data URI is not base64: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise BlockError(f"The file is larger than {MAX_FILE_BYTES} bytes")
    return content


def read_text(reference: str) -> str:
    """The content as text: UTF-8, or Latin-1 when it is not UTF-8. A byte order mark is dropped."""
    content = read_bytes(reference)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
