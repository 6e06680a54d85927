"""The decisions about a turn before its question is stored: prompt template and backend."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ..errors import DifyError, ValidationFailed
from ..extensions import component, db
from ..prompts.templates import DEFAULT_TEMPLATE, PromptTemplate
from .backends import Backend, choose_backend
from .request import ChatRequest

prompt_templates: dict[str, PromptTemplate] = component("prompt_templates")
"""The templates of the current application by name, in the order of the operator's file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The prompt template and the backend of a turn.

    :param chosen_backend: None if Dify failed while the backend was chosen
    :param problem: that failure. It is raised only after the question is stored, so that no question is lost.
    """

    request: ChatRequest
    template: PromptTemplate
    engine: Engine
    chosen_backend: Backend | None
    problem: DifyError | None

    @property
    def backend(self) -> Backend:
        """The backend. Only for a plan without a problem: call :meth:`raise_problem` first."""
        assert self.chosen_backend is not None, "call raise_problem first"
        return self.chosen_backend

    def raise_problem(self) -> None:
        """
        :raises DifyError: the backend could not be chosen, because Dify failed
        """
        if self.problem is not None:
            raise self.problem


def plan_turn(request: ChatRequest) -> Plan:
    """Choose the prompt template and the backend.

    :raises ValidationFailed: there is no such prompt template, model or parameter
    :raises NotSupported: the model options need settings that the operator has not made
    """
    template = prompt_template(request.prompt_name)
    try:
        return Plan(request, template, db.engine, choose_backend(request.options), None)
    except DifyError as error:
        return Plan(request, template, db.engine, None, error)


def prompt_template(name: str | None) -> PromptTemplate:
    """The template with this name, or the default template for None.

    :raises ValidationFailed: no template has this name
    """
    template = prompt_templates.get(name or DEFAULT_TEMPLATE)
    if template is None:
        raise ValidationFailed(f"prompt_name '{name}' is none of: {', '.join(sorted(prompt_templates))}.")
    return template
