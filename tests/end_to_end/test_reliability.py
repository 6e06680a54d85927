"""What callers get at each fault of Dify: docs/reliability.md says it, and here it is tried.

The table of Dify's faults in that page is the list of these tests. The other tables name the tests of their rows.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import flask_migrate
import pytest

from config import Config
from route_api.app import create_app

from ..support.faulty_dify import FAULTS, FaultyDify, faulty_dify
from ..support.impatient_gateway import impatient_gateway
from ..support.reliability_page import PAGE, table
from ..support.running_gateway import free_port, wait_for
from ..support.settings import OPEN
from ..support.six_requests import COLUMNS, HEALTHY, Caller, settings_for

PROJECT = Path(__file__).parents[2]


DIFY_ROWS = {row[0]: row[1:] for row in table("Dify")}


# ------------------------------------------------------------------ the page


def test_the_page_has_a_row_for_each_fault_and_no_empty_cell() -> None:
    assert set(DIFY_ROWS) == {*FAULTS, "refused", "DNS gone"}
    for heading in ("Dify", "The database", "Redis", "The gateway itself", "Callers"):
        rows = table(heading)
        assert rows and not [row for row in rows if not all(row) or len(row) != len(rows[0])], heading


def test_each_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    missing = [f"{path}::{name}" for path, name in named if name not in functions_in(PROJECT / path)]
    assert named and missing == []
    for heading in ("The database", "Redis", "The gateway itself", "Callers"):
        assert not [row[0] for row in table(heading) if "::test_" not in row[-1]], heading


def functions_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


# ------------------------------------------------------------------ the tests


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('reliability') / 'gateway.sqlite3'}"
    app = create_app(Config.load(DATABASE_URL=url, **OPEN))
    with app.app_context():
        flask_migrate.upgrade()
    return url


@pytest.fixture(scope="module")
def dify() -> Iterator[FaultyDify]:
    with faulty_dify() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(dify: FaultyDify, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("log") / "gateway.log"
    with impatient_gateway(log, **settings_for(dify.url, database_url)) as address:
        yield address


@pytest.fixture
def healthy(gateway: str, dify: FaultyDify) -> str:
    """A gateway whose Dify answers. A success of each kind also ends the count of failures in a row."""
    dify.faults.clear()
    assert Caller(gateway).ask_all() == HEALTHY
    return gateway


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_dify_has_the_answers_of_the_page(healthy: str, dify: FaultyDify, fault: str) -> None:
    dify.faults = dict.fromkeys(("chat", "list", "upload", "download", "retrieve"), FAULTS[fault])
    caller = Caller(healthy)
    answers = caller.ask_all()
    dify.faults = {}
    assert dict(zip(COLUMNS, answers, strict=True)) == dict(zip(COLUMNS, DIFY_ROWS.get(fault, []), strict=True))
    for streaming in (False, True):
        user = {"user_id": caller.user_of(streaming)}
        (conversation,) = caller.post("conversation/list", json=user).json()["data"]["conversations"]
        again = {**user, "message": "再问一次", "conversation_id": conversation["conversation_id"]}
        assert caller.post("conversation/completion", json=again).json()["code"] == 0, "the claim was not let go"
    wait_for(lambda: not [kind for kind in dify.open_calls if kind != "stop"])


def test_a_dify_that_is_not_there_has_the_answers_of_the_page(database_url: str, tmp_path: Path) -> None:
    for fault, url in {"refused": f"http://127.0.0.1:{free_port()}", "DNS gone": "http://dify.invalid"}.items():
        with impatient_gateway(tmp_path / "gateway.log", **settings_for(url, database_url)) as address:
            assert Caller(address).ask_all() == DIFY_ROWS[fault]
