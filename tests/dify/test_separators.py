import copy

import pytest

from route_api.dify.separators import Separators, escape_separators

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
    assert separator_in(escape_separators(typed)) == separator_in(worked) == r"\u3002"


@pytest.mark.parametrize("version", ["1.12.1", "1.12.1-sandbox", "1.13.3", "1.16.1", "2.0.0"])
def test_versions_from_1_12_1_on_get_the_escape(version: str) -> None:
    assert separator_in(Separators().write(data_with("。\n"), version)) == "\\u3002\n"


@pytest.mark.parametrize("version", ["1.8.1", "1.12.0", None, "", "unknown"])
def test_older_and_unknown_versions_get_the_plain_character(version: str | None) -> None:
    assert separator_in(Separators().write(data_with("。"), version)) == "。"


@pytest.mark.parametrize("separator", ["\n\n", "\\n", "###", ""])
def test_a_separator_in_ascii_is_sent_as_it_is(separator: str) -> None:
    assert separator_in(escape_separators(data_with(separator))) == separator


def test_the_separator_of_child_chunks_is_escaped_too_and_the_rest_stays() -> None:
    rules = {
        "parent_mode": "paragraph",
        "segmentation": {"separator": "\n"},
        "subchunk_segmentation": {"separator": "；"},
    }
    data = {"indexing_technique": "economy", "process_rule": {"mode": "hierarchical", "rules": rules}}
    before = copy.deepcopy(data)
    escaped = escape_separators(data)
    assert escaped["process_rule"]["rules"] == {**rules, "subchunk_segmentation": {"separator": r"\uff1b"}}
    assert escaped["indexing_technique"] == "economy" and escaped["process_rule"]["mode"] == "hierarchical"
    assert data == before


@pytest.mark.parametrize(
    "data", [{}, {"process_rule": None}, {"process_rule": {"mode": "automatic"}}, {"process_rule": []}]
)
def test_data_without_rules_is_sent_as_it_is(data: dict) -> None:
    assert escape_separators(data) == data


def contents(version: str, case: str) -> list[str]:
    return [segment["content"] for segment in load(version, case)["response"]["body"]["data"]]


@pytest.mark.parametrize("version", ["1.12.1", "1.16.1"])
def test_a_version_that_undoes_the_escape_keeps_it(version: str) -> None:
    separators, asked = Separators(), []

    def read(*ids: str) -> list[str]:
        asked.append(ids)
        return contents(version, "segments/list-separator-escaped-chinese")

    for number in range(3):
        separators.learn(data_with("。"), read)
        assert separator_in(separators.write(data_with("。"), version)) == r"\u3002"
        separators.remember(data_with("。"), version, "ds", f"doc{number}")
    assert asked == [("ds", "doc0")], "the segments of one upload tell it"


def test_a_version_that_does_not_undo_the_escape_gets_the_plain_character() -> None:
    """No recorded version is so. Its segments are those of a version that did not find the separator."""
    separators = Separators()
    separators.remember(data_with("。"), "1.20.0", "ds", "doc")
    separators.learn(data_with("\n"), lambda *ids: pytest.fail("nobody needs to know yet"))
    separators.learn(data_with("。"), lambda *ids: contents("1.12.1", "segments/list-separator-chinese"))
    assert separator_in(separators.write(data_with("。"), "1.20.0")) == "。"
    assert separator_in(separators.write(data_with("。"), "1.20.1")) == r"\u3002", "another version may be mended"


@pytest.mark.parametrize("found", [[], ["没有分隔符"]])
def test_segments_that_tell_nothing_change_nothing(found: list[str]) -> None:
    separators = Separators()
    separators.remember(data_with("。"), "1.20.0", "ds", "doc")
    separators.learn(data_with("。"), lambda *ids: found)
    assert separator_in(separators.write(data_with("。"), "1.20.0")) == r"\u3002"
