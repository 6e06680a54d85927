"""Thinking apart from content, in a whole answer and in one that comes in pieces."""

import random
from collections.abc import Sequence

import pytest

from route_api.prompts.thinking import ThinkFilter, split_thinking


@pytest.mark.parametrize(
    ("answer", "thinking", "content"),
    [
        ("<think>\n想\n</think>\n\n说", "想", "说"),
        ("想\n</think>\n\n说", "想", "说"),  # The API document's own example has no opening tag.
        ("<think>\n\n</think>\n\n说", "", "说"),
        ("说", "", "说"),
        ("", "", ""),
        ("<think>\n只想", "只想", ""),
        ("<think>想</think>说</think>完", "想", "说</think>完"),
        ("  <think>想</think>  说  ", "想", "说  "),
    ],
)
def test_an_answer_is_split_at_the_end_of_its_thinking(answer: str, thinking: str, content: str) -> None:
    assert split_thinking(answer) == (thinking, content)


def filtered(pieces: Sequence[str]) -> tuple[str, str]:
    """Feed an answer in pieces into a filter; return all thinking and all content."""
    think_filter = ThinkFilter()
    passed = [*map(think_filter.feed, pieces), think_filter.finish()]
    return "".join(thinking for thinking, _ in passed), "".join(content for _, content in passed)


@pytest.mark.parametrize("seed", range(20))
def test_however_an_answer_is_cut_the_pieces_add_up_to_the_split_of_the_whole(seed: int) -> None:
    parts = ["<think>", "</think>", "<thi", "</th", "<", ">", "</", "think", " ", "\n", "\u3000", "想", "说", "ab"]
    chance = random.Random(seed)
    for _ in range(300):
        start = chance.choice(["<think>", "\n <think>", "", " ", "<thi"])
        answer = start + "".join(chance.choices(parts, k=chance.randrange(14)))
        if "</think>" in answer and not answer.lstrip().startswith("<think>"):
            continue  # The next test covers a lone closing tag.
        cuts = sorted(chance.choices(range(len(answer) + 1), k=chance.randrange(8)))
        pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
        assert filtered(pieces) == filtered(list(answer)) == split_thinking(answer), pieces


def test_a_lone_closing_tag_comes_too_late_for_a_stream() -> None:
    assert filtered(["想", "\n</th", "ink>\n\n", "说"]) == ("", "想\n</think>\n\n说")


def test_nothing_is_held_back_longer_than_it_could_be_a_tag() -> None:
    think_filter = ThinkFilter()
    fed = [" ", "<thi", "nk>", "\n", "想", "一 ", "想<", "b", "</thin", "k>", "\n\n", "说", "<think>", " "]
    passed = [think_filter.feed(piece) for piece in fed]
    assert passed[:7] == [("", "")] * 4 + [("想", ""), ("一", ""), (" 想", "")]
    assert passed[7:] == [("<b", ""), ("", ""), ("", ""), ("", ""), ("", "说"), ("", "<think>"), ("", " ")]
    assert think_filter.finish() == ("", "")
    assert ThinkFilter().feed("<b>") == ("", "<b>")
