"""Answers that were written before, ready to be sent again: to a read with the same path and query, as long as its entity tag is the same.

The handler still runs: it lets the caller in or not, and says which tag counts now. What it spares is making the message and writing it.
"""

from cachetools import LRUCache

from mesh.http.responses import is_current, quoted
from mesh.metrics import Metrics

MAX_BYTES = 32 * 1024 * 1024
# Larger ones would push out too many others.
MAX_ANSWER_BYTES = MAX_BYTES // 16
# What an answer takes beside its bytes.
_OVERHEAD_BYTES = 400

# Path and query as they came, and the entity tag.
_Key = tuple[bytes, bytes, str]


class Answers:
    """The bodies of one process, those that were sent last."""

    def __init__(self, metrics: Metrics) -> None:
        self._bodies: LRUCache[_Key, bytes] = LRUCache(MAX_BYTES, getsizeof=lambda body: len(body) + _OVERHEAD_BYTES)
        lookups = metrics.counter("treadle_cache_lookups_total", "Where values came from.", ("cache", "layer"))
        self._hits, self._misses = lookups.labels("http.answers", "process"), lookups.labels("http.answers", "source")
        size = metrics.gauge("treadle_cache_bytes", "Bytes held in the process.", ("cache",))
        size.labels("http.answers").set_function(lambda: float(self._bodies.currsize))

    def for_request(self, path: bytes, query: bytes, if_none_match: str | None) -> "Answer":
        """What is at hand for one request."""
        return Answer(self, path, query, if_none_match)

    def find(self, key: _Key) -> bytes | None:
        """The body, if it is there."""
        body = self._bodies.get(key)
        (self._misses if body is None else self._hits).inc()
        return body

    def keep(self, key: _Key, body: bytes) -> None:
        """Keeps a body for the next who asks."""
        if len(body) <= MAX_ANSWER_BYTES:
            self._bodies[key] = body


class Answer:
    """What one request gets without that anybody makes it. `is_known`: the client has it already."""

    __slots__ = ("_answers", "_etag", "_path", "_query", "body", "if_none_match", "is_known")

    def __init__(self, answers: Answers, path: bytes, query: bytes, if_none_match: str | None) -> None:
        self._answers = answers
        self._path = path
        self._query = query
        self.if_none_match = if_none_match
        self._etag = ""
        self.body: bytes | None = None
        self.is_known = False

    def has(self, etag: str) -> bool:
        """Whether the answer with this tag is at hand. It stays so: a body that was found once is not lost again."""
        tag = quoted(etag)
        if tag != self._etag:
            self._etag = tag
            self.is_known = is_current(tag, self.if_none_match)
            self.body = None if self.is_known else self._answers.find((self._path, self._query, tag))
        return self.is_known or self.body is not None

    def keep(self, etag: str, body: bytes) -> None:
        """Keeps the body that was written for this tag."""
        self._answers.keep((self._path, self._query, quoted(etag)), body)
