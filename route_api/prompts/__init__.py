"""A question, its passages and the history -> the prompt for a Dify app; a model's text -> thinking and content.

Pure functions, one subject per file: `builder` builds the prompt of a turn, `templates` reads the operator's texts,
`variables` knows the input variables of an app, `history` writes earlier turns as text, `thinking` separates a model's
thinking from its answer.
"""

from .builder import BUDGETS, Prompt, build_prompt
from .history import history_from_list, history_from_turns
from .templates import DEFAULT_TEMPLATE, PromptsError, PromptTemplate, load_templates
from .thinking import ThinkFilter, split_thinking
from .variables import APP_VARIABLES, declared_variables, escape_braces

__all__ = [
    "APP_VARIABLES",
    "BUDGETS",
    "DEFAULT_TEMPLATE",
    "Prompt",
    "PromptTemplate",
    "PromptsError",
    "ThinkFilter",
    "build_prompt",
    "declared_variables",
    "escape_braces",
    "history_from_list",
    "history_from_turns",
    "load_templates",
    "split_thinking",
]
