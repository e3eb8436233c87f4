"""The local stack: real servers from Python packages, our own processes, and the supervisor that keeps them all running."""
