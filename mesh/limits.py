"""Limits that the contracts, the edge and the processes share."""

# Of requests, as JSON over HTTP and as protobuf over gRPC; answers are made to fit it too, since gRPC clients take no more by default.
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# Larger requests are read up to so many times of it: who is cut off while sending often misses the answer.
READ_BEYOND = 4
