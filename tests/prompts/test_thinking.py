"""Thinking apart from content, in a whole answer and in one that comes in pieces."""

import random
from collections.abc import Sequence

import pytest

from route_api.prompts.thinking import NEARBY, ThinkSplitter, split_thinking

DIFY_DETAILS = (
    '<details style="color:gray;background-color: #f8f8f8;padding: 8px;border-radius: 4px;" open>'
    " <summary> Thinking... </summary>"
)
"""What older model plugins of Dify write in place of `<think>`."""

FENCED = "```xml\n<think>\n推理\n</think>\n\n正文\n```\n"

WITH_BLOCKS = [
    ("<think>\n想\n</think>\n\n说", "想", "说"),
    ("<think>\n\n</think>\n\n说", "", "说"),
    ("<think>\n只想", "只想", ""),
    ("<think>想", "想", ""),
    ("  <think>想</think>  说  ", "想", "说  "),
    ("\n\n    <think>\n想\n</think>说", "想", "说"),
    ("<THINK>\n想\n</THINK>\n\n说", "想", "说"),
    ("<Think>\n想\n</think>\n\n说", "想", "说"),
    ("<thinking>\n想\n</thinking>\n\n说", "想", "说"),
    ("<thinking>想</think>说", "想", "说"),
    (f"{DIFY_DETAILS}\n想\n</details>\n\n说", "想", "说"),
    ("<details open><summary>Thinking…</summary>想</details>说", "想", "说"),
    (f"<think>\n想{DIFY_DETAILS}再想</details>\n</think>\n\n说", f"想{DIFY_DETAILS}再想</details>", "说"),
    # A model that thinks again, as agents do.
    ("<think>\n一\n</think>\n\n查一下。\n\n<think>\n二\n</think>\n\n有三台。", "一\n\n二", "查一下。\n\n有三台。"),
    ("<think>一</think><think>二</think>说", "一\n\n二", "说"),
    ("<think>一</think>\n\n<think>\n\n</think>\n\n<think>二</think>说", "一\n\n二", "说"),
    (f"<think>一</think>说。\n{DIFY_DETAILS}二</details>\n完", "一\n\n二", "说。\n完"),
    ("<think>一</think>说。<think>二", "一\n\n二", "说。"),
    # Text before a block.
    ("好的。<think>\n想\n</think>\n\n答案是四十二。", "想", "好的。\n\n答案是四十二。"),
    ("好的，<think>\n想\n</think>\n\n答案是四十二。", "想", "好的，\n\n答案是四十二。"),
    ("Sure. <think>想</think> It is 42.", "想", "Sure. It is 42."),
    ("Well <think> \r\n想</think>\nIt is 42.", "想", "Well It is 42."),
    ("**好的！**<think>想</think>四十二", "想", "**好的！**四十二"),
    ("好的。\n  <think>\n想\n</think>\n\n说", "想", "好的。\n  说"),
    ("好的。\r\n<think>\r\n想\r\n</think>\r\n\r\n说", "想", "好的。\r\n说"),
    ('他说"好"<think>\n想\n</think>\n说', "想", '他说"好"\n说'),
    ('屏幕是 15" 的。<think>\n想\n</think>\n说', "想", '屏幕是 15" 的。\n说'),
    # A tag that stands twice at once begins or ends one block.
    ("<think>\n<think>\n想\n</think>\n</think>\n\n说", "想", "说"),
    # A tag in the thinking.
    ("<think>\n`</think>` 是什么？\n</think>\n\n说", "`</think>` 是什么？", "说"),
    ("<think>问的是“</think>”。</think>说", "问的是“</think>”。", "说"),
    ("<think>问的是'</think>'。</think>说", "问的是'</think>'。", "说"),
    (f"<think>\n{FENCED}好\n</think>\n\n说", f"{FENCED}好", "说"),
    ("<think>\n```\n没有结束的代码\n</think>\n\n说", "```\n没有结束的代码", "说"),
    ("<think>\n```\n代码\n```</think>说", "```\n代码\n```", "说"),
    ("<think>一个 ` 和一个 “ 而已</think>\n`说`", "一个 ` 和一个 “ 而已", "`说`"),
    ("<think>想</think>说</think>完", "想", "说</think>完"),
]
"""Answers with blocks, their thinking, their content."""

WITHOUT_BLOCKS = [
    "",
    " \n",
    "说",
    "  说  ",
    "a < b </b>",
    "<details><summary>更多</summary>\n说\n</details>",
    "说<details><summary>更多</summary>\n</details>完</details>",
    "推理以 `<think>` 开始，以 `</think>` 结束；正文写在它后面。",
    "推理结束的标记是 `</think>`，正文从它后面开始。",
    "结束的标记是 ``</think>``\n\n就这样。",
    "例子。`<think>想</think>说` 就是这样。",
    f"例子：\n\n{FENCED}以上。",
    f"例子：\n\n- 一\n  {FENCED}以上。",
    "~~~\n```\n<think>\n</think>\n~~~",
    "1. 第一种：\n   ```\n   想\n   </think>\n\n   说\n   ```\n",
    "例子：\n\n    <think>\n    想\n    </think>\n",
    "他写的是“好的。<think>”，和「好。</think>」。",
    '他写的是 "<think>"、"好。</think>" 和 \'<think>\'。',
    "他写的是『好。<think>』与‘好。<think>’。",
    "格式是：“<think>\n推理\n</think>\n\n正文”。",
    '格式是："<think>\n推理\n</think>\n\n正文"。',
    "推理写在 <think> 与 </think> 之间。",
    'text = re.sub("(?s)<think>.*?</think>", "", text)\n',
    '{"a": "好。<think>想</think>", "b": ["</think>"]}\n\n',
    "推理写在<think>与</think>之间。\n\n正文在后面。",
    "Models use tags, e.g. <think> and </think>, for this.",
    "- <think> 开始\n- </think> 结束\n",
    "| <think> | 开始 |\n| </think> | 结束 |\n",
    "用 <think> 开始。\n</think>\n\n结束。",
]
"""Answers without a block."""

UNOPENED = [
    ("想\n</think>\n\n说", "想", "说"),  # The API document's own example has no opening tag.
    ("想\n</think>说", "想", "说"),
    ("想。</think>说", "想。", "说"),
    ("想</think>\n\n说", "想", "说"),
    ("问 `</think>` 是什么\n</think>\n\n说", "问 `</think>` 是什么", "说"),
    ("想\n</think>\n\n说。\n<think>\n再想\n</think>\n\n完", "想\n\n再想", "说。\n完"),
    ("想\n</think>\n\n说。\n</think>\n\n完", "想", "说。\n</think>\n\n完"),
]
"""Answers whose thinking begins without a tag: their thinking and content if they come in one piece."""


@pytest.mark.parametrize(("answer", "thinking", "content"), WITH_BLOCKS)
def test_every_block_is_thinking_wherever_it_stands(answer: str, thinking: str, content: str) -> None:
    assert split_thinking(answer) == split_thinking(answer, is_streamed=True) == (thinking, content)


@pytest.mark.parametrize("answer", WITHOUT_BLOCKS)
def test_a_tag_in_code_or_quotation_marks_or_in_a_sentence_is_text(answer: str) -> None:
    assert split_thinking(answer) == split_thinking(answer, is_streamed=True) == ("", answer)


@pytest.mark.parametrize(("answer", "thinking", "content"), UNOPENED)
def test_thinking_may_begin_without_a_tag(answer: str, thinking: str, content: str) -> None:
    assert split_thinking(answer) == (thinking, content)


@pytest.mark.parametrize("answer", [answer for answer, _, _ in UNOPENED if "<think>" not in answer])
def test_a_lone_closing_tag_comes_too_late_for_a_stream(answer: str) -> None:
    assert split_thinking(answer, is_streamed=True) == ("", answer)


def test_an_answer_that_begins_with_its_closing_tag_has_no_thinking() -> None:
    assert split_thinking("\n</think>\n\n说") == split_thinking("\n</think>\n\n说", is_streamed=True) == ("", "说")


def in_pieces(pieces: Sequence[str]) -> tuple[str, str]:
    """Feed an answer in pieces; return all thinking and all content."""
    splitter = ThinkSplitter()
    passed = [*map(splitter.feed, pieces), splitter.finish()]
    return "".join(thinking for thinking, _ in passed), "".join(content for _, content in passed)


def cut(answer: str, cuts: Sequence[int]) -> list[str]:
    return [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]


@pytest.mark.parametrize("answer", [*(row[0] for row in WITH_BLOCKS), *WITHOUT_BLOCKS, *(row[0] for row in UNOPENED)])
def test_however_an_answer_is_cut_the_pieces_add_up_to_the_split_of_the_whole(answer: str) -> None:
    whole = split_thinking(answer, is_streamed=True)
    assert in_pieces(list(answer)) == whole
    for first in range(len(answer)):
        for second in {first, first + 1, first + 9, len(answer)}:
            pieces = cut(answer, [first, min(second, len(answer))])
            assert in_pieces(pieces) == whole, pieces


PARTS = (
    *("<think>", "</think>", "<thinking>", "</THINKING>", DIFY_DETAILS, "</details>", "<details>", "<thi", "</th", "<"),
    *(
        ">",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        "    ",
        "\t",
        "\u3000",
        "。",
        "好",
        ".",
        "e.g",
        "- ",
        "`",
        "```",
        "\n```\n",
        "~~~",
    ),
    *('"', "'", "“", "”", "「", "」", "x" * NEARBY, " " * NEARBY),
)


@pytest.mark.parametrize("seed", range(20))
def test_random_answers_are_split_alike_however_they_are_cut(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        answer = "".join(chance.choices(PARTS, k=chance.randrange(16)))
        whole = split_thinking(answer, is_streamed=True)
        pieces = cut(answer, sorted(chance.choices(range(len(answer) + 1), k=chance.randrange(8))))
        assert in_pieces(pieces) == in_pieces(list(answer)) == whole, pieces
        parts = "".join(split_thinking(answer))
        assert [parts.count(each) for each in "好。"] == [answer.count(each) for each in "好。"], answer


def test_nothing_is_held_back_longer_than_it_could_be_a_tag() -> None:
    splitter = ThinkSplitter()
    fed = [" ", "<thi", "nk>", "\n", "想", "一 ", "想<", "b", "</thin", "k>", "\n\n", "说", "<b", "<think", "。", " "]
    passed = [splitter.feed(piece) for piece in fed]
    assert passed[:7] == [("", "")] * 4 + [("想", ""), ("一", ""), (" 想", "")]
    assert passed[7:12] == [("<b", ""), ("", ""), ("", ""), ("", ""), ("", "说")]
    assert passed[12:] == [("", "<b"), ("", ""), ("", "<think。"), ("", " ")]
    assert splitter.finish() == ("", "")
    assert ThinkSplitter().feed("<b>") == ("", "<b>")


def test_a_tag_after_a_quotation_mark_is_held_back_for_a_part_of_its_line_only() -> None:
    splitter = ThinkSplitter()
    assert splitter.feed("“好。<think>") == ("", "“好。")
    held = [splitter.feed("想") for _ in range(NEARBY)]
    assert set(held[:-1]) == {("", "")} and held[-1] == ("想" * NEARBY, "")
    assert splitter.feed("</think>说") == ("", "说")


def test_a_mark_that_is_far_away_does_not_make_a_tag_text() -> None:
    far = "好" * NEARBY
    assert split_thinking(f"“{far}。<think>想</think>”") == ("想", f"“{far}。”")
    assert split_thinking(f"“好。<think>{far}</think>”") == (far, "“好。”")
