"""The sign of life of a worker: a lock in the database, on a connection of its own, that is gone when the worker's process is gone."""

import asyncio

from mesh.connections import connect
from mesh.logs import get_logger
from services.execution.errors import DATABASE_AWAY
from services.execution.repository.locks import LOCK

_log = get_logger("execution.liveness")

_CONNECT_S = 5.0
_RETRY_S = 0.25


class Liveness:
    """Holds the lock whenever the database is there."""

    def __init__(self, url: str, worker_id: str) -> None:
        self._url = url
        self._worker_id = worker_id
        self.held = asyncio.Event()

    async def run(self) -> None:
        """Keeps the lock until cancelled; the connection ends then, and the lock with it."""
        while True:
            try:
                await self._hold()
            except DATABASE_AWAY:
                pass
            except Exception as error:  # noqa: BLE001,RUF100 - without the lock this worker does nothing
                _log.error("sign_of_life_refused", exc_info=error)
            await asyncio.sleep(_RETRY_S)

    async def _hold(self) -> None:
        ended = asyncio.Event()
        connection = await connect(self._url, timeout=_CONNECT_S, application_name="treadle-worker-life")
        try:
            connection.add_termination_listener(lambda _: ended.set())
            await connection.execute(LOCK, self._worker_id, timeout=_CONNECT_S)
            self.held.set()
            await ended.wait()
            _log.warning("sign_of_life_lost")
        finally:
            connection.terminate()
            self.held.clear()
