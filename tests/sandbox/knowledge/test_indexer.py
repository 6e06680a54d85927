"""From an upload to something that is found: background work, switches, restarts, many at once."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from sqlite3 import Connection, OperationalError

import numpy as np
import pytest

from route_api.sandbox.knowledge import indexer
from route_api.sandbox.text import preparation_process

from ...support.hostile_files import endless_pdf
from ...support.patience import PATIENCE_S
from ...support.sandbox_knowledge import CHAPTER, RULE, Knowledge


def test_an_upload_answers_waiting_and_ends_completed_with_its_counts(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    uploaded = knowledge.post_file(dataset_id, "红楼梦 第一回.txt", CHAPTER).json["document"]
    assert (uploaded["indexing_status"], uploaded["display_status"], uploaded["tokens"]) == (
        "waiting",
        "queuing",
        None,
    )
    document = knowledge.wait(dataset_id, uploaded["id"])
    assert (document["indexing_status"], document["segment_count"], document["tokens"]) == (
        "completed",
        5,
        208,
    )
    dataset = knowledge.service("GET", f"/datasets/{dataset_id}").json
    assert (dataset["document_count"], dataset["total_available_documents"], dataset["word_count"]) == (
        1,
        1,
        208,
    )


def test_a_second_upload_of_a_name_replaces_the_document(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    first = knowledge.upload(dataset_id, "a.txt", "葫芦庙。")
    old_batch = knowledge.store.connection().execute("SELECT batch FROM document").fetchone()["batch"]
    assert knowledge.upload(dataset_id, "a.txt", "大观园。") == first
    assert knowledge.contents(dataset_id, first) == ["大观园。"]
    assert knowledge.found(dataset_id, "葫芦庙") == []
    assert knowledge.service("GET", f"/datasets/{dataset_id}/documents/{old_batch}/indexing-status").status_code == 404
    assert len(list(knowledge.store.files_dir.iterdir())) == 1


def test_a_disabled_document_is_not_replaced(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    first = knowledge.upload(dataset_id, "a.txt", "葫芦庙。")
    knowledge.service("PATCH", f"/datasets/{dataset_id}/documents/status/disable", json={"document_ids": [first]})
    assert knowledge.upload(dataset_id, "a.txt", "大观园。") != first


def test_update_by_text_and_by_file_work_unlike_in_1_12_1(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", "第一版。")
    path = f"/datasets/{dataset_id}/documents/{document_id}/update-by-text"
    assert knowledge.service("POST", path, json={"name": "b", "text": "第二版内容。"}).status_code == 200
    assert knowledge.wait(dataset_id, document_id)["name"] == "b"
    assert knowledge.contents(dataset_id, document_id) == ["第二版内容。"]


@pytest.mark.parametrize(("action", "back"), [("disable", "enable"), ("archive", "un_archive")])
def test_a_switched_off_document_is_not_found_until_it_is_switched_on(
    knowledge: Knowledge, action: str, back: str
) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", CHAPTER)
    for name, expected in ((action, 0), (back, 1), (action, 0), (back, 1)):
        path = f"/datasets/{dataset_id}/documents/status/{name}"
        assert knowledge.service("PATCH", path, json={"document_ids": [document_id]}).status_code == 200
        assert len(knowledge.found(dataset_id, "葫芦庙在哪里")) == expected


def test_a_switched_off_segment_is_not_found_until_it_is_switched_on(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", CHAPTER)
    segment_id = knowledge.segments(dataset_id, document_id)[0]["id"]
    for action, expected in (("disable", 0), ("enable", 1)):
        path = f"/datasets/{dataset_id}/documents/{document_id}/segment/{action}"
        answer = knowledge.console("PATCH", path, query_string={"segment_id": segment_id})
        assert answer.json == {"result": "success"}
        assert len(knowledge.found(dataset_id, "葫芦庙在哪里")) == expected


def test_a_changed_segment_is_found_by_its_new_text_only(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", "葫芦庙在仁清巷。")
    path = f"/datasets/{dataset_id}/documents/{document_id}/segments"
    segment_id = knowledge.segments(dataset_id, document_id)[0]["id"]
    knowledge.service("POST", f"{path}/{segment_id}", json={"segment": {"content": "大观园在都中。"}})
    assert knowledge.found(dataset_id, "葫芦庙") == []
    assert knowledge.found(dataset_id, "大观园") == ["大观园在都中。"]
    knowledge.service("DELETE", f"{path}/{segment_id}")
    assert knowledge.found(dataset_id, "大观园") == []


@pytest.mark.parametrize("name", ["坏.pdf", "坏.docx"])
def test_a_broken_file_ends_in_error_with_a_reason(knowledge: Knowledge, name: str) -> None:
    dataset_id = knowledge.create_dataset()
    document = knowledge.document(dataset_id, knowledge.upload(dataset_id, name, b"no such file"))
    assert (document["indexing_status"], document["display_status"]) == ("error", "error")
    assert "cannot be read" in document["error"]
    assert knowledge.upload(dataset_id, "b.txt", "下一个照样完成。")


def test_a_file_without_text_ends_in_error_and_an_empty_file_is_done_as_in_dify(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    blank, empty = (
        knowledge.document(dataset_id, knowledge.upload(dataset_id, name, content))
        for name, content in (("a.html", "<script>1</script>"), ("b.txt", ""))
    )
    assert (blank["indexing_status"], blank["segment_count"]) == ("error", 0)
    assert blank["error"].startswith("No text was found in the file: it has only markup, scripts or navigation")
    assert (empty["indexing_status"], empty["segment_count"], empty["error"]) == ("completed", 0, None)


def test_a_text_that_was_cut_in_a_character_is_done_with_a_warning(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", ("葫芦庙在仁清巷内。" * 30).encode()[:-1])
    document = knowledge.document(dataset_id, document_id)
    assert document["indexing_status"] == "completed"
    assert (
        "Some bytes of the file could not be read; its text has \ufffd in their place (1 times)." in document["error"]
    )
    assert knowledge.contents(dataset_id, document_id)[0].startswith("葫芦庙在仁清巷内。")


def wait_until_it_is_read(knowledge: Knowledge, dataset_id: str, document_id: str) -> None:
    """Wait until the process that reads a document's file has begun."""
    while not knowledge.indexer._processes:
        assert knowledge.document(dataset_id, document_id)["indexing_status"] in ("waiting", "parsing")
        time.sleep(0.005)


def test_a_hostile_file_is_an_error_of_its_own_and_the_others_are_indexed_meanwhile(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation_process, "CPU_S", 2)
    dataset_id = knowledge.create_dataset()
    hostile = knowledge.post_file(dataset_id, "没有尽头.pdf", endless_pdf()).json["document"]["id"]
    html = knowledge.upload(dataset_id, "a.html", "<p>葫芦庙在仁清巷。</p>")
    text = knowledge.upload(dataset_id, "b.txt", "大观园在都中。")
    assert knowledge.document(dataset_id, hostile)["indexing_status"] == "parsing"
    for document_id in (html, text):
        assert knowledge.document(dataset_id, document_id)["indexing_status"] == "completed"
    document = knowledge.wait(dataset_id, hostile, seconds=60)
    assert (document["indexing_status"], document["error"]) == ("error", "The file takes more than 2 seconds to read.")
    assert knowledge.contents(dataset_id, knowledge.upload(dataset_id, "c.html", "<p>下一个</p>")) == ["下一个"]


class WaitingForLargeFiles:
    """Makes the vectors of large files when `released` is set."""

    name, batch_size = "waiting", 32

    def __init__(self) -> None:
        self.released = threading.Event()

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        if "庙" not in texts[0]:
            self.released.wait(PATIENCE_S)
        return np.ones((len(texts), 1), dtype=np.float32)

    def question(self, text: str) -> np.ndarray:
        return self.passages([text])[0]


def test_large_files_leave_a_thread_to_the_small(
    knowledge: Knowledge, reopen: Callable[..., Knowledge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "SMALL_FILE_BYTES", 100)
    embedder = WaitingForLargeFiles()
    again = reopen(embedder)
    dataset_id = again.create_dataset()
    large = [again.post_file(dataset_id, f"{name}.txt", "大观园。" * 100).json["document"]["id"] for name in "ab"]
    try:
        small = again.upload(dataset_id, "c.txt", "葫芦庙。")
        assert again.document(dataset_id, small)["indexing_status"] == "completed"
    finally:
        embedder.released.set()
    for document_id in large:
        assert again.wait(dataset_id, document_id)["indexing_status"] == "completed"


class WaitingForTheSmall:
    """Makes the vectors of the first ten batches of each document, and those of the others after one of `庙`."""

    name, batch_size = "waiting", 1

    def __init__(self) -> None:
        self.small_is_done = threading.Event()
        self.batches: Counter[str] = Counter()

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        self.batches[texts[0][0]] += 1
        if "庙" in texts[0]:
            self.small_is_done.set()
        elif self.batches[texts[0][0]] > 10:
            self.small_is_done.wait(PATIENCE_S)
        return np.ones((len(texts), 1), dtype=np.float32)

    def question(self, text: str) -> np.ndarray:
        return self.passages([text])[0]


def test_documents_with_many_chunks_let_the_others_have_their_turn(
    knowledge: Knowledge, reopen: Callable[..., Knowledge]
) -> None:
    knowledge.stop()
    dataset_id = knowledge.create_dataset()
    texts = {name: "\n\n".join(f"{name}{number}" for number in range(100)) for name in "甲乙"} | {"庙": "庙"}
    documents = {
        name: knowledge.post_file(dataset_id, f"{name}.txt", text).json["document"]["id"]
        for name, text in texts.items()
    }
    again = reopen(WaitingForTheSmall())
    again.indexer.wake()
    assert again.wait(dataset_id, documents["庙"])["indexing_status"] == "completed"
    for name in "甲乙":
        document = again.wait(dataset_id, documents[name])
        assert (document["indexing_status"], document["segment_count"]) == ("completed", 100)


def test_a_document_can_be_deleted_while_its_file_is_read(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation_process, "CPU_S", 2)
    dataset_id = knowledge.create_dataset()
    hostile = knowledge.post_file(dataset_id, "没有尽头.pdf", endless_pdf()).json["document"]["id"]
    wait_until_it_is_read(knowledge, dataset_id, hostile)
    assert knowledge.service("DELETE", f"/datasets/{dataset_id}/documents/{hostile}").status_code == 200
    knowledge.upload(dataset_id, "b.html", "<p>大观园</p>")
    knowledge.stop()
    assert knowledge.store.connection().execute("SELECT name FROM document").fetchone()["name"] == "b.html"
    assert len(list(knowledge.store.files_dir.iterdir())) == 1


def test_a_stop_does_not_wait_for_a_file_which_the_next_start_reads_again(
    knowledge: Knowledge, reopen: Callable[[], Knowledge], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id = knowledge.create_dataset()
    hostile = knowledge.post_file(dataset_id, "没有尽头.pdf", endless_pdf()).json["document"]["id"]
    wait_until_it_is_read(knowledge, dataset_id, hostile)
    began = time.monotonic()
    knowledge.stop()
    assert time.monotonic() - began < preparation_process.CPU_S
    assert knowledge.document(dataset_id, hostile)["indexing_status"] == "parsing"
    monkeypatch.setattr(preparation_process, "CPU_S", 1)
    again = reopen()
    again.indexer.wake()
    assert "more than 1 seconds" in again.wait(dataset_id, hostile, seconds=60)["error"]


def test_the_indexer_goes_on_after_a_failure_of_the_database(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "RETRY_S", 0.01)
    connection, failures = knowledge.store.connection, iter([OperationalError("disk I/O error")] * 4)

    def fails_at_first() -> Connection:
        if threading.current_thread().name.startswith("sandbox-indexer") and (failure := next(failures, None)):
            raise failure
        return connection()

    monkeypatch.setattr(knowledge.store, "connection", fails_at_first)
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", "葫芦庙在仁清巷。")
    assert next(failures, None) is None
    assert knowledge.found(dataset_id, "葫芦庙") == ["葫芦庙在仁清巷。"]


def test_data_survive_a_restart_and_unfinished_documents_are_gone_on_with(
    knowledge: Knowledge, reopen: Callable[[], Knowledge]
) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", "葫芦庙在仁清巷。")
    knowledge.stop()
    waiting = knowledge.post_file(dataset_id, "b.txt", "大观园在都中。").json["document"]["id"]
    again = reopen()
    assert again.found(dataset_id, "葫芦庙") == ["葫芦庙在仁清巷。"]
    again.indexer.wake()
    assert again.wait(dataset_id, waiting)["indexing_status"] == "completed"
    assert again.found(dataset_id, "大观园") == ["大观园在都中。"]


def test_an_interrupted_document_is_indexed_again_from_the_beginning(
    knowledge: Knowledge, reopen: Callable[[], Knowledge]
) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "a.txt", CHAPTER)
    knowledge.stop()
    with knowledge.store.transaction() as connection:
        connection.execute("UPDATE document SET indexing_status = 'indexing', completed_at = NULL")
    again = reopen()
    again.indexer.wake()
    assert again.wait(dataset_id, document_id)["segment_count"] == 5
    assert len(again.found(dataset_id, "葫芦庙在哪里")) == 1


def test_a_paused_document_waits_until_it_is_resumed(knowledge: Knowledge, reopen: Callable[[], Knowledge]) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.stop()
    document_id = knowledge.post_file(dataset_id, "a.txt", CHAPTER).json["document"]["id"]
    path = f"/datasets/{dataset_id}/documents/{document_id}/processing"
    assert knowledge.console("PATCH", f"{path}/pause").status_code == 204
    again = reopen()
    again.indexer.wake()
    again.upload(dataset_id, "b.txt", "另一个。")
    assert again.document(dataset_id, document_id)["display_status"] == "paused"
    assert again.console("PATCH", f"{path}/resume").status_code == 204
    assert again.wait(dataset_id, document_id)["indexing_status"] == "completed"


def test_a_document_can_be_deleted_while_it_is_being_indexed(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    text = "\n\n".join(f"第{number}段，说的是葫芦庙的旧事。" for number in range(20_000))
    document_id = knowledge.post_file(dataset_id, "长篇.txt", text).json["document"]["id"]
    while knowledge.document(dataset_id, document_id)["indexing_status"] in ("waiting", "parsing"):
        time.sleep(0.005)
    assert knowledge.service("DELETE", f"/datasets/{dataset_id}/documents/{document_id}").status_code == 200
    knowledge.upload(dataset_id, "b.txt", "大观园。")
    assert knowledge.found(dataset_id, "葫芦庙的旧事") == []
    rows = knowledge.store.connection().execute("SELECT count(*) FROM segment").fetchone()[0]
    assert rows == 1
    assert knowledge.store.connection().execute("SELECT count(*) FROM segment_index").fetchone()[0] == 1


def test_a_megabyte_is_indexed_while_progress_is_seen_and_searches_go_on(
    knowledge: Knowledge,
) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", "葫芦庙在仁清巷。")
    paragraphs = [f"第{number}段：{'话说大观园中诸事，' * 12}" for number in range(3200)]
    content = "\n\n".join(paragraphs).encode()
    assert len(content) > 1_000_000
    began = time.monotonic()
    uploaded = knowledge.post_file(dataset_id, "长篇.txt", content).json
    path = f"/datasets/{dataset_id}/documents/{uploaded['batch']}/indexing-status"
    progress = set()
    while True:
        assert knowledge.found(dataset_id, "葫芦庙在哪里") == ["葫芦庙在仁清巷。"]
        status = knowledge.service("GET", path).json["data"][0]
        progress.add((status["completed_segments"], status["total_segments"]))
        if status["indexing_status"] == "completed":
            break
        assert time.monotonic() - began < 60
    assert (3200, 3200) in progress
    assert len(progress) > 3


def test_many_uploads_and_searches_at_once_all_succeed(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", "葫芦庙在仁清巷。")
    stop = threading.Event()

    def search() -> int:
        count = 0
        while not stop.is_set():
            assert "葫芦庙在仁清巷。" in knowledge.found(dataset_id, "葫芦庙在哪里")
            count += 1
        return count

    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(search) for _ in range(4)]
        answers = list(pool.map(lambda n: knowledge.post_file(dataset_id, f"{n}.txt", f"第{n}回。"), range(40)))
        stop.set()
        assert all(future.result(timeout=PATIENCE_S) for future in searches)
    assert {answer.status_code for answer in answers} == {200}
    documents = [answer.json["document"] for answer in answers]
    for document in documents:
        assert knowledge.wait(dataset_id, document["id"])["indexing_status"] == "completed"
    assert sorted(document["position"] for document in documents) == list(range(2, 42))


def test_a_file_of_exactly_the_limit_passes_and_one_byte_more_does_not(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.app.config["UPLOAD_LIMIT"] = 1000
    assert knowledge.post_file(dataset_id, "a.txt", b"x" * 1000).status_code == 200
    refused = knowledge.post_file(dataset_id, "b.txt", b"x" * 1001)
    assert (refused.status_code, refused.json["message"]) == (400, "")
    assert len(list(knowledge.store.files_dir.iterdir())) == 1


def test_a_refused_upload_leaves_no_file_behind(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", "甲。")
    assert knowledge.post_file(dataset_id, "b.txt", "乙。", doc_form="qa_model").status_code == 400
    assert knowledge.post_file(dataset_id, "b.txt", "乙。", process_rule={**RULE, "mode": "magic"}).status_code == 400
    assert len(list(knowledge.store.files_dir.iterdir())) == 1


def test_deleting_a_dataset_leaves_nothing(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    knowledge.upload(dataset_id, "a.txt", CHAPTER)
    assert knowledge.service("DELETE", f"/datasets/{dataset_id}").json == 204
    connection = knowledge.store.connection()
    for table in ("dataset", "document", "segment", "segment_index", "upload_file"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] == 0, table
    assert list(knowledge.store.files_dir.iterdir()) == []


def test_the_service_api_gives_a_download_url_as_the_newest_openapi_document_says(
    knowledge: Knowledge,
) -> None:
    dataset_id = knowledge.create_dataset()
    document_id = knowledge.upload(dataset_id, "葫芦.txt", CHAPTER)
    url = knowledge.service("GET", f"/datasets/{dataset_id}/documents/{document_id}/download").json["url"]
    answer = knowledge.anonymous("GET", url)
    assert answer.data == CHAPTER.encode()
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%E8%91%AB%E8%8A%A6.txt"
