"""The rules of a run, without I/O: a plan is compiled from a graph, a state is folded from events, a conclusion is drawn from a state."""
