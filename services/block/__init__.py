"""The catalogue of blocks, and single runs of one block outside a graph."""
