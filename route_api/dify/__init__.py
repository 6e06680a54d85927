"""The client of a Dify server, 1.8.1 or 1.12.1; which one it is, the server's own answers show."""

from typing import Mapping

from .chat_app import CHAT_MODES, ChatApi
from .console import ConsoleApi
from .console_login import ConsoleLogin
from .console_transport import ConsoleTransport
from .credentials import ServiceKey
from .debugger import DebuggerApi, override_model
from .document_form import RawAnswer
from .error_answers import NO_INDEX, refusal_text
from .events import EventStream
from .files import FilesApi, RemoteFile
from .knowledge import KnowledgeApi
from .provisioning import ProvisioningApi, ready_models
from .transport import Transport

__all__ = [
    "CHAT_MODES",
    "NO_INDEX",
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
    "override_model",
    "ready_models",
    "refusal_text",
]


class Dify:
    """One Dify server: what its service API and console offer us. Shared by all threads of a process.

    `knowledge` needs the dataset key, `chat` an app key, `console`, `debugger` and `provisioning` the console login;
    `files` takes what it needs.
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
        files_url: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        chat_timeout: float = 300.0,
        event_timeout: float = 120.0,
        upload_timeout: float = 600.0,
        pool_size: int = 2000,
    ) -> None:
        """
        :param base_url: address of the server, without `/v1`.
        :param apps: model name to the key of the app that runs it.
        :param console_email: with `console_password`, the login of an admin; without, the console is not
            configured.
        :param files_url: Dify's FILES_URL, if that is another origin than `base_url`.
        :param connect_timeout: seconds to wait for a connection; the other timeouts are between two pieces of
            an answer: of any call, of a blocking chat, of a chat's events, of an upload.
        :param pool_size: how many idle connections are kept.
        """
        self.transport = Transport(
            base_url, connect_timeout=connect_timeout, read_timeout=read_timeout, pool_size=pool_size
        )
        dataset_key = ServiceKey(dataset_api_key, "DIFY_DATASET_API_KEY")
        self.knowledge = KnowledgeApi(self.transport, dataset_key, upload_timeout=upload_timeout)
        self._login = ConsoleLogin(self.transport, console_email, console_password)
        self._console_transport = ConsoleTransport(self.transport, self._login)
        self.console = ConsoleApi(self._console_transport)
        self.provisioning = ProvisioningApi(self.transport, self._console_transport)
        self.files = FilesApi(self.transport, self.knowledge, self.console, files_url)
        self.app_models = tuple(apps or ())
        """The models that have an app of their own."""
        self._timeouts = {"answer_timeout": chat_timeout, "event_timeout": event_timeout}
        self._app_keys: dict[str | None, ServiceKey] = {None: ServiceKey(app_api_key, "DIFY_APP_API_KEY")}
        self._app_keys.update({name: ServiceKey(key, "DIFY_APPS") for name, key in (apps or {}).items()})

    def chat(self, model_name: str | None = None) -> ChatApi:
        """The chat app for a model; without a name, the default one.

        :raises KeyError: no app is configured for this model.
        """
        return ChatApi(self.transport, self._app_keys[model_name], **self._timeouts)

    def find_app(self, model_name: str | None = None) -> str:
        """The id of the app that :meth:`chat` gives for the same name, from the console. It does not change.

        :raises KeyError: no app is configured for this model.
        :raises NotSupported: the console does not have it.
        """
        return self.console.find_app(self._app_keys[model_name])

    def forget_login(self) -> None:
        """From now on as if no console login were configured."""
        self._login.forget()

    def debugger(self, app_id: str) -> DebuggerApi:
        """The debugger of an app that :meth:`find_app` has found."""
        return DebuggerApi(self._console_transport, app_id, **self._timeouts)
