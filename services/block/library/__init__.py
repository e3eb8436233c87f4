"""The blocks that come with Treadle, one module per theme."""
