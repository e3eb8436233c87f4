"""The command line `treadle`: the stack, the processes, and a client of the public API."""
