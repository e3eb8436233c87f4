"""Alembic versions of the schema `audit`."""
