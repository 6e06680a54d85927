"""The client of a Dify server, of version 1.8.1, 1.12.1 or 1.16.1. The server's own answers tell the version."""

from typing import Mapping

from .breaker import Breaker
from .chat_app import CHAT_MODES, CHATBOT, CHATFLOW, ChatApi
from .console import ConsoleApi
from .console_login import ConsoleLogin, LoginTries
from .console_transport import ConsoleTransport
from .credentials import ServiceKey
from .debugger import DebuggerApi, override_model
from .document_form import RawAnswer
from .error_answers import NO_INDEX, error_text
from .events import EventStream
from .files import FilesApi, RemoteFile
from .knowledge import KnowledgeApi
from .provisioning import ProvisioningApi, ready_models
from .side_by_side import side_by_side
from .transport import MAX_ANSWER_SIZE, Transport

__all__ = [
    "CHATBOT",
    "CHATFLOW",
    "CHAT_MODES",
    "NO_INDEX",
    "Breaker",
    "ChatApi",
    "ConsoleApi",
    "DebuggerApi",
    "Dify",
    "EventStream",
    "FilesApi",
    "KnowledgeApi",
    "ProvisioningApi",
    "RawAnswer",
    "RemoteFile",
    "Transport",
    "error_text",
    "override_model",
    "ready_models",
    "side_by_side",
]

POOL_SIZE = 2000

DEFAULT_APP = "default"
"""The name of the app of DIFY_APP_API_KEY in DIFY_APP_IDS."""


class Dify:
    """The calls of one Dify server's service API and console. All threads of a process share it.

    `knowledge` needs the dataset key, and `chat` an app key. `console`, `debugger` and `provisioning` need the console
    login. `files` uses the dataset key, and the console login where Dify wants it.
    """

    def __init__(
        self,
        base_url: str,
        dataset_api_key: str,
        app_api_key: str,
        apps: Mapping[str, str] | None = None,
        console_email: str | None = None,
        console_password: str | None = None,
        *,
        app_ids: Mapping[str, str] | None = None,
        files_url: str | None = None,
        connect_timeout: float,
        read_timeout: float,
        chat_timeout: float,
        upload_timeout: float,
        event_timeout: float,
        max_answer_size: int = MAX_ANSWER_SIZE,
        pool_size: int = POOL_SIZE,
        breaker: Breaker | None = None,
        login_tries: LoginTries | None = None,
    ) -> None:
        """
        :param base_url: address of the server, without `/v1`.
        :param apps: model name to the key of the app that runs it.
        :param console_email: with `console_password`, the login of an admin. Without both, the console is not
            configured.
        :param app_ids: Dify's ids of apps that the console may not show with their keys, by the names in `apps`;
            :data:`DEFAULT_APP` is the app of `app_api_key`.
        :param files_url: Dify's FILES_URL, if that is another origin than `base_url`.
        :param connect_timeout: seconds to wait for a connection.
        :param read_timeout: seconds to wait for the next bytes of an answer.
        :param chat_timeout: seconds that a whole answer may take if our caller gets it in one piece; and seconds for
            which a stream may consist of pings alone.
        :param upload_timeout: seconds to wait for the next bytes of the answer to an upload.
        :param event_timeout: seconds to wait for the next event or ping of an answer.
        :param max_answer_size: bytes of the largest answer that is read as a whole. Files and streams are not.
        :param pool_size: how many idle connections are kept.
        :param breaker: refuses calls while Dify is away; None: every call is sent.
        :param login_tries: remembers that Dify refused the console login; None: only this object remembers it.
        """
        self.transport = Transport(
            base_url,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            pool_size=pool_size,
            breaker=breaker,
            max_answer_size=max_answer_size,
        )
        dataset_key = ServiceKey(dataset_api_key, "DIFY_DATASET_API_KEY")
        self.knowledge = KnowledgeApi(self.transport, dataset_key, upload_timeout=upload_timeout)
        self._login = ConsoleLogin(self.transport, console_email, console_password, tries=login_tries)
        self._console_transport = ConsoleTransport(self.transport, self._login)
        self.console = ConsoleApi(self._console_transport)
        self.provisioning = ProvisioningApi(self.transport, self._console_transport)
        self.files = FilesApi(self.transport, self.knowledge, self.console, files_url)
        self.models_with_app = tuple(apps or ())
        """The names of the models that have an app of their own."""
        self._timeouts = {"answer_timeout": chat_timeout, "event_timeout": event_timeout}
        self._app_ids = dict(app_ids or {})
        self._app_keys: dict[str | None, ServiceKey] = {None: ServiceKey(app_api_key, "DIFY_APP_API_KEY")}
        self._app_keys.update({name: ServiceKey(key, "DIFY_APPS") for name, key in (apps or {}).items()})

    def chat(self, model_name: str | None = None) -> ChatApi:
        """The chat app for a model; without a name, the default one.

        :raises KeyError: no app is configured for this model.
        """
        return ChatApi(self.transport, self._app_keys[model_name], **self._timeouts)

    def find_app(self, model_name: str | None = None) -> str:
        """The id of the app that :meth:`chat` gives for the same name: the configured one, else the console is asked.
        The id does not change.

        :raises KeyError: no app is configured for this model.
        :raises NotSupported: the console does not have the app.
        """
        if known := self._app_ids.get(model_name or DEFAULT_APP):
            return known
        return self.console.find_app(self._app_keys[model_name], lambda: str(self.chat(model_name).info()["name"]))

    def ask_directly(self) -> None:
        """Send every call from now on, also if the breaker would refuse it."""
        self.transport.breaker = None

    def forget_login(self) -> None:
        """Behave from now on as if no console login were configured."""
        self._login.forget()

    def try_login_again(self) -> bool:
        """Let the next call to the console try the login, also if Dify has refused it.

        :returns: whether a refusal was remembered.
        """
        return self._login.try_again()

    def debugger(self, app_id: str) -> DebuggerApi:
        """The debugger of an app.

        :param app_id: the id from :meth:`find_app`.
        """
        return DebuggerApi(self._console_transport, app_id, **self._timeouts)
