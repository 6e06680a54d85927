"""Earlier turns as text."""

import pytest

from route_api.prompts.history import history_from_list, history_from_turns


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("<think>\n想\n</think>\n\n说", "用户：问\n助手：说"),
        ("想\n</think>\n\n说", "用户：问\n助手：说"),
        ("<think>想</think>说。<think>再想</think>完", "用户：问\n助手：说。完"),
        ("<THINKING>想</THINKING>说。\n<think>\n再想", "用户：问\n助手：说。"),
        ("<details open> <summary> Thinking... </summary>\n想\n</details>\n\n说", "用户：问\n助手：说"),
        ("推理以 `<think>` 开始", "用户：问\n助手：推理以 `<think>` 开始"),
        ("<think>\n还没想完", "用户：问"),
        ("", "用户：问"),
        ("说\n第二行", "用户：问\n助手：说\n第二行"),
    ],
)
def test_thinking_never_goes_into_the_history(response: str, text: str) -> None:
    assert history_from_turns([("问", response)]) == [text]


def test_turns_keep_their_order_and_what_the_user_said_stays_as_it_is() -> None:
    assert history_from_turns([("<think>一</think>", "1"), ("二", "2")]) == [
        "用户：<think>一</think>\n助手：1",
        "用户：二\n助手：2",
    ]
    assert history_from_turns([]) == []


def test_a_given_history_is_taken_exactly_with_a_turn_for_each_thing_that_the_user_says() -> None:
    entries = [
        {"role": "system", "content": "说中文"},
        {"role": "user", "content": "一"},
        {"role": "assistant", "content": "<think>想</think>1"},
        {"role": "assistant", "content": "还有"},
        {"role": "user", "content": "二"},
        {"role": "user", "content": "三"},
        {"role": "assistant", "content": "<think>没说"},
    ]
    assert history_from_list(entries) == ["系统：说中文", "用户：一\n助手：1\n助手：还有", "用户：二", "用户：三"]
    assert history_from_list([]) == history_from_list([{"role": "assistant", "content": "<think>"}]) == []
