"""One folder per service; a service knows the mesh and the contracts, never another service."""
