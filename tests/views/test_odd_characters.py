"""What callers send is stored: U+0000 is refused, a lone surrogate is refused or replaced, on every database."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.storage.models import dashed
from route_api.storage.turns import NewTurn, TurnEnd, begin_turn, finish_turn

from ..support import databases
from ..support.settings import OPEN

database_url, migrated, engine = databases.database_url, databases.migrated, databases.engine


@pytest.fixture
def client(engine: Engine, database_url: str) -> Iterator[FlaskClient]:
    app: Flask = create_app(Config.load(DATABASE_URL=database_url, **OPEN))
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def ids(engine: Engine) -> dict[str, str]:
    """A turn that has ended."""
    row = begin_turn(engine, NewTurn("alice", "?", "chat"))
    finish_turn(engine, row, TurnEnd("!", "done", None, None))
    return {"conversation_id": dashed(row.conversation_id), "message_id": dashed(row.message_id)}


STORED = [
    ("/conversation/rename", {"user_id": "alice"}, "name"),
    ("/conversation/rename", {"name": "x"}, "user_id"),
    ("/message/feedback", {"user_id": "alice", "score": 9}, "reason"),
    ("/chat/chat", {"user_id": "alice", "message": "?"}, "conversation_name"),
    ("/chat/chat", {"user_id": "alice"}, "message"),
    ("/user/register", {"password": "a long password"}, "username"),
]
"""An endpoint, its other parameters, and a parameter that is stored or that a statement compares."""


@pytest.mark.parametrize(("path", "others", "name"), STORED)
def test_a_nul_is_refused_everywhere_and_a_lone_surrogate_in_json(
    client: FlaskClient, ids: dict[str, str], path: str, others: dict[str, object], name: str
) -> None:
    given = {**ids, **others}
    answers = [client.post(path, json={**given, name: "a\0b"})]
    answers += [
        client.post(path, data={**given, name: "a\0b"}),
        client.post(path, query_string={**given, name: "a\0b"}),
    ]
    for escape in ("\\ud800", "\\udfff", "\\ud83d\\u0041"):
        body = b"{%s}" % b",".join(b'"%b":"%b"' % (k.encode(), str(v).encode()) for k, v in given.items())
        body = body[:-1] + b',"%b":"a%b"}' % (name.encode(), escape.encode())
        answers.append(client.post(path, data=body, content_type="application/json"))
    for answer in answers:
        assert (answer.status_code, answer.json["error"]) == (400, "validation_failed"), answer.text


@pytest.mark.parametrize("where", ["query", "form"])
def test_a_lone_surrogate_in_a_query_or_form_is_refused_as_in_json(
    client: FlaskClient, ids: dict[str, str], where: str
) -> None:
    text = f"conversation_id={ids['conversation_id']}&user_id=alice&name=a%ED%A0%80b"
    if where == "query":
        answer = client.post(f"/conversation/rename?{text}")
    else:
        answer = client.post("/conversation/rename", data=text, content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json["error"]) == (400, "validation_failed")
    assert answer.json["message"].startswith("name in the ") and "is not UTF-8" in answer.json["message"]
