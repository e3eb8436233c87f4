"""The HTTP/JSON door: REST for the same servicers and chain as gRPC, in the same process, by the routes in the contracts."""
