"""Users who log in: every query on their rows in the table `user`, with their passwords and roles.

Usernames are expected in canonical spelling (`schemas/user.py`).
"""

from typing import Any

from sqlalchemy import Engine, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..errors import UsernameTaken, UserNotFound
from ..storage.models import User, new_id
from .passwords import hash_password, is_password
from .tokens import Login

Json = dict[str, Any]

SELECT_USERS = select(User.id, User.username, User.password_hash, User.role, User.login_generation)
SELECT_USER_BY_NAME = SELECT_USERS.where(User.username == bindparam("of_name"))
SELECT_USER_BY_ID = SELECT_USERS.where(User.id == bindparam("of_user"))
SELECT_ROLE_AND_GENERATION = select(User.role, User.login_generation).where(User.id == bindparam("of_user"))


def register(engine: Engine, username: str, password: str, role: str = "user") -> Json:
    """Create a user who can log in.

    :returns: the user as JSON
    :raises UsernameTaken: another user has this name
    """
    user = {"id": new_id(), "username": username, "password_hash": hash_password(password), "role": role}
    try:
        with engine.connect() as connection:
            connection.execute(insert(User).values(user))
    except IntegrityError as error:
        raise UsernameTaken(username) from error
    return _as_json(user["id"], username, role)


def check_password(engine: Engine, username: str, password: str) -> tuple[Login, Json] | None:
    """Check a username and a password.

    An unknown name takes as long as a wrong password, so that the time taken does not reveal which names exist.

    :returns: the login for a token and the user as JSON; None if the name or the password is wrong
    """
    row = _find_by_name(engine, username)
    if not is_password(row and row.password_hash, password) or row is None:
        return None
    return Login(row.id, row.login_generation), _as_json(row.id, row.username, row.role)


def find_role_and_generation(engine: Engine, user_id: str) -> tuple[str | None, int | None]:
    """The role and the login generation of a user. Runs at every request with a token.

    :returns: both None if there is no such user
    """
    with engine.connect() as connection:
        row = connection.execute(SELECT_ROLE_AND_GENERATION, {"of_user": user_id}).first()
    return (row.role, row.login_generation) if row is not None else (None, None)


def read_user(engine: Engine, user_id: str) -> Json:
    """A user as JSON.

    :raises UserNotFound: there is no such user; the row of a user who does not log in appears with their first turn
    """
    row = _read_by_id(engine, user_id)
    return _as_json(row.id, row.username, row.role)


def username_of(engine: Engine, user_id: str) -> str:
    """The username of a user who can log in.

    :raises UserNotFound: there is no such user, or they cannot log in
    """
    username: str | None = _read_by_id(engine, user_id).username
    if username is None:
        raise UserNotFound(user_id)
    return username


def user_id_of(engine: Engine, username: str) -> str:
    """The id of the user with this name.

    :raises UserNotFound: there is no such user
    """
    row = _find_by_name(engine, username)
    if row is None:
        raise UserNotFound(username)
    user_id: str = row.id
    return user_id


def list_users(engine: Engine) -> list[Json]:
    """All users who can log in, ordered by name."""
    with engine.connect() as connection:
        rows = connection.execute(SELECT_USERS.where(User.username.is_not(None)).order_by(User.username)).all()
    return [_as_json(row.id, row.username, row.role) for row in rows]


def change_password(engine: Engine, user_id: str, password: str) -> Login:
    """Change a user's password, which ends all their logins.

    :returns: the login for a new token
    :raises UserNotFound: there is no such user
    """
    return _end_logins(engine, user_id, password_hash=hash_password(password))


def end_logins(engine: Engine, user_id: str) -> Login:
    """Sign a user out on all devices.

    :returns: the login for a new token
    :raises UserNotFound: there is no such user
    """
    return _end_logins(engine, user_id)


def change_role(engine: Engine, username: str, role: str) -> None:
    """Change a user's role. It holds from their next request on.

    :raises UserNotFound: there is no such user
    """
    user_id = user_id_of(engine, username)
    with engine.connect() as connection:
        connection.execute(update(User).where(User.id == user_id).values(role=role))


def _end_logins(engine: Engine, user_id: str, **changed: str) -> Login:
    next_generation = {"login_generation": User.login_generation + 1, **changed}
    with engine.connect() as connection:
        connection.execute(update(User).where(User.id == user_id).values(next_generation))
    return Login(user_id, _read_by_id(engine, user_id).login_generation)


def _find_by_name(engine: Engine, username: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(SELECT_USER_BY_NAME, {"of_name": username}).first()


def _read_by_id(engine: Engine, user_id: str) -> Any:
    with engine.connect() as connection:
        row = connection.execute(SELECT_USER_BY_ID, {"of_user": user_id}).first()
    if row is None:
        raise UserNotFound(user_id)
    return row


def _as_json(user_id: str, username: str | None, role: str) -> Json:
    """`id` and `nickname` are there for RAGFlow's frontend."""
    return {"id": user_id, "nickname": username, "role": role, "user_id": user_id, "username": username}
