"""Conversations after the operator has changed the app in Dify: what `references` lists reaches the model."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import responses
from flask import Flask
from sqlalchemy import select, update

from route_api.chat import dify_cache as cache_module
from route_api.chat.dify_cache import CACHE_LIFETIME_S
from route_api.chat.preparation import FORM_LIFETIME_S, conversation_to_continue
from route_api.extensions import db
from route_api.prompts.variables import declared_variables, fingerprint
from route_api.sandbox.model.available_models import EXTRACTIVE_BRIEF
from route_api.storage.models import Conversation
from route_api.storage.turns import DifyConversation

from ..support.gateway_client import MakeApp
from ..support.sandbox_as_dify import SandboxAsDify
from ..support.sandbox_chat import MODEL, PROMPT, VARIABLES, form
from ..support.talk import ask

WITH_VARIABLES: dict[str, Any] = {"user_input_form": form(**{name: {} for name in VARIABLES}), "pre_prompt": PROMPT}
WITHOUT: dict[str, Any] = {}
AFTER = CACHE_LIFETIME_S + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of all caches of facts about Dify. A test moves it on."""
    time = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(cache_module, "monotonic", lambda: time.now)
    return time


@pytest.fixture
def sandbox(tmp_path: Path, mock: responses.RequestsMock) -> SandboxAsDify:
    return SandboxAsDify(tmp_path / "sandbox", mock)


@pytest.fixture
def worker(make_app: MakeApp, sandbox: SandboxAsDify, tmp_path: Path) -> Callable[[], Flask]:
    """Makes a worker of one gateway: each has its own cache, and all have one database."""
    return lambda: make_app(**sandbox.settings, DATABASE_URL=f"sqlite:///{tmp_path / 'all.sqlite3'}")


@pytest.fixture
def gateway(worker: Callable[[], Flask]) -> Flask:
    return worker()


class Talk:
    """A conversation about one kb. Each turn checks that the model was given what `references` lists."""

    def __init__(self, sandbox: SandboxAsDify) -> None:
        self.sandbox = sandbox
        self.kb_id = sandbox.make_dataset()
        self.conversation_id = ""

    def ask(self, app: Flask, question: str = "葫芦庙在哪里？", **more: Any) -> str:
        """:returns: all that the model received"""
        given = {"kb_id": self.kb_id, "conversation_id": self.conversation_id, **more}
        answer = ask(app.test_client(), question, "completion_db", **given).json
        assert answer["code"] == 0, answer
        self.conversation_id = answer["data"]["conversation_id"]
        with app.app_context(), db.engine.connect() as connection:
            of_alice = select(Conversation.dify_conversation_id).where(Conversation.user_id == "alice")
            self.on_dify = connection.scalars(of_alice.order_by(Conversation.create_time.desc())).first()
        self.sandbox.open_session()
        path = f"/apps/{self.sandbox.app_id}/chat-messages?conversation_id={self.on_dify}&limit=100"
        *_, message = self.sandbox.console("GET", path).json["data"]
        reached = self.sandbox.reached_the_model(message["id"])
        references = answer["rag_info"]["references"]
        assert references and all(each["content"] in reached for each in references), reached
        return reached

    @property
    def has_continued(self) -> bool:
        """Whether the last question went into an earlier conversation on Dify."""
        return "conversation_id" in self.sandbox.asked[-1]


@pytest.fixture
def talk(sandbox: SandboxAsDify) -> Talk:
    return Talk(sandbox)


@pytest.mark.parametrize(("before", "after"), [(WITHOUT, WITH_VARIABLES), (WITH_VARIABLES, WITHOUT)])
def test_a_changed_form_begins_a_new_conversation_on_dify_that_is_reminded_of_ours(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace, before: Any, after: Any
) -> None:
    sandbox.configure(**before)
    talk.ask(gateway, "庙的第一问")
    sandbox.configure(**after)
    clock.now += AFTER
    reached = talk.ask(gateway, "庙的第二问")
    assert not talk.has_continued and "庙的第一问" in reached
    assert ("context" in sandbox.asked[-1]["inputs"]) is (after is WITH_VARIABLES)
    for _ in range(2):
        talk.ask(gateway, "庙的下一问")
        assert talk.has_continued, "Dify knows this form now"


def test_what_does_not_matter_to_inputs_begins_nothing(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    sandbox.configure(**WITH_VARIABLES)
    talk.ask(gateway)
    relabelled = form(**{name: {"label": "新"} for name in reversed(VARIABLES)})
    sandbox.configure(**{**WITH_VARIABLES, "user_input_form": relabelled})
    clock.now += AFTER
    talk.ask(gateway)
    assert talk.has_continued


def test_a_conversation_from_before_the_form_was_remembered_begins_anew_once(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk
) -> None:
    sandbox.configure(**WITH_VARIABLES)
    talk.ask(gateway, "庙的第一问")
    with gateway.app_context(), db.engine.begin() as connection:
        connection.execute(update(Conversation).values(dify_form=None))
    assert "庙的第一问" in talk.ask(gateway, "庙的第二问") and not talk.has_continued
    talk.ask(gateway, "庙的第三问")
    assert talk.has_continued


def test_a_worker_with_an_old_form_does_not_store_it_with_a_conversation_that_begins(
    worker: Callable[[], Flask], sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    """The operator removes the variables and brings them back. A worker that still knew the first form would have begun
    a conversation on the second, stored the first with it, and gone on under the third, which equals the first."""
    old, new = worker(), worker()
    sandbox.configure(**WITH_VARIABLES)
    talk.ask(old)
    sandbox.configure(**WITHOUT)
    clock.now += FORM_LIFETIME_S  # Dify would not be asked again for another 295 seconds.
    talk.conversation_id = ""
    talk.ask(old)
    assert sandbox.asked[-1]["inputs"] == {}
    sandbox.configure(**WITH_VARIABLES)
    talk.ask(new)
    assert not talk.has_continued and "context" in sandbox.asked[-1]["inputs"]


def test_workers_with_old_and_new_facts_answer_by_turns(
    worker: Callable[[], Flask], sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    first, second = worker(), worker()
    sandbox.configure(**WITHOUT)
    talk.ask(first)
    sandbox.configure(**WITH_VARIABLES)
    clock.now += FORM_LIFETIME_S
    talk.ask(first)
    assert talk.has_continued, "this worker knows no other form, and Dify keeps the conversation on it"
    talk.ask(second)
    assert not talk.has_continued
    talk.ask(first)
    assert talk.has_continued, "before it begins another conversation, it asks Dify for the form again"


def test_many_conversations_that_begin_at_once_ask_for_the_form_once(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    for _ in range(3):
        talk.conversation_id = ""
        talk.ask(gateway)
    assert sandbox.calls.count("GET /v1/parameters") == 1
    clock.now += FORM_LIFETIME_S
    for _ in range(3):
        talk.conversation_id = ""
        talk.ask(gateway)
    assert sandbox.calls.count("GET /v1/parameters") == 2
    assert not [call for call in sandbox.calls if call == "GET /v1/info"]


def test_the_debugger_gets_the_form_with_each_turn_so_its_conversations_go_on(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    sandbox.configure(**WITHOUT)
    talk.ask(gateway, "庙的第一问", temperature=0.5)
    sandbox.configure(**WITH_VARIABLES)
    clock.now += AFTER
    assert "庙的第一问" in talk.ask(gateway, "庙的第二问", temperature=0.5)
    assert talk.has_continued and "context" in sandbox.asked[-1]["inputs"]


def test_a_changed_model_begins_a_new_conversation_on_dify_once_it_is_known(
    gateway: Flask, sandbox: SandboxAsDify, talk: Talk, clock: SimpleNamespace
) -> None:
    def ask_the_console() -> None:
        """A turn of another conversation, with a parameter: after it this worker knows the model of the app."""
        ask(gateway.test_client(), "你好", user_id="bob", temperature=0.5)

    ask_the_console()
    talk.ask(gateway, "庙的第一问")
    sandbox.configure(model={**MODEL, "name": EXTRACTIVE_BRIEF})
    clock.now += AFTER
    talk.ask(gateway, "庙的第二问")
    assert talk.has_continued, "nobody knows yet"
    ask_the_console()
    assert "庙的第一问" in talk.ask(gateway, "庙的第三问") and not talk.has_continued
    talk.ask(gateway)
    assert talk.has_continued


# ------------------------------------------------------------------ the decision alone

FORM = declared_variables({"user_input_form": WITH_VARIABLES["user_input_form"]})
PRINT = fingerprint(FORM)


@pytest.mark.parametrize(
    ("begun", "now", "goes_on"),
    [
        (("app", PRINT, None), ("app", PRINT, None), True),
        (("app", PRINT, "small@p"), ("app", PRINT, "small@p"), True),
        (("app", PRINT, None), ("app", PRINT, "small@p"), True),  # What is not known has not changed.
        (("app", PRINT, "small@p"), ("app", PRINT, None), True),
        (("app", PRINT, "small@p"), ("app", PRINT, "large@p"), False),
        (("app", "0" * 64, None), ("app", PRINT, None), False),
        (("app", None, None), ("app", PRINT, None), False),
        (("app:other", PRINT, None), ("app", PRINT, None), False),
        (("debugger", None, None), ("debugger", None, None), True),
    ],
)
@pytest.mark.parametrize("is_chatflow", [False, True])
def test_which_conversation_on_dify_goes_on(begun: Any, now: Any, goes_on: bool, is_chatflow: bool) -> None:
    """A chatflow answers each turn as it is published now; this is read in Dify's code, and was not recorded."""
    on_dify = DifyConversation(begun[0], "c", 1, begun[1], begun[2])
    name, print_now, model = now
    backend = SimpleNamespace(name=name, form=print_now, model=model, is_chatflow=is_chatflow)
    found = conversation_to_continue(SimpleNamespace(backend=backend), on_dify)  # type: ignore[arg-type]
    assert (found is on_dify) is (goes_on or is_chatflow and begun[0] == name)
    assert conversation_to_continue(SimpleNamespace(backend=backend), None) is None  # type: ignore[arg-type]
