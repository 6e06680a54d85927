"""One rule for parameters: the query string, a form and JSON mean the same. Checked for every field of every schema."""

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from flask import g
from marshmallow import fields

from config import Config
from route_api.access.callers import OPEN_ACCESS
from route_api.app import create_app
from route_api.errors import ValidationFailed
from route_api.monitoring import tracing
from route_api.schemas import completion, conversation
from route_api.schemas import fields as own_fields
from route_api.schemas import kb
from route_api.views.parameters import PARSER

from ..support.bad_values import Parameter, bad_values, describe, good_value, in_text, rest_of, values_in
from ..support.settings import OPEN

APP = create_app(Config.load(**OPEN, DATABASE_URL="sqlite://"))
BY_FIELD = {(type(parameter.schema), parameter.name): parameter for parameter in describe(APP)}
PARAMETERS = [parameter for parameter in BY_FIELD.values() if not isinstance(parameter.field, own_fields.NoEffect)]
OPTIONAL = [parameter for parameter in PARAMETERS if not parameter.field.required]
REQUIRED = [parameter for parameter in PARAMETERS if parameter.field.required]
FORM, MULTIPART, JSON = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"
NOTHING = (None, "", "  ", "\t\n", "undefined", "null", "None")
EMPTY_HAS_A_MEANING = {(kb.KbUpdate, "description")}
NULL_HAS_A_MEANING = {(conversation.Feedback, "score")}
A, B = "e0b33974-287c-42cf-bf85-9aa09fa9ae59", "02e54617-65ef-435f-815a-85ed6579e634"

Pairs = list[tuple[str, str]]


def named(parameter: Parameter) -> str:
    return f"{type(parameter.schema).__name__} {parameter.name}"


def each(parameters: list[Parameter]) -> Any:
    return pytest.mark.parametrize("parameter", parameters, ids=named)


def parse(parameter: Parameter, **request: Any) -> Any:
    """What a request is loaded as, or the sentence with which it is refused."""
    with APP.test_request_context("/", method="POST", **request):
        tracing.begin("-")
        g.caller = OPEN_ACCESS
        try:
            return PARSER.parse(parameter.schema, location="json")
        except ValidationFailed as error:
            return error.message


def as_query(parameter: Parameter, pairs: Pairs) -> Any:
    return parse(parameter, query_string=urlencode(pairs))


def as_form(parameter: Parameter, pairs: Pairs) -> Any:
    return parse(parameter, data=urlencode(pairs), content_type=FORM)


def as_multipart(parameter: Parameter, pairs: Pairs) -> Any:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in pairs]
    return parse(parameter, data="".join(parts) + "--b--\r\n", content_type=MULTIPART)


def as_json(parameter: Parameter, given: dict[str, Any]) -> Any:
    return parse(parameter, data=orjson.dumps(given), content_type=JSON)


def in_texts(given: dict[str, Any]) -> Pairs:
    """The same parameters, as a form has them."""
    return [
        (name, str(text)) for name, value in given.items() for text in (value if isinstance(value, list) else [value])
    ]


def everywhere(parameter: Parameter, given: dict[str, Any]) -> list[Any]:
    pairs = in_texts(given)
    return [
        as_json(parameter, given),
        as_query(parameter, pairs),
        as_form(parameter, pairs),
        as_multipart(parameter, pairs),
    ]


def without(parameter: Parameter) -> dict[str, Any]:
    """The other required parameters, with what else their schema wants."""
    others = rest_of(parameter)
    if isinstance(parameter.schema, conversation.Stop):
        others["message_id" if parameter.name == "conversation_id" else "conversation_id"] = A
    return others


@each(PARAMETERS)
def test_a_value_means_the_same_in_all_places(parameter: Parameter) -> None:
    values = [value for value in bad_values(parameter.field) if in_text(value) and value != 1e30]
    if parameter.field.required or not isinstance(
        parameter.field, completion.History | own_fields.Flag | own_fields.Number
    ):
        values.append(good_value(parameter.field))
    values += ["5", 5, 5.0, "5.0", " 7 ", "1_0", "５", "true", " FALSE ", "on", "Off", "0.5", 0.5, "x", f" {A} "]
    for value in values:
        given = {**without(parameter), parameter.name: value}
        texts = [given, *({**given, parameter.name: str(value)} for _ in range(not isinstance(value, str | list)))]
        outcomes = [outcome for texted in texts for outcome in everywhere(parameter, texted)]
        if isinstance(value, float) and isinstance(parameter.field, own_fields.Text):
            outcomes = outcomes[:1]  # JSON does not tell 5.0 from 5; a text does.
        assert all(outcome == outcomes[0] for outcome in outcomes), (value, outcomes)


@each(OPTIONAL)
def test_null_and_blanks_are_the_same_as_leaving_an_optional_parameter_out(parameter: Parameter) -> None:
    left_out = as_json(parameter, without(parameter))
    assert isinstance(left_out, dict)
    field: Any = parameter.field
    if isinstance(field, own_fields.Text) and not isinstance(field, own_fields.Choice):
        nothing = NOTHING[:2] if field.blank else NOTHING[:4]
    else:
        nothing = NOTHING
    for value in nothing:
        if value == "" and (type(parameter.schema), parameter.name) in EMPTY_HAS_A_MEANING:
            continue
        given = {**without(parameter), parameter.name: value}
        outcomes = [as_json(parameter, given)] if value is None else everywhere(parameter, given)
        assert all(outcome == left_out for outcome in outcomes), (value, outcomes)


@each(REQUIRED)
def test_null_and_blanks_do_not_give_a_required_parameter(parameter: Parameter) -> None:
    values = [value for value in NOTHING[:4] if value in (None, "") or not getattr(parameter.field, "blank", False)]
    if (type(parameter.schema), parameter.name) in NULL_HAS_A_MEANING:
        values.remove(None)
    for value in values:
        given = {**without(parameter), parameter.name: value}
        for outcome in [as_json(parameter, given)] if value is None else everywhere(parameter, given):
            assert outcome == f"{parameter.name} is required.", value


def test_an_empty_text_and_null_have_a_meaning_in_one_field_each() -> None:
    keeping = {key for key, p in BY_FIELD.items() if getattr(p.field, "keeps_empty", False)}
    nulls = {key for key, p in BY_FIELD.items() if p.field.required and p.field.allow_none}
    assert (keeping, nulls) == (EMPTY_HAS_A_MEANING, NULL_HAS_A_MEANING)
    described = BY_FIELD[kb.KbUpdate, "description"]
    for outcome in everywhere(described, {"kb_id": A, "description": ""}):
        assert outcome["description"] == ""
    rating = BY_FIELD[conversation.Feedback, "score"]
    outcomes = everywhere(rating, {**rest_of(rating), "score": "null"}) + [
        as_json(rating, {**rest_of(rating), "score": None})
    ]
    assert [outcome["score"] for outcome in outcomes] == [None] * 5


LISTS = [parameter for parameter in PARAMETERS if isinstance(parameter.field, own_fields.Ids)]


@each(LISTS)
def test_a_list_comes_in_every_form(parameter: Parameter) -> None:
    name, rest = parameter.name, without(parameter)
    wanted = as_json(parameter, {**rest, name: [A, B]})
    assert wanted[name] == [A, B]
    jsons: list[dict[str, Any]] = [
        {name: f"{A},{B}"},
        {name: f" {A} ， {B.upper()} ,"},
        {name: f'["{A}", "{B}"]'},
        {name: {"0": A, "1": B}},
        {name: {"2": A, "10": B}},
        {f"{name}[]": [A, B]},
        {f"{name}[0]": A, f"{name}[1]": B},
        {name: [A, None, "", B]},
        {name: [A, f"{B},{A}"]},
    ]
    assert [as_json(parameter, {**rest, **given}) for given in jsons] == [wanted] * len(jsons)
    forms: list[Pairs] = [
        [(name, A), (name, B)],
        [(f"{name}[]", A), (f"{name}[]", B)],
        [(f"{name}[1]", B), (f"{name}[0]", A)],
        [(f"{name}[]", A), (f"{name}[]", ""), (f"{name}[]", B)],
        [(name, f"{A},{B}")],
        [(name, f'["{A}","{B}"]')],
        [(name, A), (f"{name}[]", B)],
    ]
    for pairs in forms:
        for send in (as_query, as_form, as_multipart):
            assert send(parameter, in_texts(rest) + pairs) == wanted, (send, pairs)


@each([parameter for parameter in PARAMETERS if isinstance(parameter.field, own_fields.Id)])
def test_one_id_may_come_in_a_list(parameter: Parameter) -> None:
    name, rest = parameter.name, without(parameter)
    wanted = as_json(parameter, {**rest, name: A})
    assert wanted[name] == A
    assert as_json(parameter, {**rest, name: [A]}) == as_json(parameter, {**rest, name: f' ["{A}"]'}) == wanted
    assert as_query(parameter, [*in_texts(rest), (f"{name}[]", A)]) == wanted
    assert as_form(parameter, [*in_texts(rest), (f"{name}[0]", A)]) == wanted
    assert as_query(parameter, [*in_texts(rest), (name, A), (name, A)]) == wanted
    for given in as_json(parameter, {**rest, name: [A, B]}), as_query(
        parameter, [*in_texts(rest), (name, A), (name, B)]
    ):
        assert given == f"{name} must be one value, not a list."
    for empty in ([], "[]", [None], [""]):
        assert as_json(parameter, {**rest, name: empty}) == as_json(parameter, rest)


def test_objects_in_a_list_come_in_every_form() -> None:
    parameter = BY_FIELD[completion.Completion, "history"]
    turns = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
    rest = in_texts(rest_of(parameter))
    php = [(f"history[{i}][{key}]", turn[key]) for i, turn in enumerate(turns) for key in turn]
    spring = [(f"history[{i}].{key}", turn[key]) for i, turn in enumerate(turns) for key in turn]
    for pairs in (php, spring, [("history", orjson.dumps(turns).decode())]):
        for send in (as_query, as_form, as_multipart):
            assert send(parameter, rest + pairs)["history"] == turns
    assert as_json(parameter, {**rest_of(parameter), "history": {"0": turns[0], "1": turns[1]}})["history"] == turns


@pytest.mark.parametrize(
    ("value", "text"), [(10086, "10086"), (10086.0, "10086"), (2**63, "9223372036854775808"), (1.5, "1.5"), (0, "0")]
)
def test_a_number_is_a_text_where_a_text_is_wanted(value: float, text: str) -> None:
    assert own_fields.Text().deserialize(value) == text


@pytest.mark.parametrize("word", ["undefined", "null", "None", " undefined "])
def test_a_word_for_a_missing_value_is_told(word: str) -> None:
    parameter = BY_FIELD[completion.Completion, "conversation_id"]
    loaded = as_json(parameter, {**rest_of(parameter), "conversation_id": word, "conversation_name": word})
    assert loaded["conversation_id"] is None and loaded["conversation_name"] == word
    assert tracing.current().warnings == [f"conversation_id: the text '{word.strip()}' counts as not given."]


@pytest.mark.parametrize("word", ["undefined", "null", "None"])
def test_users_whom_a_page_does_not_know_yet_are_not_one_user(word: str) -> None:
    for parameter in REQUIRED:
        if parameter.name == "user_id":
            given = {**rest_of(parameter), "user_id": word}
            assert all(outcome == "user_id is required." for outcome in everywhere(parameter, given))


def test_the_body_wins_but_not_with_a_value_that_is_not_given() -> None:
    parameter = BY_FIELD[completion.Completion, "message"]
    query = urlencode({"user_id": "alice", "message": "a", "history_len": "3"})
    for body, message in (({"message": "b"}, "b"), ({"message": None}, "a"), ({"message": " "}, "a"), ({}, "a")):
        loaded = parse(parameter, query_string=query, data=orjson.dumps(body), content_type=JSON)
        assert (loaded["message"], loaded["history_len"]) == (message, 3)
    form = parse(parameter, query_string=query, data="message=&history_len=5", content_type=FORM)
    assert (form["message"], form["history_len"]) == ("a", 5)


def test_line_breaks_of_forms_become_lf_and_those_of_json_stay() -> None:
    parameter = BY_FIELD[completion.Completion, "message"]
    pairs = [("user_id", "alice"), ("message", "a\r\nb\r\n\r\nc\nd")]
    for send in (as_query, as_form, as_multipart):
        assert send(parameter, pairs)["message"] == "a\nb\n\nc\nd"
    assert as_json(parameter, {"user_id": "alice", "message": "a\r\nb"})["message"] == "a\r\nb"


def test_every_other_name_is_in_the_description_of_its_field() -> None:
    schemas: set[Any] = {type(parameter.schema) for parameter in PARAMETERS}
    renamed = 0
    for schema in schemas:
        for other, name in schema.other_names.items():
            field: fields.Field[Any] = values_in(schema)[name]
            assert f"`{other}`" in field.metadata["description"], (schema, other)
            renamed += 1
    assert renamed > 5


def test_an_other_name_counts_where_the_own_one_is_not_given() -> None:
    parameter = BY_FIELD[completion.Completion, "message"]
    for message in (None, "", " "):
        assert as_json(parameter, {"user_id": "a", "message": message, "query": "?"})["message"] == "?"
