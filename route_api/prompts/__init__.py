"""Question + passages + history -> what the model is given, and what it said -> thinking and content. Pure functions.

One subject per file: `templates` (the operator's texts), `composing` (a turn's prompt), `variables` (what an app
declares), `history` (earlier turns as text), `thinking` (the model's reasoning apart from its answer).
"""

from .composing import CONTEXT_BUDGET, HISTORY_BUDGET, Prompt, compose
from .history import history_from_list, history_from_turns
from .templates import DEFAULT_TEMPLATE, PromptsError, PromptTemplate, load_templates
from .thinking import ThinkFilter, split_thinking
from .variables import declared_variables, escape_braces

__all__ = [
    "CONTEXT_BUDGET",
    "DEFAULT_TEMPLATE",
    "HISTORY_BUDGET",
    "Prompt",
    "PromptTemplate",
    "PromptsError",
    "ThinkFilter",
    "compose",
    "declared_variables",
    "escape_braces",
    "history_from_list",
    "history_from_turns",
    "load_templates",
    "split_thinking",
]
