"""The signed tokens of logged-in users. Nothing is stored for them; `User.login_generation` ends them early."""

import hashlib
from dataclasses import dataclass

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer

from ..errors import AccountsNotConfigured, LoginEnded


@dataclass(frozen=True, slots=True)
class Login:
    """What a token says: this user logged in, and has not signed out since if the generation is still theirs."""

    user_id: str
    generation: int


class Tokens:
    """Writes and reads tokens.

    :param secret_key: signs them; a process that has the same one takes them too. Empty: there are none
    :param lifetime: seconds
    """

    def __init__(self, secret_key: str, lifetime: int) -> None:
        self.lifetime = lifetime
        self._serializer: URLSafeTimedSerializer | None = None
        if secret_key:
            signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
            self._serializer = URLSafeTimedSerializer(secret_key, salt="route-api-login", signer_kwargs=signing)

    def write(self, login: Login) -> str:
        """A token for this login.

        :raises AccountsNotConfigured: there is no key to sign it with
        """
        if self._serializer is None:
            raise AccountsNotConfigured
        return self._serializer.dumps([login.user_id, login.generation])

    def read(self, token: str) -> Login | None:
        """What a token says; None if we did not sign it.

        :raises LoginEnded: we did, too long ago
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
