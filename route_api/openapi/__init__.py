"""The description of the API: the OpenAPI document, and docs/api.md."""
