"""`/chunk` and the chunk path of `/datasets`: retrieval and Dify's pitfalls in it, lists, switches."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ..support.fake_dify import FakeDify
from ..support.recordings import load

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def ask(client: FlaskClient, kb_id: str, question: str = "英莲在元宵节走失", **more: Any) -> Any:
    return client.post("/chunk/retrieval_test", json={"kb_id": kb_id, "question": question, **more})


# ------------------------------------------------------------------ retrieval


def test_passages_come_best_first_in_both_forms(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("retrieve/semantic")
    data = ask(client, kb_id).json["data"]
    records = dify.body("retrieve/semantic")["records"]
    assert [record["content"] for record in data["records"]] == [record["segment"]["content"] for record in records]
    assert [chunk["chunk_id"] for chunk in data["chunks"]] == [record["segment"]["id"] for record in records]
    assert [chunk["similarity"] for chunk in data["chunks"]] == [record["score"] for record in records]
    assert data["total"] == len(records) == sum(document["count"] for document in data["doc_aggs"])
    assert dify.sent()["retrieval_model"]["top_k"] == 5
    assert len(dify.calls) == 1


def test_the_parameters_of_a_search_reach_dify_whole(client: FlaskClient, any_dify: FakeDify) -> None:
    (kb_id,) = any_dify.play("retrieve/semantic")
    ask(
        client,
        kb_id,
        top_k=7,
        search_method="full_text_search",
        score_threshold_enabled=True,
        similarity_threshold=0.15,
    )
    model = any_dify.sent()["retrieval_model"]
    assert (model["top_k"], model["search_method"]) == (7, "full_text_search")
    assert (model["score_threshold_enabled"], model["score_threshold"], model["reranking_enable"]) == (
        True,
        0.15,
        False,
    )


def test_a_hybrid_search_names_the_kbs_embedding_model_in_its_weights(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("retrieve/hybrid-weighted")
    dify.play("datasets/get-detail", f"/v1/datasets/{kb_id}")
    ask(client, kb_id, search_method="hybrid_search", vector_similarity_weight=0.8)
    model = dify.sent()["retrieval_model"]
    assert model["reranking_mode"] == "weighted_score"
    assert model["weights"]["vector_setting"] == {
        "vector_weight": 0.8,
        "embedding_model_name": "bge-m3:latest",
        "embedding_provider_name": "langgenius/ollama/ollama",
    }
    assert model["weights"]["keyword_setting"] == {"keyword_weight": 0.2}


def test_pages_of_passages_add_up_to_all(client: FlaskClient, dify: FakeDify) -> None:
    for _ in range(3):
        (kb_id,) = dify.play("retrieve/semantic")
    whole = ask(client, kb_id).json["data"]
    pages = [ask(client, kb_id, page=page, size=3).json["data"] for page in (1, 2)]
    assert [record for page in pages for record in page["records"]] == whole["records"]
    assert {page["total"] for page in pages} == {whole["total"]}
    assert dify.sent()["retrieval_model"]["top_k"] == 100


def test_a_kb_without_an_index_finds_nothing(client: FlaskClient, dify: FakeDify) -> None:
    """Dify answers 400 with SQL text (recording retrieve/empty-dataset)."""
    (kb_id,) = dify.play("retrieve/empty-dataset")
    dify.play("datasets/get-detail", f"/v1/datasets/{kb_id}")
    answer = ask(client, kb_id)
    assert (answer.status_code, answer.json["code"]) == (200, 0)
    assert (answer.json["data"]["records"], answer.json["data"]["total"]) == ([], 0)


def test_a_kb_whose_first_document_is_still_being_indexed_finds_nothing_yet(
    client: FlaskClient, dify: FakeDify
) -> None:
    """Dify counts its characters early, but answers as for an empty kb (recording documents/list-while-indexing)."""
    (kb_id,) = dify.play("retrieve/empty-dataset")
    dify.answer("GET", f"/v1/datasets/{kb_id}", {**dify.body("datasets/get-detail"), "word_count": 140_000})
    answer = ask(client, kb_id)
    assert (answer.status_code, answer.json["data"]["records"]) == (200, [])


@pytest.mark.parametrize(("case", "said"), [("retrieve/empty-dataset", "index of its own"), (None, "HTTP status 500")])
def test_an_external_kb_that_cannot_be_searched_says_so(
    client: FlaskClient, dify: FakeDify, case: str | None, said: str
) -> None:
    """Its word count is 0, as that of an empty kb. No external kb was recorded: that 1.12.1 answers as for a kb without
    an index is read in its code, and the 500 is made up."""
    (kb_id,) = dify.play(case) if case else dify.ids("retrieve/empty-dataset")
    if case is None:
        dify.answer("POST", f"/v1/datasets/{kb_id}/retrieve", {"code": "unknown", "message": "x"}, 500)
    external = {**dify.body("datasets/get-detail"), "provider": "external", "word_count": 0, "name": "外部"}
    dify.answer("GET", f"/v1/datasets/{kb_id}", external)
    answer = ask(client, kb_id)
    assert (answer.status_code, answer.json["error"]) == (502, "dify_failed")
    assert "external" in answer.json["message"] and "外部" in answer.json["message"] and said in answer.json["message"]


def test_an_economy_kb_is_searched_by_keywords_unless_told_otherwise(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("retrieve/semantic-on-economy")
    economy = {**dify.body("datasets/get-detail-economy"), "word_count": 120}
    dify.answer("GET", f"/v1/datasets/{kb_id}", economy)
    dify.play("retrieve/keyword-on-economy", f"/v1/datasets/{kb_id}/retrieve")
    data = ask(client, kb_id).json["data"]
    assert dify.sent()["retrieval_model"]["search_method"] == "keyword_search"
    assert len(data["records"]) == len(dify.body("retrieve/keyword-on-economy")["records"]) > 0
    assert all(isinstance(record["score"], float) for record in data["records"])


def test_a_search_by_meaning_in_an_economy_kb_is_refused_in_words(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("retrieve/semantic-on-economy")
    dify.answer("GET", f"/v1/datasets/{kb_id}", {**dify.body("datasets/get-detail-economy"), "word_count": 120})
    answer = ask(client, kb_id, search_method="semantic_search")
    assert (answer.status_code, answer.json["error"]) == (400, "dify_rejected")
    assert "index" in answer.json["message"] and "relation" not in answer.json["message"]


def test_a_question_over_250_characters_is_asked_in_parts(client: FlaskClient, dify: FakeDify) -> None:
    """Dify refuses 251 characters (recording retrieve/query-251)."""
    for _ in range(2):
        (kb_id,) = dify.play("retrieve/semantic")
    question = "英莲在元宵节走失。" * 40
    data = ask(client, kb_id, question).json["data"]
    queries = [dify.sent(index)["query"] for index in range(2)]
    assert "".join(queries) == question and max(map(len, queries)) <= 250
    found = [chunk["chunk_id"] for chunk in data["chunks"]]
    assert len(found) == len(set(found)) == 5
    assert data["query"] == question


def test_a_failing_search_in_a_kb_with_an_index_stays_a_failure(client: FlaskClient, dify: FakeDify) -> None:
    (kb_id,) = dify.play("retrieve/embedding-fails")
    dify.answer("GET", f"/v1/datasets/{kb_id}", {**dify.body("datasets/get-in-use"), "word_count": 88})
    answer = ask(client, kb_id)
    assert (answer.status_code, answer.json["error"]) == (400, "dify_rejected")


# ------------------------------------------------------------------ retrieval in some documents


class OneKb:
    """A kb in which two documents have one name; a search filtered by that name finds passages of both."""

    KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
    MINE = "11111111-1111-4111-8111-111111111111"
    NAMESAKE = "22222222-2222-4222-8222-222222222222"

    def __init__(self, dify: FakeDify) -> None:
        self.dify = dify
        self.record = dify.body("retrieve/semantic")["records"][0]

    def has_document(self, doc_metadata: Any) -> None:
        document = {**self.dify.body("documents/get-one"), "name": "同名.txt", "doc_metadata": doc_metadata}
        self.dify.answer("GET", f"/v1/datasets/{self.KB_ID}/documents/{self.MINE}", {**document, "id": self.MINE})

    def finds(self, *owners: str, name: str = "同名.txt") -> None:
        records = [
            {
                **self.record,
                "score": round(0.9 - number / 100, 2),
                "segment": {
                    **self.record["segment"],
                    "id": f"{owner[:4]}-{number}",
                    "document_id": owner,
                    "document": {**self.record["segment"]["document"], "name": name},
                },
            }
            for number, owner in enumerate(owners)
        ]
        self.dify.answer("POST", f"/v1/datasets/{self.KB_ID}/retrieve", {"query": {}, "records": records})


BUILT_IN = [{"id": "built-in", "name": "document_name", "type": "string", "value": "同名.txt"}]


def test_doc_ids_search_by_name_and_drop_the_passages_of_a_namesake(client: FlaskClient, dify: FakeDify) -> None:
    kb = OneKb(dify)
    kb.has_document(BUILT_IN)
    kb.finds(kb.NAMESAKE, kb.MINE, kb.MINE)
    data = ask(client, kb.KB_ID, doc_ids=[kb.MINE]).json["data"]
    assert [chunk["doc_id"] for chunk in data["chunks"]] == [kb.MINE, kb.MINE]
    model = dify.sent()["retrieval_model"]
    assert model["metadata_filtering_conditions"] == {
        "logical_operator": "or",
        "conditions": [{"name": "document_name", "comparison_operator": "is", "value": "同名.txt"}],
    }


def test_doc_ids_look_further_where_a_namesake_took_the_places(client: FlaskClient, any_dify: FakeDify) -> None:
    kb = OneKb(any_dify)
    kb.has_document(BUILT_IN)
    kb.finds(kb.NAMESAKE, kb.NAMESAKE)
    kb.finds(*[kb.NAMESAKE] * 10, kb.MINE, kb.MINE, kb.MINE)
    data = ask(client, kb.KB_ID, doc_ids=[kb.MINE], top_k=2).json["data"]
    assert [chunk["doc_id"] for chunk in data["chunks"]] == [kb.MINE, kb.MINE]
    assert [any_dify.sent(index)["retrieval_model"]["top_k"] for index in (1, 2)] == [2, 20]


def test_doc_ids_find_their_documents_where_dify_ignores_the_filter(client: FlaskClient, any_dify: FakeDify) -> None:
    """Dify 1.13.3 to 1.14.0 drops the filter. This was read in Dify's code, not recorded."""
    kb = OneKb(any_dify)
    kb.has_document(BUILT_IN)
    for top_k in (2, 20, 200):
        owners = [kb.NAMESAKE] * top_k
        if top_k == 200:
            owners[150:152] = [kb.MINE, kb.MINE]
        kb.finds(*owners, name="别的.txt")
    data = ask(client, kb.KB_ID, doc_ids=[kb.MINE], top_k=2).json["data"]
    assert [chunk["doc_id"] for chunk in data["chunks"]] == [kb.MINE, kb.MINE]
    assert [any_dify.sent(index)["retrieval_model"]["top_k"] for index in (1, 2, 3)] == [2, 20, 200]


def test_doc_ids_switch_the_built_in_metadata_on_where_it_is_off(client: FlaskClient, dify: FakeDify) -> None:
    """Without it the filter finds nothing (recording retrieve/metadata-filter-built-in-off)."""
    kb = OneKb(dify)
    kb.has_document([])
    dify.play("metadata/built-in-enable", f"/v1/datasets/{kb.KB_ID}/metadata/built-in/enable")
    kb.finds(kb.MINE)
    data = ask(client, kb.KB_ID, doc_ids=kb.MINE).json["data"]
    assert data["total"] == 1
    assert [call.split("/")[-1] for call in dify.calls] == [kb.MINE, "enable", "retrieve"]


def test_an_unknown_one_of_doc_ids_is_told(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, _ = dify.play("documents/get-one-unknown")
    answer = ask(client, kb_id, doc_ids=[UNKNOWN])
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")


# ------------------------------------------------------------------ list and switch


def test_a_list_of_chunks_brings_their_document(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.play("segments/list-default")
    dify.play("documents/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}")
    data = client.post("/chunk/list", json={"kb_id": kb_id, "doc_id": document_id}).json["data"]
    segments = dify.body("segments/list-default")
    assert [chunk["content_with_weight"] for chunk in data["chunks"]] == [s["content"] for s in segments["data"]]
    assert data["total"] == segments["total"]
    document = dify.body("documents/get-one")
    assert {chunk["docnm_kwd"] for chunk in data["chunks"]} == {document["name"]} == {data["doc"]["name"]}
    assert (data["doc"]["chunk_num"], data["doc"]["progress"]) == (document["segment_count"], 1)


def test_page_size_and_keywords_of_chunks_reach_dify(client: FlaskClient, any_dify: FakeDify) -> None:
    kb_id, document_id = any_dify.play("segments/list-keyword")
    any_dify.play("documents/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}")
    query = {"kb_id": kb_id, "doc_id": document_id, "page": 1, "size": 7, "keywords": " 英莲　"}
    assert client.get("/chunk/list", query_string=query).status_code == 200
    assert f"GET /v1/datasets/{kb_id}/documents/{document_id}/segments?page=1&limit=7&keyword=英莲" in any_dify.calls


def test_wildcards_in_the_keywords_of_chunks_are_texts(client: FlaskClient, any_dify: FakeDify) -> None:
    """1.8.1 reads them as SQL wildcards (tests/contract/DIFFERENCES.md, 28); it was not recorded with segments."""
    kb_id, document_id = any_dify.ids("segments/list-default")
    page = any_dify.body("segments/list-default")
    page["data"][0]["content"] = "满 100% 减 20_元"
    any_dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}/segments", page)
    any_dify.play("documents/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}")
    data = client.get("/chunk/list", query_string={"kb_id": kb_id, "doc_id": document_id, "keywords": "0%"}).json[
        "data"
    ]
    assert ([chunk["chunk_id"] for chunk in data["chunks"]], data["total"]) == ([page["data"][0]["id"]], 1)


def test_the_answer_of_a_question_stands_under_it(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.play("segments/list-qa-with-answers")
    dify.play("documents/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}")
    query = {"kb_id": kb_id, "doc_id": document_id}
    chunks = client.get("/chunk/list", query_string=query).json["data"]["chunks"]
    segments = dify.body("segments/list-qa-with-answers")["data"]
    assert [c["content_with_weight"] for c in chunks] == [f"{s['content']}\n{s['answer']}" for s in segments]


def test_chunks_of_an_unknown_document_are_a_404(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, _ = dify.play("documents/get-one-unknown")
    dify.play("segments/list-unknown-document", f"/v1/datasets/{kb_id}/documents/{UNKNOWN}/segments")
    dify.mock.assert_all_requests_are_fired = False  # The call that fails first ends the other.
    answer = client.get("/chunk/list", query_string={"kb_id": kb_id, "doc_id": UNKNOWN})
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")


def test_without_a_console_chunks_are_switched_one_by_one(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id, chunk_id = dify.ids("segments/update-disable")
    other = UNKNOWN
    for each in (chunk_id, other):
        play_chunk(dify, kb_id, document_id, each)
        dify.play("segments/update-disable", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{each}")
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [chunk_id, other, chunk_id], "available_int": 0}
    answer = client.post("/chunk/switch", json=body)
    assert (answer.status_code, answer.json["message"]) == (200, "Chunks disable successful!")
    assert [dify.sent(index) for index in (-2, -1)] == [{"segment": {"enabled": False}}] * 2


def test_with_a_console_all_chunks_go_in_one_call(console_client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.ids("segments/console-enable-two")
    chunk_ids = load(dify.version, "segments/console-enable-two")["request"]["query"]["segment_id"]
    dify.play("auth/login")
    for chunk_id in chunk_ids:
        play_chunk(dify, kb_id, document_id, chunk_id)
    dify.play("segments/console-enable-two")
    path = f"/datasets/{kb_id}/documents/{document_id}/segment/enable"
    answer = console_client.patch(path, json={"chunk_ids": chunk_ids})
    assert (answer.status_code, answer.json["message"]) == (200, "Chunks enable successful!")
    assert [call for call in dify.calls if call.startswith("PATCH")] == [
        f"PATCH /console/api{path}?segment_id={chunk_ids[0]}&segment_id={chunk_ids[1]}"
    ]


def play_chunk(dify: FakeDify, kb_id: str, document_id: str, chunk_id: str) -> None:
    """The document has this chunk."""
    dify.play("segments/get-one", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{chunk_id}")


def test_an_unknown_chunk_is_told(client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id, chunk_id = dify.play("segments/update-unknown")
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [chunk_id], "available_int": 1}
    answer = client.post("/chunk/switch", json=body)
    assert (answer.status_code, answer.json["error"]) == (404, "chunk_not_found")
    assert chunk_id in answer.json["message"]


@pytest.mark.parametrize("has_console", [True, False])
def test_an_unknown_chunk_among_others_is_told_and_none_is_switched(
    client: FlaskClient, console_client: FlaskClient, dify: FakeDify, has_console: bool
) -> None:
    """The console itself answers with success (recording segments/console-disable-unknown)."""
    kb_id, document_id, chunk_id = dify.ids("segments/get-one")
    dify.mock.assert_all_requests_are_fired = False
    play_chunk(dify, kb_id, document_id, chunk_id)
    dify.play("segments/get-one-unknown", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{UNKNOWN}")
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [chunk_id, UNKNOWN], "available_int": 0}
    answer = (console_client if has_console else client).post("/chunk/switch", json=body)
    assert (answer.status_code, answer.json["error"]) == (404, "chunk_not_found")
    assert UNKNOWN in answer.json["message"]
    assert not [call for call in dify.calls if not call.startswith("GET")]


@pytest.mark.parametrize(("status", "available"), [("waiting", 0), ("indexing", 0), ("indexing", 1), ("error", 0)])
def test_a_chunk_that_dify_will_enable_is_not_disabled(
    console_client: FlaskClient, dify: FakeDify, status: str, available: int
) -> None:
    """Dify's console says success, and the end of the indexing enables the chunk again."""
    kb_id, document_id, chunk_id = dify.ids("segments/get-one")
    segment = {**dify.body("segments/get-one")["data"], "status": status}
    dify.answer("GET", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{chunk_id}", {"data": segment})
    dify.mock.assert_all_requests_are_fired = False
    dify.play("auth/login")
    path = f"/console/api/datasets/{kb_id}/documents/{document_id}/segment/{'enable' if available else 'disable'}"
    dify.answer("PATCH", path, {"result": "success"})
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [chunk_id], "available_int": available}
    answer = console_client.post("/chunk/switch", json=body)
    is_refused = status != "error" and not available
    assert answer.status_code == (409 if is_refused else 200), answer.json
    assert answer.json.get("error") == ("document_busy" if is_refused else None)
    assert any(call.startswith("PATCH") for call in dify.calls) is not is_refused


def test_a_chunk_of_an_unknown_document_is_told(console_client: FlaskClient, dify: FakeDify) -> None:
    kb_id, document_id = dify.ids("segments/list-unknown-document")
    case, path = "segments/list-unknown-document", f"/v1/datasets/{kb_id}/documents/{document_id}/segments/{UNKNOWN}"
    dify.play(case, path)
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [UNKNOWN], "available_int": 0}
    answer = console_client.post("/chunk/switch", json=body)
    assert (answer.status_code, answer.json["error"]) == (404, "document_not_found")


def test_a_chunk_that_is_being_indexed_is_a_conflict_after_a_few_seconds(
    app: Flask, client: FlaskClient, any_dify: FakeDify
) -> None:
    waited: list[float] = []
    app.extensions["route_api"].dify.knowledge._sleep = waited.append
    any_dify.version = "1.8.1"
    for _ in range(4):
        kb_id, document_id, chunk_id = any_dify.play("segments/update-content-of-disabled")
    body = {"kb_id": kb_id, "doc_id": document_id, "chunk_ids": [chunk_id], "available_int": 1}
    answer = client.post("/chunk/switch", json=body)
    assert (answer.status_code, answer.json["error"]) == (409, "document_busy")
    assert 0 < sum(waited) < 5
