"""Logs, metrics and time limits of the running gateway, and the trace of each request."""
