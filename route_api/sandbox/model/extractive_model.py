"""The sandbox's own chat model: it quotes sentences of the given passages, and says that it is no language model.

Pure functions: messages in, text out. The model searches for the sentences that share the most words with the
question, or are closest to it in meaning. It knows only the turns that are in its messages.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..text.search_tokens import question_tokens, tokenize
from ..text.sentences import first_tokens, is_chinese, is_row, sentences
from .extractive_phrases import CHINESE, ENGLISH, Phrases

Message = dict[str, str]
"""A message has `role` (system, user or assistant) and `content`."""

Similarity = Callable[[str, Sequence[str]], Sequence[float]]
"""Returns how close each text is to a question in meaning: 1 for the same, 0 or less for unrelated texts."""

MAX_QUOTES = 3
MAX_QUOTE_LENGTH = 400
MAX_COMPARED = 1500
"""The number of characters whose meaning is compared with the question: the first sentences, of the best passages.
The packaged model takes a second for them."""
LEAST_SIMILARITY = 0.2
"""A sentence that is less similar, and shares no word with the question, is not quoted."""
GOOD_ENOUGH = 0.6
"""A further sentence is quoted if its score is at least this share of the best score."""
HEADING_WEIGHT = 0.5
"""The factor for a sentence without a closing mark: a heading shares words with the question, but answers nothing."""
LONG_QUERY = 200
"""A longer query (in characters) of several lines counts as passages with a question in the last line."""

_CELL_END = re.compile(r"[;；|\t]\s*")
_CLOSING_MARKS = "。！？!?；;.”」』"
_QUESTION_MARK = re.compile(
    r"(?:^|\n)[ \t#*【\[]*(?:用户问题|用户提问|当前问题|我的问题|问题|提问|user question|question|query)[】\]*]*[ \t]*[：:][ \t]*",
    re.IGNORECASE,
)
_THINKING = re.compile(r"<think>.*?(?:</think>\s*|$)", re.DOTALL)
_CONTEXT = re.compile(r"<context>((?:(?!</?context>).)*)</context>", re.DOTALL)
_SPEAKER = re.compile(r"^\s*(用户|user|human|助手|assistant|ai)\s*[：:]\s*", re.IGNORECASE)
_NUMBERING = re.compile(r"^\s*(?:\[\d+\]|【[^】]*】|[-*•]|\(?\d+[.)、](?!\d))\s*")
_HEADING = re.compile(r"[：:]\s*$|^None$|^\[\d+\].*\.\w{1,5}$")
"""A title, an omitted variable, or the name of a passage's document."""
_INSTRUCTION = re.compile(
    r"^(?:你是|请|不要|只用|用.{1,2}句话)|^(?:如果|若|不|只|根据|使用|基于).*(?:回答|资料|上下文|知识库)"
    r"|^(?:资料|上下文|知识库).{0,8}没有.*(?:请|不要)"
    r"|^(?:you are|please|use the|answer|avoid|and answer|when answer)\b"
    r"|^(?:-\s*)?(?:if|do not|don't|only|based on)\b.*\b(?:know|answer|context|passages?|say)\b",
    re.IGNORECASE,
)
_ASKS_FOR_QUESTION = re.compile(
    r"我(?:刚才|刚刚|之前|上一次|先前).{0,4}(?:问|提).{0,6}(?:什么|啥|哪|问题)|我的?(?:上一个|上个|前一个|第一个)问题"
    r"|what (?:did|have) i (?:just )?ask|my (?:last|previous|first) question",
    re.IGNORECASE,
)
_ASKS_FOR_ANSWER = re.compile(
    r"你(?:刚才|刚刚|之前|上面|前面|先前).{0,4}(?:说|答|讲)|^(?:请|你|请你)?再(?:总结|说|讲|短|简)|^(?:短|简短)一?点"
    r"|summari[sz]e (?:what you|that|it\b|your)"
    r"|what (?:did|have) you (?:just )?sa(?:y|id)|say (?:that|it) again|shorter",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Conversation:
    """The parts of the messages that the model uses."""

    question: str
    passages: list[str]
    """Sentences in their order."""
    earlier: list[tuple[str, str]]
    """Question and answer of each earlier turn, oldest first, without thinking."""


def read_messages(messages: Sequence[Message]) -> Conversation:
    """Find the question, the passages and the earlier turns, in whichever message they are."""
    material, question = _split_query(messages[-1]["content"])
    earlier: list[tuple[str, str]] = []
    system_texts: list[str] = []
    for message in messages[:-1]:
        if message["role"] == "system":
            system_texts.append(message["content"])
        elif message["role"] == "user":
            earlier.append((_split_query(message["content"])[1], ""))
        elif earlier:
            earlier[-1] = (earlier[-1][0], _THINKING.sub("", message["content"]).strip())
    passages: list[str] = []
    spoken: list[tuple[str, str]] = []
    for text in (*system_texts, material):
        _read_text(text, passages, spoken)
    return Conversation(question, passages, [*spoken, *earlier])


def _split_query(query: str) -> tuple[str, str]:
    """Split a query into the text before the question, and the question."""
    marks = list(_QUESTION_MARK.finditer(query))
    if marks:
        return query[: marks[-1].start()], query[marks[-1].end() :].strip()
    before, line_end, last_line = query.strip().rpartition("\n")
    if line_end and len(query) > LONG_QUERY:
        return before, last_line.strip()
    return "", query.strip()


def _read_text(text: str, passages: list[str], spoken: list[tuple[str, str]]) -> None:
    """Add the passages in a text to `passages`, and the turns that it quotes to `spoken`; skip headings and
    instructions.

    If the text has `<context>` tags, only the lines within them are passages.
    """
    tagged = "\n".join(_CONTEXT.findall(text))
    around = _CONTEXT.sub("", text).splitlines()
    if tagged:
        around = [line for line in around if _SPEAKER.match(line)]
    for line in [*tagged.splitlines(), *around]:
        speaker = _SPEAKER.match(line)
        if speaker:
            said = line[speaker.end() :].strip()
            if speaker[1].lower() in ("用户", "user", "human"):
                spoken.append((said, ""))
            elif spoken:
                spoken[-1] = (spoken[-1][0], said)
        elif not _HEADING.search(line):
            found = (_NUMBERING.sub("", sentence) for sentence in sentences(line))
            passages.extend(sentence for sentence in found if not _INSTRUCTION.search(sentence))


def best_sentences(
    question: str, passages: Sequence[str], limit: int, similarity: Similarity | None = None
) -> list[str]:
    """Return up to `limit` sentences, in their order, that answer the question best.

    A sentence's score is the share of the question's terms that it contains, where rare terms weigh more, and its
    similarity in meaning. A stored question is not quoted: its score goes to the sentence after it, the answer.
    """
    scores = _word_scores(question, passages)
    if similarity is not None:
        for position, closeness in enumerate(similarity(question, _first(passages, MAX_COMPARED))):
            if closeness >= LEAST_SIMILARITY or position in scores:
                scores[position] = scores.get(position, 0.0) + closeness
    for position, sentence in enumerate(passages):
        if position in scores and not _is_complete(sentence):
            scores[position] *= HEADING_WEIGHT
    for position in sorted(scores):
        if passages[position][-1] in "？?" and position + 1 < len(passages):
            scores[position + 1] = max(scores.get(position + 1, 0.0), scores.pop(position))
    ranked = sorted(scores, key=lambda position: (-scores[position], position))
    chosen: list[int] = []
    for position in ranked:
        is_new = all(passages[position] != passages[other] for other in chosen)
        if is_new and len(chosen) < limit and scores[position] >= GOOD_ENOUGH * scores[ranked[0]]:
            chosen.append(position)
    return [passages[position] for position in sorted(chosen)]


def _word_scores(question: str, passages: Sequence[str]) -> dict[int, float]:
    """Return the share of the question's terms that a sentence contains, 0..1, by the sentence's position."""
    wanted = set(question_tokens(question))
    shared = {position: wanted.intersection(tokenize(sentence)) for position, sentence in enumerate(passages)}
    frequency = Counter(term for found in shared.values() for term in found)
    weights = {term: math.log(1 + len(passages) / max(frequency[term], 1)) for term in wanted}
    total = sum(weights.values())
    return {position: sum(weights[term] for term in found) / total for position, found in shared.items() if found}


def _first(passages: Sequence[str], characters: int) -> list[str]:
    """Return the first sentences, as many as have this number of characters together; at least one."""
    lengths = accumulate(len(sentence) for sentence in passages)
    return [sentence for sentence, end in zip(passages, lengths, strict=True) if end <= characters] or list(
        passages[:1]
    )


def _is_complete(sentence: str) -> bool:
    """Return whether this is a sentence or a row of a table, and no heading."""
    return sentence[-1] in _CLOSING_MARKS or is_row(sentence)


def answer(
    messages: Sequence[Message],
    *,
    brief: bool = False,
    max_tokens: int | None = None,
    similarity: Similarity | None = None,
) -> str:
    """Answer with a `<think>` block that describes the search, and the text of the answer.

    :param brief: quote one sentence only
    :param max_tokens: the limit of the text after the `<think>` block
    :param similarity: compares meanings; None: the model compares words alone
    """
    conversation = read_messages(messages)
    phrases = CHINESE if is_chinese(conversation.question) else ENGLISH
    thinking, said = _thinking_and_answer(conversation, phrases, 1 if brief else MAX_QUOTES, similarity)
    said = phrases.notice + said.strip()
    if max_tokens is not None:
        said = first_tokens(said, max_tokens)
    return f"<think>\n{thinking}\n</think>\n\n{said}"


def _thinking_and_answer(
    conversation: Conversation, phrases: Phrases, limit: int, similarity: Similarity | None
) -> tuple[str, str]:
    """Make the text of the `<think>` block and the answer. The answer quotes at most `limit` sentences or questions."""
    passages, earlier = conversation.passages, conversation.earlier
    if earlier and _ASKS_FOR_QUESTION.search(conversation.question):
        asked = phrases.list_separator.join(f"「{_short(past)}」" for past, _ in earlier[-limit:])
        return phrases.thinking_question.format(turns=len(earlier)), phrases.earlier_questions.format(questions=asked)
    if earlier and _ASKS_FOR_ANSWER.search(conversation.question):
        before = sentences(earlier[-1][1].replace(phrases.notice.strip(), ""))
        repeated = phrases.separator.join(before[:limit]) or phrases.nothing_said
        return phrases.thinking_answer, phrases.earlier_answer.format(answer=repeated)
    values = {"question": _short(conversation.question), "passages": len(passages), "number": len(earlier) + 1}
    if not passages:
        previous = phrases.previous_question.format(question=_short(earlier[-1][0])) if earlier and limit > 1 else ""
        return phrases.thinking_no_passages.format(**values), phrases.no_passages.format(**values) + previous
    found = best_sentences(conversation.question, passages, limit, similarity)
    if not found:
        return phrases.thinking_no_match.format(**values), phrases.no_match.format(**values)
    words = phrases.list_separator.join(_matched(conversation.question, found))
    quotes = phrases.separator.join(
        f"「{_short(_fitting_cells(sentence, conversation.question))}」" for sentence in found
    )
    thinking = phrases.thinking_match if words else phrases.thinking_close
    return thinking.format(words=words, **values), phrases.match.format(quotes=quotes)


def _short(text: str) -> str:
    return text if len(text) <= MAX_QUOTE_LENGTH else f"{text[:MAX_QUOTE_LENGTH]}…"


def _fitting_cells(sentence: str, question: str) -> str:
    """Return a long row without the cells that share no word with the question. The first stays: it names the row."""
    if len(sentence) <= MAX_QUOTE_LENGTH or not is_row(sentence):
        return sentence
    name, *cells = _CELL_END.split(sentence)
    wanted = set(question_tokens(question))
    return ";".join([name, *(cell for cell in cells if wanted.intersection(tokenize(cell)))])


def _matched(question: str, quotes: Sequence[str]) -> list[str]:
    found = {token for quote in quotes for token in tokenize(quote)}
    return [token for token in question_tokens(question) if token in found]
