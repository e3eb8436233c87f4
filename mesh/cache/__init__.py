"""A cache in two layers: in the process, and in Valkey for all processes. What it holds is never wrong for longer than it says."""
