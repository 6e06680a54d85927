"""`/kb`: Dify's pitfalls with datasets, on each recorded version."""

from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from requests import PreparedRequest

from ..support.fake_dify import Answer, FakeDify
from ..support.gateway_client import MakeApp
from ..support.scenes import play_login

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_list_tells_what_dify_counts(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/list-keyword")
    answer = client.get("/kb/list", query_string={"page": 2, "page_size": 5, "keywords": " 鲁迅\t"}).json["data"]
    assert dify.calls == ["GET /v1/datasets?page=2&limit=5&keyword=鲁迅"]
    dataset = dify.body("datasets/list-keyword")["data"][0]
    row = answer["kbs"][0]
    assert (row["doc_num"], row["token_num"]) == (dataset["document_count"], dataset["word_count"])
    assert row["update_time"] == dataset["updated_at"]
    assert answer["total"] == dify.body("datasets/list-keyword")["total"]


def test_with_a_console_a_kb_has_its_chunks_wherever_it_is_shown(
    console_client: FlaskClient, dify: FakeDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("route_api.knowledge.kb_counts.WAIT_S", 60.0)  # On a busy machine half a second is too short.
    dify.play("datasets/list-default")
    listed = dify.body("datasets/list-default")["data"]
    dify.play("auth/login")
    (status,) = dify.body("documents/indexing-status-large-completed")["data"]
    filled = [dataset for dataset in listed if dataset["document_count"]]
    for number, dataset in enumerate(filled):
        documents = [{**status, "total_segments": number}, {**status, "total_segments": 7}]
        dify.answer("GET", f"/console/api/datasets/{dataset['id']}/indexing-status", {"data": documents})
    rows = {row["id"]: row for row in console_client.get("/kb/list").json["data"]["kbs"]}
    assert filled and {row["chunk_num"] for row in rows.values() if not row["doc_num"]} <= {0}
    assert [rows[dataset["id"]]["chunk_num"] for dataset in filled] == [7 + number for number in range(len(filled))]
    calls = len(dify.calls)
    dify.answer("GET", f"/v1/datasets/{filled[0]['id']}", filled[0])
    assert console_client.get("/kb/detail", query_string={"kb_id": filled[0]["id"]}).json["data"]["chunk_num"] == 7
    assert len(dify.calls) == calls + 1, "the chunks of an unchanged kb are counted once"


def test_without_a_console_the_chunks_of_a_kb_are_not_known(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/list-default")
    rows = client.get("/kb/list").json["data"]["kbs"]
    assert any(row["doc_num"] for row in rows) and {row["chunk_num"] for row in rows} == {0}


def test_a_percent_sign_in_keywords_is_a_text(client: FlaskClient, dify: FakeDify) -> None:
    """For Dify 1.8.1 it is a wildcard (recording datasets/list-keyword-percent)."""
    dify.play("datasets/list-keyword-percent")
    assert client.get("/kb/list", query_string={"keywords": "%"}).json["data"] == {"kbs": [], "total": 0}


def test_a_page_of_250_is_joined_from_what_dify_gives(client: FlaskClient, dify: FakeDify) -> None:
    """Dify uses 100 for any larger limit and then says that there are no more rows (tests/contract/README.md, 8)."""
    template = dify.body("datasets/list-default")["data"][0]
    rows = [{**template, "id": f"{n:032x}", "created_at": 2_000_000_000 - n} for n in range(230)]

    def give(request: PreparedRequest) -> Answer:
        page, limit = int(request.params["page"]), int(request.params["limit"])  # type: ignore[attr-defined]
        assert limit <= 100
        shown = rows[(page - 1) * limit : page * limit]
        return 200, {"X-Version": dify.version}, orjson.dumps({"data": shown, "total": 230, "has_more": False})

    dify.call_back("GET", "/v1/datasets", give)
    data = client.get("/kb/list", query_string={"page_size": 250}).json["data"]
    assert ([row["id"] for row in data["kbs"]], data["total"]) == ([row["id"] for row in rows], 230)
    assert len(dify.calls) == 3


@pytest.mark.parametrize("way", ["query", "json", "form"])
def test_the_parameters_of_a_list_may_come_from_anywhere(client: FlaskClient, any_dify: FakeDify, way: str) -> None:
    any_dify.play("datasets/list-default")
    values = {"page": "3", "page_size": "7"}
    given: dict[str, Any] = {"query": {"query_string": values}, "json": {"json": values}, "form": {"data": values}}[way]
    assert client.post("/v1/kb/list", **given).status_code == 200
    assert any_dify.calls == ["GET /v1/datasets?page=3&limit=7"]


def test_an_id_may_come_without_dashes_and_in_capitals(client: FlaskClient, any_dify: FakeDify) -> None:
    (kb_id,) = any_dify.play("datasets/get-detail")
    answer = client.get("/kb/detail", query_string={"kb_id": kb_id.replace("-", "").upper()})
    assert answer.json["data"]["id"] == kb_id


def test_a_kb_is_created_in_one_call_with_the_documents_defaults(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/create-all-fields")
    answer = client.post("/kb/create", json={"name": "鲁迅杂文赏析"}).json
    assert len(dify.calls) == 1
    sent = dify.sent()
    assert (sent["indexing_technique"], sent["permission"]) == ("high_quality", "only_me")
    model = sent["retrieval_model"]
    assert (model["search_method"], model["top_k"], model["reranking_enable"]) == ("semantic_search", 5, False)
    assert (model["score_threshold_enabled"], model["score_threshold"]) == (False, 0.25)
    assert model["weights"]["vector_setting"]["vector_weight"] == 0.6
    assert answer["data"]["kb_id"] == answer["data"]["id"] == dify.body("datasets/create-all-fields")["id"]
    assert answer["params"] == sent


def test_a_kb_takes_the_configured_embedding_model(make_app: MakeApp, any_dify: FakeDify) -> None:
    provider = "langgenius/ollama/ollama"
    app = make_app(DIFY_EMBEDDING_MODEL="bge-m3:latest", DIFY_EMBEDDING_PROVIDER=provider)
    any_dify.play("datasets/create-all-fields")
    app.test_client().post("/kb/create", json={"name": "x", "embedding_model": "bge-m3:latest"})
    sent = any_dify.sent()
    assert (sent["embedding_model"], sent["embedding_model_provider"]) == ("bge-m3:latest", provider)
    assert sent["retrieval_model"]["weights"]["vector_setting"]["embedding_model_name"] == "bge-m3:latest"


OLLAMA = "langgenius/ollama/ollama"
SETTINGS = {"vector_weight": 0.8, "embedding_model_name": "bge-m3:latest", "embedding_provider_name": OLLAMA}
TWO_MODELS = {"data": [{"provider": "a/b/c", "models": [{"model": name, "status": "active"} for name in ("m", "n")]}]}
HYBRID = {"search_method": "hybrid_search", "weights": 0.8}


def play_default(dify: FakeDify, model_type: str, has_console: bool) -> None:
    """The workspace's default model of a type, told by the console; without one, its only model of this type."""
    if has_console:
        dify.mock.assert_all_requests_are_fired = False  # The login asks for Dify's version, unless it is known.
        play_login(dify)
        dify.play(f"models/console-default-get-{model_type}")
    else:
        dify.play(f"models/list-{model_type}")


@pytest.mark.parametrize("has_console", [True, False])
def test_the_weights_of_a_hybrid_kb_name_the_workspaces_embedding_model(
    client: FlaskClient, console_client: FlaskClient, dify: FakeDify, has_console: bool
) -> None:
    """Without a model in them Dify ignores them (recordings retrieve/hybrid-no-weights and hybrid-weighted)."""
    play_default(dify, "text-embedding", has_console)
    dify.play("datasets/create-all-fields")
    answer = (console_client if has_console else client).post("/kb/create", json={"name": "x", **HYBRID})
    assert answer.status_code == 200
    sent = dify.sent()
    assert (sent["embedding_model"], sent["embedding_model_provider"]) == ("bge-m3:latest", OLLAMA)
    assert sent["retrieval_model"]["reranking_mode"] == "weighted_score"
    assert sent["retrieval_model"]["weights"]["vector_setting"] == SETTINGS


def test_weights_that_would_have_no_effect_are_refused_in_words(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.answer("GET", "/v1/workspaces/current/models/model-types/text-embedding", TWO_MODELS)
    answer = client.post("/kb/create", json={"name": "x", **HYBRID})
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    for named in ("weights", "embedding_model", "2 models", "DIFY_CONSOLE_EMAIL"):
        assert named in answer.json["message"]
    assert len(any_dify.calls) == 1


def test_a_hybrid_kb_without_weights_is_made_without_them_where_no_model_is_known(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    any_dify.answer("GET", "/v1/workspaces/current/models/model-types/text-embedding", TWO_MODELS)
    any_dify.play("datasets/create-all-fields")
    assert client.post("/kb/create", json={"name": "x", "search_method": "hybrid_search"}).status_code == 200
    assert any_dify.sent()["retrieval_model"]["reranking_mode"] is None
    assert "embedding_model" not in any_dify.sent()


@pytest.mark.parametrize("has_console", [True, False])
def test_reranking_takes_the_workspaces_rerank_model(
    client: FlaskClient, console_client: FlaskClient, dify: FakeDify, has_console: bool
) -> None:
    named = {"reranking_provider_name": OLLAMA, "reranking_model_name": "bge-reranker-v2-m3:latest"}
    chosen = console_client if has_console else client
    play_default(dify, "rerank", has_console)
    dify.play("datasets/create-all-fields")
    assert chosen.post("/kb/create", json={"name": "x", "reranking_enable": True}).status_code == 200
    created = dify.sent()["retrieval_model"]
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play(f"models/{'console-default-get' if has_console else 'list'}-rerank")
    dify.play("datasets/patch-retrieval-model-full")
    assert chosen.post("/kb/update", json={"kb_id": kb_id, "reranking_enable": True}).status_code == 200
    for model in (created, dify.sent()["retrieval_model"]):
        assert (model["reranking_enable"], model["reranking_mode"]) == (True, "reranking_model")
        assert model["reranking_model"] == named


def test_reranking_without_a_rerank_model_says_what_is_missing(
    console_client: FlaskClient, client: FlaskClient, any_dify: FakeDify
) -> None:
    play_login(any_dify)
    any_dify.play("models/console-default-get-tts")  # As recorded where none is set.
    answer = console_client.post("/kb/create", json={"name": "x", "reranking_enable": True})
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    assert "no default model of the type rerank" in answer.json["message"]
    any_dify.answer("GET", "/v1/workspaces/current/models/model-types/rerank", {"data": []})
    answer = client.post("/kb/create", json={"name": "x", "reranking_enable": True})
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    assert "no model of the type rerank" in answer.json["message"]


def test_a_move_to_high_quality_takes_the_workspaces_embedding_model(
    console_client: FlaskClient, dify: FakeDify
) -> None:
    """Without a model Dify fails with a 500."""
    (kb_id,) = dify.play("datasets/get-detail-economy")
    play_default(dify, "text-embedding", True)
    dify.play("datasets/patch-economy-to-high-quality")
    answer = console_client.post("/kb/update", json={"kb_id": kb_id, "indexing_technique": "high_quality"})
    assert answer.status_code == 200
    sent = dify.sent()
    assert (sent["embedding_model"], sent["embedding_model_provider"]) == ("bge-m3:latest", OLLAMA)
    assert sent["retrieval_model"]["weights"]["vector_setting"]["embedding_model_name"] == "bge-m3:latest"


def test_a_move_to_high_quality_without_any_model_is_refused_in_words(client: FlaskClient, any_dify: FakeDify) -> None:
    (kb_id,) = any_dify.play("datasets/get-detail-economy")
    any_dify.answer("GET", "/v1/workspaces/current/models/model-types/text-embedding", {"data": []})
    answer = client.post("/kb/update", json={"kb_id": kb_id, "indexing_technique": "high_quality"})
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    assert "embedding_model" in answer.json["message"]
    assert not [call for call in any_dify.calls if call.startswith("PATCH")]


def test_an_embedding_model_whose_provider_nobody_knows_is_refused(client: FlaskClient, any_dify: FakeDify) -> None:
    answer = client.post("/kb/create", json={"name": "x", "embedding_model": "m3"})
    assert (answer.status_code, any_dify.calls) == (400, [])
    assert "m3" in answer.json["message"] and "provider" in answer.json["message"]


def test_an_economy_kb_searches_by_keywords_and_names_no_embedding_model(
    client: FlaskClient, any_dify: FakeDify
) -> None:
    any_dify.play("datasets/create-economy")
    client.post("/kb/create", json={"name": "x", "indexing_technique": "economy"})
    assert any_dify.sent()["retrieval_model"]["search_method"] == "keyword_search"
    assert "embedding_model" not in any_dify.sent()


def test_an_economy_kb_with_a_search_by_meaning_is_refused(client: FlaskClient, any_dify: FakeDify) -> None:
    body = {"name": "x", "indexing_technique": "economy", "search_method": "semantic_search"}
    assert client.post("/kb/create", json=body).status_code == 400
    assert any_dify.calls == []


def test_a_taken_name_is_a_conflict(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/create-duplicate-name")
    answer = client.post("/kb/create", json={"name": "鲁迅杂文赏析"})
    assert (answer.status_code, answer.json["error"]) == (409, "kb_name_taken")
    assert "鲁迅杂文赏析" in answer.json["message"]


def test_a_taken_name_is_a_conflict_at_an_update_too(client: FlaskClient, any_dify: FakeDify) -> None:
    """Dify 1.8.1 accepts a name that another kb has (tests/contract/DIFFERENCES.md, 25), 1.12.1 refuses it."""
    (kb_id,) = any_dify.play("datasets/patch-duplicate-name")
    any_dify.play("datasets/get-detail", f"/v1/datasets/{kb_id}")
    answer = client.post("/kb/update", json={"kb_id": kb_id, "name": "taken"})
    assert (answer.status_code, answer.json["error"]) == (409, "kb_name_taken")


def test_an_update_sends_what_it_names_and_the_whole_retrieval_model_as_it_was(
    client: FlaskClient, dify: FakeDify
) -> None:
    """Dify 1.8.1 deletes the settings that a PATCH leaves out (tests/contract/DIFFERENCES.md, 23)."""
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play("datasets/patch-name-and-retrieval-model")
    client.post("/kb/update", json={"kb_id": kb_id, "name": "新名"})
    sent = dify.sent()
    assert sent.keys() == {"name", "retrieval_model"} and sent["name"] == "新名"
    assert sent["retrieval_model"] == dify.body("datasets/get-detail")["retrieval_model_dict"]


@pytest.mark.parametrize(
    ("change", "stored"),
    [
        ({"top_k": 9}, {"top_k": 9}),
        ({"score_threshold": 0.3}, {"score_threshold": 0.3}),
        ({"similarity_threshold": 0.3}, {"score_threshold": 0.3}),
        ({"score_threshold_enabled": True}, {"score_threshold_enabled": True}),
        ({"search_method": "full_text_search"}, {"search_method": "full_text_search"}),
    ],
)
def test_an_update_changes_the_one_setting_that_it_names(
    client: FlaskClient, dify: FakeDify, change: dict[str, Any], stored: dict[str, Any]
) -> None:
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play("datasets/patch-retrieval-model-full")
    assert client.post("/kb/update", json={"kb_id": kb_id, **change}).status_code == 200
    before = dify.body("datasets/get-detail")["retrieval_model_dict"]
    assert dify.sent() == {"retrieval_model": {**before, **stored}}


def test_an_update_of_the_weights_keeps_the_kbs_embedding_model_in_them(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play("datasets/patch-retrieval-model-full")
    client.post("/kb/update", json={"kb_id": kb_id, "weights": 0.7, "search_method": "hybrid_search"})
    model = dify.sent()["retrieval_model"]
    assert model["reranking_mode"] == "weighted_score"
    assert model["weights"]["vector_setting"] == {
        "vector_weight": 0.7,
        "embedding_model_name": "bge-m3:latest",
        "embedding_provider_name": "langgenius/ollama/ollama",
    }
    assert model["weights"]["keyword_setting"] == {"keyword_weight": 0.3}


def test_an_update_mends_settings_that_an_earlier_patch_has_broken(client: FlaskClient, any_dify: FakeDify) -> None:
    any_dify.version = "1.8.1"
    (kb_id,) = any_dify.play("datasets/get-after-patch-partial")
    any_dify.play("datasets/patch-retrieval-model-full")
    client.post("/kb/update", json={"kb_id": kb_id, "description": ""})
    model = any_dify.sent()["retrieval_model"]
    assert model["score_threshold_enabled"] is False and model["reranking_enable"] is False


def test_a_move_to_economy_searches_by_keywords(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("datasets/get-detail")
    dify.play("datasets/patch-high-quality-to-economy", f"/v1/datasets/{kb_id}")
    assert client.post("/kb/update", json={"kb_id": kb_id, "indexing_technique": "economy"}).status_code == 200
    sent = dify.sent()
    assert (sent["indexing_technique"], sent["retrieval_model"]["search_method"]) == ("economy", "keyword_search")
    assert "embedding_model" not in sent


def test_a_move_to_high_quality_names_the_embedding_model(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("datasets/get-detail-economy")
    dify.play("datasets/patch-economy-to-high-quality")
    body = {"kb_id": kb_id, "indexing_technique": "high_quality", "embedding_model": "bge-m3:latest@a/b/c"}
    assert client.post("/kb/update", json=body).status_code == 200
    sent = dify.sent()
    assert (sent["embedding_model"], sent["embedding_model_provider"]) == ("bge-m3:latest", "a/b/c")
    assert sent["retrieval_model"]["search_method"] == "semantic_search"


@pytest.mark.parametrize(
    ("word", "permission"), [("me", "only_me"), ("team", "all_team_members"), ("only_me", "only_me")]
)
def test_permissions_come_in_ragflows_words_too(
    client: FlaskClient, any_dify: FakeDify, word: str, permission: str
) -> None:
    (kb_id,) = any_dify.play("datasets/patch-permission")
    any_dify.play("datasets/get-detail", f"/v1/datasets/{kb_id}")
    client.post("/kb/update", json={"kb_id": kb_id, "permission": word})
    assert any_dify.sent()["permission"] == permission


def test_a_refusal_that_is_not_about_the_name_is_no_conflict(client: FlaskClient, dify: FakeDify) -> None:
    dify.play("datasets/create-unknown-embedding-model")
    answer = client.post("/kb/create", json={"name": "x", "embedding_model": "no-such-model@a/b/c"})
    assert (answer.status_code, answer.json["error"]) == (400, "dify_rejected")


def test_a_kb_is_deleted_with_the_answer_of_the_document(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("datasets/delete")
    assert client.post("/kb/rm", json={"kb_id": kb_id}).json["data"] == f"delete DB {kb_id} true"


@pytest.mark.parametrize(
    ("method", "path", "cases"),
    [
        ("GET", "/kb/detail", ["datasets/get-unknown-id"]),
        ("POST", "/kb/update", ["datasets/get-unknown-id"]),
        ("POST", "/kb/rm", ["datasets/delete-unknown-id"]),
        ("DELETE", "/v1/kb/rm", ["datasets/delete-unknown-id"]),
        ("GET", "/document/list", ["documents/list-unknown-dataset"]),
        ("POST", "/chunk/retrieval_test", ["retrieve/unknown-dataset"]),
    ],
)
def test_an_unknown_kb_is_told_by_its_id(
    client: FlaskClient, dify: FakeDify, method: str, path: str, cases: list[str]
) -> None:
    for case in cases:
        dify.play(case)
    answer = client.open(path, method=method, json={"kb_id": UNKNOWN, "question": "?"})
    assert (answer.status_code, answer.json["error"]) == (404, "kb_not_found")
    assert UNKNOWN in answer.json["message"]
