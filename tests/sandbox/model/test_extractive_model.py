"""The sandbox's chat model: what it quotes, what it remembers, what it says about itself."""

from collections.abc import Sequence

import pytest

from route_api.sandbox.embedding.embedder import EmbeddingError
from route_api.sandbox.model.extractive_model import Message, answer, best_sentences, read_messages
from route_api.sandbox.model.extractive_stream import streamed_answer
from route_api.sandbox.model.generation import ModelError
from route_api.sandbox.text.sentences import is_row, pieces, sentences

PASSAGES = """[1] 葫芦庙与仁清巷
[2] 葫芦庙内寄居着一个穷儒，姓贾名化，表字时飞，别号雨村。他原系胡州人氏，也是诗书仕宦之族。
[3] 庙旁住着一家乡宦，姓甄，名费，字士隐。嫡妻封氏，情性贤淑，深明礼义。"""
SYSTEM = f"你是一个助手。请根据资料回答用户的问题。\n\n已知资料：\n{PASSAGES}\n\n历史对话：\nNone\n"


def say(question: str, system: str = "", history: list[Message] | None = None) -> list[Message]:
    """The messages of a turn."""
    before = [{"role": "system", "content": system}] if system else []
    return [*before, *(history or []), {"role": "user", "content": question}]


def turn(question: str, said: str) -> list[Message]:
    """An earlier turn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": said}]


def content_of(text: str) -> str:
    """An answer without its thinking."""
    assert text.startswith("<think>\n")
    return text.partition("\n</think>\n\n")[2]


def test_a_chinese_question_is_answered_with_the_sentence_that_a_person_would_point_to() -> None:
    said = content_of(answer(say("甄士隐的嫡妻是谁？", SYSTEM)))
    assert "「嫡妻封氏，情性贤淑，深明礼义。」" in said
    assert "没有真正的语言模型" in said


def test_an_english_question_is_answered_in_english() -> None:
    passages = "Paris is the capital of France. Berlin is the capital of Germany. Cats sleep a lot."
    said = content_of(answer(say("What is the capital of Germany?", passages)))
    assert said == (
        "(Sandbox answer, there is no language model.) The passages say: 「Berlin is the capital of Germany.」"
    )


def test_neither_instructions_nor_headings_are_quoted() -> None:
    said = content_of(answer(say("根据资料，葫芦庙里寄居着谁？", SYSTEM)))
    assert "「葫芦庙内寄居着一个穷儒，姓贾名化，表字时飞，别号雨村。」" in said
    assert "助手" not in said and "「葫芦庙与仁清巷」" not in said


def test_passages_may_stand_in_the_query_before_the_question() -> None:
    conversation = read_messages(say(f"资料：\n{PASSAGES}\n\n问题：贾雨村是哪里人？"))
    assert conversation.question == "贾雨村是哪里人？"
    assert "「他原系胡州人氏，也是诗书仕宦之族。」" in content_of(
        answer(say(f"{PASSAGES}\n\nQuestion: 谁是胡州人氏？"))
    )


def test_only_the_context_block_is_read_where_there_is_one() -> None:
    system = "Use the following context.\n<context>\n水的沸点是一百度。\n</context>\n沸点是什么，你要知道。"
    assert read_messages(say("沸点？", system)).passages == ["水的沸点是一百度。"]


def test_the_gateway_s_own_prompt_is_told_apart_from_its_passages() -> None:
    instructions = (
        "请根据下面的资料回答用户的问题。资料中没有答案时，请直接说明资料里没有，不要编造。"
        "Answer from the passages below; if they hold no answer, say so."
    )
    system = f"{instructions}\n[1] 葫芦庙.txt\n葫芦庙在仁清巷内。\n\n[2] 甄家.docx\n庙旁住着甄家。\n"
    assert read_messages(say("葫芦庙在哪里？", system)).passages == ["葫芦庙在仁清巷内。", "庙旁住着甄家。"]


def test_a_row_of_a_table_is_quoted_whole_with_its_headers() -> None:
    rows = "门店: 人民广场店;店长: 周敏;营业时间: 10:00-22:00\n门店: 五角场店;店长: 吴晓燕;营业时间: 9:30-21:30"
    said = content_of(answer(say("五角场店几点开门？", f"<context>\n{rows}\n</context>")))
    assert said.endswith("资料中写道：「门店: 五角场店;店长: 吴晓燕;营业时间: 9:30-21:30」")


def test_of_a_long_row_the_cells_that_fit_the_question_are_quoted() -> None:
    cells = [f"Column {number}: {'x' * 20}" for number in range(20)]
    row = ";".join(["Store: West Lake", *cells, "Manager: Shen", "Parking: 25 places"])
    said = content_of(answer(say("Who is the manager of the West Lake store?", f"<context>\n{row}\n</context>")))
    assert said.endswith("The passages say: 「Store: West Lake;Manager: Shen」")


def test_a_stored_question_is_answered_and_not_quoted() -> None:
    pairs = "如何成为金卡会员？\n累计消费满八千元，次日升级。\n积分什么时候过期？\n积分两年有效。"
    said = content_of(answer(say("怎样成为金卡会员", f"<context>\n{pairs}\n</context>"), brief=True))
    assert said.endswith("资料中写道：「累计消费满八千元，次日升级。」")


def test_the_sentence_that_is_closest_in_meaning_is_quoted_where_no_word_matches() -> None:
    passages = ["Taxis are paid after ten.", "Rooms cost up to 140 euros.", "Nothing."]
    asked: list[tuple[str, Sequence[str]]] = []

    def similarity(question: str, texts: Sequence[str]) -> list[float]:
        asked.append((question, texts))
        return [0.1, 0.5, 0.3]

    system = f"<context>\n{' '.join(passages)}\n</context>"
    text = answer(say("旅馆最多能花多少钱？", system), similarity=similarity)
    assert content_of(text).endswith("资料中写道：「Rooms cost up to 140 euros.」「Nothing.」")
    assert "意思最接近" in text
    assert asked == [("旅馆最多能花多少钱？", passages)]
    nothing = answer(say("旅馆最多能花多少钱？", system), similarity=lambda _, texts: [0.1] * len(texts))
    assert "没有一句与问题" in nothing


def test_a_model_for_vectors_that_fails_fails_the_answer() -> None:
    def similarity(_: str, __: Sequence[str]) -> list[float]:
        raise EmbeddingError("The embedding server did not answer: ConnectTimeout")

    messages = say("旅馆？", "<context>\n旅馆最多一百四十元。\n</context>")
    with pytest.raises(ModelError, match="The embedding server did not answer"):
        list(streamed_answer(messages, brief=False, max_tokens=None, delay_s=0.0, similarity=similarity))


def test_only_the_first_sentences_are_compared_in_meaning() -> None:
    passages = [f"{'很' * 299}。"] * 8
    compared: list[int] = []

    def similarity(_: str, texts: Sequence[str]) -> list[float]:
        compared.append(len(texts))
        return [0.0] * len(texts)

    best_sentences("旅馆", passages, 3, similarity)
    assert compared == [5]


def test_the_brief_model_quotes_one_sentence() -> None:
    question = say("葫芦庙里住着谁？", SYSTEM)
    assert content_of(answer(question)).count("「") == 2
    assert content_of(answer(question, brief=True)).count("「") == 1


def test_max_tokens_cut_the_answer_and_leave_the_thinking_whole() -> None:
    whole, cut = (answer(say("葫芦庙里住着谁？", SYSTEM), max_tokens=limit) for limit in (None, 30))
    assert content_of(cut) == content_of(whole)[:30]
    assert cut.partition("</think>")[0] == whole.partition("</think>")[0]


def test_without_passages_it_says_what_it_received_and_that_it_cannot_answer() -> None:
    said = content_of(answer(say("长江有多长？")))
    assert "「长江有多长？」" in said and "没有收到资料" in said and "没有真正的语言模型" in said


def test_passages_that_share_nothing_with_the_question_are_not_quoted() -> None:
    said = content_of(answer(say("How long is the Nile?", PASSAGES)))
    assert "none shares a word" in said


@pytest.mark.parametrize("question", ["我刚才问了什么？", "我之前问的是哪些问题"])
def test_it_remembers_the_earlier_questions(question: str) -> None:
    history = turn("葫芦庙在哪里？", "<think>\n想\n</think>\n\n在仁清巷。") + turn("谁住在那里？", "贾雨村。")
    assert "「葫芦庙在哪里？」；「谁住在那里？」" in content_of(answer(say(question, history=history)))


@pytest.mark.parametrize("question", ["再总结一下你刚才说的", "再短一点", "你刚才说了什么？"])
def test_it_repeats_its_last_answer_without_the_thinking(question: str) -> None:
    history = turn("葫芦庙在哪里？", "<think>\n想一想\n</think>\n\n葫芦庙在仁清巷内。")
    said = content_of(answer(say(question, history=history)))
    assert said.endswith("我刚才说的是：葫芦庙在仁清巷内。")


def test_it_remembers_in_english_too() -> None:
    history = turn("Where is the temple?", "In the lane.")
    assert "You asked: 「Where is the temple?」" in answer(say("What did I just ask?", history=history))
    assert "I said: In the lane." in answer(say("Summarize what you said", history=history))


def test_turns_told_in_the_prompt_count_as_earlier_turns_and_not_as_passages() -> None:
    conversation = read_messages(say("我刚才问了什么？", "历史对话：\n用户：葫芦庙在哪里？\n助手：在仁清巷。"))
    assert conversation.earlier == [("葫芦庙在哪里？", "在仁清巷。")]
    assert conversation.passages == []


def test_the_thinking_names_what_was_looked_at_and_what_matched() -> None:
    thinking = answer(say("谁是胡州人氏？", SYSTEM)).partition("</think>")[0]
    assert "5 句资料" in thinking and "胡州" in thinking


@pytest.mark.parametrize("text", ["<think>\n想\n</think>\n\n你好，world is 3.5 <b> 大。\n\n再见", "  a b", ""])
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_sentences_end_at_marks_and_lines_but_not_within_numbers() -> None:
    assert sentences("版本 1.12.1 很新。它说：「好！」\n- 三\nPi is 3.14. Yes") == [
        "版本 1.12.1 很新。",
        "它说：「好！」",
        "- 三",
        "Pi is 3.14.",
        "Yes",
    ]


def test_a_long_sentence_is_cut_at_its_semicolons_and_a_short_one_is_not() -> None:
    short, long = "买方付款；卖方交货。", f"{'买' * 200}；{'卖' * 200}。"
    assert sentences(short) == [short]
    assert sentences(long) == ["买" * 200 + "；", "卖" * 200 + "。"]


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("门店: 西湖店;店长: 沈国栋", True),
        ("门店：西湖店；店长：沈国栋", True),
        ("| Part: BR-1001 | Price EUR: 24.90 |", True),
        ("注意：门店在十点开门；请带好证件。", False),
        ("The gym is open from 6:00; towels cost 2 pounds.", False),
    ],
)
def test_a_row_of_a_table_has_at_least_two_cells_with_headers(line: str, row: bool) -> None:
    assert is_row(line) is row
