"""The edge: the one entry, an Envoy whose configuration is derived from the contracts."""
