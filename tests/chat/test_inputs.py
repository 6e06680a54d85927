"""The parameter `inputs` and the variables that the operator has declared in the Dify app.

The recordings show texts and what is required. Selects, numbers, checkboxes, objects and files were read in Dify's
code; the sandbox checks the first two as that code does.
"""

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from route_api.chat.inputs import callers_must_give, input_values, nobody_can_give
from route_api.errors import NotSupported, ValidationFailed
from route_api.prompts.variables import Form, declared_variables
from route_api.sandbox.apps.app_config import checked_inputs

from ..support.fake_dify import FakeDify
from ..support.recordings import VERSIONS, load
from ..support.talk import CHAT, ask, counts, messages

PARAMETERS = "/v1/parameters"


def variable(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {kind: {"label": name, "variable": name, "required": False, **more}}


ENTRIES = [
    variable("paragraph", "context"),
    variable("paragraph", "instructions", default="你是客服。"),
    variable("text-input", "city", max_length=5),
    variable("paragraph", "tone", default="友好"),
    variable("select", "language", options=["中文", "English"]),
    variable("select", "length", options=["短", "长"], default="短"),
    variable("number", "year"),
    variable("number", "count", default="3"),
    variable("checkbox", "formal"),
    variable("checkbox", "polite", default=True),
    variable("json_object", "profile"),
    variable("file", "picture"),
    variable("file-list", "files"),
    variable("external_data_tool", "weather"),
    variable("a-later-kind", "later"),
]
DEFAULTS = {
    "context": "",
    "instructions": "你是客服。",
    "city": "",
    "tone": "友好",
    "length": "短",
    "count": 3,
    "polite": True,
}


def form_of(*entries: dict[str, Any]) -> Form:
    return declared_variables({"user_input_form": list(entries)})


FORM = form_of(*ENTRIES)


def declares(dify: FakeDify, *entries: dict[str, Any]) -> None:
    """Let the app declare these variables."""
    dify.answer("GET", PARAMETERS, {"user_input_form": list(entries)})


def has_asked_before(client: FlaskClient, dify: FakeDify, **given: Any) -> None:
    """Ask a question, after which the gateway knows the variables of the app."""
    dify.play("chat/streaming-first-turn")
    assert ask(client, **given).status_code == 200


# ------------------------------------------------------------------ what Dify gets


def test_without_inputs_only_texts_and_defaults_are_sent(client: FlaskClient, any_dify: FakeDify) -> None:
    """Before, an empty text for an optional select made every turn a 502, and took away the operator's defaults."""
    declares(any_dify, *ENTRIES)
    has_asked_before(client, any_dify)
    assert any_dify.sent()["inputs"] == DEFAULTS


def test_what_is_given_takes_the_place_of_the_defaults(client: FlaskClient, any_dify: FakeDify) -> None:
    declares(any_dify, *ENTRIES)
    given = {
        "city": "姑苏",
        "tone": "正式",
        "language": "English",
        "year": 1754,
        "formal": "yes",
        "profile": {"a": [1]},
    }
    has_asked_before(client, any_dify, inputs=given)
    assert any_dify.sent()["inputs"] == {**DEFAULTS, **given, "formal": True}


def test_our_texts_take_the_place_of_the_defaults_of_our_variables(client: FlaskClient, any_dify: FakeDify) -> None:
    declares(any_dify, *ENTRIES)
    (kb_id,) = any_dify.play("retrieve/semantic")
    any_dify.play("chat/streaming-first-turn")
    ask(client, path="completion_db", kb_id=kb_id)
    sent = any_dify.sent()["inputs"]
    assert "不要编造" in sent["instructions"] and "[1]" in sent["context"] and sent["tone"] == "友好"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"year": "1754"}, {"year": 1754}),
        ({"year": " １７５４ "}, {"year": 1754}),
        ({"year": 0.5}, {"year": 0.5}),
        ({"year": "-2e3"}, {"year": -2000}),
        ({"city": 12}, {"city": "12"}),
        ({"city": "一二三四五"}, {"city": "一二三四五"}),
        ({"formal": 0}, {"formal": False}),
        ({"profile": '{"a": 1}'}, {"profile": {"a": 1}}),
        ({"city": None, "year": "", "nonsense": None}, {}),
        ({"tone": ""}, {"tone": "友好"}),
        ({}, {}),
    ],
)
def test_values_are_read_as_parameters_are(given: dict[str, Any], sent: dict[str, Any]) -> None:
    assert input_values(FORM, given) == {**DEFAULTS, **sent}


@pytest.mark.parametrize("given", [{}, {"city": "姑苏", "language": "中文", "year": 0.5}])
def test_what_passes_is_not_refused_by_a_server_like_dify(given: dict[str, Any]) -> None:
    known = [entry for entry in ENTRIES if entry.keys() <= {"paragraph", "text-input", "select", "number"}]
    form = form_of(*known)
    checked = checked_inputs({"user_input_form": known}, input_values(form, given))
    assert checked.items() >= given.items()


@pytest.mark.parametrize(
    "entry",
    [
        variable("select", "x", options=["a"], default="no option"),
        variable("text-input", "x", max_length=2, default="too long"),
        variable("number", "x", default="many"),
        variable("checkbox", "x", default="perhaps"),
        variable("json_object", "x", default="{"),
    ],
)
def test_a_default_that_dify_would_refuse_is_not_sent(entry: dict[str, Any]) -> None:
    assert input_values(form_of(entry), {}) == ({"x": ""} if "text-input" in entry else {})


# ------------------------------------------------------------------ what is refused

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"nonsense": "x"}, "inputs.nonsense is no variable of the Dify app; it declares: city, tone, language"),
    ({"context": "x"}, "inputs.context is filled by the gateway"),
    ({"city": "一二三四五六"}, "inputs.city is 6 characters long, the most is 5"),
    ({"city": ["a"]}, "inputs.city must be one value, not a list"),
    ({"city": {"a": 1}}, "inputs.city must be a string"),
    ({"city": "a\0"}, "inputs must not hold a NUL"),
    ({"language": "français"}, "inputs.language must be one of: 中文, English"),
    ({"year": "soon"}, "inputs.year must be a number"),
    ({"year": True}, "inputs.year must be a number"),
    ({"formal": "perhaps"}, "inputs.formal must be true or false"),
    ({"profile": [1]}, "inputs.profile must be"),
    ({"picture": {"type": "image"}}, "inputs.picture is a file in the Dify app, and this API passes no files"),
    ({"files": [{"type": "image"}]}, "inputs.files is a file"),
    ({"weather": "sun"}, "inputs.weather is filled by Dify itself"),
    ({"later": 1}, "inputs.later is of the kind a-later-kind"),
    ({"x" * 500: 1}, f"inputs.{'x' * 50}… is no variable"),
]


@pytest.mark.parametrize(("given", "sentence"), WRONG, ids=[sentence[:30] for _, sentence in WRONG])
def test_a_wrong_value_is_named_and_nothing_is_stored_or_asked(
    app: Flask, client: FlaskClient, any_dify: FakeDify, given: dict[str, Any], sentence: str
) -> None:
    declares(any_dify, *ENTRIES)
    has_asked_before(client, any_dify)
    before, calls = counts(app), list(any_dify.calls)
    answer = ask(client, inputs=given)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert sentence in answer.json["message"]
    assert (counts(app), any_dify.calls) == (before, calls)


@pytest.mark.parametrize("streaming", [False, True])
def test_before_the_variables_are_known_a_question_with_a_wrong_value_is_stored_as_failed(
    app: Flask, client: FlaskClient, any_dify: FakeDify, streaming: bool
) -> None:
    """The question is stored before Dify is asked, also for its variables."""
    declares(any_dify, *ENTRIES)
    answer = ask(client, inputs={"language": "français"}, streaming=streaming)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert any_dify.calls == [f"GET {PARAMETERS}"]
    (stored,) = messages(app)
    assert (stored.query, stored.claimed_until) == ("葫芦庙在哪里？", None)
    assert (stored.meta_data["status"], stored.meta_data["reason"]) == ("failed", "validation_failed")
    assert stored.meta_data["inputs"] == {"language": "français"}


def test_a_silent_dify_loses_no_question_with_inputs(app: Flask, client: FlaskClient) -> None:
    assert ask(client, inputs={"city": "姑苏"}).status_code == 502
    (stored,) = messages(app)
    assert (stored.query, stored.meta_data["reason"]) == ("葫芦庙在哪里？", "dify_unreachable")
    assert stored.meta_data["inputs"] == {"city": "姑苏"}


@pytest.mark.parametrize("kind", ["text-input", "paragraph", "select", "number", "checkbox", "json_object"])
def test_a_required_value_that_is_missing_is_a_400_by_name(client: FlaskClient, any_dify: FakeDify, kind: str) -> None:
    """Every recorded Dify refuses it, in both modes (inputs/required-missing, chat/advanced-chat-required-*)."""
    entry = variable(kind, "city", required=True, options=["a"])
    declares(any_dify, entry)
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert "inputs.city is required by the Dify app" in answer.json["message"]
    assert callers_must_give(form_of(entry)) == ["city"] and nobody_can_give(form_of(entry)) == []


@pytest.mark.parametrize("kind", ["file", "file-list", "a-later-kind"])
def test_an_app_that_requires_what_nobody_can_give_is_not_supported(
    client: FlaskClient, any_dify: FakeDify, kind: str
) -> None:
    entry = variable(kind, "picture", required=True)
    declares(any_dify, entry)
    answer = ask(client)
    assert (answer.status_code, answer.json["error"]) == (400, "not_supported")
    assert "'picture'" in answer.json["message"]
    assert nobody_can_give(form_of(entry)) == ["picture"] and callers_must_give(form_of(entry)) == []


def test_a_required_variable_with_a_default_or_of_ours_needs_nobody() -> None:
    form = form_of(
        variable("select", "length", required=True, options=["短"], default="短"),
        variable("paragraph", "context", required=True),
        variable("external_data_tool", "weather", required=True),
    )
    assert input_values(form, {}) == {"length": "短", "context": ""}
    assert callers_must_give(form) == nobody_can_give(form) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_dify_was_recorded_to_refuse_is_refused_by_us(version: str) -> None:
    limited = form_of(variable("paragraph", "x", max_length=10, required=True))
    for case, given in (
        (
            "inputs/max-length-over",
            load(version, "inputs/max-length-over")["request"]["body"]["inputs"]["instructions"],
        ),
        ("inputs/value-dict", load(version, "inputs/value-dict")["request"]["body"]["inputs"]["instructions"]),
        ("inputs/required-missing", None),
    ):
        assert load(version, case)["response"]["status"] == 400
        with pytest.raises(ValidationFailed):
            input_values(limited, {"x": given})
    with pytest.raises(NotSupported):
        input_values(form_of(variable("file", "x", required=True)), {"x": {"type": "image"}})


# ------------------------------------------------------------------ the forms of the parameter


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"inputs": {"city": "姑苏", "year": 5}}},
        {"json": {"inputs": json.dumps({"city": "姑苏", "year": 5})}},
        {"data": {"inputs": json.dumps({"city": "姑苏", "year": 5})}},
        {"data": {"inputs[city]": "姑苏", "inputs[year]": "5"}},
    ],
    ids=["json", "json text", "form", "brackets"],
)
@pytest.mark.parametrize("path", ["/conversation/completion", "/conversation/completion_db", "/chat/chat"])
def test_inputs_is_an_object_or_its_json_text(
    app: Flask, client: FlaskClient, any_dify: FakeDify, body: dict[str, Any], path: str
) -> None:
    declares(any_dify, *ENTRIES)
    any_dify.play("chat/streaming-first-turn")
    (given,) = body.values()
    answer = client.post(path, **{next(iter(body)): {"user_id": "alice", "message": "问", **given}})
    assert answer.status_code == 200, answer.text
    assert any_dify.sent()["inputs"] == {**DEFAULTS, "city": "姑苏", "year": 5}
    page = {"user_id": "alice", "conversation_id": answer.json["data"]["conversation_id"]}
    (shown,) = client.get("/conversation/messages", query_string=page).json["data"]["messages"]
    assert shown["meta_data"]["inputs"]["city"] == "姑苏"


@pytest.mark.parametrize("nothing", [None, "", {}, "{}", "null"])
def test_empty_inputs_are_none(client: FlaskClient, any_dify: FakeDify, nothing: Any) -> None:
    declares(any_dify)
    any_dify.play("chat/streaming-first-turn")
    assert ask(client, inputs=nothing).status_code == 200
    assert any_dify.sent()["inputs"] == {} and any_dify.calls[-1] == f"POST {CHAT}"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ([1], "inputs must be one value, not a list"),
        (5, "inputs must be an object, or its JSON as a text"),
        ("city=姑苏", "inputs must be an object"),
        ("[1]", "inputs must be an object"),
        ({"a": {"b\0": 1}}, "inputs must not hold a NUL character"),
        ({"a": "x" * 100_001}, "inputs must have 100,000 characters at the most"),
        ({"a": json.loads("[" * 30 + "]" * 30)}, "inputs must not have more than 20 levels"),
    ],
    ids=["list", "number", "text", "list as text", "NUL", "long", "deep"],
)
def test_inputs_of_another_form_are_refused_before_anything(
    app: Flask, client: FlaskClient, wrong: Any, sentence: str
) -> None:
    answer = ask(client, inputs=wrong)
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert sentence in answer.json["message"]
    assert counts(app) == (0, 0, 0)
