"""The chain that every call runs through, whichever door it came by. `order` holds the list; one module per element."""
