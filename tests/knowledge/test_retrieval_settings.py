from typing import Any

import pytest

from route_api.errors import ValidationFailed
from route_api.knowledge.retrieval_settings import retrieval_model, search_method_for

from ..support.recordings import VERSIONS, load

MODEL = ("bge-m3:latest", "langgenius/ollama/ollama")
STORED: dict[str, Any] = load("1.8.1", "datasets/get-detail")["response"]["body"]["retrieval_model_dict"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_model_has_every_key_that_dify_has(version: str) -> None:
    """1.8.1 fails with 500 where one is missing (retrieve/semantic-without-reranking-enable)."""
    stored = load(version, "datasets/get-detail")["response"]["body"]["retrieval_model_dict"]
    assert retrieval_model({}, embedding=None).keys() == stored.keys()


def test_what_is_stored_stays_unless_it_is_named() -> None:
    assert retrieval_model({}, embedding=MODEL, stored=STORED) == STORED
    assert retrieval_model({"top_k": 9}, embedding=MODEL, stored=STORED) == {**STORED, "top_k": 9}


def test_what_an_earlier_patch_has_wiped_gets_its_default() -> None:
    broken = load("1.8.1", "datasets/get-after-patch-partial")["response"]["body"]["retrieval_model_dict"]
    whole = retrieval_model({}, embedding=MODEL, stored=broken)
    assert None not in [whole[key] for key in ("search_method", "reranking_enable", "score_threshold_enabled", "top_k")]


def test_weights_add_up_to_one() -> None:
    for share in (0, 0.1, 0.3, 0.7, 1):
        weights = retrieval_model({"weights": share}, embedding=MODEL)["weights"]
        assert weights["vector_setting"]["vector_weight"] + weights["keyword_setting"]["keyword_weight"] == 1


def test_stored_weights_that_name_no_model_get_one() -> None:
    """A hybrid kb was created without one where none was configured, and Dify ignores such weights."""
    stored = retrieval_model({"search_method": "hybrid_search", "weights": 0.8}, embedding=None)
    mended = retrieval_model({"top_k": 9}, embedding=MODEL, stored=stored)
    assert mended["reranking_mode"] == "weighted_score"
    assert mended["weights"] == retrieval_model({"weights": 0.8}, embedding=MODEL)["weights"]


def test_a_hybrid_search_merges_by_weights_only_where_they_name_a_model() -> None:
    hybrid = {"search_method": "hybrid_search"}
    assert retrieval_model(hybrid, embedding=MODEL)["reranking_mode"] == "weighted_score"
    assert retrieval_model(hybrid, embedding=None)["reranking_mode"] is None


def test_reranking_takes_the_kbs_rerank_model_or_finds_one() -> None:
    named = {"reranking_provider_name": "p", "reranking_model_name": "m"}
    asked: list[int] = []

    def find() -> tuple[str, str]:
        asked.append(1)
        return "m", "p"

    for stored, calls in (({"reranking_model": named}, 0), ({}, 1)):
        wanted = {"reranking_enable": True}
        model = retrieval_model(wanted, embedding=MODEL, stored=stored, find_rerank_model=find)
        assert (model["reranking_mode"], model["reranking_model"]) == ("reranking_model", named)
        assert len(asked) == calls


def test_a_kb_that_merges_by_weights_keeps_that_until_reranking_is_asked_for() -> None:
    """Dify's page stores both (retrieve/hybrid-weighted-reranking-enable-true)."""
    stored = load("1.16.1", "retrieve/hybrid-weighted-reranking-enable-true")["request"]["body"]["retrieval_model"]
    stored["reranking_model"] = {"reranking_provider_name": "p", "reranking_model_name": "m"}
    assert retrieval_model({"top_k": 9}, embedding=MODEL, stored=stored) == {**stored, "top_k": 9}
    assert retrieval_model({"reranking_enable": True}, embedding=MODEL, stored=stored)["reranking_mode"] == (
        "reranking_model"
    )


def test_an_economy_kb_has_keywords_only() -> None:
    assert search_method_for("economy", None) == search_method_for("economy", "keyword_search") == "keyword_search"
    assert search_method_for("high_quality", None) == "semantic_search"
    with pytest.raises(ValidationFailed, match="hybrid_search"):
        search_method_for("economy", "hybrid_search")
