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
from route_api.openapi.markdown import api_reference

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


def test_every_setting_has_a_meaning_in_the_readme(readme: str) -> None:
    assert [
        name for name, cells in rows(readme).items() if name in SETTINGS and not (len(cells) == 2 and cells[1])
    ] == []


def test_the_api_reference_is_what_make_docs_would_write(app: Flask, reference: str) -> None:
    with app.app_context():
        assert api_reference(api.spec.to_dict()) == reference, "run `make docs`"


def test_every_error_code_is_in_the_api_reference(reference: str) -> None:
    assert sorted(code for code in ERROR_CODES if f"`{code}`" not in reference) == []


def test_the_endpoints_of_the_api_reference_are_those_of_the_application(app: Flask, reference: str) -> None:
    headings = re.findall(r"^### ([A-Z /]+) (/\S+)$", reference, re.M)
    documented = {(method, path) for methods, path in headings for method in methods.split(" / ")}
    served = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert documented == served


def shell_lines(markdown: str) -> list[str]:
    """The commands of a document, without its comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", markdown, re.M | re.S)
    return [line.split("    #")[0] for block in blocks for line in block.splitlines() if not line.startswith("#")]


def test_the_chinese_readme_has_the_commands_of_the_english_one(readme: str) -> None:
    chinese = (PROJECT / "README.zh.md").read_text(encoding="utf-8")
    assert shell_lines(chinese) == shell_lines(readme)


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
    assert modules - {"__init__", "__main__", "__pycache__", "templates"} == set().union(*drawn)
