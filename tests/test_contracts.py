"""Rules about imports that import-linter cannot check by itself."""

import ast
import configparser
import re
from dataclasses import fields
from pathlib import Path

import pytest

from route_api.app import Components

PROJECT_DIR = Path(__file__).parents[1]
PACKAGE = PROJECT_DIR / "route_api"
TESTS = PROJECT_DIR / "tests"
IMPORT_OF_A_TEST_MODULE = re.compile(r"^(?:from|import) .*\b(?:conftest|test_\w+)\b.*$", re.MULTILINE)


def modules_of_the_package() -> set[str]:
    """The modules and packages that lie directly in `route_api/`."""
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def test_the_sandbox_may_import_no_other_module_of_route_api() -> None:
    settings = configparser.ConfigParser()
    settings.read(PROJECT_DIR / "setup.cfg")
    forbidden = set(settings["importlinter:contract:sandbox"]["forbidden_modules"].split())
    others = {f"route_api.{name}" for name in modules_of_the_package() - {"sandbox"}}
    assert forbidden == others | {"config", "wsgi"}


def test_importing_the_package_route_api_loads_nothing() -> None:
    statements = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert [type(statement) for statement in statements] == [ast.Expr], "only a docstring may stand there"


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_helpers_are_imported_from_tests_support_alone(path: Path) -> None:
    """Also in the scripts that some tests start, which are strings."""
    assert IMPORT_OF_A_TEST_MODULE.findall(path.read_text()) == []


def test_every_proxy_stands_for_a_component_of_the_application() -> None:
    named = {
        name
        for path in (PROJECT_DIR / "route_api").rglob("*.py")
        for name in re.findall(r'= component\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    assert named == {entry.name for entry in fields(Components)}
