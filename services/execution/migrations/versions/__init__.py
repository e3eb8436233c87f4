"""Migrations, linear; a landed one is never edited."""
