"""What an operator and a frontend developer look up is written down: every setting and every error code."""

import configparser
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from config import Config
from route_api import errors
from route_api.envelope import HTTP_ERROR_CODES
from route_api.extensions import api
from route_api.languages import CHINESE
from route_api.openapi.markdown import api_reference
from route_api.openapi.translation import translate_into, translated_document

PROJECT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(PROJECT)
    for folder in (".", "docs", "benchmarks", "postman")
    for path in PROJECT.glob(f"{folder}/*.md")
)
SETTINGS = {entry.name for entry in fields(Config)}
ERROR_CODES = {
    error.code
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, errors.ApiError) and error is not errors.DifyError
} | set(HTTP_ERROR_CODES.values())


@pytest.fixture(scope="module")
def readme() -> str:
    return (PROJECT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference() -> str:
    return (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")


def rows(markdown: str) -> dict[str, list[str]]:
    """The rows of tables that begin with a word in code, by that word."""
    found = re.findall(r"^\| *`([^`|]+)` *\|(.*)\|\s*$", markdown, re.M)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_every_setting_is_in_the_readmes_table_and_nothing_else_looks_like_one(readme: str) -> None:
    table = {name for name in rows(readme) if re.fullmatch(r"[A-Z][A-Z_]+", name)}
    assert table == SETTINGS


def test_every_setting_has_its_default_and_its_meaning_in_the_readme(readme: str) -> None:
    defaults = Config()
    shown = {
        entry.name: "" if default in ("", [], {}) else f"`{default}`".replace(f"{PROJECT}/", "")
        for entry in fields(Config)
        for default in [getattr(defaults, entry.name)]
    }
    expected = {entry.name: [shown[entry.name], entry.metadata["meaning"]] for entry in fields(Config)}
    assert {name: cells for name, cells in rows(readme).items() if name in SETTINGS} == expected


def test_the_api_reference_is_what_make_docs_would_write(app: Flask, reference: str) -> None:
    with app.app_context():
        assert api_reference(api.spec.to_dict()) == reference, "run `make docs`"


def test_every_error_code_is_in_the_api_reference(reference: str) -> None:
    assert sorted(code for code in ERROR_CODES if f"`{code}`" not in reference) == []


def test_the_endpoints_of_the_api_reference_are_those_of_the_application(app: Flask, reference: str) -> None:
    headings = re.findall(r"^### ([A-Z /]+) (/\S*)$", reference, re.M)
    documented = {(method, path) for methods, path in headings for method in methods.split(" / ")}
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert documented == served


def test_the_chinese_api_reference_is_what_make_docs_would_write(app: Flask) -> None:
    translate = translate_into(CHINESE)
    with app.app_context():
        written = api_reference(translated_document(api.spec.to_dict(), translate), translate)
    assert written == (PROJECT / "docs" / "api.zh.md").read_text(encoding="utf-8"), "run `make docs`"


def headings(markdown: str) -> list[str]:
    """The levels of a document's headings, in their order."""
    return re.findall(r"^(#+) ", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M)


def commands(markdown: str) -> list[str]:
    """The lines of a document's code, without their comments and without drawings."""
    lines, is_fenced = [], False
    for line in markdown.splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith("    "):
            lines.append(re.split("(?:^|  )#", line)[0].strip())
    return [line for line in lines if line and not re.search("[─│├└]", line)]


def table_rows(markdown: str) -> list[tuple[str, ...]]:
    """What stands in code in the cells of each row of a document's tables."""
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [tuple(sorted(set(re.findall("`([!-~]+?)`", row)))) for row in rows]


def links(markdown: str) -> set[str]:
    """The files that a document links to, without the language of those that come in two."""
    return {link.replace(".zh.md", ".md") for link in re.findall(r"\]\(([^)#]+)", markdown)}


@pytest.mark.parametrize("name", ["README", "docs/deployment", "docs/api"])
def test_a_chinese_document_has_the_sections_commands_tables_and_links_of_the_english_one(name: str) -> None:
    english, chinese = ((PROJECT / f"{name}{ending}").read_text(encoding="utf-8") for ending in (".md", ".zh.md"))
    assert headings(chinese) == headings(english) and len(headings(english)) > 10
    assert commands(chinese) == commands(english) and len(commands(english)) > 10
    assert table_rows(chinese) == table_rows(english) and len(table_rows(english)) > 10
    assert links(chinese) == links(english)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_within_the_project_leads_somewhere(document: Path) -> None:
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", (PROJECT / document).read_text(encoding="utf-8"))
    assert [target for target in linked if not (PROJECT / document.parent / target).exists()] == []


@pytest.fixture(scope="module")
def contributing() -> str:
    return (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_path_in_the_map_exists(contributing: str) -> None:
    paths = re.findall(r"`((?:route_api|tests|migrations|postman|docs)/[\w./-]*|\w+\.(?:py|cfg|toml))`", contributing)
    assert len(paths) > 20
    assert [path for path in paths if not (PROJECT / path).exists()] == []


def test_the_map_has_the_layers_of_the_import_contract_and_every_module(contributing: str) -> None:
    picture = re.search(r"^```\n( app.*?)^```", contributing, re.M | re.S)
    assert picture
    rows = [re.split(r" {3,}", line.strip())[0] for line in picture[1].splitlines() if line.strip()]
    drawn = [set(re.findall(r"\w+", row)) for row in rows]
    contracts = configparser.ConfigParser()
    contracts.read(PROJECT / "setup.cfg")
    layers = contracts["importlinter:contract:layers"]["layers"].split("\n")
    kept = [set(re.findall(r"\w+", layer)) - {"__main__"} for layer in layers if layer]
    assert drawn == [*kept, {"sandbox"}]
    modules = {path.stem for path in (PROJECT / "route_api").iterdir() if path.suffix == ".py" or path.is_dir()}
    files = {"console", "templates", "translations"}
    assert modules - {"__init__", "__main__", "__pycache__", *files} == set().union(*drawn)
