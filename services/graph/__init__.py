"""Keeps agent graphs: immutable versions, checked before they are saved, taken from and given back as documents."""
