"""The decisions about a turn: before its question is stored, what needs no Dify; after that, the backend."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ..errors import ValidationFailed
from ..extensions import component, db
from ..prompts.templates import DEFAULT_TEMPLATE, PromptTemplate
from .backends import Backend, check_options, choose_backend
from .request import ChatRequest

prompt_templates: dict[str, PromptTemplate] = component("prompt_templates")
"""The templates of the current application by name, in the order of the operator's file."""


@dataclass(slots=True)
class Plan:
    """The prompt template and the backend of a turn.

    :param chosen_backend: None until :meth:`choose_backend` is called
    """

    request: ChatRequest
    template: PromptTemplate
    engine: Engine
    chosen_backend: Backend | None = None

    @property
    def backend(self) -> Backend:
        assert self.chosen_backend is not None, "call choose_backend first"
        return self.chosen_backend

    def choose_backend(self) -> str:
        """Choose the backend. This may call Dify, so the question must be stored before.

        :returns: the name of the backend
        :raises DifyError: Dify failed
        :raises ValidationFailed: Dify has no such model or parameter
        """
        self.chosen_backend = choose_backend(self.request.options)
        return self.chosen_backend.name


def plan_turn(request: ChatRequest) -> Plan:
    """Choose the prompt template, and refuse what can be refused without Dify.

    :raises ValidationFailed: there is no such prompt template
    :raises NotSupported: the model options need settings that the operator has not made
    """
    check_options(request.options)
    return Plan(request, prompt_template(request.prompt_name), db.engine)


def prompt_template(name: str | None) -> PromptTemplate:
    """The template with this name, or the default template for None.

    :raises ValidationFailed: no template has this name
    """
    template = prompt_templates.get(name or DEFAULT_TEMPLATE)
    if template is None:
        raise ValidationFailed(f"prompt_name '{name}' is none of: {', '.join(sorted(prompt_templates))}.")
    return template
