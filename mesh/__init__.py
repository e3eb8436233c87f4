"""What makes processes a mesh: contracts read from the protos, both doors, the chain, clients, data, bus, the local stack, the CLI."""
