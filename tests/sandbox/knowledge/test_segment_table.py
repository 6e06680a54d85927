"""Segments that are added or changed while another request deletes them, or puts their document back into the queue."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ...support.sandbox_knowledge import Knowledge

DELETE_SEGMENT, DELETE_DOCUMENT = "DELETE FROM segment", "DELETE FROM document"
QUEUE = "UPDATE document SET indexing_status = 'waiting'"


class Interrupted:
    """Makes vectors. `meanwhile` is called while the next ones are made."""

    name, batch_size = "interrupted", 8

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        self.meanwhile()
        return np.ones((len(texts), 1), dtype=np.float32)

    def question(self, text: str) -> np.ndarray:
        return np.ones(1, dtype=np.float32)


@pytest.mark.parametrize(
    ("meanwhile", "is_new", "message"),
    [
        (DELETE_SEGMENT, False, "Segment not found."),
        (DELETE_DOCUMENT, False, "Segment not found."),
        (DELETE_DOCUMENT, True, "Document not found."),
        (QUEUE, True, "Document is not completed."),
    ],
)
@pytest.mark.parametrize("doc_form", ["text_model", "hierarchical_model"])
def test_a_segment_whose_document_is_taken_away_is_neither_added_nor_changed(
    knowledge: Knowledge, reopen: Callable[..., Knowledge], doc_form: str, meanwhile: str, is_new: bool, message: str
) -> None:
    embedder = Interrupted()
    again = reopen(embedder)
    dataset_id = again.create_dataset()
    document_id = again.upload(dataset_id, "a.txt", "葫芦庙。", doc_form=doc_form)
    segment_id = again.segments(dataset_id, document_id)[0]["id"]
    embedder.meanwhile = lambda: again.store.connection().execute(meanwhile)
    path = f"/datasets/{dataset_id}/documents/{document_id}/segments"
    if is_new:
        answer = again.service("POST", path, json={"segments": [{"content": "大观园。"}]})
    else:
        answer = again.service("POST", f"{path}/{segment_id}", json={"segment": {"content": "大观园。"}})
    assert (answer.status_code, answer.json["message"]) == (404, message)
    sql = "SELECT count(*) FROM segment_index WHERE words MATCH '大观'"
    assert again.store.connection().execute(sql).fetchone()[0] == 0
