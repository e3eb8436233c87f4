"""Limits that the contracts, the edge and the processes share."""

# Of requests, as JSON over HTTP and as protobuf over gRPC; answers are made to fit it too, since gRPC clients take no more by default.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
