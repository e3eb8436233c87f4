"""Alembic versions of the schema `graph`."""
