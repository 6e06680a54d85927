"""Hashes of passwords: scrypt, as werkzeug makes them (32 MiB and about 60 ms each)."""

from werkzeug.security import check_password_hash, generate_password_hash

DUMMY_HASH = f"scrypt:32768:8:1$nobody${'0' * 128}"
"""The password of an unknown user is compared with this hash, so that it takes as long as for a known user. No password
has it. It is written down here because each process would need 60 ms at its start to make one."""


def hash_password(password: str) -> str:
    """The hash of a password, to be stored."""
    return generate_password_hash(password)


def is_password(stored_hash: str | None, password: str) -> bool:
    """Whether this is the password. Without a stored hash the check takes as long, and the answer is False."""
    is_equal = check_password_hash(stored_hash or DUMMY_HASH, password)
    return is_equal and stored_hash is not None
