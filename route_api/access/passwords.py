"""Hashes of passwords: werkzeug's scrypt. One hash takes 32 MiB and about 60 ms."""

from collections.abc import Callable
from typing import Any, TypeVar

from gevent import get_hub, monkey
from werkzeug.security import check_password_hash, generate_password_hash

T = TypeVar("T")

DUMMY_HASH = generate_password_hash("nobody has this password")
"""The password of an unknown user is compared with this hash, so that it takes as long as for a known user."""


def hash_password(password: str) -> str:
    """The hash of a password, to be stored."""
    return _beside(generate_password_hash, password)


def is_password(stored_hash: str | None, password: str) -> bool:
    """Whether this is the password. Without a stored hash the check takes as long, and the answer is False."""
    matches = _beside(check_password_hash, stored_hash or DUMMY_HASH, password)
    return matches and stored_hash is not None


def _beside(function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a real thread, where gevent serves: in a greenlet it would hold up every stream of the process."""
    if not monkey.is_module_patched("threading"):
        return function(*arguments)
    result: T = get_hub().threadpool.apply(function, arguments)
    return result
