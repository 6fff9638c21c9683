"""What is recorded of requests: logs, metrics and traces."""
