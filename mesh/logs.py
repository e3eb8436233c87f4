"""Structured logs: one JSON line per event on stderr, ids of the call on each, secrets masked, never a payload."""

import logging
import os
import re
import sys
from collections.abc import Callable, MutableMapping
from functools import lru_cache
from typing import Any, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from mesh.call import current_call
from mesh.settings import Settings

MASK = "***"

_SECRET_NAMES = re.compile(r"password|passwd|secret|token|authorization|cookie|credential|_key$|^key$|dsn", re.IGNORECASE)
# Passwords in URLs, bearer tokens and JWTs, wherever they stand in a text.
_SECRET_TEXTS = (
    (re.compile(r"(?<=://)([^:@/\s]*):[^@/\s]+@"), rf"\1:{MASK}@"),
    (re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+"), f"Bearer {MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
    (re.compile(r"(?i)\b(password|passwd|secret)(['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+"), rf"\1\2{MASK}"),
)
# None of these patterns matches a text in which this is not found, as in nearly all.
_MAY_BE_SECRET = re.compile(r"://|bearer|eyJ|passw|secret", re.IGNORECASE)
_MAX_DEPTH = 4


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `source: name`. Cheap; may be called at import, takes its settings from `configure` later."""
    return cast(FilteringBoundLogger, structlog.get_logger(source=name))


def configure(settings: Settings, service: str = "") -> None:
    """Sets up the process's logs, those of libraries included. `service` names the process on each line."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    instance = settings.instance or str(os.getpid())
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_fields(service, instance),
        _call_fields,
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer = _renderer(settings)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    _configure_libraries(level, shared, renderer)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks secrets: values of fields with telling names, and what looks like a secret in any text."""
    for name, value in event.items():
        event[name] = _redacted(name, value, 0)
    return event


def redact_text(text: str) -> str:
    """The text with passwords in URLs, bearer tokens and JWTs masked."""
    if _MAY_BE_SECRET.search(text):
        for pattern, replacement in _SECRET_TEXTS:
            text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _redacted(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    if _is_secret(name):
        return MASK
    if isinstance(value, str):
        return redact_text(value)
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return {key: _redacted(str(key), item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted("", item, depth + 1) for item in value]
    return redact_text(str(value))


def _process_fields(service: str, instance: str) -> Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service"] = service
        event["instance"] = instance
        return event

    return add


def _call_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    call = current_call.get()
    if call is not None:
        event.setdefault("request_id", call.request_id)
        if call.caller.user_id:
            event.setdefault("user_id", call.caller.user_id)
    return event


def _renderer(settings: Settings) -> Callable[[Any, str, MutableMapping[str, Any]], bytes]:
    if settings.log_format == "json":
        return lambda _, __, event: orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)
    console = structlog.dev.ConsoleRenderer(colors=False)
    return lambda logger, name, event: str(console(logger, name, event)).encode()


class _Lines:
    """Writes lines to stderr as it is now. A log that cannot be written must not fail the call it speaks of."""

    def __init__(self, *_: Any) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = self.msg

    def msg(self, line: bytes) -> None:
        try:
            sys.stderr.buffer.write(line + b"\n")
            sys.stderr.buffer.flush()
        except (OSError, ValueError):
            return


class _LibraryHandler(logging.Handler):
    """Brings records of the standard `logging` into the same form."""

    def __init__(self, processors: list[Processor], render: Callable[[Any, str, MutableMapping[str, Any]], bytes]) -> None:
        super().__init__()
        self._processors = processors
        self._render = render

    def emit(self, record: logging.LogRecord) -> None:
        event: Any = {"event": record.getMessage(), "source": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        for processor in self._processors:
            event = processor(None, record.levelname.lower(), event)
        _Lines().msg(self._render(None, record.levelname.lower(), event))


def _configure_libraries(level: int, processors: list[Processor], render: Callable[[Any, str, MutableMapping[str, Any]], bytes]) -> None:
    # Libraries speak of their inner life at info: only their warnings are worth a line.
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[_LibraryHandler(processors, render)], force=True)
