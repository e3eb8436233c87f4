"""Alembic versions of the execution service; the environment is `mesh.migrate`."""
