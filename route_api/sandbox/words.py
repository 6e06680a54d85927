"""Chinese and English text cut into sentences, search terms and the pieces of a stream. Pure functions."""

import re
from collections.abc import Iterator

from .token_count import token_weight

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"

_SENTENCE = re.compile(r"[^。！？!?；;\n.]*(?:\.(?!\s|$)[^。！？!?；;\n.]*)*(?:[。！？!?；;.]+[”’」』\"')]*|\n|$)")
_RUN = re.compile(rf"[{CJK}]+|[a-z0-9]+(?:[-_.'][a-z0-9]+)*")
_STOP_CHINESE = re.compile(
    "什么|怎么样|怎么|怎样|如何|哪里|哪儿|哪个|哪些|哪|多少|为什么|为何|谁|几|请问|请|告诉|介绍|一下|关于|有没有|是不是|是否|"
    "能否|可以|这个|那个|我们|你们|他们|[的了吗呢吧啊么是在有和与及或把被就都也我你他她它]"
)
_STOP_ENGLISH = frozenset(
    "a an and are as at be by can could did do does for from had has have how i in is it its me my of on or "
    "please tell that the their there they this to was we were what when where which who whom whose why will with "
    "would you your about".split()
)
_PIECE = re.compile(rf"</?thi|nk>\n*|[{CJK}，。、：；？！「」“”（）]{{1,3}}|[^\s<{CJK}，。、：；？！「」“”（）]+\s*|\s+|<")


def is_chinese(text: str) -> bool:
    """Whether there is any Chinese in it."""
    return re.search(f"[{CJK}]", text) is not None


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with its closing mark; a line end closes one too."""
    found = (match.group().strip() for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if re.search(rf"[{CJK}A-Za-z0-9]", sentence)]


def terms(text: str) -> set[str]:
    """What a text is searched by: bigrams of Chinese, lower-cased words, neither stop words nor question words."""
    pairs: set[str] = set()
    singles: set[str] = set()
    for run in _RUN.findall(_STOP_CHINESE.sub(" ", text.lower())):
        if not is_chinese(run):
            pairs |= {run} - _STOP_ENGLISH
        elif len(run) == 1:
            singles.add(run)
        else:
            pairs |= {run[i : i + 2] for i in range(len(run) - 1)}
    return pairs or singles


def first_tokens(text: str, limit: int) -> str:
    """The beginning of a text, about `limit` tokens."""
    weight = 0.0
    for position, character in enumerate(text):
        weight += token_weight(character)
        if weight > limit:
            return text[:position].rstrip()
    return text


def pieces(text: str) -> Iterator[str]:
    """The text as a model would stream it: a word or a few Chinese characters at a time.

    A `<think>` tag is cut in two, as real models and the recordings' fake do, so that clients must be able to join it.
    """
    return (match.group() for match in _PIECE.finditer(text))
