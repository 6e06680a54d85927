"""Chat through the console's debugger, which takes a model and its parameters with each request
(tests/contract/FINDINGS.md, a)."""

from contextlib import suppress
from typing import Any

from ..errors import DifyNotFound, ValidationFailed
from ..languages import Sentence
from . import shapes
from .chat_app import STOP_TIMEOUT_S
from .console_transport import ConsoleTransport
from .events import EventStream

Json = dict[str, Any]

_NAMES = {"temperature": ("temperature",), "max_tokens": ("max_tokens", "num_predict")}
"""The names that models have for a parameter if their rules name no template. num_predict is ollama's name
(tests/contract/FINDINGS.md, a)."""


class DebuggerApi:
    """The calls of :class:`ChatApi` that a turn needs, made with the console login. To Dify all our users are the admin
    of that login. The service API does not see these conversations (tests/contract, debugger/service-cannot-continue).

    Each call may raise what :class:`ConsoleTransport` raises. Only the service API takes feedback.
    """

    stops_when_left = False
    """As :attr:`ChatApi.stops_when_left`. It was not recorded for the debugger."""

    def __init__(self, console: ConsoleTransport, app_id: str, *, answer_timeout: float, event_timeout: float) -> None:
        """Timeouts are those of :class:`ChatApi`."""
        self._console = console
        self._app = f"/console/api/apps/{app_id}"
        self.answer_timeout = answer_timeout
        self._event_timeout = event_timeout

    def stream(self, body: Json, *, in_one_piece: bool = False) -> EventStream:
        """Ask a question, to be answered as events, as :meth:`ChatApi.stream` does.

        :param body: `query`, `inputs` and, to continue, `conversation_id` with `parent_message_id`. That is the message
            before; without it the model remembers nothing (tests/contract, debugger/second-turn-without-parent).
            `model_config` is used for this turn only. If it is empty or left out, Dify uses the published one.
        """
        # Dify refuses a body without model_config; without response_mode its versions differ
        # (tests/contract/DIFFERENCES.md, 56).
        known = {name: value for name, value in body.items() if name != "user" and value is not None}
        body = {"model_config": {}, **known, "response_mode": "streaming"}
        response = self._console.open("POST", f"{self._app}/chat-messages", json=body, read_timeout=self._event_timeout)
        timeouts = {"event_timeout": self._event_timeout, "ping_timeout": self.answer_timeout}
        return EventStream(response, **timeouts, in_one_piece=in_one_piece)

    def stop(self, task_id: str, user: str) -> None:
        """End a running generation. Dify answers success for a wrong task too (tests/contract, debugger/stop)."""
        path = f"{self._app}/chat-messages/{task_id}/stop"
        self._console.request("POST", path, read_timeout=STOP_TIMEOUT_S)

    def suggested(self, message_id: str, user: str) -> list[str]:
        """Questions that the user might ask after an answer. A model writes them during this call.

        :raises DifyForbidden: they are switched off in the turn's configuration (tests/contract,
            debugger/console-suggested).
        """
        path = f"{self._app}/chat-messages/{message_id}/suggested-questions"
        answer = self._console.request("GET", path, shape=shapes.SUGGESTED, read_timeout=self.answer_timeout)
        questions: list[str] = answer["data"]
        return questions

    def delete_conversation(self, conversation_id: str, user: str) -> None:
        """Delete a conversation of the app. An unknown conversation is no error."""
        with suppress(DifyNotFound):
            self._console.request("DELETE", f"{self._app}/chat-conversations/{conversation_id}")


def override_model(
    model_config: Json,
    *,
    model: tuple[str, str] | None,
    temperature: float | None,
    max_tokens: int | None,
    rules: list[Json],
) -> Json:
    """A copy of an app's published configuration with another model or other parameters, for one turn.

    The published parameters belong to the published model. Another model starts without parameters.

    :param model: provider and name; None keeps the published model.
    :param rules: the rules of the model that is to answer, from :meth:`ConsoleApi.parameter_rules`.
    :raises ValidationFailed: the model does not know a parameter, or does not take its value.
    """
    published = model_config["model"]
    if model is None or model == (published.get("provider"), published.get("name")):
        chosen = {**published, "completion_params": dict(published.get("completion_params") or {})}
    else:
        chosen = {"provider": model[0], "name": model[1], "completion_params": {}}
    for parameter, value in (("temperature", temperature), ("max_tokens", max_tokens)):
        if value is not None:
            rule = _rule_for(parameter, rules, chosen["name"])
            _check_range(parameter, value, rule, chosen["name"])
            chosen["completion_params"][rule["name"]] = value
    return {**model_config, "model": chosen}


def _rule_for(parameter: str, rules: list[Json], model_name: str) -> Json:
    for rule in rules:
        if rule["name"] in _NAMES[parameter] or rule.get("use_template") == parameter:
            return rule
    raise ValidationFailed(
        Sentence(
            "The model '{model_name}' has no parameter {parameter}; leave it out.",
            model_name=model_name,
            parameter=parameter,
        )
    )


def _check_range(parameter: str, value: float, rule: Json, model_name: str) -> None:
    low, high = rule.get("min"), rule.get("max")
    if low is not None and value < low:
        raise ValidationFailed(
            Sentence(
                "The model '{model_name}' takes a {parameter} of at least {low}, not {value}.",
                model_name=model_name,
                parameter=parameter,
                low=_shown(low),
                value=_shown(value),
            )
        )
    if high is not None and value > high:
        raise ValidationFailed(
            Sentence(
                "The model '{model_name}' takes a {parameter} of at most {high}, not {value}.",
                model_name=model_name,
                parameter=parameter,
                high=_shown(high),
                value=_shown(value),
            )
        )


def _shown(number: float) -> str:
    """A number without a fraction of zero: Dify writes the limits of whole numbers as 8192.0."""
    return str(int(number)) if float(number).is_integer() else str(number)
