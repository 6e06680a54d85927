"""Hashes of passwords: scrypt, as werkzeug makes them (32 MiB and about 60 ms each)."""

from werkzeug.security import check_password_hash, generate_password_hash

NOBODYS_HASH = generate_password_hash("nobody has this password")
"""Compared with the password of an unknown user, so that the answer takes as long as for a known one."""


def hash_password(password: str) -> str:
    """The hash that is stored of a password."""
    return generate_password_hash(password)


def is_password(stored_hash: str | None, password: str) -> bool:
    """Whether this is the password; takes the same time for every password.

    :param stored_hash: None if the user has no password
    """
    is_equal = check_password_hash(stored_hash or NOBODYS_HASH, password)
    return is_equal and stored_hash is not None
