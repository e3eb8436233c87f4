"""One line per call: who, what, how it ended, how long it took."""

import logging
from time import perf_counter

from mesh.call import Call
from mesh.chain.element import Leave, code_of
from mesh.errors import Code, TreadleError
from mesh.logs import get_logger

# Reads that went well are only interesting when they were slow.
SLOW_S = 1.0

_OUR_FAULT = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})

_log = get_logger("mesh.access")


class AccessLog:
    """Logs ids and outcomes, never payloads. Fast reads that went well are logged at debug: metrics count them anyway."""

    name = "access_log"

    async def enter(self, call: Call) -> Leave | None:
        """Never refuses."""
        start = perf_counter()

        def leave(error: BaseException | None) -> BaseException | None:
            duration_s = perf_counter() - start
            is_quiet_read = call.method.idempotency == "NO_SIDE_EFFECTS" and (duration_s < SLOW_S or call.method.is_server_streaming)
            if error is not None or not is_quiet_read or _log.is_enabled_for(logging.DEBUG):
                _write(call, error, duration_s)
            return error

        return leave


def _write(call: Call, error: BaseException | None, duration_s: float) -> None:
    code = code_of(error)
    fields: dict[str, str | float] = {
        "method": call.method.full_name,
        "code": code.name,
        "duration_ms": round(duration_s * 1e3, 2),
        "user_id": call.caller.user_id,
        "workload": call.caller.workload,
    }
    if isinstance(error, TreadleError):
        fields["reason"] = error.reason
    if code in _OUR_FAULT:
        _log.warning("call", **fields)
    elif error is None and call.method.idempotency == "NO_SIDE_EFFECTS" and duration_s < SLOW_S:
        _log.debug("call", **fields)
    else:
        _log.info("call", **fields)
