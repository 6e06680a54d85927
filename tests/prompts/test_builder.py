"""The prompt of a turn, and that the sandbox reads it."""

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

from config import PROJECT_DIR
from route_api.prompts.builder import BUDGETS, Prompt, build_prompt
from route_api.prompts.history import history_from_turns
from route_api.prompts.templates import PromptTemplate, load_templates
from route_api.prompts.variables import APP_VARIABLES, Limits
from route_api.sandbox.model.extractive_model import read_messages

from ..support.recordings import VERSIONS, load

TEMPLATES = load_templates(PROJECT_DIR / "prompts.toml")
DEFAULT = TEMPLATES["default"]
ALL_VARIABLES: Limits = dict.fromkeys(APP_VARIABLES)
PRE_PROMPT = "{{instructions}}\n\n已知资料：\n{{context}}\n\n历史对话：\n{{history}}"
DIFYS_PLACEHOLDER = re.compile(r"\{\{([a-zA-Z_][a-zA-Z0-9_]{0,29}|#histories#|#query#|#context#)\}\}")


def record(content: str, name: str = "红楼梦.txt") -> dict[str, Any]:
    return {
        "segment": {"id": content, "content": content, "document_id": "d", "document": {"name": name}},
        "score": 0.5,
    }


def ask(
    form: Limits,
    question: str = "问",
    *,
    records: Sequence[dict[str, Any]] = (),
    history: Sequence[str] = (),
    template: PromptTemplate = DEFAULT,
) -> Prompt:
    return build_prompt(template, form, question=question, records=records, history=history)


def with_difys_rule(prompt: str, inputs: dict[str, str]) -> str:
    """Do as Dify does: fill every placeholder of the prompt, and take a pair of braces from each one in a value."""

    def fill(match: re.Match[str]) -> str:
        return DIFYS_PLACEHOLDER.sub(r"{\1}", inputs.get(match[1], match[0]))

    return DIFYS_PLACEHOLDER.sub(fill, prompt)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_these_tests_hold_for_difys_rule_is_what_was_recorded(version: str) -> None:
    case = load(version, "inputs/value-with-braces")
    reached = case["what reached the model"][0]["msgs"][0]
    assert reached == ["system", with_difys_rule(PRE_PROMPT, case["request"]["body"]["inputs"]) + "\n"]


@pytest.mark.parametrize("seed", range(20))
def test_braces_in_any_passage_reach_the_model_as_they_are(seed: int) -> None:
    pieces = ["{", "}", "{{", "}}", "a", "_b1", "context", "history", "#query#", "#context#", "#", "x" * 30, " ", "资"]
    chance = random.Random(seed)
    for _ in range(200):
        text = "".join(chance.choices(pieces, k=chance.randrange(12)))
        prompt = ask(ALL_VARIABLES, records=[record(text)], history=[text])
        system = with_difys_rule("{{context}}|{{history}}", prompt.inputs)
        assert system == f"[1] 红楼梦.txt\n{text}|{text}"


@pytest.mark.parametrize("form", [{}, ALL_VARIABLES])
@pytest.mark.parametrize("question", ["问", "多行\n问题：{{ x }}\n", "  {% if %} <b>&amp;  "])
def test_with_nothing_to_add_the_question_goes_as_it_is(form: Limits, question: str) -> None:
    assert ask(form, question) == Prompt(question, {name: "" for name in form}, "", [], 0)


def test_what_the_app_declares_goes_by_its_variables_and_the_query_is_the_question() -> None:
    prompt = ask(ALL_VARIABLES, records=[record("资料")], history=["用户：甲"])
    assert prompt.query == "问"
    assert prompt.inputs == {
        "instructions": DEFAULT.render_instructions(question="问", context="资料", history=""),
        "context": "[1] 红楼梦.txt\n资料",
        "history": "用户：甲",
    }
    assert "不要编造" in prompt.inputs["instructions"]
    assert (prompt.context, prompt.passages, prompt.history_used) == ("[1] 红楼梦.txt\n资料", [record("资料")], 1)


def test_what_the_app_does_not_declare_stands_in_the_query_before_the_question() -> None:
    prompt = ask({}, records=[record("资料 {{ question }} {{x}}")], history=["用户：甲"])
    assert prompt.inputs == {}
    places = [prompt.query.index(part) for part in ("不要编造", "用户：甲", "资料 {{ question }} {{x}}", "问题：问")]
    assert places == sorted(places) and prompt.query.endswith("\n\n问题：问")


@pytest.mark.parametrize("declared", ["instructions", "context", "history"])
def test_each_part_goes_one_way_and_never_both(declared: str) -> None:
    prompt = ask({declared: None}, records=[record("资料")], history=["用户：甲"])
    for name, part in {"instructions": "不要编造", "context": "[1] 红楼梦.txt", "history": "用户：甲"}.items():
        assert (part in prompt.query) is (name != declared)
        assert (part in "".join(prompt.inputs.values())) is (name == declared)


def test_the_weakest_passages_are_left_out_where_the_app_takes_no_more() -> None:
    records = [record(letter * 50) for letter in "甲乙丙"]
    whole = ask({"context": None}, records=records)
    two = len(ask({"context": None}, records=records[:2]).context)
    assert len(whole.passages) == 3
    for limit, kept in ((len(whole.context), 3), (len(whole.context) - 1, 2), (two, 2), (two - 1, 1), (1, 0)):
        prompt = ask({"context": limit}, records=records)
        assert prompt.passages == records[:kept] and len(prompt.inputs["context"]) <= limit
        assert prompt.context == prompt.inputs["context"]


def test_a_limit_counts_the_braces_that_are_sent_besides() -> None:
    records = [record("{{x}}")]
    needed = len("[1] 红楼梦.txt\n{{{x}}}")
    assert ask({"context": needed}, records=records).passages == records
    assert ask({"context": needed - 1}, records=records).passages == []


def test_the_oldest_turns_are_left_out_where_not_all_fit() -> None:
    turns = [f"用户：{number}" for number in range(9)]
    prompt = ask({"history": len("用户：7\n\n用户：8")}, history=turns)
    assert prompt.inputs["history"] == "用户：7\n\n用户：8" and prompt.history_used == 2


@pytest.mark.parametrize("form", [{}, ALL_VARIABLES, {"context": 10**9, "history": 10**9}])
def test_budgets_hold_whatever_the_app_takes(form: Limits) -> None:
    long_record, long_turn = record("资" * (BUDGETS["context"] // 3)), "史" * (BUDGETS["history"] // 3)
    prompt = ask(form, records=[long_record] * 5, history=["旧" * BUDGETS["history"], *[long_turn] * 2])
    assert (len(prompt.passages), prompt.history_used) == (2, 2)
    assert "旧" not in prompt.query + prompt.inputs.get("history", "")


def test_instructions_that_are_too_long_for_their_variable_stay_in_the_query() -> None:
    prompt = ask({"instructions": 10, "context": None}, records=[record("资料")])
    assert prompt.inputs["instructions"] == "" and "不要编造" in prompt.query and "资料" in prompt.inputs["context"]
    length = len(DEFAULT.render_instructions(question="", context="资料", history=""))
    assert ask({"instructions": length, "context": None}, records=[record("资料")]).query == "问"


def test_what_a_template_has_no_place_for_does_not_count_as_used() -> None:
    template = PromptTemplate(name="plain", description="", instructions="", query="{{ question }}")
    prompt = ask({}, records=[record("资料")], history=["用户：甲"], template=template)
    assert prompt == Prompt("问", {}, "", [], 0)
    assert ask({"context": None}, records=[record("资料")], template=template).passages == [record("资料")]


# ---------------------------------------------------------------------- the sandbox reads what we write


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("form", [{}, ALL_VARIABLES, {"context": None}, {"instructions": None, "history": None}])
def test_the_sandbox_finds_passages_and_question_wherever_they_go(name: str, form: Limits) -> None:
    records = [record("葫芦庙在仁清巷内。", "葫芦庙.txt"), record("庙旁住着甄家。", "甄家.docx")]
    prompt = ask(form, "葫芦庙在哪里？", records=records, template=TEMPLATES[name])
    system = with_difys_rule(PRE_PROMPT, {name: "" for name in ALL_VARIABLES} | prompt.inputs)
    conversation = read_messages([{"role": "system", "content": system}, {"role": "user", "content": prompt.query}])
    assert conversation.question == "葫芦庙在哪里？"
    assert conversation.passages == ["葫芦庙在仁清巷内。", "庙旁住着甄家。"]


@pytest.mark.parametrize("form", [{}, ALL_VARIABLES])
def test_the_sandbox_remembers_a_history_wherever_it_goes(form: Limits) -> None:
    turns = [("葫芦庙在哪里？", "在仁清巷。"), ("谁住在那里？", "<think>\n想\n</think>\n\n贾雨村。")]
    prompt = ask(form, "我刚才问了什么？", history=history_from_turns(turns))
    system = with_difys_rule(PRE_PROMPT, {name: "" for name in ALL_VARIABLES} | prompt.inputs)
    conversation = read_messages([{"role": "system", "content": system}, {"role": "user", "content": prompt.query}])
    assert conversation.earlier == [("葫芦庙在哪里？", "在仁清巷。"), ("谁住在那里？", "贾雨村。")]
    assert conversation.passages == []
