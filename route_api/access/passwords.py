"""Hashes of passwords: scrypt, as werkzeug makes them (32 MiB and about 60 ms each)."""

from collections.abc import Callable
from typing import Any, TypeVar

from gevent import get_hub, monkey
from werkzeug.security import check_password_hash, generate_password_hash

T = TypeVar("T")

NOBODYS_HASH = generate_password_hash("nobody has this password")
"""What the password of an unknown user is held against, so that the answer takes as long as for a known one."""


def hash_password(password: str) -> str:
    """What is stored of a password."""
    return _beside(generate_password_hash, password)


def is_password(stored_hash: str | None, password: str) -> bool:
    """Whether this is the password; never, after the usual time, if there is none."""
    matches = _beside(check_password_hash, stored_hash or NOBODYS_HASH, password)
    return matches and stored_hash is not None


def _beside(function: Callable[..., T], *arguments: Any) -> T:
    """Call it in a real thread, where gevent serves: in a greenlet it would hold up every stream of the process."""
    if not monkey.is_module_patched("threading"):
        return function(*arguments)
    result: T = get_hub().threadpool.apply(function, arguments)
    return result
