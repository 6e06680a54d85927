"""The OpenAPI document as `/docs` shows it: one entry for one endpoint, and its errors folded."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from route_api.openapi.page import PAGE_TEXTS, SWAGGER_TEXTS, VERBS, page_texts

Json = dict[str, Any]


@pytest.fixture
def whole(client: FlaskClient) -> Json:
    return dict(client.get("/openapi.json").json)


@pytest.fixture
def shown(client: FlaskClient) -> Json:
    return dict(client.get("/docs/openapi.json").json)


def operations(document: Json) -> dict[str, list[Json]]:
    return {path: [item[verb] for verb in VERBS if verb in item] for path, item in document["paths"].items()}


def test_each_endpoint_has_one_entry(whole: Json, shown: Json) -> None:
    assert {len(each) for each in operations(whole).values()} == {1, 2}
    assert {len(each) for each in operations(shown).values()} == {1}
    assert whole["paths"].keys() - shown["paths"].keys() == {"/datasets/{kb_id}/document/create-by-file"}


def test_a_summary_has_no_markdown_because_swagger_ui_shows_it_as_it_is(shown: Json) -> None:
    assert [each["summary"] for (each,) in operations(shown).values() if "`" in each["summary"]] == []


def test_the_entry_tells_the_other_methods(shown: Json) -> None:
    assert "Also answers to POST, with the same parameters." in shown["paths"]["/kb/list"]["get"]["description"]
    assert "Also answers to DELETE" in shown["paths"]["/kb/rm"]["post"]["description"]
    assert "Also answers" not in shown["paths"]["/kb/create"]["post"]["description"]


def test_all_errors_are_in_one_response_that_the_reader_unfolds(whole: Json, shown: Json) -> None:
    for path, (operation,) in operations(shown).items():
        statuses = operation["responses"].keys()
        assert [status for status in statuses if status >= "4" and status != "default"] == [], path
    folded = shown["paths"]["/kb/detail"]["get"]["responses"]["default"]["description"]
    codes = whole["paths"]["/kb/detail"]["get"]["responses"]["404"]["content"]["application/json"]["examples"]
    assert "kb_not_found" in codes and folded.startswith("<details><summary>Errors: 400, 401")
    assert "<li>404 <code>kb_not_found</code>: No knowledge base has this id.</li>" in folded


def test_every_text_of_the_page_is_put_into_its_language() -> None:
    texts = page_texts(lambda text: f"„{text}“")
    assert texts["create"] == f"„{PAGE_TEXTS['create']}“"
    assert texts["labels"] == {text: f"„{text}“" for text in SWAGGER_TEXTS}
    assert page_texts(str)["labels"] == {}
