"""The sandbox's storage: a data folder of an earlier version stays usable."""

from route_api.sandbox.app import TABLES
from route_api.sandbox.store import Store

from ..support.sandbox_chat import Sandbox


def test_a_data_folder_without_the_later_columns_gets_them_and_keeps_its_rows(sandbox: Sandbox) -> None:
    turn = sandbox.ask()
    rated = {"rating": "dislike", "content": "长", "user": "alice"}
    assert sandbox.service("POST", f"/messages/{turn['message_id']}/feedbacks", json=rated).status_code == 200
    connection = Store(sandbox.data_dir).connection()
    dropped = [
        (table, column.split()[0])
        for module in TABLES
        for table, columns in getattr(module, "ADDED_COLUMNS", {}).items()
        for column in columns
    ]
    for table, column in dropped:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.close()
    assert {table for table, _ in dropped} == {"app", "child_chunk", "message"}

    again = Sandbox(sandbox.data_dir, sandbox.credentials)
    assert again.service("GET", "/info").json["mode"] == "chat"
    (feedback,) = again.service("GET", "/app/feedbacks").json["data"]
    assert (feedback["rating"], feedback["content"], feedback["id"]) == ("dislike", "长", turn["message_id"])
