from copy import deepcopy
from typing import Any

import pytest

from route_api.dify import override_model
from route_api.errors import ValidationFailed

from ..support.recordings import load

OLLAMA = "langgenius/ollama/ollama"
OTHER = (OLLAMA, "mistral:latest")
TEMPERATURE = {"name": "temperature", "use_template": "temperature", "type": "float", "min": 0.0, "max": 2.0}
NUM_PREDICT = {"name": "num_predict", "use_template": "max_tokens", "type": "int", "min": 1, "max": 32768}
RULES = [TEMPERATURE, {"name": "top_p", "use_template": "top_p", "min": 0, "max": 1}, NUM_PREDICT]


@pytest.fixture
def published(version: str) -> dict[str, Any]:
    """A published configuration: qwen3:4b with temperature 0.3 and num_predict 1024."""
    body: dict[str, Any] = load(version, "provisioning/app-get-with-variables")["response"]["body"]
    return body["model_config"]  # type: ignore[no-any-return]


def override(config: dict[str, Any], **asked: Any) -> dict[str, Any]:
    return override_model(config, **{"model": None, "temperature": None, "max_tokens": None, "rules": RULES, **asked})


def test_only_the_model_changes_and_the_published_configuration_stays_as_it_was(published: dict[str, Any]) -> None:
    before = deepcopy(published)
    config = override(published, model=OTHER, temperature=0.11, max_tokens=77)
    assert published == before
    assert config["model"] == {
        "provider": OLLAMA,
        "name": "mistral:latest",
        "completion_params": {"temperature": 0.11, "num_predict": 77},
    }
    assert {**config, "model": published["model"]} == published
    override(published, temperature=0.5)
    assert published == before


def test_the_published_model_keeps_its_parameters_but_those_that_are_asked_for(published: dict[str, Any]) -> None:
    published["model"]["completion_params"]["top_p"] = 0.5
    for model in (None, (OLLAMA, "qwen3:4b")):
        kept = override(published, model=model, temperature=0.11)["model"]
        params = {**published["model"]["completion_params"], "temperature": 0.11}
        assert kept == {**published["model"], "completion_params": params}


def test_another_model_starts_without_the_published_parameters(published: dict[str, Any]) -> None:
    for model in (OTHER, ("langgenius/openai/openai", "qwen3:4b")):
        assert override(published, model=model)["model"]["completion_params"] == {}


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "max_tokens", "use_template": None},
        {"name": "max_output", "use_template": "max_tokens"},
        {"name": "num_predict", "use_template": None},
        {"name": "num_predict"},
    ],
)
def test_max_tokens_goes_by_the_name_that_the_model_gives_it(published: dict[str, Any], rule: dict[str, Any]) -> None:
    config = override(published, model=OTHER, max_tokens=10**9, rules=[TEMPERATURE, rule])
    assert config["model"]["completion_params"] == {rule["name"]: 10**9}


@pytest.mark.parametrize(
    "asked, rules, sentence",
    [
        ({"temperature": 2.1}, RULES, "takes a temperature of at most 2, not 2.1"),
        ({"temperature": -0.1}, RULES, "takes a temperature of at least 0, not -0.1"),
        ({"max_tokens": 32769}, RULES, "takes a max_tokens of at most 32768, not 32769"),
        ({"max_tokens": 0}, RULES, "takes a max_tokens of at least 1, not 0"),
        ({"temperature": 1}, [NUM_PREDICT], "has no parameter temperature"),
        ({"max_tokens": 1}, [TEMPERATURE], "has no parameter max_tokens"),
    ],
)
def test_what_the_model_does_not_take_is_refused_in_words(
    published: dict[str, Any], asked: dict[str, Any], rules: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(ValidationFailed, match=sentence) as refused:
        override(published, model=OTHER, rules=rules, **asked)
    assert "'mistral:latest'" in refused.value.message


@pytest.mark.parametrize("asked", [{"temperature": 0.0}, {"temperature": 2.0}, {"max_tokens": 1}])
def test_the_ends_of_a_range_are_in_it(published: dict[str, Any], asked: dict[str, Any]) -> None:
    params = override(published, model=OTHER, **asked)["model"]["completion_params"]
    assert list(params.values()) == list(asked.values())
