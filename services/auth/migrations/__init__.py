"""Alembic versions of the schema `auth`."""
