"""Users who log in: their rows in `user`, passwords and roles.

Usernames come in their canonical spelling (`schemas/user.py`).
"""

from typing import Any

from sqlalchemy import Engine, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import UsernameTaken, UserNotFound
from ..storage.models import User, new_id
from .passwords import hash_password, is_password
from .tokens import Login

Json = dict[str, Any]

ACCOUNT = select(User.id, User.username, User.password_hash, User.role, User.login_generation)
ACCOUNT_BY_NAME = ACCOUNT.where(User.username == bindparam("of_name"))
ACCOUNT_BY_ID = ACCOUNT.where(User.id == bindparam("of_user"))


def register(engine: Engine, username: str, password: str, role: str = "user") -> Json:
    """A new user.

    :raises UsernameTaken: there is one of this name
    """
    user = {"id": new_id(), "username": username, "password_hash": hash_password(password), "role": role}
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(user))
    except IntegrityError as error:
        raise UsernameTaken(username) from error
    return _shown(user["id"], username, role)


def check_password(engine: Engine, username: str, password: str) -> tuple[Login, Json] | None:
    """The login of the user of this name, and their row as we show it; None if there is none or the password is wrong.

    Both take the same time.
    """
    with engine.connect() as connection:
        row = connection.execute(ACCOUNT_BY_NAME, {"of_name": username}).first()
    if not is_password(row and row.password_hash, password) or row is None:
        return None
    return Login(row.id, row.login_generation), _shown(row.id, row.username, row.role)


def read_account(engine: Engine, user_id: str) -> Json:
    """A user's row as we show it.

    :raises UserNotFound: there is none; it appears with the first turn
    """
    row = _account(engine, user_id)
    return _shown(row.id, row.username, row.role)


def name_of(engine: Engine, user_id: str) -> str:
    """The username of somebody who can log in.

    :raises UserNotFound: this user cannot
    """
    username: str | None = _account(engine, user_id).username
    if username is None:
        raise UserNotFound(user_id)
    return username


def change_password(engine: Engine, user_id: str, password: str) -> Login:
    """Give a user another password, which ends all their logins.

    :returns: what a new token would say
    :raises UserNotFound: there is no such user
    """
    return _end_logins(engine, user_id, password_hash=hash_password(password))


def end_logins(engine: Engine, user_id: str) -> Login:
    """Sign a user out on all devices.

    :returns: what a new token would say
    :raises UserNotFound: there is no such user
    """
    return _end_logins(engine, user_id)


def _end_logins(engine: Engine, user_id: str, **changed: str) -> Login:
    next_generation = {"login_generation": User.login_generation + 1, **changed}
    with engine.connect() as connection:
        connection.execute(update(User).where(User.id == user_id).values(next_generation))
    return Login(user_id, _account(engine, user_id).login_generation)


def id_of(engine: Engine, username: str) -> str:
    """The user_id of the user of this name.

    :raises UserNotFound: there is none
    """
    with engine.connect() as connection:
        row = connection.execute(ACCOUNT_BY_NAME, {"of_name": username}).first()
    if row is None:
        raise UserNotFound(username)
    user_id: str = row.id
    return user_id


def change_role(engine: Engine, username: str, role: str) -> None:
    """Give a user another role; it holds from their next request on.

    :raises UserNotFound: there is no user of this name
    """
    user_id = id_of(engine, username)
    with engine.connect() as connection:
        connection.execute(update(User).where(User.id == user_id).values(role=role))


def list_accounts(engine: Engine) -> list[Json]:
    """All users who can log in, by name."""
    with engine.connect() as connection:
        rows = connection.execute(ACCOUNT.where(User.username.is_not(None)).order_by(User.username)).all()
    return [_shown(row.id, row.username, row.role) for row in rows]


def _account(engine: Engine, user_id: str) -> Any:
    with engine.connect() as connection:
        row = connection.execute(ACCOUNT_BY_ID, {"of_user": user_id}).first()
    if row is None:
        raise UserNotFound(user_id)
    return row


def _shown(user_id: str, username: str | None, role: str) -> Json:
    """`id` and `nickname` are what RAGFlow's frontend reads."""
    return {"id": user_id, "nickname": username, "role": role, "user_id": user_id, "username": username}
