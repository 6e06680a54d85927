"""Chat apps: their configuration, and the access to their service API."""
