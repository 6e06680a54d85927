#!/usr/bin/env python3
"""Measure what a long history costs: fill a database, time the queries of the API, and print their plans.

    .venv/bin/python -m benchmarks.history --database postgresql://postgres@127.0.0.1/bench

The database must be empty and have no tables. The script does not clean up: drop the database afterwards. The rows are
the same in every run. One user has a twentieth of all conversations, and one of these conversations has a hundredth of
all messages. This is the history of a busy test account after a year; no other account should have a longer one.
"""

import argparse
import random
import statistics
import time
from contextlib import contextmanager
from datetime import datetime, timedelta

import flask_migrate
from sqlalchemy import event, insert

from config import Config
from route_api.app import create_app
from route_api.extensions import db
from route_api.presenters.conversation import conversation_row
from route_api.presenters.message import message_row
from route_api.storage import conversations, messages, turns
from route_api.storage.database import transaction
from route_api.storage.models import Conversation, Message, User

RUNS = 20
ROWS_PER_TRANSACTION = 10_000
CONVERSATIONS_PER_USER = 100
BUSY_USER = "user0"
QUESTION = "葫芦庙在哪里？甄士隐和贾雨村是怎样认识的？"
ANSWER = "<think>\n先看第一回。\n</think>\n\n" + "葫芦庙在姑苏城阊门外十里街的仁清巷内，人皆呼作葫芦庙。😀" * 5
META_DATA = {
    "status": "done",
    "carrier": "app",
    "dify_conversation_id": "25db0cb2-01c8-4efc-ae4a-ebd13d30dff4",
    "task_id": "dfa88c71-694b-4e60-8120-ce07f6be6eff",
    "usage": {"prompt_tokens": 812, "completion_tokens": 64, "total_tokens": 876},
}
START = datetime(2025, 1, 1)
FORGED = {"kb_id": None, "dify_conversation_id": META_DATA["dify_conversation_id"], "carrier": "app", "dify_since": 1}


class History:
    """Generates the rows of the tables; every call generates the same rows."""

    def __init__(self, conversation_count, message_count):
        self.message_count = message_count
        self.user_count = max(2, conversation_count // CONVERSATIONS_PER_USER)
        self.ids = list(random_ids(seed=1, count=conversation_count))
        self.busy = conversation_count // 20
        self.longest = max(1, message_count // 100)

    def users(self):
        for number in range(self.user_count):
            yield {"id": f"user{number}", "username": None, "password_hash": None}

    def owner(self, number):
        return BUSY_USER if number < self.busy else f"user{1 + number % (self.user_count - 1)}"

    def conversations(self):
        for number, conversation_id in enumerate(self.ids):
            yield {
                **FORGED,
                "id": conversation_id,
                "user_id": self.owner(number),
                "name": f"第{number}个对话",
                "chat_type": "kb_chat" if number % 3 == 0 else "chat",
                "create_time": START + timedelta(seconds=7 * number),
            }

    def messages(self):
        """Generate the messages: first the long conversation, then the first turns of all others, then their second
        turns, and so on, in the order in which real turns would be inserted."""
        ids = random_ids(seed=2, count=self.message_count)
        others = len(self.ids) - 1
        for number, message_id in enumerate(ids):
            rest = number - self.longest
            conversation, position = (0, number + 1) if rest < 0 else (1 + rest % others, 1 + rest // others)
            yield {
                "id": message_id,
                "conversation_id": self.ids[conversation],
                "position": position,
                "chat_type": "chat",
                "query": QUESTION,
                "response": ANSWER,
                "meta_data": META_DATA,
                "feedback_score": None,
                "feedback_reason": None,
                "create_time": START + timedelta(seconds=number),
                "leased_until": None,
                "dify_message_id": message_id,
            }


def random_ids(seed, count):
    generator = random.Random(seed)
    return (f"{generator.getrandbits(128):032x}" for _ in range(count))


def fill(engine, table, rows):
    started, count, chunk = time.perf_counter(), 0, []
    for row in rows:
        chunk.append(row)
        if len(chunk) == ROWS_PER_TRANSACTION:
            count += store(engine, table, chunk)
            chunk = []
    count += store(engine, table, chunk)
    print(f"{count} rows of {table.__tablename__} in {time.perf_counter() - started:.0f} s", flush=True)


def store(engine, table, rows):
    if rows:
        with transaction(engine) as connection:
            connection.execute(insert(table.__table__), rows)
    return len(rows)


def analyze(engine):
    """Update the statistics of PostgreSQL and InnoDB, which these databases would do themselves a little later.

    The gateway never does this for SQLite, so the script does not either.
    """
    statement = {"postgresql": "VACUUM ANALYZE", "mysql": "ANALYZE TABLE user, conversation, message"}
    if engine.dialect.name in statement:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement[engine.dialect.name]).close()


def questions(engine, history):
    """Make the queries of the API.

    :returns: functions that run one query each, by name
    """
    long_id = history.ids[0]
    plain = len(history.ids) - 1
    pages = -(-history.busy // 20)
    last_page = -(-history.longest // 20)
    continued = {"of_conversation": long_id, "of_user": BUSY_USER}
    one_id = next(random_ids(seed=2, count=1))

    def listed(user_id, page=1, **more):
        def ask():
            rows, _ = conversations.list_conversations(engine, user_id, page=page, page_size=20, **more)
            return [conversation_row(row) for row in rows]

        return ask

    def said(user_id, conversation_id, page, order="asc"):
        def ask():
            rows, _ = messages.list_messages(engine, user_id, conversation_id, page=page, page_size=20, order=order)
            return [message_row(row) for row in rows]

        return ask

    def read(statement, **parameters):
        def ask():
            with engine.connect() as connection:
                return connection.execute(statement, parameters).all()

        return ask

    return {
        f"list, first page of {history.busy}": listed(BUSY_USER),
        f"list, last page of {history.busy}": listed(BUSY_USER, pages),
        f"list, last page of one chat_type of {history.busy}": listed(BUSY_USER, -(-pages // 3), chat_type="kb_chat"),
        f"list, of {CONVERSATIONS_PER_USER}": listed(history.owner(plain)),
        "get": lambda: conversation_row(conversations.read_conversation(engine, BUSY_USER, long_id)),
        f"messages, first page of {history.longest}": said(BUSY_USER, long_id, 1),
        f"messages, last page of {history.longest}": said(BUSY_USER, long_id, last_page),
        f"messages, newest first of {history.longest}": said(BUSY_USER, long_id, 1, "desc"),
        "messages, a short conversation": said(history.owner(plain), history.ids[plain], 1),
        "message/get": lambda: message_row(messages.read_message(engine, BUSY_USER, one_id)),
        "feedback": lambda: messages.rate_message(engine, BUSY_USER, one_id, 90, "很好"),
        "continuing turn: the last turn": read(turns.SELECT_LAST_TURN, **continued),
        "continuing turn: 20 past turns": read(
            turns.SELECT_PAST_TURNS, of_conversation=long_id, before=history.longest, maximum=20
        ),
        "rename": lambda: conversations.rename_conversation(engine, BUSY_USER, long_id, "名字"),
    }


@contextmanager
def noted(engine):
    """Record the statements that are sent inside the `with` block.

    :returns: a list of statements with their parameters, which grows while the block runs
    """
    sent = []

    def note(_connection, _cursor, statement, parameters, *_):
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def plan(engine, statement, parameters):
    """Ask the database for the plan of a statement.

    :returns: the lines of the plan, and whether it reads a whole table or a whole index
    """
    prefix = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"{prefix} {statement}", parameters).mappings().all()
    if engine.dialect.name == "sqlite":
        lines = [row["detail"] for row in rows]
        return lines, any(line.startswith("SCAN ") and line != "SCAN found" for line in lines)
    if engine.dialect.name == "postgresql":
        lines = [row["QUERY PLAN"] for row in rows]
        return lines, any("Seq Scan" in line for line in lines)
    names = ("table", "type", "key", "rows", "Extra")
    lines = [" ".join(f"{name}={row[name]}" for name in names if row[name] is not None) for row in rows]
    tables = [row for row in rows if row["table"] and not row["table"].startswith("<")]
    return lines, any(row["type"] in ("ALL", "index") for row in tables)


def milliseconds(ask):
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--database", required=True, help="the DATABASE_URL of an empty database")
    parser.add_argument("--conversations", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    options = parser.parse_args()
    history = History(options.conversations, options.messages)
    with create_app(Config.load(DATABASE_URL=options.database)).app_context():
        flask_migrate.upgrade()
        engine = db.engine
        fill(engine, User, history.users())
        fill(engine, Conversation, history.conversations())
        fill(engine, Message, history.messages())
        analyze(engine)
        shown = []
        for name, ask in questions(engine, history).items():
            with noted(engine) as sent:
                ask()
            median = statistics.median(milliseconds(ask) for _ in range(RUNS))
            print(f"\n{name}: {median:.1f} ms")
            for statement, parameters in sent:
                lines, scans = plan(engine, statement, parameters)
                print("    A WHOLE TABLE IS SCANNED" if scans else "    no table is scanned", end="")
                print("; plan as above" if lines in shown else ":" + "".join(f"\n        {line}" for line in lines))
                shown.append(lines)
        gone = milliseconds(lambda: conversations.delete_conversations(engine, BUSY_USER, history.ids[:1]))
        print(f"\nrm, with {history.longest} messages: {gone:.0f} ms, once")


if __name__ == "__main__":
    main()
