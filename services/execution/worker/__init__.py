"""The worker: claims executions, runs their firings and keeps their journals."""
