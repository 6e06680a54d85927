"""The recorded model providers -> the entries of `llm/my_llms`."""

import json

import pytest

from route_api.presenters.model import provider_row

from ..support.recordings import DIFY, VERSIONS, load


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("model_type", ["llm", "text-embedding", "rerank"])
def test_a_provider_has_both_icons_and_no_host(version: str, model_type: str) -> None:
    recorded = json.dumps(load(version, f"models/list-{model_type}")["response"]["body"]["data"])
    providers = json.loads(recorded.replace("<dify>", DIFY))  # The recordings hide the host.
    for provider in providers:
        row = provider_row(provider)
        assert row["icon_small"] and row["icon_large"] and row["icon_small_dark"] is None
        addresses = [*row["icon_small"].values(), *row["icon_large"].values()]
        assert all(address.startswith("/") for address in addresses)
        assert row["models"] == provider["models"]
