"""All streams and subjects of the bus, in one place, and how they come to be."""

from dataclasses import fields

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

# Executions that wait for a worker. PostgreSQL decides; this only wakes.
DISPATCH = "TREADLE_DISPATCH"
DISPATCH_SUBJECTS = "treadle.dispatch.>"
DISPATCH_RUN = "treadle.dispatch.run"
# Headers of a message that the server keeps back until a time ("@at" and RFC 3339), then puts on a subject of the same stream.
SCHEDULE_AT = "Nats-Schedule"
SCHEDULE_TARGET = "Nats-Schedule-Target"

# Events of executions, after their commit. The journal has them all: the stream may lose everything.
EVENTS = "TREADLE_EXECUTION_EVENTS"
EVENT_SUBJECTS = "treadle.execution.>"
# Header of an event message that names the graph whose execution it is about.
GRAPH_HEADER = "Treadle-Graph-Id"

# Messages that nobody could handle, for people to look at.
DEAD_LETTERS = "TREADLE_DEAD_LETTERS"
DEAD_LETTER_SUBJECTS = "treadle.dead.>"
DEAD_LETTER_RUN = "treadle.dead.run"


def dead_subject(durable: str) -> str:
    """Where a message goes that a consumer cannot handle."""
    return f"treadle.dead.{durable}"


# What people are to be told, until it is mailed.
NOTIFICATIONS = "TREADLE_NOTIFICATIONS"
NOTIFICATION_SUBJECTS = "treadle.notification.>"
MAIL_SUBJECT = "treadle.notification.mail"
NOTIFICATIONS_MAX_AGE_S = 3 * 86400.0
NOTIFICATIONS_MAX_BYTES = 64 * 1024 * 1024

# What services tell each other after a commit, from their outboxes: `treadle.event.<service>.<name>`.
DOMAIN_EVENTS = "TREADLE_EVENTS"
DOMAIN_EVENT_SUBJECTS = "treadle.event.>"
DOMAIN_EVENTS_MAX_AGE_S = 30 * 86400.0
DOMAIN_EVENTS_MAX_BYTES = 256 * 1024 * 1024

# Who did what, on its way into the audit log: batches of records, one JSON object per line.
AUDIT = "TREADLE_AUDIT"
AUDIT_SUBJECTS = "treadle.audit.>"
AUDIT_RECORDS = "treadle.audit.records"
AUDIT_MAX_BYTES = 1024 * 1024 * 1024

# Core subject, no stream: ids of executions to stop.
CONTROL_CANCEL = "treadle.control.cancel"
# Core subject, no stream: ids of executions at work that got an answer.
CONTROL_SIGNAL = "treadle.control.signal"

EVENTS_MAX_AGE_S = 600.0
# The server takes about twice as much memory for it.
EVENTS_MAX_BYTES = 16 * 1024 * 1024
DEAD_LETTERS_MAX_AGE_S = 30 * 86400.0
DEAD_LETTERS_MAX_BYTES = 64 * 1024 * 1024
# Header with the id of a message. One with an id seen within this time is dropped.
MESSAGE_ID = "Nats-Msg-Id"
DEDUPLICATE_S = 120.0


def execution_subject(owner_id: str, execution_id: str) -> str:
    """Where the events of an execution are published."""
    return f"treadle.execution.{owner_id}.{execution_id}"


def timer_subject(execution_id: str) -> str:
    """Where the time of a parked execution waits; a later message takes the place of an earlier one."""
    return f"treadle.dispatch.timer.{execution_id}"


STREAMS = (
    StreamConfig(
        name=DISPATCH,
        subjects=[DISPATCH_SUBJECTS],
        retention=RetentionPolicy.WORK_QUEUE,
        # What it loses the sweep finds in the database; on disk each run would cost several flushes here too.
        storage=StorageType.MEMORY,
        duplicate_window=DEDUPLICATE_S,
        allow_msg_schedules=True,
    ),
    StreamConfig(
        name=EVENTS,
        subjects=[EVENT_SUBJECTS],
        storage=StorageType.MEMORY,
        max_age=EVENTS_MAX_AGE_S,
        max_bytes=EVENTS_MAX_BYTES,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATE_S,
    ),
    StreamConfig(
        name=NOTIFICATIONS,
        subjects=[NOTIFICATION_SUBJECTS],
        storage=StorageType.FILE,
        max_age=NOTIFICATIONS_MAX_AGE_S,
        max_bytes=NOTIFICATIONS_MAX_BYTES,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATE_S,
    ),
    StreamConfig(
        name=DOMAIN_EVENTS,
        subjects=[DOMAIN_EVENT_SUBJECTS],
        storage=StorageType.FILE,
        max_age=DOMAIN_EVENTS_MAX_AGE_S,
        max_bytes=DOMAIN_EVENTS_MAX_BYTES,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATE_S,
    ),
    StreamConfig(
        name=AUDIT,
        subjects=[AUDIT_SUBJECTS],
        # Gone once it is in the log. A full stream refuses what is new instead of losing what it has: who waits for a record is told.
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        max_bytes=AUDIT_MAX_BYTES,
        discard=DiscardPolicy.NEW,
        duplicate_window=DEDUPLICATE_S,
    ),
    StreamConfig(
        name=DEAD_LETTERS,
        subjects=[DEAD_LETTER_SUBJECTS],
        storage=StorageType.FILE,
        max_age=DEAD_LETTERS_MAX_AGE_S,
        max_bytes=DEAD_LETTERS_MAX_BYTES,
        discard=DiscardPolicy.OLD,
        duplicate_window=DEDUPLICATE_S,
    ),
)


async def ensure_streams(js: JetStreamContext) -> None:
    """Creates the streams that are missing and brings the others up to date. Idempotent; several processes may do it at once.

    The server cannot move a stream between memory and disk: one that is to move is made anew, empty.
    """
    for config in STREAMS:
        try:
            found = await js.stream_info(str(config.name))
            if found.config.storage == config.storage:
                if _differs(found.config, config):
                    await js.update_stream(config)
                continue
            await js.delete_stream(str(config.name))
        except NotFoundError:
            pass
        await js.add_stream(config)


def _differs(found: StreamConfig, wanted: StreamConfig) -> bool:
    """Whether something that is wanted is not so; the server fills in the rest. An update writes to the disk, and most starts need none."""
    values = ((getattr(wanted, field.name), getattr(found, field.name)) for field in fields(wanted))
    return any(asked is not None and asked != has for asked, has in values)
