"""The variables that an app declares, and how a value for them is escaped."""

from typing import Any

import pytest

from route_api.prompts.variables import (
    APP_VARIABLES,
    Form,
    Variable,
    declared_variables,
    escape_braces,
    fingerprint,
    our_limits,
)

from ..support.recordings import VERSIONS, load


def form_of(*entries: dict[str, Any]) -> Form:
    return declared_variables({"user_input_form": list(entries)})


def test_the_variables_of_an_app_come_with_their_limits() -> None:
    for version in VERSIONS:
        form = declared_variables(load(version, "chat/parameters-with-variables")["response"]["body"])
        assert form == dict.fromkeys(APP_VARIABLES, Variable("paragraph", default=""))
        assert our_limits(form) == dict.fromkeys(APP_VARIABLES)
        assert declared_variables(load(version, "chat/parameters-without-variables")["response"]["body"]) == {}
    assert our_limits(form_of({"text-input": {"variable": "context", "max_length": 48}})) == {"context": 48}
    assert our_limits(form_of({"paragraph": {"variable": "context", "max_length": 0}})) == {"context": None}


def test_a_name_of_ours_that_is_no_text_is_the_apps_own() -> None:
    assert our_limits(form_of({"number": {"variable": "history"}}, {"paragraph": {"variable": "city"}})) == {}


def test_the_fingerprint_of_a_form_changes_with_all_by_which_dify_drops_or_refuses_inputs() -> None:
    city: dict[str, Any] = {"variable": "city", "label": "城市", "required": False, "max_length": 5}
    forms = [
        [],
        [{"paragraph": city}],
        [{"text-input": city}],
        [{"paragraph": {**city, "variable": "town"}}],
        [{"paragraph": {**city, "required": True}}],
        [{"paragraph": {**city, "max_length": 6}}],
        [{"select": {**city, "options": ["a", "b"]}}],
        [{"select": {**city, "options": ["a"]}}],
        [{"paragraph": city}, {"paragraph": {"variable": "context"}}],
    ]
    prints = [fingerprint(form_of(*form)) for form in forms]
    assert len(set(prints)) == len(forms) and {len(text) for text in prints} == {64}
    relabelled = {**city, "label": "City", "default": "Suzhou"}
    assert fingerprint(form_of({"paragraph": relabelled})) == prints[1]
    assert fingerprint(form_of({"paragraph": {"variable": "context"}}, {"paragraph": city})) == prints[-1]


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("{{x}}", "{{{x}}}"),
        ("{{a}}{{b}}", "{{{a}}}{{{b}}}"),
        ("{{{x}}}", "{{{{x}}}}"),
        ("{{#histories#}} {{#query#}} {{#context#}}", "{{{#histories#}}} {{{#query#}}} {{{#context#}}}"),
        ("{x} {{ x }} {{1x}} {{x-y}} {{#other#}} {{资料}} {{}} ${{x.y}}", None),
        ("{{" + "x" * 30 + "}}", "{{{" + "x" * 30 + "}}}"),
        ("{{" + "x" * 31 + "}}", None),
        ("", None),
    ],
)
def test_only_what_dify_takes_for_a_placeholder_is_escaped(text: str, sent: str | None) -> None:
    assert escape_braces(text) == (text if sent is None else sent)
