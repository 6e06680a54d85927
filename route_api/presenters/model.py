"""Dify's model providers -> those of our answer to `llm/my_llms`."""

from typing import Any

from .formats import without_host

Json = dict[str, Any]


def provider_row(provider: Json) -> Json:
    """Build an entry of `llm/my_llms`: Dify's entry, with the icons of the API document and without Dify's host.

    Dify 1.12.1 has no `icon_large` any more (tests/contract/dify-1.12.1/models/list-llm.json), so `icon_small` is used
    for both.
    """
    small = _icon_addresses(provider.get("icon_small"))
    large = _icon_addresses(provider.get("icon_large")) or small
    return {**provider, "icon_large": large, "icon_small": small, "icon_small_dark": None}


def _icon_addresses(icon: Any) -> Json:
    if not isinstance(icon, dict):
        return {}
    return {language: without_host(url) for language, url in icon.items() if url}
