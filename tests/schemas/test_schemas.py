"""Values that the fields accept. Those that they refuse are in tests/test_bad_input.py."""

from typing import Any

import pytest
from marshmallow import Schema, ValidationError

from route_api.schemas import base, fields
from route_api.schemas.answers import Empty, OrNull, schema_like
from route_api.schemas.chunk import Retrieval
from route_api.schemas.completion import Completion, CompletionWithKb
from route_api.schemas.document import DocumentSwitch

KB_ID = "e0b33974-287c-42cf-bf85-9aa09fa9ae59"
OTHER = "02e54617-65ef-435f-815a-85ed6579e634"


def load(field: Any, value: Any) -> Any:
    return Schema.from_dict({"x": field})().load({"x": value})["x"]


@pytest.mark.parametrize("value", [KB_ID, KB_ID.upper(), KB_ID.replace("-", ""), f" {KB_ID} "])
def test_an_id_is_loaded_as_dify_writes_it(value: str) -> None:
    assert load(fields.Id(), value) == KB_ID


@pytest.mark.parametrize("value", [None, ""])
def test_an_optional_id_may_be_nothing(value: Any) -> None:
    assert load(fields.OptionalId(), value) is None


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (KB_ID, [KB_ID]),
        ([KB_ID, OTHER], [KB_ID, OTHER]),
        (f"{KB_ID},{OTHER}", [KB_ID, OTHER]),
        ([KB_ID, KB_ID.replace("-", "")], [KB_ID]),
    ],
)
def test_ids_come_alone_in_a_list_or_with_commas_and_each_once(value: Any, ids: list[str]) -> None:
    assert load(fields.Ids(max_items=5), value) == ids


@pytest.mark.parametrize(
    ("value", "truth"), [(True, True), ("true", True), ("1", True), (1, True), ("False", False), (0, False)]
)
def test_flags_come_in_the_usual_spellings(value: Any, truth: bool) -> None:
    assert load(fields.Flag(), value) is truth


@pytest.mark.parametrize("value", [5, "5", 5.0, " 5 "])
def test_whole_numbers_may_be_text(value: Any) -> None:
    assert load(fields.Whole(minimum=1, maximum=9), value) == 5


def test_problems_are_sentences_that_begin_with_the_name() -> None:
    messages = {"a": ["is required."], "b": {1: ["must be a UUID."]}, "_schema": ["Wrong."]}
    assert base.describe_problems(messages) == ["a is required.", "b[1] must be a UUID.", "Wrong."]


def test_ragflows_kb_id_in_a_list_of_one_will_do() -> None:
    assert Retrieval().load({"kb_id": [KB_ID], "question": "?"})["kb_id"] == KB_ID
    with pytest.raises(ValidationError):
        Retrieval().load({"kb_id": [KB_ID, OTHER], "question": "?"})


def test_ragflows_status_is_an_action() -> None:
    loaded = DocumentSwitch().load({"kb_id": KB_ID, "doc_ids": [OTHER], "status": "1"})
    assert (loaded["action"], loaded["doc_id"]) == ("enable", [OTHER])


def test_where_both_spellings_come_the_documents_own_wins() -> None:
    given = {"user_id": " alice ", "message": "a", "query": "b", "streaming": False, "stream": True}
    loaded = Completion().load(given)
    assert (loaded["user_id"], loaded["message"], loaded["streaming"]) == ("alice", "a", False)


OPTIONAL = ("history", "history_len", "model_name", "temperature", "max_tokens", "prompt_name", "conversation_name")


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_asks_for_nothing(name: str) -> None:
    assert CompletionWithKb().load({"user_id": "alice", "message": "?", name: None})[name] is None


@pytest.mark.parametrize("history", [-1, -1.0, "-1", "-1.0"])
@pytest.mark.parametrize("schema", [Completion, CompletionWithKb])
def test_a_history_of_minus_one_is_no_history(schema: type[Completion], history: Any) -> None:
    assert schema().load({"user_id": "alice", "message": "?", "history": history})["history"] is None


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (1, "must be an object with a role (user, assistant or system) and a content, both strings."),
        ({"role": "user", "content": "a\0"}, "must not hold a NUL character."),
    ],
)
def test_a_wrong_entry_of_a_history_is_named_as_in_other_lists(entry: Any, problem: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Completion().load({"user_id": "u", "message": "m", "history": [{"role": "user", "content": "a"}, entry]})
    assert base.describe_problems(raised.value.messages) == [f"history[1] {problem}"]


@pytest.mark.parametrize("history", [-2, "-2", -0.5, 1001])
def test_a_history_below_minus_one_or_too_long_is_refused(history: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        Completion().load({"user_id": "alice", "message": "?", "history": history})
    assert "from -1 to 1000" in raised.value.args[0]["history"][0]


def test_unknown_parameters_are_ignored() -> None:
    assert "quote" not in Completion().load({"user_id": "alice", "message": "?", "quote": True})


def test_a_schema_read_off_an_example_minds_types_and_missing_keys() -> None:
    schema = schema_like("Example", {"a": 1, "b": [{"c": "x"}], "d": OrNull("x"), "e": 0.5, "f": Empty(1)})
    assert schema.validate({"a": 2, "b": [{"c": ""}], "d": None, "e": 1, "f": [2]}) == {}
    wrong = schema.validate({"a": "x", "b": [{}], "e": "x", "f": ["x"]})
    assert wrong.keys() == {"a", "b", "d", "e", "f"}


def test_an_example_that_tells_no_type_is_refused() -> None:
    with pytest.raises(TypeError, match="ExampleA needs an example"):
        schema_like("Example", {"a": None})
