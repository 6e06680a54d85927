"""Every way in which a request can fail, as exceptions that know their HTTP status, their stable name and their words.

`ApiError` is what a view raises; `DifyError` and its children are what the client in `route_api/dify/` makes of every
failure of Dify. The envelope turns both into the same answer, so a view never catches one only to report it.
"""

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """A request that could not be carried out.

    :param message: a sentence to a person: what was wrong, with which value, what would be right
    :param data: what was done all the same, where a batch failed in part
    :param retry_after: seconds after which another try makes sense, None if that is not known
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal_error"

    def __init__(self, message: str, *, data: Any = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.retry_after = retry_after


class ValidationFailed(ApiError):
    """A parameter is missing, of the wrong type or out of its range."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "validation_failed"


class NotSupported(ApiError):
    """A documented parameter that this version or this Dify cannot honour; refused rather than ignored."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "not_supported"


class CredentialsMissing(ApiError):
    """The route is not for everybody, and the request does not say who calls."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "credentials_missing"

    def __init__(self) -> None:
        super().__init__("Say who calls: send 'Authorization: Bearer …' with a service key, or with a login's token.")


class CredentialsInvalid(ApiError):
    """The request's service key or token is none of ours."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "credentials_invalid"

    def __init__(self) -> None:
        super().__init__("The service key or token in the Authorization header is not valid here.")


class LoginEnded(ApiError):
    """The token was ours once: it has expired, or its user has signed out or is gone."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "login_ended"

    def __init__(self) -> None:
        super().__init__("This login has ended; log in again.")


class LoginFailed(ApiError):
    """No such user, or another password: the two look alike on purpose."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "login_failed"

    def __init__(self) -> None:
        super().__init__("The username or the password is wrong.")


class AccountsNotConfigured(ApiError):
    """Logins need a key that signs their tokens."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "accounts_not_configured"

    def __init__(self) -> None:
        super().__init__("Nobody can log in here: the operator must set SECRET_KEY.")


class Forbidden(ApiError):
    """The caller is known and may not do this."""

    status: int = HTTPStatus.FORBIDDEN
    code = "forbidden"


class UserNotFound(ApiError):
    """No user has this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "user_not_found"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"There is no user '{user_id}'.")


class UsernameTaken(ApiError):
    """Usernames are unique; upper and lower case do not tell them apart."""

    status: int = HTTPStatus.CONFLICT
    code = "username_taken"

    def __init__(self, username: str) -> None:
        super().__init__(f"There is a user '{username}' already; choose another username.")


class TooManyRequests(ApiError):
    """A limit of this server: so many of them in so much time, or at once."""

    status: int = HTTPStatus.TOO_MANY_REQUESTS
    code = "too_many_requests"


class KbNotFound(ApiError):
    """No knowledge base has this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "kb_not_found"

    def __init__(self, kb_id: str) -> None:
        super().__init__(f"There is no knowledge base with the kb_id '{kb_id}'.")


class DocumentNotFound(ApiError):
    """The knowledge base has no document with this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "document_not_found"

    def __init__(self, document_id: str) -> None:
        super().__init__(f"The knowledge base has no document with the id '{document_id}'.")


class ChunkNotFound(ApiError):
    """The document has no chunk with this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "chunk_not_found"


class BatchNotFound(ApiError):
    """The knowledge base has no upload batch of this name; an upload over the same file name ends the older batch."""

    status: int = HTTPStatus.NOT_FOUND
    code = "batch_not_found"

    def __init__(self, batch: str) -> None:
        super().__init__(f"The knowledge base has no upload batch '{batch}'; take the one that the upload answered.")


class ConversationNotFound(ApiError):
    """No such conversation, or another user's: the two look alike on purpose."""

    status: int = HTTPStatus.NOT_FOUND
    code = "conversation_not_found"

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"This user has no conversation '{conversation_id}'. Leave conversation_id out to start one.")


class MessageNotFound(ApiError):
    """No such message, or one in another user's conversation: the two look alike on purpose."""

    status: int = HTTPStatus.NOT_FOUND
    code = "message_not_found"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"This user has no message '{message_id}'.")


class KbNameTaken(ApiError):
    """Dify wants the names of knowledge bases to be unique."""

    status: int = HTTPStatus.CONFLICT
    code = "kb_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"A knowledge base named '{name}' exists already; choose another name.")


class DocumentNameTaken(ApiError):
    """The kb has an enabled document of this name and the caller asked for `on_duplicate: reject`."""

    status: int = HTTPStatus.CONFLICT
    code = "document_name_taken"


class DocumentBusy(ApiError):
    """Dify still indexes the document, or is switching it, and refuses the change for now."""

    status: int = HTTPStatus.CONFLICT
    code = "document_busy"


class ConversationBusy(ApiError):
    """A turn of this conversation is running; Dify garbles both histories when two run at once (FINDINGS g)."""

    status: int = HTTPStatus.CONFLICT
    code = "conversation_busy"

    def __init__(self) -> None:
        super().__init__("An answer in this conversation is still being written; wait for it or stop it first.")


class TurnNotStoppable(ApiError):
    """An answer is on its way, but Dify has not yet named the task that would have to be stopped."""

    status: int = HTTPStatus.CONFLICT
    code = "turn_not_stoppable"

    def __init__(self) -> None:
        super().__init__("The model has not begun to answer, so Dify has nothing to stop yet; try again in a moment.")


class GatewayStopped(ApiError):
    """The gateway was stopped before the answer was complete; the question is kept, and what had come."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "gateway_stopped"

    def __init__(self) -> None:
        super().__init__(
            "The gateway is being stopped. The question is kept, and what came of the answer; ask again in a moment."
        )


class DatabaseUnavailable(ApiError):
    """The gateway's own database does not answer, or not in time."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The gateway's own database does not answer; try again in a moment.", retry_after=5)


class NotReady(ApiError):
    """The gateway should get no requests now; `data` says of each part whether it is ready."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "not_ready"


class ModelFailed(ApiError):
    """Dify took the question, and the model could not answer it; the question is kept."""

    status: int = HTTPStatus.BAD_GATEWAY
    code = "model_failed"


class FileTooLarge(ApiError):
    """The file is over Dify's own limit."""

    status: int = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "file_too_large"


class FileTypeNotSupported(ApiError):
    """Dify does not take files with this extension."""

    status: int = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "file_type_not_supported"


class UploadFailed(ApiError):
    """Some files of an upload failed; `data` holds those that did not."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "upload_failed"


class DifyError(ApiError):
    """Dify failed, or refused what we asked.

    :param dify_status: the HTTP status of Dify's answer, None if there was none
    :param dify_code: Dify's own error code, None if it gave none
    :param unexplained: Dify gave no reason at all, the message is ours
    """

    status: int = HTTPStatus.BAD_GATEWAY
    code = "dify_failed"

    def __init__(
        self,
        message: str,
        *,
        dify_status: int | None = None,
        dify_code: str | None = None,
        unexplained: bool = False,
    ) -> None:
        super().__init__(message)
        self.dify_status = dify_status
        self.dify_code = dify_code
        self.unexplained = unexplained


class DifyUnreachable(DifyError):
    """No connection to Dify, or it broke."""

    code = "dify_unreachable"


class DifyTimeout(DifyError):
    """Dify did not answer in time."""

    status: int = HTTPStatus.GATEWAY_TIMEOUT
    code = "dify_timeout"


class DifyAuthFailed(DifyError):
    """Dify refused our key or our console session: the operator's business, never the caller's 401."""

    code = "dify_auth_failed"


class DifyForbidden(DifyError):
    """Dify refused with 403: its API is switched off for this knowledge base or app, or the document is archived."""

    code = "dify_forbidden"


class DifyNotFound(DifyError):
    """Dify knows nothing under this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "not_found"


class DifyRejected(DifyError):
    """Dify refused the request as wrong (any other 4xx)."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "dify_rejected"


class DifyTooBusy(DifyError):
    """Dify gets too many requests and asks us to come later."""

    status: int = HTTPStatus.TOO_MANY_REQUESTS
    code = "dify_too_busy"


class DifyFailed(DifyError):
    """Dify answered with a 5xx or with something that cannot be read."""


class ConsoleNotConfigured(DifyError):
    """The call needs Dify's console, and no console login is configured."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "console_not_configured"


class ConsoleLoginRefused(DifyError):
    """Dify refused the console login; it is not tried again, six wrong passwords lock the account for a day."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "console_login_refused"


DIFY_ERRORS = (
    DifyFailed,
    DifyUnreachable,
    DifyTimeout,
    DifyAuthFailed,
    DifyForbidden,
    DifyNotFound,
    DifyRejected,
    DifyTooBusy,
)
"""What any call to Dify may raise."""

CONSOLE_ERRORS = (ConsoleNotConfigured, ConsoleLoginRefused)
"""What a call to Dify's console may raise besides."""
