"""The texts of the extractive model in Chinese and in English, as format strings."""

from dataclasses import dataclass

from ..text.sentences import is_chinese


@dataclass(frozen=True)
class Phrases:
    """All texts in one language.

    The fields that begin with `thinking` are for the `<think>` block. `separator` separates quoted sentences.
    """

    notice: str
    separator: str
    list_separator: str
    thinking_question: str
    thinking_answer: str
    thinking_no_passages: str
    thinking_no_match: str
    thinking_match: str
    thinking_close: str
    earlier_questions: str
    earlier_answer: str
    nothing_said: str
    no_passages: str
    previous_question: str
    no_match: str
    match: str


CHINESE = Phrases(
    notice="（沙箱回答，没有真正的语言模型）",
    separator="",
    list_separator="；",
    thinking_question="用户问的是之前的提问，对话里有 {turns} 个。",
    thinking_answer="用户问的是我上一次的回答，我重述它的开头。",
    thinking_no_passages="用户问：「{question}」。没有收到资料。",
    thinking_no_match="用户问：「{question}」。我看了 {passages} 句资料，没有对得上的词。",
    thinking_match="用户问：「{question}」。我看了 {passages} 句资料，对得上的词：{words}。",
    thinking_close="用户问：「{question}」。我看了 {passages} 句资料，没有相同的词，引用意思最接近的。",
    earlier_questions="你之前问的是：{questions}。",
    earlier_answer="我刚才说的是：{answer}",
    nothing_said="（上一次没有回答）",
    no_passages="我收到的问题是「{question}」，没有收到资料，所以无法作答。这是本次对话的第 {number} 个问题。",
    previous_question="上一个问题是「{question}」。",
    no_match="收到了 {passages} 句资料，但没有一句与问题「{question}」有相同的词。",
    match="资料中写道：{quotes}",
)
ENGLISH = Phrases(
    notice="(Sandbox answer, there is no language model.) ",
    separator=" ",
    list_separator="; ",
    thinking_question="The user asks about earlier questions; there are {turns}.",
    thinking_answer="The user asks for my last answer; I repeat its beginning.",
    thinking_no_passages="The user asks: 「{question}」. I received no passages.",
    thinking_no_match="The user asks: 「{question}」. I looked at {passages} sentences; no word matches.",
    thinking_match="The user asks: 「{question}」. I looked at {passages} sentences; words that match: {words}.",
    thinking_close="The user asks: 「{question}」. I looked at {passages} sentences; no word matches, so I quote the"
    " closest in meaning.",
    earlier_questions="You asked: {questions}.",
    earlier_answer="I said: {answer}",
    nothing_said="(nothing the last time)",
    no_passages="I received the question 「{question}」 and no passages, so I cannot answer it. "
    "It is question {number} of this conversation. ",
    previous_question="The question before was 「{question}」.",
    no_match="I received {passages} sentences, but none shares a word with 「{question}」.",
    match="The passages say: {quotes}",
)


def suggestions(question: str) -> list[str]:
    """Return questions that the extractive model can answer from the conversation alone."""
    if is_chinese(question):
        return ["再总结一下你刚才说的", "再短一点", "我刚才问了什么？"]
    return ["Summarize what you just said", "Make it shorter", "What did I ask?"]
