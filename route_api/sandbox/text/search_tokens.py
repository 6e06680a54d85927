"""The tokens of texts and questions, for the search. Pure functions.

A text is indexed by its words in lower case. A run of Chinese characters (and of other scripts without blanks) is
indexed by all pairs of neighbouring characters, and by its last character. So each character begins exactly one
token, and a question of one character is a prefix search.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection

MAX_KEYWORDS = 10

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\U00020000-\U0003ffff"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+")
_CJK_RUN = re.compile(rf"[{_CJK}]+")
_SYMBOLS = re.compile(r"([^\w\s]{30})[^\w\s]+")
_CHINESE_STOP_WORDS = re.compile(
    "请问|请告诉我|告诉我|介绍一下|说一说|为什么|是什么|叫什么|做什么|有什么|什么样|什么时候|什么|在哪里|在哪儿|在哪|哪里|哪儿|哪个"
    "|哪些|怎么样|怎么|怎样|如何|为何|多少|是谁|有谁|谁|是不是|有没有|是否|关于|以及|[的了吗呢吧啊呀是在叫]"
)
_ENGLISH_STOP_WORDS = frozenset(
    "a about an and are at be by can did do does for from has have how i in is it its me of on or please tell"
    " than that the their there these this to was were what when where which who whom whose why will with"
    " you".split()
)


def normalize(text: str) -> str:
    """Return the text in lower case, with full-width letters as plain letters. All comparisons use this form.

    Of more than 30 symbols in a row, the rest is left out: they are no words, and `unicodedata.normalize` sorts the
    combining characters after a letter in a time that grows with the square of their number.
    """
    text = _SYMBOLS.sub(r"\1", text)
    return unicodedata.normalize("NFKC", text).lower()


def tokenize(text: str) -> list[str]:
    """Return the tokens by which a text is indexed."""
    tokens: list[str] = []
    for run in _RUN.findall(normalize(text)):
        if _CJK_RUN.match(run):
            tokens.extend(run[place : place + 2] for place in range(len(run)))
        else:
            tokens.append(run)
    return tokens


def question_tokens(question: str) -> list[str]:
    """Return the tokens of a question that are searched for, each once.

    Stop words and question words are left out, unless the question consists of them alone.
    """
    question = normalize(question)
    runs = [
        run for run in _RUN.findall(_CHINESE_STOP_WORDS.sub(" ", question)) if run not in _ENGLISH_STOP_WORDS
    ] or _RUN.findall(question)
    return list(dict.fromkeys(token for run in runs for token in _run_tokens(run)))


def _run_tokens(run: str) -> list[str]:
    """Return the tokens by which a run of a question is searched for.

    A Chinese run is searched for by its pairs of characters, without the single last character that `tokenize` adds.
    """
    if _CJK_RUN.match(run) and len(run) > 1:
        return [run[place : place + 2] for place in range(len(run) - 1)]
    return [run]


def wording_tokens(question: str) -> list[list[str]]:
    """Return the tokens of a question with its stop words: one list for each run of characters."""
    return [_run_tokens(run) for run in _RUN.findall(normalize(question))]


def index_words(text: str) -> str:
    """Return the tokens of a text as one string, in the form in which the index stores them."""
    return " ".join(tokenize(text))


def keywords_of(text: str) -> tuple[str, ...]:
    """Return the most frequent words of a text. An economy dataset shows them as keywords."""
    meaningful = set(question_tokens(text))
    counted = Counter(token for token in tokenize(text) if len(token) > 1 and token in meaningful)
    return tuple(token for token, _ in counted.most_common(MAX_KEYWORDS))


def coverage(text: str, question: str) -> float:
    """Return the share of the question's tokens that a text contains, 0..1. All tokens have the same weight."""
    tokens = question_tokens(question)
    found = set(tokenize(text))
    return sum(contains_token(found, token) for token in tokens) / len(tokens) if tokens else 0.0


def is_prefix(token: str) -> bool:
    """Return whether a token of a question is a single character that is searched for as a prefix."""
    return len(token) == 1 and _CJK_RUN.match(token) is not None


def contains_token(words: Collection[str], token: str) -> bool:
    """Return whether the tokens of a text contain a token of a question."""
    return any(word.startswith(token) for word in words) if is_prefix(token) else token in words
