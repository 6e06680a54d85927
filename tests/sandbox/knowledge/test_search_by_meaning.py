"""Search by meaning, with vectors of a server: what is found, the scores, and what becomes of failures."""

from collections.abc import Callable, Iterator

import pytest

from route_api.sandbox.app import start_indexing
from route_api.sandbox.embedding.embedding_server import EmbeddingServer

from ...support.embedding_server import FakeEmbeddingServer
from ...support.running_gateway import wait_for
from ...support.sandbox_knowledge import SEMANTIC, Knowledge

Reopen = Callable[..., Knowledge]

TEXT = "工资于每月十日发放。\n\n员工每年享有带薪年假十天。\n\nTaxis are paid after ten in the evening.\n\n口令每九十天更换。"
SALARY, LEAVE, TAXI, PASSWORD = TEXT.split("\n\n")
HYBRID = {
    "search_method": "hybrid_search",
    "weights": {"vector_setting": {"vector_weight": 0.6}, "keyword_setting": {"keyword_weight": 0.4}},
}


@pytest.fixture
def server() -> Iterator[FakeEmbeddingServer]:
    """A running fake."""
    fake = FakeEmbeddingServer()
    yield fake
    fake.stop()


@pytest.fixture
def with_vectors(reopen: Reopen, server: FakeEmbeddingServer) -> Knowledge:
    """An empty sandbox with the fake."""
    return reopen(EmbeddingServer(server.url, "bge-m3", ""))


def count_vectors(knowledge: Knowledge) -> int:
    """How many vectors are stored."""
    return knowledge.store.connection().execute("SELECT count(*) FROM segment_vector").fetchone()[0]


def wait_for_vectors(knowledge: Knowledge, model: str, number: int) -> None:
    """Wait until this number of segments has a vector of a model."""
    sql = "SELECT count(*) FROM segment_vector WHERE model = ?"
    wait_for(lambda: knowledge.store.connection().execute(sql, (model,)).fetchone()[0] == number)


def test_a_question_finds_other_words_and_another_language(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "手册.txt", TEXT)
    for question, passage in [("How long is a holiday?", LEAVE), ("薪水什么时候到账", SALARY), ("出租车", TAXI)]:
        assert with_vectors.found(dataset_id, question)[0] == passage
        assert passage not in with_vectors.found(dataset_id, question, search_method="full_text_search")


def test_the_score_is_the_cosine_and_a_hybrid_score_the_weighted_sum(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "手册.txt", TEXT)
    question = "年假和工资"
    scores = [
        {record["segment"]["content"]: record["score"] for record in with_vectors.retrieve(dataset_id, question, **way)}
        for way in ({}, {"search_method": "full_text_search"}, HYBRID)
    ]
    meaning, words, both = scores
    assert meaning[LEAVE] == pytest.approx((1 + 0.01) / (1.01**0.5 * 2.01**0.5), abs=1e-5)
    assert meaning.keys() == both.keys() == set(TEXT.split("\n\n")), "meaning ranks every passage, as Dify does"
    assert words.keys() == {SALARY, LEAVE}
    for passage, score in both.items():
        assert score == pytest.approx(0.6 * meaning[passage] + 0.4 * words.get(passage, 0), abs=1e-5)


def test_threshold_and_top_k_apply_to_each_method(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "手册.txt", TEXT)
    assert with_vectors.found(dataset_id, "holiday", top_k=1) == [LEAVE]
    on = {"score_threshold_enabled": True, "score_threshold": 0.5}
    assert with_vectors.found(dataset_id, "holiday", **on) == [LEAVE]
    assert with_vectors.found(dataset_id, "holiday", **on, **HYBRID) == [LEAVE]
    assert with_vectors.found(dataset_id, "holiday", **on, search_method="full_text_search") == []


def test_a_hybrid_search_finds_the_best_passage_among_many(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    lines = [f"第 {number} 条 员工每年享有带薪年假。" for number in range(120)]
    with_vectors.upload(dataset_id, "手册.txt", "\n\n".join([*lines, "假期编号 QX500 的说明。"]))
    assert with_vectors.found(dataset_id, "QX500 holiday", **HYBRID)[0] == "假期编号 QX500 的说明。"
    assert len(with_vectors.found(dataset_id, "holiday", top_k=7)) == 7


def test_a_server_that_fails_while_indexing_is_named_in_the_document_s_error(
    with_vectors: Knowledge, server: FakeEmbeddingServer
) -> None:
    dataset_id = with_vectors.create_dataset()
    server.status = 500
    document_id = with_vectors.upload(dataset_id, "手册.txt", TEXT)
    document = with_vectors.document(dataset_id, document_id)
    assert document["indexing_status"] == "error"
    assert document["error"].startswith("The embedding server answered with status 500")
    assert count_vectors(with_vectors) == 0


def test_a_server_that_fails_for_a_question_is_an_answer_like_dify_s(
    with_vectors: Knowledge, server: FakeEmbeddingServer
) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "手册.txt", TEXT)
    server.stop()
    for method in ("semantic_search", "hybrid_search"):
        body = {"query": "工资", "retrieval_model": {**SEMANTIC, "search_method": method}}
        answer = with_vectors.service("POST", f"/datasets/{dataset_id}/retrieve", json=body)
        assert answer.status_code == 400
        assert answer.json["code"] == "invalid_param"
        assert answer.json["message"].startswith("The embedding server did not answer")
    assert with_vectors.found(dataset_id, "工资", search_method="full_text_search") == [SALARY]


def test_a_segment_that_is_added_changed_or_deleted_is_found_by_its_new_meaning(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    document_id = with_vectors.upload(dataset_id, "手册.txt", SALARY)
    path = f"/datasets/{dataset_id}/documents/{document_id}/segments"
    added = with_vectors.service("POST", path, json={"segments": [{"content": LEAVE}]}).json["data"][0]["id"]
    assert with_vectors.found(dataset_id, "holiday")[0] == LEAVE
    with_vectors.service("POST", f"{path}/{added}", json={"segment": {"content": PASSWORD}})
    assert with_vectors.found(dataset_id, "password")[0] == PASSWORD
    with_vectors.service("DELETE", f"{path}/{added}")
    assert with_vectors.found(dataset_id, "password") == [SALARY]
    assert count_vectors(with_vectors) == 1


def test_a_segment_that_gets_no_vector_is_neither_added_nor_changed(
    with_vectors: Knowledge, server: FakeEmbeddingServer
) -> None:
    dataset_id = with_vectors.create_dataset()
    document_id = with_vectors.upload(dataset_id, "手册.txt", SALARY)
    segment = with_vectors.segments(dataset_id, document_id)[0]
    server.status = 500
    path = f"/datasets/{dataset_id}/documents/{document_id}/segments"
    added = with_vectors.service("POST", path, json={"segments": [{"content": LEAVE}]})
    changed = with_vectors.service("POST", f"{path}/{segment['id']}", json={"segment": {"content": LEAVE}})
    assert (added.status_code, changed.status_code) == (400, 400)
    assert with_vectors.contents(dataset_id, document_id) == [SALARY]


def test_another_model_makes_the_vectors_again_at_the_start(
    knowledge: Knowledge, reopen: Reopen, server: FakeEmbeddingServer
) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "手册.txt", TEXT)
    assert knowledge.found(dataset_id, "holiday") == []
    for model in ("bge-m3", "other"):
        again = reopen(EmbeddingServer(server.url, model, ""))
        start_indexing(again.app)
        wait_for_vectors(again, model, 4)
        assert again.found(dataset_id, "holiday")[0] == LEAVE
        assert again.service("GET", f"/datasets/{dataset_id}").json["embedding_model"] == model
    assert all(body["model"] == "other" for body in server.received[-2:])


def test_a_stored_question_and_its_answer_have_one_vector(with_vectors: Knowledge) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "问答.txt", "问：几号到账？\n答：工资十日发放。", doc_form="qa_model")
    assert with_vectors.retrieve(dataset_id, "salary")[0]["segment"]["answer"] == "工资十日发放。"


def test_an_economy_dataset_has_no_vectors_until_it_becomes_a_high_quality_one(
    with_vectors: Knowledge, server: FakeEmbeddingServer
) -> None:
    dataset_id = with_vectors.create_dataset(indexing_technique="economy")
    with_vectors.upload(dataset_id, "手册.txt", TEXT, indexing_technique="economy")
    assert server.received == []
    answer = with_vectors.service("PATCH", f"/datasets/{dataset_id}", json={"indexing_technique": "high_quality"})
    assert answer.status_code == 200
    wait_for_vectors(with_vectors, "bge-m3", 4)
    assert with_vectors.found(dataset_id, "holiday")[0] == LEAVE


def test_the_model_is_listed_and_a_new_dataset_has_it(with_vectors: Knowledge) -> None:
    path = "/workspaces/current/models/model-types/text-embedding"
    listed = with_vectors.service("GET", path).json["data"][0]["models"]
    assert [model["model"] for model in listed] == ["bge-m3"]
    dataset_id = with_vectors.create_dataset()
    assert with_vectors.service("GET", f"/datasets/{dataset_id}").json["embedding_model"] == "bge-m3"


def test_texts_are_sent_in_batches(with_vectors: Knowledge, server: FakeEmbeddingServer) -> None:
    dataset_id = with_vectors.create_dataset()
    with_vectors.upload(dataset_id, "手册.txt", "\n\n".join(f"第 {number} 条。" for number in range(70)))
    assert [len(body["input"]) for body in server.received] == [32, 32, 6]
