import copy

import pytest

from route_api.dify.separators import escape_separators

from ..support.recordings import load


def data_with(separator: str) -> dict:
    return {
        "process_rule": {
            "mode": "custom",
            "rules": {"segmentation": {"separator": separator, "max_tokens": 200}},
        }
    }


def separator_in(data: dict) -> str:
    separator: str = data["process_rule"]["rules"]["segmentation"]["separator"]
    return separator


def recorded_data(case: str) -> dict:
    data: dict = load("1.12.1", case)["request"]["body"]["multipart parts"][0]["json text"]
    return data


def test_the_separator_that_1_12_1_did_not_find_becomes_the_one_that_it_found() -> None:
    typed = recorded_data("documents/create-by-file-separator-chinese")
    worked = recorded_data("documents/create-by-file-separator-escaped-chinese")
    assert separator_in(typed) == "。"
    assert separator_in(escape_separators(typed, "1.12.1")) == separator_in(worked) == r"\u3002"


@pytest.mark.parametrize("version", ["1.12.1", "1.12.1-sandbox", "1.13.3", "2.0.0"])
def test_versions_from_1_12_1_on_get_the_escape(version: str) -> None:
    assert separator_in(escape_separators(data_with("。\n"), version)) == "\\u3002\n"


@pytest.mark.parametrize("version", ["1.8.1", "1.12.0", None, "", "unknown"])
def test_older_and_unknown_versions_get_the_plain_character(version: str | None) -> None:
    assert separator_in(escape_separators(data_with("。"), version)) == "。"


@pytest.mark.parametrize("separator", ["\n\n", "\\n", "###", ""])
def test_a_separator_in_ascii_is_sent_as_it_is(separator: str) -> None:
    assert separator_in(escape_separators(data_with(separator), "1.12.1")) == separator


def test_the_separator_of_child_chunks_is_escaped_too_and_the_rest_stays() -> None:
    rules = {
        "parent_mode": "paragraph",
        "segmentation": {"separator": "\n"},
        "subchunk_segmentation": {"separator": "；"},
    }
    data = {"indexing_technique": "economy", "process_rule": {"mode": "hierarchical", "rules": rules}}
    before = copy.deepcopy(data)
    escaped = escape_separators(data, "1.12.1")
    assert escaped["process_rule"]["rules"] == {**rules, "subchunk_segmentation": {"separator": r"\uff1b"}}
    assert escaped["indexing_technique"] == "economy" and escaped["process_rule"]["mode"] == "hierarchical"
    assert data == before


@pytest.mark.parametrize(
    "data", [{}, {"process_rule": None}, {"process_rule": {"mode": "automatic"}}, {"process_rule": []}]
)
def test_data_without_rules_is_sent_as_it_is(data: dict) -> None:
    assert escape_separators(data, "1.12.1") == data
