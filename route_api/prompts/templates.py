"""Prompt templates: read from the operator's TOML file, and tried out when the server starts."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import islice, product
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from config import ConfigError

from .variables import CONTEXT, HISTORY, INSTRUCTIONS

DEFAULT_TEMPLATE = "default"
"""The name of the template that a turn without `prompt_name` uses; the file must have it."""

QUESTION = "question"

ALLOWED_IN_INSTRUCTIONS = frozenset({QUESTION, CONTEXT, HISTORY})
ALLOWED_IN_QUERY = ALLOWED_IN_INSTRUCTIONS | {INSTRUCTIONS}
"""The Jinja variables that the two texts of a template may use."""

SAMPLES = {name: f"样本 {name} <&> {{{{name}}}}" for name in ALLOWED_IN_INSTRUCTIONS}
"""Values to try a template with. They hold characters that a template must print unchanged."""

JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


class PromptsError(ConfigError):
    """The prompt templates cannot be used. The message names each wrong template and says what is wrong with it."""


@dataclass(frozen=True)
class PromptTemplate:
    """One template of the operator's file. Both texts are Jinja2.

    :param description: for the people who choose a template
    :param instructions: what the model is to do. It may use `question`, `context` and `history`
    :param query: the text that the app gets as the user's message. It may use `question`, and `context`, `history` and
        `instructions`, which are empty if the app has a variable of that name
    """

    name: str
    description: str
    instructions: str
    query: str

    def render_instructions(self, **values: str) -> str:
        """Render the instructions of a turn, without white space around them; the result may be empty."""
        if not any(values[name] for name in self.used_in_instructions):
            return self._instructions_without_values  # The same text for most turns without a kb, so it is kept.
        return self._compiled[0].render(values).strip()

    def render_query(self, **values: str) -> str:
        """Render the query of a turn."""
        return self._compiled[1].render(values)

    @cached_property
    def used_in_instructions(self) -> frozenset[str]:
        """The variables that `instructions` uses."""
        return _variables_used(self.instructions)

    @cached_property
    def used_in_query(self) -> frozenset[str]:
        """The variables that `query` uses; the texts of others cannot reach an app by the query."""
        return _variables_used(self.query)

    @cached_property
    def _instructions_without_values(self) -> str:
        return self._compiled[0].render({name: "" for name in ALLOWED_IN_INSTRUCTIONS}).strip()

    @cached_property
    def _compiled(self) -> tuple[Template, Template]:
        return JINJA.from_string(self.instructions), JINJA.from_string(self.query)


def load_templates(path: Path) -> dict[str, PromptTemplate]:
    """Read the templates of a file and try each of them out, so that a mistake stops the start and not a turn.

    :returns: the templates by name
    :raises PromptsError: the file or one of its templates cannot be used; the message has all mistakes
    """
    templates: dict[str, PromptTemplate] = {}
    problems = []
    for name, table in _read(path).items():
        found = tuple(_table_problems(table))
        if not found:
            templates[name] = PromptTemplate(name=name, **table)
            found = _template_problems(templates[name])
        problems += [f"{path.name}: the prompt template '{name}' {problem}." for problem in found]
    if not problems and DEFAULT_TEMPLATE not in templates:
        problems.append(f"{path.name}: there must be a prompt template named '{DEFAULT_TEMPLATE}'.")
    if problems:
        raise PromptsError("\n".join(problems))
    return templates


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PromptsError(f"The prompt templates cannot be read from {path}: {error.strerror}.") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both ValueErrors.
        raise PromptsError(f"{path.name} is no valid TOML: {error}.") from None


def _table_problems(table: Any) -> Iterator[str]:
    if not isinstance(table, dict):
        yield "is no table"
        return
    keys = [entry.name for entry in fields(PromptTemplate) if entry.name != "name"]
    for key in keys:
        if key not in table:
            yield f"lacks the key '{key}'"
        elif not isinstance(table[key], str):
            yield f"must have a text as its '{key}'"
    for key in table.keys() - set(keys):
        yield f"has an unknown key '{key}'; the keys are {', '.join(keys)}"


@lru_cache(maxsize=64)
def _template_problems(template: PromptTemplate) -> tuple[str, ...]:
    """Try a template out. This takes some ms, so each text is tried once in a process and in those that it forks."""
    found = (
        *_source_problems("instructions", template.instructions, ALLOWED_IN_INSTRUCTIONS),
        *_source_problems("query", template.query, ALLOWED_IN_QUERY),
    )
    return found or tuple(_render_problems(template))


def _source_problems(key: str, source: str, allowed: frozenset[str]) -> Iterator[str]:
    """Find the mistakes that show without rendering, also in branches that no sample takes."""
    try:
        unknown = _variables_used(source) - allowed
    except TemplateSyntaxError as error:
        yield f"has a mistake in line {error.lineno} of its '{key}': {error.message}"
        return
    for name in sorted(unknown):
        yield f"reads '{name}' in its '{key}', which has only {', '.join(sorted(allowed))}"


def _variables_used(source: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(JINJA.parse(source)))


def _render_problems(template: PromptTemplate) -> Iterator[str]:
    """Render the template with and without passages and history, and find the first mistake."""
    samples = product(("", SAMPLES[CONTEXT]), ("", SAMPLES[HISTORY]))
    found = (_render_problem(template, context, history) for context, history in samples)
    yield from islice(filter(None, found), 1)


def _render_problem(template: PromptTemplate, context: str, history: str) -> str | None:
    values = {QUESTION: SAMPLES[QUESTION], CONTEXT: context, HISTORY: history}
    key = "instructions"
    try:
        instructions = template.render_instructions(**values)
        key = "query"
        alone = template.render_query(**values, instructions="")
        whole = template.render_query(**values, instructions=instructions)
    except Exception as error:  # A template is a program and may raise any exception.
        return f"cannot write its '{key}': {error}"
    if values[QUESTION] not in alone or values[QUESTION] not in whole:
        return "does not print the question, unaltered, in its 'query': write {{ question }}"
    if instructions not in whole:
        return (
            "does not print its instructions in its 'query', for apps without that variable: write {{ instructions }}"
        )
    return None
