"""The signed tokens of logged-in users.

Tokens are not stored. Raising `User.login_generation` revokes all tokens of a user before they expire.
"""

import hashlib
from dataclasses import dataclass

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from ..errors import AccountsNotConfigured, LoginEnded
from ..extensions import component


@dataclass(frozen=True, slots=True)
class Login:
    """The content of a token. It is valid as long as `generation` equals the user's `login_generation`."""

    user_id: str
    generation: int


class Tokens:
    """Writes and reads tokens.

    :param secret_key: the key that signs the tokens, the same in all processes; empty: nobody can log in
    :param lifetime: seconds until a token expires
    """

    def __init__(self, secret_key: str, lifetime: int) -> None:
        self.lifetime = lifetime
        self._serializer: URLSafeTimedSerializer | None = None
        if secret_key:
            signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
            self._serializer = URLSafeTimedSerializer(secret_key, salt="route-api-login", signer_kwargs=signing)

    def write(self, login: Login) -> str:
        """A token for this login.

        :raises AccountsNotConfigured: there is no secret key
        """
        if self._serializer is None:
            raise AccountsNotConfigured
        return self._serializer.dumps([login.user_id, login.generation])

    def read(self, token: str) -> Login | None:
        """The content of a token.

        :returns: None if the signature is not ours
        :raises LoginEnded: the token has expired
        """
        if self._serializer is None:
            return None
        try:
            user_id, generation = self._serializer.loads(token, max_age=self.lifetime)
        except SignatureExpired as error:
            raise LoginEnded from error
        except BadData:
            return None
        return Login(user_id, generation)


tokens: Tokens = component("tokens")
