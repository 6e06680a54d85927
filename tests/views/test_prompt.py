"""`/prompt`: the prompt templates that a turn can use."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from config import ConfigError

from ..support.gateway_client import MakeApp

TEMPLATE = '[default]\ndescription = "普通"\ninstructions = ""\nquery = "{{ question }}"\n'


@pytest.mark.parametrize("path", ["/prompt/list", "/v1/prompt/list"])
def test_the_templates_that_we_ship_are_listed(client: FlaskClient, path: str) -> None:
    prompts = client.get(path).json["data"]
    assert [prompt["name"] for prompt in prompts] == ["default", "summary", "strict"]
    assert all(prompt.keys() == {"name", "description", "instructions", "query"} for prompt in prompts)
    assert all("{{ question }}" in prompt["query"] for prompt in prompts)


def test_the_operators_own_file_is_listed_in_its_order(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEMPLATE.replace("default", '"海盗"') + TEMPLATE, encoding="utf-8")
    prompts = make_app(PROMPTS_FILE=file).test_client().get("/prompt/list").json["data"]
    assert [prompt["name"] for prompt in prompts] == ["海盗", "default"]
    assert prompts[1] == {"name": "default", "description": "普通", "instructions": "", "query": "{{ question }}"}


def test_an_application_with_a_wrong_template_does_not_start(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TEMPLATE.replace("question", "quest"), encoding="utf-8")
    with pytest.raises(ConfigError, match="template 'default' reads 'quest'"):
        make_app(PROMPTS_FILE=file)
