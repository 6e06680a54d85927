"""What an operator sees of a running gateway: logs, metrics, and what one request has cost."""
