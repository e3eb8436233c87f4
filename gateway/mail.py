"""The mail folder: until something mails them, mails to users become files."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import orjson

from mesh.consumer import Reader, consuming
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.streams import MAIL_SUBJECT, NOTIFICATIONS

_READER = Reader(NOTIFICATIONS, MAIL_SUBJECT, "mail-folder")
_SENDER = "Treadle <no-reply@treadle.example>"
# By template: the subject, and what stands before the link.
_TEXTS: Mapping[str, tuple[str, str]] = {
    "password_reset": (
        "Choose a new password",
        "A new password was asked for. It can be chosen here, once, within an hour:",
    ),
    "email_verification": ("Is this your address?", "This link proves that the address is yours. It works once, within three days:"),
}

_log = get_logger("gateway.mail")


def compose(to: str, template: str, data: Mapping[str, str]) -> EmailMessage:
    """The mail. Raises KeyError for a template that is not there."""
    subject, text = _TEXTS[template]
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = _SENDER, to, subject
    mail.set_content(f"Hello {data.get('name', '')},\n\n{text}\n\n{data['link']}\n", cte="8bit")
    return mail


@asynccontextmanager
async def mail_folder(folder: str, resources: Resources) -> AsyncIterator[None]:
    """Writes each mail into the folder while the context lasts; does nothing without one."""
    if not folder:
        yield
        return

    async def write(_: str, body: bytes) -> None:
        await asyncio.to_thread(_write, Path(folder), body)

    async with consuming(resources, _READER, write):
        yield


def _write(folder: Path, body: bytes) -> None:
    try:
        document = orjson.loads(body)
        template = str(document["template"])
        mail = compose(document["to"], template, document["data"])
    except (KeyError, ValueError) as error:
        _log.error("mail_malformed", fault=type(error).__name__)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    path = folder / f"{stamp}-{re.sub(r'[^a-z_]', '', template)}.eml"
    # Whoever looks into the folder never sees half a mail. The links in it sign people in.
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_bytes(mail.as_bytes())
    draft.replace(path)
