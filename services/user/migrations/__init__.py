"""Alembic versions of the schema `user`."""
