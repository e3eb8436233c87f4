"""What a service is to the mesh. A service registers one `Service` under the entry-point group `treadle.services`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grpc import GenericRpcHandler
    from starlette.types import ASGIApp

    from mesh.personal_data import PersonalData
    from mesh.resources import Resources


@dataclass(frozen=True, slots=True)
class Running:
    """What a built service offers to the process that hosts it.

    `servicers` maps the full name of a proto service to the object with its handlers: one coroutine (or async generator, for a server
    stream) per RPC, named after it in snake_case, taking `(request, call)`; a missing one keeps the process from starting. `asgi` is an
    app for what is not an RPC, served beside the HTTP door; `grpc_handlers` are the same for the gRPC door: protocols of others, which no
    contract of ours describes and no chain guards. `is_healthy` tells the truth about the service's own loops; dependencies are
    checked by the mesh. `personal_data` says what it holds of people; a service with tables must.
    """

    servicers: dict[str, Any] = field(default_factory=dict)
    asgi: "ASGIApp | None" = None
    grpc_handlers: "Sequence[GenericRpcHandler[Any, Any]]" = ()
    is_healthy: Callable[[], bool] = lambda: True
    personal_data: "PersonalData | None" = None


@dataclass(frozen=True, slots=True)
class Service:
    """A service that `treadle serve NAME` can run. `build` assembles it and takes it down again when the context ends."""

    name: str
    build: "Callable[[Resources], AbstractAsyncContextManager[Running]]"
    # Folder with Alembic versions (`migrations/`), as a package name; empty when the service keeps no tables.
    migrations: str = ""
    # What it needs, of "postgres", "nats", "cache": health is NOT_SERVING while one is away.
    needs: Sequence[str] = ()
