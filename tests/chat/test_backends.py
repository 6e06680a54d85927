"""The choice of the backend of a turn, and the calls to Dify that the choice needs."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from route_api.chat.backends import Backend, api_of, choose_backend, known_variables, service_api_of
from route_api.chat.dify_cache import dify_cache
from route_api.chat.request import ModelOptions
from route_api.errors import NotSupported, ValidationFailed

from ..support.gateway_client import MakeApp
from ..support.recordings import load

CONSOLE = {"DIFY_CONSOLE_EMAIL": "admin@example.com", "DIFY_CONSOLE_PASSWORD": "Secret123"}
OLLAMA = "langgenius/ollama/ollama"
MODELS = load("1.12.1", "models/list-llm")["response"]["body"]
PUBLISHED = load("1.12.1", "provisioning/app-get-with-variables")["response"]["body"]["model_config"]
RULES = [
    {"name": "temperature", "use_template": "temperature", "min": 0, "max": 1, "type": "float"},
    {"name": "num_predict", "use_template": "max_tokens", "min": 1, "max": 128000, "type": "int"},
]


class Dify:
    """A stub of Dify that records its calls."""

    models_with_app = ("mistral-app",)

    def __init__(self, has_login: bool) -> None:
        self.asked: list[str] = []
        answers = SimpleNamespace(
            is_configured=has_login, app_model_config=self.answer("config", PUBLISHED), parameter_rules=self.rules
        )
        self.console = answers
        self.knowledge = SimpleNamespace(list_models=self.answer("models", MODELS))

    def answer(self, name: str, what: Any) -> Any:
        def ask(*_: Any) -> Any:
            self.asked.append(name)
            return what

        return ask

    def rules(self, provider: str, model: str) -> list[dict[str, Any]]:
        self.asked.append(f"rules of {model}")
        return RULES

    def find_app(self, model_name: str | None = None) -> str:
        self.asked.append("app")
        return f"app-of-{model_name}"

    def chat(self, model_name: str | None = None) -> Any:
        return SimpleNamespace(way=f"service {model_name}", parameters=self.answer("parameters", {}))

    def debugger(self, app_id: str) -> Any:
        return SimpleNamespace(way=f"debugger {app_id}")


@pytest.fixture(params=[{}, CONSOLE], ids=["without console", "with console"])
def any_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    return request.param


@pytest.fixture
def dify(make_app: MakeApp, request: pytest.FixtureRequest) -> Iterator[Dify]:
    """The stub in an application with a console login. A test can switch the login off."""
    settings = request.getfixturevalue("any_settings") if "any_settings" in request.fixturenames else CONSOLE
    app = make_app(**settings)
    app.extensions["route_api"].dify = stub = Dify(has_login=bool(settings))
    with app.app_context():
        yield stub


def way(backend: Backend) -> tuple[str, str]:
    return backend.name, backend.api.way  # type: ignore[union-attr]


def test_a_turn_that_asks_for_nothing_goes_the_service_way(dify: Dify, any_settings: dict[str, str]) -> None:
    backend = choose_backend(ModelOptions())
    assert way(backend) == ("app", "service None")
    assert (backend.is_debugger, dify.asked) == (False, ["parameters"])


def test_a_model_with_an_app_of_its_own_goes_the_service_way(dify: Dify, any_settings: dict[str, str]) -> None:
    assert way(choose_backend(ModelOptions("mistral-app"))) == ("app:mistral-app", "service mistral-app")
    assert dify.asked == ["parameters"]


def test_what_dify_said_holds_for_a_while(dify: Dify) -> None:
    for _ in range(3):
        choose_backend(ModelOptions())
        choose_backend(ModelOptions(temperature=0.1))
    assert sorted(dify.asked) == ["app", "config", "parameters", "rules of qwen3:4b"]


@pytest.mark.parametrize(
    "options",
    [ModelOptions(temperature=0.0), ModelOptions(max_tokens=77), ModelOptions("mistral-app", temperature=0.5)],
)
def test_parameters_go_by_the_debugger(dify: Dify, options: ModelOptions) -> None:
    backend = choose_backend(options)
    base = options.model_name
    assert way(backend) == (f"debugger:{base}" if base else "debugger", f"debugger app-of-{base}")
    assert backend.model_config is not None
    parameters = backend.model_config["model"]["completion_params"]
    assert options.temperature is None or parameters["temperature"] == options.temperature
    assert options.max_tokens is None or parameters["num_predict"] == options.max_tokens
    assert set(backend.variables) == {"instructions", "context", "history"}


def test_the_model_of_an_app_is_known_once_a_turn_has_asked_the_console_for_it(dify: Dify) -> None:
    """It is compared with the model with which a conversation began. No turn asks the console for that alone."""
    assert choose_backend(ModelOptions()).model is None
    debugger = choose_backend(ModelOptions(temperature=0.1))
    assert (debugger.form, debugger.model) == (None, None), "the debugger gets both with each turn"
    asked = list(dify.asked)
    service = choose_backend(ModelOptions())
    assert service.model == f"qwen3:4b@{OLLAMA}" and len(service.form or "") == 64 and dify.asked == asked
    assert choose_backend(ModelOptions("mistral-app")).model is None


@pytest.mark.parametrize("options", [ModelOptions(), ModelOptions(temperature=0.1), ModelOptions("mistral:latest")])
def test_the_variables_are_known_without_a_call_as_soon_as_a_turn_has_asked(dify: Dify, options: ModelOptions) -> None:
    assert known_variables(options) is None and dify.asked == []
    variables = choose_backend(options).variables
    asked = list(dify.asked)
    assert known_variables(options) == variables and dify.asked == asked


@pytest.mark.parametrize("name", ["mistral:latest", f"mistral:latest@{OLLAMA}"])
def test_another_model_goes_by_the_debugger_with_its_provider(dify: Dify, name: str) -> None:
    backend = choose_backend(ModelOptions(name))
    assert backend.model_config is not None
    model = backend.model_config["model"]
    assert (model["provider"], model["name"]) == (OLLAMA, "mistral:latest")


def test_the_apps_own_model_needs_no_debugger(dify: Dify) -> None:
    assert way(choose_backend(ModelOptions("qwen3:4b"))) == ("app", "service None")


@pytest.mark.parametrize("name", ["nope", "mistral:latest@another/provider"])
def test_an_unknown_model_is_refused_with_the_names_that_there_are(dify: Dify, name: str) -> None:
    with pytest.raises(ValidationFailed, match=r"mistral:latest, qwen3:4b"):
        choose_backend(ModelOptions(name))


def test_a_value_that_the_model_does_not_take_is_refused(dify: Dify) -> None:
    with pytest.raises(ValidationFailed, match="temperature"):
        choose_backend(ModelOptions(temperature=1.5))


@pytest.mark.parametrize(
    "options, settings",
    [
        (ModelOptions("nope"), ["DIFY_APPS", "DIFY_CONSOLE_EMAIL"]),
        (ModelOptions(temperature=0.5), ["DIFY_CONSOLE_EMAIL"]),
        (ModelOptions("mistral-app", max_tokens=5), ["DIFY_CONSOLE_PASSWORD"]),
    ],
)
def test_without_a_console_the_refusal_says_what_to_configure(
    make_app: MakeApp, options: ModelOptions, settings: list[str]
) -> None:
    app = make_app()
    app.extensions["route_api"].dify = stub = Dify(has_login=False)
    with app.app_context(), pytest.raises(NotSupported) as refusal:
        choose_backend(options)
    assert all(name in refusal.value.message for name in settings) and stub.asked == []


@pytest.mark.parametrize(
    "name, expected",
    [
        (None, "service None"),
        ("app", "service None"),
        ("app:mistral-app", "service mistral-app"),
        ("app:no-longer-configured", "service None"),
        ("debugger", "debugger app-of-None"),
        ("debugger:mistral-app", "debugger app-of-mistral-app"),
    ],
)
def test_a_remembered_way_is_found_again(dify: Dify, name: str | None, expected: str) -> None:
    assert api_of(name).way == expected  # type: ignore[union-attr]


def test_model_names_of_callers_take_no_place_in_the_cache(dify: Dify) -> None:
    for index in range(50):
        with pytest.raises(ValidationFailed):
            choose_backend(ModelOptions(f"invented-{index}"))
    choose_backend(ModelOptions("mistral:latest"))
    assert sorted(str(key[0]) for key in dify_cache._answers) == ["app_id", "model_config", "models", "rules"]


def test_the_service_api_of_a_turn_is_found_without_a_call(dify: Dify) -> None:
    assert service_api_of("debugger") is None and service_api_of("debugger:mistral-app") is None
    assert service_api_of("app:mistral-app").way == "service mistral-app"  # type: ignore[union-attr]
    assert dify.asked == []
