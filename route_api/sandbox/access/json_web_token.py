"""JSON Web Tokens (HS256), as in the cookies of Dify's console."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any


class TokenError(Exception):
    """A token is invalid or expired. The message is Dify's."""


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signature(signed: str, secret: str) -> str:
    return _encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())


def issue_token(claims: dict[str, Any], secret: str, lifetime_s: int) -> str:
    """Make a signed token with `claims`. It expires after `lifetime_s` seconds."""
    header = _encode(b'{"alg":"HS256","typ":"JWT"}')
    payload = _encode(json.dumps({"exp": int(time.time()) + lifetime_s, **claims}).encode())
    return f"{header}.{payload}.{_signature(f'{header}.{payload}', secret)}"


def read_token(token: str, secret: str) -> dict[str, Any]:
    """Check a token and return its claims.

    :raises TokenError: if it cannot be read (auth/garbage-token), its signature is wrong (auth/bad-signature), or it
        has expired (auth/expired-token)
    """
    signed, _, signature = token.rpartition(".")
    try:
        claims = json.loads(_decode(signed.split(".")[1]))
        expires_at = int(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise TokenError("Invalid token.") from error
    if not hmac.compare_digest(_signature(signed, secret).encode(), signature.encode()):
        raise TokenError("Invalid token signature.")
    if expires_at <= time.time():
        raise TokenError("Token has expired.")
    return claims
