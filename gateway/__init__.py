"""The edge: everything between a client on the network and the services."""
