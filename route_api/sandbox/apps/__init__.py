"""Chat apps: their configuration, their routes, and the check of requests to their service API."""
