"""Users who log in: parameters and answers."""

import re
import unicodedata
from typing import Any

from ..languages import Sentence
from .answers import OrNull, answer
from .base import Parameters
from .conversation import UserParameters
from .fields import Text

USERNAME_LENGTH = 64
PASSWORD_LENGTH = (8, 128)
"""Minimum and maximum in characters. Hashing a longer one would take more time."""

USABLE_NAME = re.compile(r"[\w.@+-]{1,64}").fullmatch


def canonical_name(username: str) -> str:
    """The canonical spelling of a username: Unicode NFKC, lower case. Names that look alike become equal."""
    return unicodedata.normalize("NFKC", username).casefold()


class Username(Text):
    """A username, loaded in its canonical spelling."""

    default_error_messages = {"unusable": Sentence("may hold letters, digits and . _ @ + - only.")}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = canonical_name(super()._deserialize(value, attr, data, **kwargs))
        if not USABLE_NAME(name):
            raise self.make_error("unusable")
        return name


class Password(Text):
    """A password.

    :param chosen: whether it is a new one, which must have the minimum length
    """

    default_error_messages = {"too_short": Sentence("must have {minimum} characters or more.")}

    def __init__(self, *, chosen: bool = False, **kwargs: Any) -> None:
        limits = {"minLength": PASSWORD_LENGTH[0]} if chosen else {}
        metadata = {**limits, **kwargs.pop("metadata", {})}
        super().__init__(max_length=PASSWORD_LENGTH[1], blank=True, required=True, metadata=metadata, **kwargs)
        self.chosen = chosen

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        password = super()._deserialize(value, attr, data, **kwargs)
        if self.chosen and len(password) < PASSWORD_LENGTH[0]:
            raise self.make_error("too_short", minimum=PASSWORD_LENGTH[0])
        return password


class Registration(Parameters):
    """Parameters of `user/register`."""

    username = Username(max_length=USERNAME_LENGTH, trim=True, required=True, metadata={"example": "yinglian"})
    password = Password(chosen=True, metadata={"example": "a long sentence"})


class Credentials(Parameters):
    """Parameters of `user/login`."""

    username = Username(max_length=USERNAME_LENGTH, trim=True, required=True, metadata={"example": "yinglian"})
    password = Password(metadata={"example": "a long sentence"})


class NewPassword(Parameters):
    """Parameters of `user/password`."""

    password = Password(metadata={"description": "the present one", "example": "a long sentence"})
    new_password = Password(chosen=True, metadata={"example": "a longer sentence"})


class UserId(UserParameters):
    """Parameters of `user/info` and `user/logout`."""


USER = {
    "id": "6d0c1b0f1c6f4c58a3f1d1b0a7f0c7e2",
    "nickname": OrNull("yinglian"),
    "role": "user",
    "user_id": "6d0c1b0f1c6f4c58a3f1d1b0a7f0c7e2",
    "username": OrNull("yinglian"),
}
LOGIN = {"expires_in": 86400, "token": "WyI2ZDBj….aR8m2g.…", "token_type": "Bearer", "user": USER}

UserAnswer = answer("UserAnswer", USER)
LoginAnswer = answer("LoginAnswer", LOGIN)
LogoutAnswer = answer("LogoutAnswer", "", message="Signed out on all devices.")
