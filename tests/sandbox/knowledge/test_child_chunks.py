"""Child chunks that callers write."""

import pytest
from werkzeug.test import TestResponse

from ...support.sandbox_knowledge import Knowledge

UNKNOWN = "00000000-0000-4000-8000-000000000000"
HIERARCHICAL = {
    "mode": "hierarchical",
    "rules": {
        "pre_processing_rules": [],
        "segmentation": {"separator": "\n\n", "max_tokens": 500},
        "parent_mode": "paragraph",
        "subchunk_segmentation": {"separator": "\n", "max_tokens": 200},
    },
}


class Children:
    """The child chunks of the only segment of a new hierarchical document."""

    def __init__(self, knowledge: Knowledge, dataset_id: str, name: str) -> None:
        self.knowledge = knowledge
        self.dataset_id = dataset_id
        form = {"doc_form": "hierarchical_model", "process_rule": HIERARCHICAL}
        document_id = knowledge.upload(dataset_id, name, "葫芦庙在仁清巷。\n庙旁住着甄士隐。", **form)
        (segment,) = knowledge.segments(self.dataset_id, document_id)
        self.path = f"/datasets/{self.dataset_id}/documents/{document_id}/segments/{segment['id']}/child_chunks"

    def call(self, method: str, child_id: str = "", content: object = None) -> TestResponse:
        """Call the routes of child chunks."""
        more = {} if content is None else {"json": {"content": content}}
        return self.knowledge.service(method, f"{self.path}/{child_id}".rstrip("/"), **more)

    def listed(self, **query: str) -> list[tuple[int, str, str]]:
        """Position, text and type of each child chunk."""
        answer = self.knowledge.service("GET", self.path, query_string=query).json
        return [(child["position"], child["content"], child["type"]) for child in answer["data"]]


@pytest.fixture
def children(knowledge: Knowledge) -> Children:
    return Children(knowledge, knowledge.create_dataset(), "a.txt")


def test_a_written_child_chunk_is_listed_last_and_finds_its_segment(children: Children) -> None:
    before = children.listed()
    assert [kind for _, _, kind in before] == ["automatic"] * 2
    assert not children.knowledge.found(children.dataset_id, "林黛玉进贾府")
    made = children.call("POST", content="林黛玉进贾府").json["data"]
    assert (made["type"], made["word_count"]) == ("customized", 6)
    assert children.listed() == [*before, (3, "林黛玉进贾府", "customized")]
    assert children.listed(keyword="黛玉") == [(3, "林黛玉进贾府", "customized")]
    assert children.knowledge.found(children.dataset_id, "林黛玉进贾府") == ["葫芦庙在仁清巷。\n庙旁住着甄士隐。"]


def test_a_changed_child_chunk_is_found_by_its_new_text_and_a_deleted_one_no_more(children: Children) -> None:
    child_id = children.call("POST", content="林黛玉进贾府").json["data"]["id"]
    changed = children.call("PATCH", child_id, "刘姥姥游大观园")
    assert (changed.status_code, changed.json["data"]["content"]) == (200, "刘姥姥游大观园")
    assert children.knowledge.found(children.dataset_id, "刘姥姥游大观园")
    assert not children.knowledge.found(children.dataset_id, "林黛玉进贾府")
    assert children.call("DELETE", child_id).json == 204  # The body of 1.12.1.
    assert not children.knowledge.found(children.dataset_id, "刘姥姥游大观园")
    assert len(children.listed()) == 2


def test_an_automatic_child_chunk_becomes_the_caller_s_when_it_is_changed(children: Children) -> None:
    first = children.knowledge.service("GET", children.path).json["data"][0]
    children.call("PATCH", first["id"], "葫芦庙")
    assert children.listed()[0] == (1, "葫芦庙", "customized")


@pytest.mark.parametrize(
    ("method", "child_id", "content", "status", "message"),
    [
        ("POST", "", 1, 400, "Input should be a valid string"),
        ("POST", "", [], 400, "Input should be a valid string"),
        ("PATCH", UNKNOWN, "x", 404, "Child chunk not found."),
        ("DELETE", UNKNOWN, None, 404, "Child chunk not found."),
    ],
)
def test_bad_input_is_refused(
    children: Children, method: str, child_id: str, content: object, status: int, message: str
) -> None:
    answer = children.call(method, child_id, content)
    assert (answer.status_code, message in answer.json["message"]) == (status, True)
    assert len(children.listed()) == 2


def test_a_child_chunk_belongs_to_its_segment(children: Children) -> None:
    other = Children(children.knowledge, children.dataset_id, "b.txt")
    child_id = children.call("POST", content="x").json["data"]["id"]
    assert other.call("PATCH", child_id, "y").status_code == 404
    assert other.call("DELETE", child_id).status_code == 404
