"""Tags of datasets. The recordings have their creation and their lists; the rest is from Dify's code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ...support.sandbox_chat import Template
from ...support.sandbox_knowledge import Knowledge

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def knowledge(template: Template, tmp_path: Path) -> Iterator[Knowledge]:
    """An empty sandbox of 1.16.1, whose tags work; 1.12.1 cannot show one."""
    sandbox = Knowledge(template.copy_to(tmp_path / "data", "1.16.1"))
    yield sandbox
    sandbox.stop()


def make_tag(knowledge: Knowledge, name: str) -> str:
    """Create a tag, and return its id."""
    answer = knowledge.service("POST", "/datasets/tags", json={"name": name})
    assert answer.status_code == 200, answer.text
    return str(answer.json["id"])


def bind(knowledge: Knowledge, dataset_id: str, *tag_ids: str) -> None:
    """Give a dataset tags."""
    body = {"tag_ids": tag_ids, "target_id": dataset_id}
    assert knowledge.service("POST", "/datasets/tags/binding", json=body).status_code == 204


def test_a_dataset_shows_its_tags_until_they_are_unbound_or_deleted(knowledge: Knowledge) -> None:
    dataset_id = knowledge.create_dataset()
    red, dream = make_tag(knowledge, "红楼"), make_tag(knowledge, "梦")
    bind(knowledge, dataset_id, red, dream, red, UNKNOWN)
    tags = knowledge.service("GET", f"/datasets/{dataset_id}").json["tags"]
    assert [(tag["id"], tag["name"], tag["type"]) for tag in tags] == [
        (red, "红楼", "knowledge"),
        (dream, "梦", "knowledge"),
    ]
    listed = knowledge.service("GET", "/datasets/tags").json
    assert {tag["name"]: tag["binding_count"] for tag in listed} == {"红楼": "1", "梦": "1"}
    for body in ({"tag_id": red}, {"tag_ids": [dream]}):
        answer = knowledge.service("POST", "/datasets/tags/unbinding", json={**body, "target_id": dataset_id})
        assert (answer.status_code, answer.data) == (204, b"")
    assert knowledge.service("GET", f"/datasets/{dataset_id}/tags").json == {"data": [], "total": 0}
    bind(knowledge, dataset_id, red)
    assert knowledge.service("DELETE", "/datasets/tags", json={"tag_id": red}).status_code == 204
    assert knowledge.service("GET", f"/datasets/{dataset_id}/tags").json["total"] == 0


def test_the_list_of_datasets_has_those_with_all_the_tags(knowledge: Knowledge) -> None:
    both, one = knowledge.create_dataset("甲"), knowledge.create_dataset("乙")
    red, dream = make_tag(knowledge, "红楼"), make_tag(knowledge, "梦")
    bind(knowledge, both, red, dream)
    bind(knowledge, one, red)

    def found(*tag_ids: str) -> set[str]:
        answer = knowledge.service("GET", "/datasets", query_string={"tag_ids": tag_ids}).json
        assert answer["total"] == len(answer["data"])
        return {dataset["id"] for dataset in answer["data"]}

    assert found() == found(red) == {both, one}
    assert found(red, dream) == {both}
    assert found(red, UNKNOWN) == set()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "", {"name": "红楼"}, 400, "Tag name already exists"),
        ("POST", "", {"name": ""}, 400, "String should have at least 1 character"),
        ("POST", "", {"name": "长" * 51}, 400, "String should have at most 50 characters"),
        ("PATCH", "", {"name": "x", "tag_id": UNKNOWN}, 404, "Tag not found"),
        ("PATCH", "", {"name": "梦", "tag_id": "<tag>"}, 400, "Tag name already exists"),
        ("DELETE", "", {"tag_id": UNKNOWN}, 404, "Tag not found"),
        ("POST", "/binding", {"tag_ids": [], "target_id": UNKNOWN}, 400, "Tag IDs is required."),
        ("POST", "/binding", {"tag_ids": ["<tag>"], "target_id": UNKNOWN}, 404, "Dataset not found"),
        ("POST", "/binding", {"tag_ids": "<tag>", "target_id": UNKNOWN}, 400, "Input should be a valid list"),
        ("POST", "/unbinding", {"target_id": UNKNOWN}, 400, "Tag IDs is required."),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    knowledge: Knowledge, method: str, path: str, body: dict[str, object], status: int, message: str
) -> None:
    tag_id = make_tag(knowledge, "红楼")
    make_tag(knowledge, "梦")
    body = {name: tag_id if value == "<tag>" and name == "tag_id" else value for name, value in body.items()}
    answer = knowledge.service(method, f"/datasets/tags{path}", json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.json["message"]
    assert {tag["name"] for tag in knowledge.service("GET", "/datasets/tags").json} == {"红楼", "梦"}


def test_a_tag_keeps_its_own_name_or_gets_another(knowledge: Knowledge) -> None:
    tag_id = make_tag(knowledge, "红楼")
    for name in ("红楼", "石头"):
        answer = knowledge.service("PATCH", "/datasets/tags", json={"tag_id": tag_id, "name": name})
        assert (answer.status_code, answer.json["name"]) == (200, name)


def test_1_12_does_what_it_is_asked_for_but_cannot_show_a_tag(template: Template, tmp_path: Path) -> None:
    knowledge = Knowledge(template.copy_to(tmp_path / "old"))
    for method in ("POST", "GET"):
        answer = knowledge.service(method, "/datasets/tags", **({"json": {"name": "红楼"}} if method == "POST" else {}))
        assert (answer.status_code, "binding_count" in answer.json["message"]) == (400, True)
    (tag,) = knowledge.console("GET", "/tags?type=knowledge").json
    assert knowledge.service("DELETE", "/datasets/tags", json={"tag_id": tag["id"]}).json == 204
    assert knowledge.service("GET", "/datasets/tags").json == []
