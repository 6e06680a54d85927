"""Prompt templates: the operator's texts, read from one TOML file and tried out before the first question comes."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice, product
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from config import ConfigError

DEFAULT_TEMPLATE = "default"
"""The name of the template that a turn without `prompt_name` uses; the file must have it."""

INSTRUCTIONS_READ = frozenset({"question", "context", "history"})
QUERY_READS = INSTRUCTIONS_READ | {"instructions"}

SAMPLES = {name: f"样本 {name} <&> {{{{name}}}}" for name in INSTRUCTIONS_READ}
"""Values to try a template with; they hold what a template must not swallow or alter."""

JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


class PromptsError(ConfigError):
    """The prompt templates cannot be used; the text names each wrong one and says what is wrong with it."""


@dataclass(frozen=True)
class PromptTemplate:
    """One template of the operator's file.

    :param instructions: Jinja2; what the model is to do. Reads `question`, and the whole `context` and `history`
    :param query: Jinja2; what goes to the app as the user's words. Reads `question`, and of `context`, `history` and
        `instructions` what the app has no variable for; the others are empty
    """

    name: str
    description: str
    instructions: str
    query: str

    def write_instructions(self, **values: str) -> str:
        """The instructions for a turn, without white space around them; may be empty."""
        if not any(values[name] for name in self.instructions_read):
            return self._bare_instructions  # Most turns without a kb: it is the same text each time.
        return self._templates[0].render(values).strip()

    def write_query(self, **values: str) -> str:
        """The query for a turn."""
        return self._templates[1].render(values)

    @cached_property
    def instructions_read(self) -> frozenset[str]:
        """The variables that `instructions` mentions."""
        return _names_read(self.instructions)

    @cached_property
    def _bare_instructions(self) -> str:
        return self._templates[0].render({name: "" for name in INSTRUCTIONS_READ}).strip()

    @cached_property
    def query_reads(self) -> frozenset[str]:
        """The variables that `query` mentions: what it leaves out cannot reach an app by the query."""
        return _names_read(self.query)

    @cached_property
    def _templates(self) -> tuple[Template, Template]:
        return JINJA.from_string(self.instructions), JINJA.from_string(self.query)


def load_templates(path: Path) -> dict[str, PromptTemplate]:
    """The templates of a file by name, each tried out: an error shows at the start, not at the first question.

    :raises PromptsError: everything that is wrong with the file and its templates at once
    """
    templates: dict[str, PromptTemplate] = {}
    problems = []
    for name, table in _read(path).items():
        found = list(_table_problems(table))
        if not found:
            templates[name] = PromptTemplate(name=name, **table)
            found = list(_template_problems(templates[name]))
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
    except ValueError as error:  # of tomllib and of UTF-8 alike
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


def _template_problems(template: PromptTemplate) -> Iterator[str]:
    found = [
        *_reading_problems("instructions", template.instructions, INSTRUCTIONS_READ),
        *_reading_problems("query", template.query, QUERY_READS),
    ]
    yield from found or _trial_problems(template)


def _reading_problems(key: str, source: str, known: frozenset[str]) -> Iterator[str]:
    """What can be seen without values, in branches too that no sample takes."""
    try:
        unknown = _names_read(source) - known
    except TemplateSyntaxError as error:
        yield f"has a mistake in line {error.lineno} of its '{key}': {error.message}"
        return
    for name in sorted(unknown):
        yield f"reads '{name}' in its '{key}', which has only {', '.join(sorted(known))}"


def _names_read(source: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(JINJA.parse(source)))


def _trial_problems(template: PromptTemplate) -> Iterator[str]:
    """What shows only when it is written, with everything that a turn may have and without; the first such problem."""
    samples = product(("", SAMPLES["context"]), ("", SAMPLES["history"]))
    found = (_trial_problem(template, context, history) for context, history in samples)
    yield from islice(filter(None, found), 1)


def _trial_problem(template: PromptTemplate, context: str, history: str) -> str | None:
    values = {"question": SAMPLES["question"], "context": context, "history": history}
    key = "instructions"
    try:
        instructions = template.write_instructions(**values)
        key = "query"
        alone = template.write_query(**values, instructions="")
        whole = template.write_query(**values, instructions=instructions)
    except Exception as error:  # a template may raise anything, as any program
        return f"cannot write its '{key}': {error}"
    if values["question"] not in alone or values["question"] not in whole:
        return "does not print the question, unaltered, in its 'query': write {{ question }}"
    if instructions not in whole:
        return (
            "does not print its instructions in its 'query', for apps without that variable: write {{ instructions }}"
        )
    return None
