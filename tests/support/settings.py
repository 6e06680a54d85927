"""The settings of the gateways in tests, with their secrets."""

from .recordings import DIFY

KEYS = {"DIFY_BASE_URL": DIFY, "DIFY_DATASET_API_KEY": "dataset-secret", "DIFY_APP_API_KEY": "app-secret"}
OPEN = {**KEYS, "AUTH": "open", "RATE_LIMIT": 0}
"""The settings of a gateway without authentication and without limits."""

KEY, OLD_KEY = "a-service-key-of-the-backend", "the-key-that-it-replaces"
SECRET = "what-signs-the-tokens"
LOCKED = {"AUTH": "required", "API_KEYS": [KEY, OLD_KEY], "SECRET_KEY": SECRET}

SECRETS = ("dataset-secret", "app-secret", "Secret123", "admin@example.com")
