"""An estimate of the number of tokens of a text, for chunk sizes and for the fields `tokens`."""

import math

ASCII_CHARACTERS_PER_TOKEN = 4


def token_weight(text: str) -> float:
    """Estimate the tokens of a text without rounding: 1/4 per ASCII character, 1 per other character.

    The weights of the parts of a text add up to the weight of the text.
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_characters + ascii_characters / ASCII_CHARACTERS_PER_TOKEN


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text, rounded up. In the recordings too, a Chinese text has one token per character."""
    return math.ceil(token_weight(text))
