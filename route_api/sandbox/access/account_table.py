"""The tables around the console's one account."""

import secrets
import time
import uuid
from sqlite3 import Row

from werkzeug.security import generate_password_hash

from ..store import Store

NOBODY = ("00000000-0000-0000-0000-000000000000", "sandbox")


def account_id_and_name(store: Store) -> tuple[str, str]:
    """Return the id and the name of the account. Datasets and documents name it as their creator.

    Before the setup there is no account; then `NOBODY` is returned.
    """
    account = find_account(store)
    return NOBODY if account is None else (account["id"], account["name"])


SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    token_secret TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_login_at INTEGER,
    last_login_ip TEXT
);
CREATE TABLE IF NOT EXISTS refresh_token (
    token TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS wrong_password (
    email TEXT NOT NULL,
    tried_at INTEGER NOT NULL
);
"""


def find_account(store: Store) -> Row | None:
    """Return the account's row, or None before the setup."""
    return store.connection().execute("SELECT * FROM account").fetchone()


def create_account(store: Store, email: str, name: str, password: str) -> None:
    """Create the account. There must be none yet."""
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO account (id, email, name, password_hash, token_secret, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                str(uuid.uuid4()),
                email,
                name,
                generate_password_hash(password),
                secrets.token_hex(32),
                int(time.time()),
            ),
        )


def set_password(store: Store, password: str) -> None:
    """Replace the account's password."""
    store.connection().execute("UPDATE account SET password_hash = ?", (generate_password_hash(password),))


WORKSPACE_ID = "5a0db0c5-0000-4000-8000-000000000001"
"""The id of the one workspace (in Dify's words: tenant). It is the same in each sandbox."""
