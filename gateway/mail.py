"""The mail folder: until something mails them, mails to users become files."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from mesh.bus import Bus
from mesh.logs import get_logger
from mesh.resources import Resources
from mesh.streams import MAIL_SUBJECT, NOTIFICATIONS, ensure_streams
from mesh.tasks import end

_DURABLE = "mail-folder"
_SENDER = "Treadle <no-reply@treadle.example>"
_RETRY_S = 1.0
_FETCH_S = 30.0
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
    """Writes each mail once into the folder while the context lasts; does nothing without one."""
    task = asyncio.create_task(_run(Path(folder), resources), name="mail-folder") if folder else None
    try:
        yield
    finally:
        if task is not None:
            await end(task)


async def _run(folder: Path, resources: Resources) -> None:
    bus = await resources.bus()
    while True:
        try:
            await ensure_streams(bus.js)
            await _follow(folder, bus)
        except (OSError, nats.errors.Error) as error:
            _log.warning("mail_delayed", fault=type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def _follow(folder: Path, bus: Bus) -> None:
    config = ConsumerConfig(durable_name=_DURABLE, filter_subject=MAIL_SUBJECT, ack_policy=AckPolicy.EXPLICIT)
    subscription = await bus.js.pull_subscribe(MAIL_SUBJECT, durable=_DURABLE, stream=NOTIFICATIONS, config=config)
    while True:
        with suppress(nats.errors.TimeoutError):
            for message in await subscription.fetch(10, timeout=_FETCH_S):
                await asyncio.to_thread(_write, folder, message)
                await message.ack()


def _write(folder: Path, message: Msg) -> None:
    try:
        document = orjson.loads(message.data)
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
