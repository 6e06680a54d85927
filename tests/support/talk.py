"""Sends questions to the gateway in tests, reads streams, and reads the tables."""

from typing import Any

import orjson
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from route_api.extensions import db
from route_api.storage.models import Conversation, Message, User

from .fake_dify import FakeDify
from .gateway_client import assert_says_nothing_of_our_insides
from .recordings import load

CHAT = "/v1/chat-messages"
NOBODY = "00000000-0000-4000-8000-000000000000"


def without_variables(dify: FakeDify) -> None:
    dify.play("chat/parameters-without-variables")


def asks_for_the_mode(dify: FakeDify) -> None:
    """Answer the call of a turn with a history that has no variable: in the query of a chatflow it must not be."""
    dify.play("chat/info")


def ask(client: FlaskClient, message: str = "葫芦庙在哪里？", path: str = "completion", **more: Any) -> Any:
    body = {"user_id": "alice", "message": message, **more}
    return client.post(f"/v1/conversation/{path}", json=body)


def stream(client: FlaskClient, message: str = "葫芦庙在哪里？", path: str = "completion", **more: Any) -> list[Any]:
    """Ask for a stream and return its events, decoded and without comments."""
    answer = ask(client, message, path, streaming=True, **more)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream"), answer.text
    return decoded(answer.data)


def decoded(body: bytes) -> list[Any]:
    assert_says_nothing_of_our_insides(body.decode())
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    return [orjson.loads(block.removeprefix("data: ")) for block in blocks if not block.startswith(":")]


def messages(app: Flask) -> list[Any]:
    """The rows of all turns in their order, read without the gateway's own queries."""
    with app.app_context(), db.engine.connect() as connection:
        return list(connection.execute(select(Message.__table__).order_by(Message.create_time, Message.position)))


def counts(app: Flask) -> tuple[int, int, int]:
    with app.app_context(), db.engine.connect() as connection:
        users, conversations, turns = (
            len(connection.execute(select(t.id)).all()) for t in (User, Conversation, Message)
        )
        return users, conversations, turns


def recorded_events(version: str, case: str) -> list[Any]:
    """The events of a recorded stream, without its pings."""
    blocks = load(version, case)["response"]["body"].split("\n\n")
    return [orjson.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]


def recorded_text(version: str, case: str) -> str:
    """The whole answer of a recorded stream."""
    return "".join(event["answer"] for event in recorded_events(version, case) if event["event"] == "message")


def named(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream in the mode `events`: name and data, without comments."""
    assert_says_nothing_of_our_insides(body.decode())
    blocks = body.decode().split("\n\n")
    assert blocks.pop() == ""
    lines = [block.split("\n") for block in blocks if not block.startswith(":")]
    return [(name.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))) for name, data in lines]
