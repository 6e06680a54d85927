"""How long a test waits for what should take a moment."""

PATIENCE_S = 300
"""Seconds. Only a test that hangs waits so long. A machine that others keep busy may take fifty times as long as
usual, and no test may fail for that. A test about a limit in time has its own bounds."""
