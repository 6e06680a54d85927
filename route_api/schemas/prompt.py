"""Prompt templates: the answer. Source: document 000, `prompt_name`."""

from .answers import answer

PROMPT = {
    "description": "只根据资料回答，并引用原文和编号。",
    "instructions": "只根据资料回答，引用作为依据的原文，并注明它的编号。",
    "name": "strict",
    "query": "{{ instructions }}\n\n{{ context }}\n\n问题：{{ question }}",
}

PromptListAnswer = answer("PromptListAnswer", [PROMPT])
