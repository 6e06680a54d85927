"""An honest estimate of a model's tokens, for chunk sizes and for the `tokens` fields."""

import math

ASCII_CHARACTERS_PER_TOKEN = 4


def token_weight(text: str) -> float:
    """Tokens before rounding, so that the weights of pieces add up: 1/4 per ASCII character, 1 per other."""
    ascii_characters = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_characters + ascii_characters / ASCII_CHARACTERS_PER_TOKEN


def estimate_tokens(text: str) -> int:
    """Whole tokens of a text. In the recordings too, a Chinese text has one per character."""
    return math.ceil(token_weight(text))
