"""What is decided about a turn before anything of it is stored."""

from dataclasses import dataclass

from sqlalchemy import Engine

from ..errors import DifyError, ValidationFailed
from ..extensions import components, db
from ..prompts.templates import DEFAULT_TEMPLATE, PromptTemplate
from .backends import Backend, choose_backend
from .request import ChatRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """How a turn is to be carried out.

    :param problem: why there is no backend; raised after the question is stored, since a failing Dify must not lose it
    """

    request: ChatRequest
    template: PromptTemplate
    engine: Engine
    chosen_backend: Backend | None
    problem: DifyError | None

    @property
    def backend(self) -> Backend:
        """The backend of a plan without a problem."""
        assert self.chosen_backend is not None, "raise_problem comes first"
        return self.chosen_backend

    def raise_problem(self) -> None:
        """
        :raises DifyError: Dify could not be asked about its apps, so that no backend could be chosen
        """
        if self.problem is not None:
            raise self.problem


def plan_turn(request: ChatRequest) -> Plan:
    """Choose the prompt template and the backend.

    :raises ValidationFailed: no such prompt template, model or parameter
    :raises NotSupported: the model options need settings that are missing
    """
    template = prompt_template(request.prompt_name)
    try:
        return Plan(request, template, db.engine, choose_backend(request.options), None)
    except DifyError as error:
        return Plan(request, template, db.engine, None, error)


def prompt_template(name: str | None) -> PromptTemplate:
    """The template with this name; None: the default one.

    :raises ValidationFailed: no template has this name
    """
    templates = components.prompt_templates
    template = templates.get(name or DEFAULT_TEMPLATE)
    if template is None:
        raise ValidationFailed(f"prompt_name '{name}' is none of: {', '.join(sorted(templates))}.")
    return template
