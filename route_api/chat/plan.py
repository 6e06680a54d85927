"""The decisions about a turn: before its question is stored, what needs no Dify; after that, the backend."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from ..errors import ValidationFailed
from ..extensions import component, db
from ..languages import Sentence
from ..prompts.templates import DEFAULT_TEMPLATE, PromptTemplate
from .backends import Backend, check_options, choose_backend, known_variables
from .inputs import input_values
from .request import ChatRequest

prompt_templates: dict[str, PromptTemplate] = component("prompt_templates")
"""The templates of the current application by name, in the order of the operator's file."""


@dataclass(slots=True)
class Plan:
    """The prompt template and the backend of a turn.

    :param chosen_backend: None until :meth:`choose_backend` is called
    :param input_values: the values of the app's variables, without ours; empty until then
    """

    request: ChatRequest
    template: PromptTemplate
    engine: Engine
    chosen_backend: Backend | None = None
    input_values: dict[str, Any] = field(default_factory=dict)

    @property
    def backend(self) -> Backend:
        assert self.chosen_backend is not None, "call choose_backend first"
        return self.chosen_backend

    def choose_backend(self, form_lifetime: float | None = None) -> str:
        """Choose the backend. This may call Dify, so the question must be stored before.

        :param form_lifetime: as for :func:`choose_backend`
        :returns: the name of the backend
        :raises DifyError: Dify failed
        :raises ValidationFailed: Dify has no such model or parameter, or `inputs` does not fit the app
        :raises NotSupported: the app requires what this API cannot give
        """
        self.chosen_backend = choose_backend(self.request.options, form_lifetime)
        self.input_values = input_values(self.chosen_backend.variables, self.request.inputs)
        return self.chosen_backend.name


def plan_turn(request: ChatRequest) -> Plan:
    """Choose the prompt template, and refuse what can be refused without Dify.

    `inputs` is checked here if the app's variables are in the cache. If not, :meth:`Plan.choose_backend` checks it,
    after the question is stored: a wrong `inputs` then leaves a failed turn, but a silent Dify loses no question.

    :raises ValidationFailed: there is no such prompt template, or `inputs` does not fit the app
    :raises NotSupported: the model options need settings that the operator has not made, or the app requires what this
        API cannot give
    """
    check_options(request.options)
    template = prompt_template(request.prompt_name)
    variables = known_variables(request.options)
    if variables is not None:
        input_values(variables, request.inputs)
    return Plan(request, template, db.engine)


def prompt_template(name: str | None) -> PromptTemplate:
    """The template with this name, or the default template for None.

    :raises ValidationFailed: no template has this name
    """
    template = prompt_templates.get(name or DEFAULT_TEMPLATE)
    if template is None:
        raise ValidationFailed(
            Sentence(
                "prompt_name '{name}' is none of: {prompt_templates}.",
                name=name,
                prompt_templates=", ".join(sorted(prompt_templates)),
            )
        )
    return template
