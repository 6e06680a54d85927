"""Every way in which a request can fail: exceptions with an HTTP status, a stable name and a message.

The client in `route_api/dify/` raises `DifyError` and its subclasses for every failure of Dify; all other code raises
the other subclasses of `ApiError`. `envelope.py` turns each of them into an answer, so a view never catches an error
only to report it. The first line of each docstring is public: it is the error's meaning in the API reference.
"""

from http import HTTPStatus
from typing import Any

from .languages import Sentence, quoted


class ApiError(Exception):
    """A request that could not be carried out.

    :param message: for a person: what was wrong, with which value, and what would be right
    :param data: what was done before the failure, if a batch failed in part
    :param retry_after: seconds after which the client may try again; None: unknown
    """

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR
    code: str = "internal_error"

    def __init__(self, message: Sentence, *, data: Any = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = quoted(message)  # A plain text, which mypy refuses, would otherwise be a 500.
        self.data = data
        self.retry_after = retry_after


class ValidationFailed(ApiError):
    """A parameter is missing, of the wrong type or out of its range."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "validation_failed"


class NotSupported(ApiError):
    """This Dify cannot honour a parameter, as `temperature` without a console login; it is refused, not ignored.

    The message says what the operator has to configure.
    """

    status: int = HTTPStatus.BAD_REQUEST
    code = "not_supported"


class CredentialsMissing(ApiError):
    """The endpoint needs credentials, and the request has none."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "credentials_missing"

    def __init__(self) -> None:
        super().__init__(
            Sentence("Say who calls: send 'Authorization: Bearer …' with a service key, or with a login's token.")
        )


class CredentialsInvalid(ApiError):
    """The request's service key or token is not valid."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "credentials_invalid"

    def __init__(self) -> None:
        super().__init__(Sentence("The service key or token in the Authorization header is not valid here."))


class LoginEnded(ApiError):
    """The token has expired, or its user has signed out or was deleted."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "login_ended"

    def __init__(self) -> None:
        super().__init__(Sentence("This login has ended; log in again."))


class LoginFailed(ApiError):
    """There is no such user, or the password is wrong; the answer does not tell which."""

    status: int = HTTPStatus.UNAUTHORIZED
    code = "login_failed"

    def __init__(self) -> None:
        super().__init__(Sentence("The username or the password is wrong."))


class AccountsNotConfigured(ApiError):
    """Nobody can log in, because the operator has not set SECRET_KEY, which signs the tokens."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "accounts_not_configured"

    def __init__(self) -> None:
        super().__init__(Sentence("Nobody can log in here: the operator must set SECRET_KEY."))


class Forbidden(ApiError):
    """The caller has no permission for this; or, with AUTH=open, a web page of another site sent it."""

    status: int = HTTPStatus.FORBIDDEN
    code = "forbidden"


class UserNotFound(ApiError):
    """No user has this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "user_not_found"

    def __init__(self, user_id: str) -> None:
        super().__init__(Sentence("There is no user '{user_id}'.", user_id=user_id))


class UsernameTaken(ApiError):
    """Another user has this username; upper and lower case count as the same."""

    status: int = HTTPStatus.CONFLICT
    code = "username_taken"

    def __init__(self, username: str) -> None:
        super().__init__(Sentence("There is a user '{username}' already; choose another username.", username=username))


class TooManyRequests(ApiError):
    """The caller has reached a limit: requests per minute, logins, or turns or uploads at the same time."""

    status: int = HTTPStatus.TOO_MANY_REQUESTS
    code = "too_many_requests"


class KbNotFound(ApiError):
    """No knowledge base has this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "kb_not_found"

    def __init__(self, kb_id: str) -> None:
        super().__init__(Sentence("There is no knowledge base with the kb_id '{kb_id}'.", kb_id=kb_id))


class DocumentNotFound(ApiError):
    """The knowledge base has no document with this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "document_not_found"

    def __init__(self, document_id: str) -> None:
        super().__init__(
            Sentence("The knowledge base has no document with the id '{document_id}'.", document_id=document_id)
        )


class ChunkNotFound(ApiError):
    """The document has no chunk with this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "chunk_not_found"

    def __init__(self, chunk_id: str) -> None:
        super().__init__(
            Sentence("The document has no chunk with the id '{chunk_id}'; no chunk was switched.", chunk_id=chunk_id)
        )


class BatchNotFound(ApiError):
    """The knowledge base has no such upload batch; another upload of the same file name ends the older batch."""

    status: int = HTTPStatus.NOT_FOUND
    code = "batch_not_found"

    def __init__(self, batch: str) -> None:
        super().__init__(
            Sentence(
                "The knowledge base has no upload batch '{batch}'; take the one that the upload answered.", batch=batch
            )
        )


class ConversationNotFound(ApiError):
    """There is no such conversation, or it is another user's; the answer does not tell which."""

    status: int = HTTPStatus.NOT_FOUND
    code = "conversation_not_found"

    def __init__(self, conversation_id: str) -> None:
        super().__init__(
            Sentence(
                "This user has no conversation '{conversation_id}'. Leave conversation_id out to start one.",
                conversation_id=conversation_id,
            )
        )


class MessageNotFound(ApiError):
    """There is no such message, or it is another user's; the answer does not tell which."""

    status: int = HTTPStatus.NOT_FOUND
    code = "message_not_found"

    def __init__(self, message_id: str) -> None:
        super().__init__(Sentence("This user has no message '{message_id}'.", message_id=message_id))


class KbNameTaken(ApiError):
    """Another knowledge base has this name; Dify wants names to be unique."""

    status: int = HTTPStatus.CONFLICT
    code = "kb_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(Sentence("A knowledge base named '{name}' exists already; choose another name.", name=name))


class DocumentNameTaken(ApiError):
    """The knowledge base has an enabled document of this name, and the request says `on_duplicate: reject`."""

    status: int = HTTPStatus.CONFLICT
    code = "document_name_taken"


class DocumentUploadRunning(ApiError):
    """Another upload with this file name is still running in this knowledge base; nothing was uploaded."""

    status: int = HTTPStatus.CONFLICT
    code = "document_upload_running"

    def __init__(self, name: str) -> None:
        super().__init__(
            Sentence(
                "Another upload with the file name '{name}' is still running in this knowledge base, and one would"
                " overwrite the other; nothing was uploaded. Try again in a moment.",
                name=name,
            ),
            retry_after=5,
        )


class DocumentBusy(ApiError):
    """Dify refuses the change while it is indexing or switching the document."""

    status: int = HTTPStatus.CONFLICT
    code = "document_busy"


class DocumentArchived(ApiError):
    """The document is archived in Dify: it cannot be changed, and no search finds it."""

    status: int = HTTPStatus.CONFLICT
    code = "document_archived"

    def __init__(self, name: str) -> None:
        super().__init__(
            Sentence(
                "The document '{name}' is archived in Dify, so no search finds it and nothing was changed."
                " Unarchive it on the page of the knowledge base in Dify first.",
                name=name,
            )
        )


class ConversationBusy(ApiError):
    """An answer in this conversation is still being written; two at the same time would mix up their histories on Dify.

    tests/contract/FINDINGS.md, g, describes what Dify does then.
    """

    status: int = HTTPStatus.CONFLICT
    code = "conversation_busy"

    def __init__(self) -> None:
        super().__init__(
            Sentence("An answer in this conversation is still being written; wait for it or stop it first.")
        )


class FormClosed(ApiError):
    """The answer does not wait for this form: it was filled in before, or its time is over."""

    status: int = HTTPStatus.CONFLICT
    code = "form_closed"


class RequestInProgress(ApiError):
    """An earlier request with the same `Idempotency-Key` is still running."""

    status: int = HTTPStatus.CONFLICT
    code = "request_in_progress"

    def __init__(self) -> None:
        super().__init__(
            Sentence(
                "An earlier request with this Idempotency-Key is still running; repeat this one in a moment to get"
                " its answer."
            ),
            retry_after=2,
        )


class IdempotencyKeyReused(ApiError):
    """Another request, with other parameters or files, has used this `Idempotency-Key` within 24 hours."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            Sentence(
                "This Idempotency-Key belongs to an earlier request with other parameters. A repeated request must"
                " be the same as the first; another request needs another key."
            )
        )


class GatewayStopped(ApiError):
    """The gateway was stopped before the answer was complete; the question and the part that had come are stored."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "gateway_stopped"

    def __init__(self) -> None:
        super().__init__(
            Sentence(
                "The gateway is being stopped. The question is kept, and what came of the answer; ask again in a"
                " moment."
            )
        )


class DatabaseUnavailable(ApiError):
    """The gateway's own database does not answer in time."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__(Sentence("The gateway's own database does not answer; try again in a moment."), retry_after=5)


class NotReady(ApiError):
    """The gateway should get no requests now; `data` tells for each part whether it is ready."""

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "not_ready"


class ModelFailed(ApiError):
    """Dify accepted the question, but the model could not answer it; the question is stored."""

    status: int = HTTPStatus.BAD_GATEWAY
    code = "model_failed"


class RangeNotSatisfiable(ApiError):
    """The header Range asks for a part that begins after the end of the file."""

    status: int = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    code = "range_not_satisfiable"

    def __init__(self, asked: str, size: int) -> None:
        """
        :param asked: the header Range
        :param size: of the file, in bytes
        """
        super().__init__(
            Sentence(
                "Range is '{asked}', but the file has {size} bytes: ask for a part that begins before its end.",
                asked=asked,
                size=size,
            )
        )


class FileTooLarge(ApiError):
    """The file is larger than Dify allows."""

    status: int = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "file_too_large"


class FileTypeNotSupported(ApiError):
    """Dify does not accept files with this extension."""

    status: int = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "file_type_not_supported"


class UploadFailed(ApiError):
    """Some files of an upload failed; `data` has those that were uploaded."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "upload_failed"


class DifyError(ApiError):
    """Dify failed, or refused the request.

    :param dify_status: the HTTP status of Dify's answer; None: there was no answer
    :param dify_code: Dify's own error code; None: it gave none
    :param unexplained: whether Dify gave no reason, so that the message is ours
    """

    status: int = HTTPStatus.BAD_GATEWAY
    code = "dify_failed"
    was_repeated = False
    """Whether this answers a request that was sent twice, because the connection of the first one broke."""

    def __init__(
        self,
        message: Sentence,
        *,
        dify_status: int | None = None,
        dify_code: str | None = None,
        unexplained: bool = False,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.dify_status = dify_status
        self.dify_code = dify_code
        self.unexplained = unexplained


class DifyUnreachable(DifyError):
    """Dify cannot be reached, or the connection broke."""

    code = "dify_unreachable"


class DifyCircuitOpen(DifyUnreachable):
    """Dify failed several times in a row, so it was not asked; try again in a moment.

    :param retry_after: seconds after which the client may try again
    """

    status: int = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, retry_after: int) -> None:
        super().__init__(Sentence("Dify failed several times in a row, so it was not asked; try again in a moment."))
        self.retry_after = retry_after


class DifyTimeout(DifyError):
    """Dify did not answer in time."""

    status: int = HTTPStatus.GATEWAY_TIMEOUT
    code = "dify_timeout"


class DifyAuthFailed(DifyError):
    """Dify refused the gateway's own key or console session; the operator has to correct it."""

    code = "dify_auth_failed"


class DifyForbidden(DifyError):
    """Dify answered 403: its API is switched off for this knowledge base or app, or the document is archived."""

    code = "dify_forbidden"


class DifyNotFound(DifyError):
    """Dify has nothing with this id."""

    status: int = HTTPStatus.NOT_FOUND
    code = "not_found"


class DifyRejected(DifyError):
    """Dify refused the request as invalid (any other 4xx)."""

    status: int = HTTPStatus.BAD_REQUEST
    code = "dify_rejected"


class DifyTooBusy(DifyError):
    """Dify gets too many requests; try again later."""

    status: int = HTTPStatus.TOO_MANY_REQUESTS
    code = "dify_too_busy"


class TooManyDifyCalls(DifyTooBusy):
    """The gateway has as many calls to Dify running as DIFY_MAX_CALLS allows; try again in a moment.

    :param limit: how many calls may run at the same time
    """

    status: int = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, limit: int) -> None:
        super().__init__(
            Sentence(
                "The gateway has {limit} calls to Dify running, which is its limit; try again in a moment.", limit=limit
            )
        )
        self.retry_after = 1


class DifyFailed(DifyError):
    """Dify answered with a 5xx or with something that cannot be read."""


class DifyUnreadable(DifyFailed):
    """Dify answered with a 5xx or with something that cannot be read.

    This class is for the second case: the answer is no JSON, its fields are not those that the gateway knows, or it is
    a stream without an end.
    """


class ConsoleNotConfigured(DifyError):
    """The endpoint needs a login to Dify's console, and none is configured.

    A turn with a parameter that needs the console is refused with :class:`NotSupported` instead.
    """

    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code = "console_not_configured"


class ConsoleLoginRefused(DifyError):
    """Dify refused the console login; it is not tried again, because six wrong passwords lock the account for a day."""

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
"""The errors that any call to Dify may raise."""

CONSOLE_ERRORS = (ConsoleNotConfigured, ConsoleLoginRefused)
"""The errors that a call to Dify's console may raise in addition."""
