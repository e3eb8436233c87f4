"""Benchmarks through the public API of a running stack; `make bench` prints one JSON document."""
