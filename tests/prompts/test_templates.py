"""The operator's file: whatever is wrong with it shows at the start, in words that name the template."""

from pathlib import Path

import pytest

from config import PROJECT_DIR, ConfigError
from route_api.prompts.templates import PromptsError, load_templates

GOOD = {"description": "普通", "instructions": "请简短。", "query": "{{ instructions }}\n\n{{ question }}"}


def toml(name: str = "default", **changes: str | None) -> str:
    """A table; None leaves a key out."""
    entries = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return f"['{name}']\n" + "".join(f"{key} = '''{value}'''\n" for key, value in entries.items())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def problems(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PromptsError) as caught:
        load_templates(file)
    return str(caught.value)


def test_a_good_file_gives_its_templates_by_name(file: Path) -> None:
    file.write_text(toml() + toml("海盗", instructions=""), encoding="utf-8")
    templates = load_templates(file)
    assert list(templates) == ["default", "海盗"]
    assert templates["default"].render_query(question="问", context="", history="", instructions="请") == "请\n\n问"


def test_the_templates_that_we_ship_can_be_used_and_tell_the_people_who_choose() -> None:
    templates = load_templates(PROJECT_DIR / "prompts.toml")
    assert {"default", "summary", "strict"} <= templates.keys()
    assert all(template.description for template in templates.values())
    for name in ("summary", "strict"):
        assert templates[name].render_instructions(question="问", context="", history="")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"query": None}, ["lacks the key 'query'"]),
        ({"description": None, "instructions": None}, ["lacks the key 'description'", "lacks the key 'instructions'"]),
        ({"querry": "x"}, ["unknown key 'querry'", "description, instructions, query"]),
        ({"query": "{% if %}"}, ["line 1 of its 'query'"]),
        ({"instructions": "a\n{{ question"}, ["line 2 of its 'instructions'"]),
        (
            {"query": "{{ question }}{{ instructions }}{{ contxt }}"},
            ["reads 'contxt' in its 'query'", "context, history"],
        ),
        ({"query": "{{ question }}{{ instructions }}{% if 0 %}{{ x }}{% endif %}"}, ["reads 'x'"]),
        ({"instructions": "{{ instructions }}"}, ["reads 'instructions' in its 'instructions'"]),
        ({"query": "{{ instructions }}"}, ["does not print the question"]),
        ({"query": "{{ question|upper }}{{ instructions }}"}, ["does not print the question"]),
        ({"query": "{{ instructions }}{% if history %}{{ question }}{% endif %}"}, ["does not print the question"]),
        ({"query": "{{ instructions }}{% if not (history and context) %}{{ question }}{% endif %}"}, ["the question"]),
        (
            {"query": "{% if instructions %}{{ question }}{{ instructions }}{% endif %}"},
            ["does not print the question"],
        ),
        ({"query": "{{ question }}"}, ["does not print its instructions"]),
        ({"query": "{{ question }}{{ instructions }}{{ question.nope }}"}, ["cannot write its 'query'", "nope"]),
        ({"query": "{{ question }}{{ instructions }}{{ question.__class__ }}"}, ["cannot write", "unsafe"]),
        ({"instructions": "{{ ''.__class__.__mro__ }}"}, ["cannot write its 'instructions'", "unsafe"]),
        ({"instructions": "{% for i in range(10**9) %}x{% endfor %}"}, ["cannot write its 'instructions'"]),
        ({"query": "{{ question }}{{ instructions }}{{ 1 // 0 }}"}, ["cannot write its 'query'", "zero"]),
        ({"query": "{{ question }}{{ instructions }}{% include 'x' %}"}, ["cannot write its 'query'"]),
        ({"query": "{{ question }}{{ instructions }}{{ context|nope }}"}, ["line 1 of its 'query'", "nope"]),
    ],
)
def test_a_mistake_is_named_with_its_template(file: Path, changes: dict[str, str | None], words: list[str]) -> None:
    text = problems(file, toml("海盗", **changes) + toml())
    assert all(word in text for word in words), text
    assert all(line.startswith("mine.toml: the prompt template '海盗' ") for line in text.splitlines())


def test_everything_that_is_wrong_is_told_at_once(file: Path) -> None:
    text = problems(file, "loose = 'x'\n" + toml(query="{{ a }}{{ b }}") + toml("b", description=None))
    assert [line.split("template ")[1] for line in text.splitlines()] == [
        "'loose' is no table.",
        "'default' reads 'a' in its 'query', which has only context, history, instructions, question.",
        "'default' reads 'b' in its 'query', which has only context, history, instructions, question.",
        "'b' lacks the key 'description'.",
    ]


def test_a_key_must_be_a_text(file: Path) -> None:
    assert "must have a text as its 'query'" in problems(file, toml(query=None) + "query = 5\n")


def test_there_must_be_a_default(file: Path) -> None:
    assert problems(file, toml("other")) == "mine.toml: there must be a prompt template named 'default'."
    assert "named 'default'" in problems(file, "")


@pytest.mark.parametrize("text", ["[default", "default = ", toml() + toml()])
def test_a_file_that_is_no_toml_is_refused_with_the_place(file: Path, text: str) -> None:
    assert "mine.toml is no valid TOML" in problems(file, text)


def test_a_file_that_is_no_utf_8_or_not_there_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read from .*mine\.toml: No such file"):
        load_templates(file)
    file.write_bytes("[default]\ndescription = '简'".encode("gbk"))
    with pytest.raises(ConfigError, match="no valid TOML"):
        load_templates(file)
