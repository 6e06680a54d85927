"""The variables that an app declares, and how a value for them is escaped."""

import pytest

from route_api.prompts.variables import APP_VARIABLES, declared_variables, escape_braces

from ..support.recordings import VERSIONS, load


def test_the_variables_of_an_app_come_with_their_limits() -> None:
    for version in VERSIONS:
        form = declared_variables(load(version, "chat/parameters-with-variables")["response"]["body"])
        assert form == dict.fromkeys(APP_VARIABLES)
        assert declared_variables(load(version, "chat/parameters-without-variables")["response"]["body"]) == {}
    limited = {"user_input_form": [{"text-input": {"variable": "context", "max_length": 48}}]}
    assert declared_variables(limited) == {"context": 48}
    assert declared_variables({"user_input_form": [{"paragraph": {"variable": "context", "max_length": 0}}]}) == {
        "context": None
    }


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
