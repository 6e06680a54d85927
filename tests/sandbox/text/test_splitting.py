"""How a text is cut into chunks."""

from typing import Any

import pytest

from route_api.sandbox.text.splitting import Chunk, SplittingError, clean, decode_separator, split_document, split_text
from route_api.sandbox.text.token_estimate import estimate_tokens

TEXT = "葫芦庙在姑苏城。庙旁住着甄士隐。他的女儿叫英莲。\n贾雨村寄居庙中。\n元宵节失了英莲。"
SENTENCES = ["葫芦庙在姑苏城", "庙旁住着甄士隐", "他的女儿叫英莲", "贾雨村寄居庙中", "元宵节失了英莲"]


def segmentation(separator: str, max_tokens: int = 200, chunk_overlap: int = 0) -> dict[str, Any]:
    return {"separator": separator, "max_tokens": max_tokens, "chunk_overlap": chunk_overlap}


def rules(**more: Any) -> dict[str, Any]:
    return {"pre_processing_rules": [], "segmentation": segmentation("\n\n"), **more}


@pytest.mark.parametrize("separator", ["。", r"\u3002"])
def test_a_chinese_separator_is_found_plain_and_escaped(separator: str) -> None:
    assert split_text(TEXT, segmentation(separator)) == SENTENCES


@pytest.mark.parametrize(
    ("written", "meant"),
    [(r"\n\n", "\n\n"), ("\n", "\n"), (r"\t", "\t"), (r"\\n", r"\n"), ("###", "###"), (r"\q", r"\q")],
)
def test_a_separator_is_decoded(written: str, meant: str) -> None:
    assert decode_separator(written) == meant


@pytest.mark.parametrize("max_tokens", [49, 4001])
def test_chunk_sizes_outside_the_limits_are_refused(max_tokens: int) -> None:
    with pytest.raises(SplittingError, match="Custom segment length should be between 50 and 4000."):
        split_text(TEXT, segmentation("\n", max_tokens))


def test_a_long_piece_is_cut_at_sentence_ends_and_nothing_is_lost() -> None:
    text = "".join(f"这是第{number}句，说的是葫芦庙的旧事。" for number in range(100))
    pieces = split_text(text, segmentation("\n\n", 60))
    assert "".join(pieces) == text
    assert all(piece.endswith("。") and estimate_tokens(piece) <= 60 for piece in pieces)


def test_neighbours_share_the_overlap() -> None:
    text = "".join(f"第{number:02}句旧事。" for number in range(60))
    pieces = split_text(text, segmentation("\n\n", 50, 20))
    assert all(before[-7:] in after for before, after in zip(pieces, pieces[1:], strict=False))
    assert all(estimate_tokens(piece) <= 50 for piece in pieces)


def test_a_text_without_any_place_to_cut_is_cut_all_the_same() -> None:
    pieces = split_text("字" * 205, segmentation("\n", 50, 0))
    assert [len(piece) for piece in pieces] == [50, 50, 50, 50, 5]


def test_leading_symbols_and_empty_pieces_go_but_no_opening_bracket_of_a_title() -> None:
    pieces = split_text("、标题\n\n\n\n、段落。\n\n[[记]]\n\n《红楼梦》", segmentation("\n\n"))
    assert pieces == ["标题", "段落。", "记]]", "《红楼梦》"]


@pytest.mark.parametrize("separator", ["\n", "\n\n", r"\n\n"])
@pytest.mark.parametrize("heading", ["# 停机", "**停机**", "第三章 停机", "### 停机 ###"])
def test_a_heading_stays_with_its_text(separator: str, heading: str) -> None:
    pieces = split_text(f"前文。\n\n{heading}\n\n先关电源。\n\n再关阀门。", segmentation(separator))
    assert len(pieces) == 3 and "停机" in pieces[1] and pieces[1].endswith("\n先关电源。")


def test_headings_stay_together_with_the_text_below_the_last_one() -> None:
    assert split_text("# 一\n\n## 二\n\n正文。\n\n# 三", segmentation("\n\n")) == ["一\n## 二\n正文。", "三"]


def test_a_table_of_contents_is_no_heading_of_the_first_text() -> None:
    text = "\n".join(f"第{number}章 名称" for number in "一二三四五六") + "\n正文。"
    assert [len(piece.splitlines()) for piece in split_text(text, segmentation("\n"))] == [1, 1, 1, 4]


CODE = "```python\ndef f():\n    x = 1\n\n    return x\n```"


@pytest.mark.parametrize("separator", ["\n", "\n\n"])
def test_a_block_of_code_stays_whole_with_its_indentation(separator: str) -> None:
    text = clean(f"前文。\n\n{CODE}\n\n后文。", [{"id": "remove_extra_spaces", "enabled": True}])
    assert split_text(text, segmentation(separator)) == ["前文。", CODE, "后文。"]


def test_the_line_above_code_stays_with_it_where_only_an_empty_line_separates() -> None:
    assert split_text(f"例如：\n{CODE}", segmentation("\n\n")) == [f"例如：\n{CODE}"]


def test_a_block_of_code_that_is_too_long_is_cut_between_lines() -> None:
    lines = [f"value_{number} = compute('a. b', {number})" for number in range(60)]
    pieces = split_text("```\n" + "\n".join(lines) + "\n```", segmentation("\n", 100))
    assert len(pieces) > 3 and [line for piece in pieces for line in piece.splitlines()][1:-1] == lines


def test_a_fence_that_is_not_closed_changes_nothing() -> None:
    assert split_text("一。\n```\n二。\n三。", segmentation("\n")) == ["一。", "```", "二。", "三。"]


def test_a_table_stays_whole_and_a_long_one_has_its_header_in_each_chunk() -> None:
    table = "| 型号 | 单价 |\n| A1 | 20 |\n| B2 | 5 |"
    assert split_text(f"价目：\n{table}\n完。", segmentation("\n")) == ["价目：", table, "完。"]
    long = "\n".join(["| 型号 | 单价 |", *(f"| 水泵{number} | {number}元 |" for number in range(40))])
    pieces = split_text(long, segmentation("\n", 100))
    assert len(pieces) > 2 and all(piece.startswith("| 型号 | 单价 |\n| 水泵") for piece in pieces)
    assert all(estimate_tokens(piece) <= 100 for piece in pieces)


def test_a_long_table_below_a_heading_has_both_in_each_chunk() -> None:
    rows = [f"| 水泵{number} | {number}元 |" for number in range(40)]
    pieces = split_text("\n\n".join(["# 价目", "\n".join(["| 型号 | 单价 |", *rows])]), segmentation("\n", 100))
    assert len(pieces) > 2 and all(piece.startswith("价目\n| 型号 | 单价 |\n| 水泵") for piece in pieces)
    assert [line for piece in pieces for line in piece.split("\n")[2:]] == rows


def test_a_separator_of_the_caller_cuts_wherever_it_stands() -> None:
    assert split_text("# 一###二\n```\na###b\n```", segmentation("###")) == ["一", "二\n```\na", "b\n```"]


def test_the_pre_processing_rules_remove_what_they_name_and_nothing_else() -> None:
    text = "一  二\n\n\n\n三 a@b.cn 见 https://example.com/x?y=1 末"
    on = [{"id": name, "enabled": True} for name in ("remove_extra_spaces", "remove_urls_emails")]
    assert clean(text, []) == text
    assert clean(text, on[:1]) == "一 二\n\n三 a@b.cn 见 https://example.com/x?y=1 末"
    assert clean("a@b.cn见https://example.com/x 末", on[1:]) == "见 末"


def test_automatic_mode_has_its_own_rule() -> None:
    chunks = split_document("一行。\n二行。", "text_model", "automatic", {"segmentation": segmentation("###")})
    assert chunks == [Chunk("一行。"), Chunk("二行。")]


@pytest.mark.parametrize(
    "text",
    [
        "Q: 葫芦庙在哪里？\nA: 在仁清巷。\nQ: 谁住旁边？\nA: 甄士隐。",
        "问：葫芦庙在哪里？\n答：在仁清巷。\n\n问：谁住旁边？\n答：甄士隐。",
        "question: 葫芦庙在哪里？;answer: 在仁清巷。\n\nquestion: 谁住旁边？;answer: 甄士隐。",
    ],
)
def test_a_qa_document_has_the_pairs_that_its_text_marks(text: str) -> None:
    chunks = split_document(text, "qa_model", "custom", rules())
    assert chunks == [Chunk("葫芦庙在哪里？", "在仁清巷。"), Chunk("谁住旁边？", "甄士隐。")]


def test_a_qa_document_without_pairs_has_no_segments() -> None:
    assert split_document(TEXT, "qa_model", "custom", rules()) == []


def test_a_hierarchical_document_has_parents_and_children() -> None:
    rule = rules(subchunk_segmentation=segmentation("。", 100), parent_mode="paragraph")
    chunks = split_document("甲在庙中。乙在巷内。\n\n丙。", "hierarchical_model", "hierarchical", rule)
    assert chunks == [
        Chunk("甲在庙中。乙在巷内。", children=("甲在庙中", "乙在巷内")),
        Chunk("丙。", children=("丙",)),
    ]


def test_a_whole_document_can_be_the_parent() -> None:
    rule = rules(subchunk_segmentation=segmentation("\n\n", 100), parent_mode="full-doc")
    chunks = split_document("甲。\n\n乙。", "hierarchical_model", "hierarchical", rule)
    assert chunks == [Chunk("甲。\n\n乙。", children=("甲。", "乙。"))]
