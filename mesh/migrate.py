"""Brings the schemas of services up to date: a role and a schema for each, then its Alembic versions, run as that role."""

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from mesh.database import driver_url, quoted, role_of
from mesh.logs import get_logger
from mesh.service import Service
from mesh.settings import Settings

VERSION_TABLE = "alembic_version"

# Any number that nobody else takes: one migration of a database at a time.
_LOCK = 0x74726561646C65

_log = get_logger("mesh.migrate")


async def migrate(settings: Settings, services: Iterable[Service]) -> None:
    """Migrates the schemas of all services that keep tables. Idempotent; each service is one transaction; concurrent runs wait."""
    engine = create_async_engine(driver_url(settings.database_url.get_secret_value()), poolclass=NullPool)
    try:
        for service in services:
            if service.migrations:
                async with engine.begin() as connection:
                    await _migrate_one(connection, service)
    finally:
        await engine.dispose()


async def _migrate_one(connection: AsyncConnection, service: Service) -> None:
    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    await _ensure_owner(connection, service.name)
    await connection.execute(text(f"SET LOCAL ROLE {quoted(role_of(service.name))}"))
    await connection.execute(text(f"SET LOCAL search_path TO {quoted(service.name)}"))
    await connection.run_sync(_upgrade, service)


async def _ensure_owner(connection: AsyncConnection, schema: str) -> None:
    role = role_of(schema)
    known = await connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    if not known:
        await connection.execute(text(f"CREATE ROLE {quoted(role)} NOLOGIN"))
        # So that a login that is no superuser may act as the role.
        await connection.execute(text(f"GRANT {quoted(role)} TO CURRENT_USER"))
    await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)} AUTHORIZATION {quoted(role)}"))


def _upgrade(connection: Connection, service: Service) -> None:
    script = _scripts(service)

    def steps(revision: Any, _: MigrationContext) -> Sequence[Any]:
        return script._upgrade_revs("head", revision)  # what Alembic's own `upgrade` command runs

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE, version_table_schema=service.name)
        environment.run_migrations()
    _log.info("migrated", schema=service.name, head=script.get_current_head() or "")


def _scripts(service: Service) -> ScriptDirectory:
    package = importlib.util.find_spec(service.migrations)
    if package is None or not package.submodule_search_locations:
        raise LookupError(f"service {service.name}: no package {service.migrations}")
    folder = Path(next(iter(package.submodule_search_locations)))
    return ScriptDirectory(str(folder), version_locations=[str(folder / "versions")])
