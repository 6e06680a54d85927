"""The service API of one Dify chat app."""

from contextlib import suppress
from typing import Any, Literal

from ..errors import DifyNotFound, DifyRejected
from . import shapes
from .credentials import Credential
from .events import EventStream
from .transport import Transport

Rating = Literal["like", "dislike"]

CHAT_MODES = ("chat", "agent-chat", "advanced-chat")
"""The kinds of apps that take questions. An agent-chat answers only as a stream."""

STOP_TIMEOUT_S = 5.0
"""Seconds to wait for Dify's answer to a stop. Dify answers at once or is down, and a turn ends only after that."""

_NOTHING_TO_WITHDRAW = "rating cannot be None when feedback not exists"
"""Dify's message when a rating is withdrawn twice (tests/contract, chat/feedback-null-again)."""


class ChatApi:
    """Calls of one app; its key is the credential. Dify tells users apart only by the text in `user`."""

    def __init__(self, transport: Transport, auth: Credential, *, answer_timeout: float, event_timeout: float) -> None:
        """
        :param answer_timeout: seconds that a whole answer may take if our caller gets it in one piece; and seconds for
            which a stream may consist of pings alone.
        :param event_timeout: seconds that may pass before the next event or ping of a stream. Dify sends a ping every
            10 seconds (tests/contract, chat/streaming-ping), but it sends nothing, not even headers, before the first
            event.
        """
        self._transport = transport
        self._auth = auth
        self.answer_timeout = answer_timeout
        self._event_timeout = event_timeout

    def stream(self, body: dict[str, Any], *, in_one_piece: bool = False) -> EventStream:
        """Ask a question, to be answered as events. Returns when Dify begins to send the first event.

        An error before the start is raised here. A model that fails later sends an `error` event.

        :param body: `query`, `user`, `inputs` and, to continue, `conversation_id`.
        :param in_one_piece: whether nobody needs an event at once. Reading several together takes less CPU time.
        """
        # Otherwise Dify makes a title too: 1.8.1 keeps the stream open after the answer for that, and 1.12.1 waits for
        # a second before the answer (tests/contract/DIFFERENCES.md, 52).
        body = {**body, "response_mode": "streaming", "auto_generate_name": False}
        response = self._transport.open(
            "POST", "/v1/chat-messages", auth=self._auth, json=body, read_timeout=self._event_timeout
        )
        timeouts = {"event_timeout": self._event_timeout, "ping_timeout": self.answer_timeout}
        return EventStream(response, **timeouts, in_one_piece=in_one_piece)

    def stop(self, task_id: str, user: str) -> None:
        """End a running generation. Dify answers success for a wrong task or user too (tests/contract,
        chat/stop-other-user)."""
        path = f"/v1/chat-messages/{task_id}/stop"
        self._transport.request("POST", path, auth=self._auth, json={"user": user}, read_timeout=STOP_TIMEOUT_S)

    def feedback(self, message_id: str, user: str, rating: Rating | None, content: str = "") -> None:
        """Rate an answer. The rating replaces an earlier one.

        :param rating: None withdraws the rating; this is no error where there is none.
        :param content: the reason, in the user's words.
        """
        body: dict[str, Any] = {"rating": rating, "user": user}
        if content:
            body["content"] = content
        try:
            self._transport.request("POST", f"/v1/messages/{message_id}/feedbacks", auth=self._auth, json=body)
        except DifyRejected as error:
            if rating is not None or error.message != _NOTHING_TO_WITHDRAW:
                raise

    def suggested(self, message_id: str, user: str) -> list[str]:
        """Questions that the user might ask after an answer. A model writes them during this call.

        :raises DifyError: also where they are switched off in the app's settings.
        """
        answer = self._transport.request(
            "GET",
            f"/v1/messages/{message_id}/suggested",
            shape=shapes.SUGGESTED,
            auth=self._auth,
            params={"user": user},
            read_timeout=self.answer_timeout,
        )
        questions: list[str] = answer["data"]
        return questions

    def delete_conversation(self, conversation_id: str, user: str) -> None:
        """Delete a conversation. An unknown conversation is no error.

        Up to 1.12.1, Dify checks neither the user nor the app: it deletes the conversation OF ANY USER (tests/contract,
        chat/conversation-delete-other-user).
        """
        path = f"/v1/conversations/{conversation_id}"
        with suppress(DifyNotFound):  # Up to 1.12.1, Dify answers success for an unknown one.
            self._transport.request("DELETE", path, auth=self._auth, json={"user": user})

    def parameters(self) -> dict[str, Any]:
        """The app's published settings. `user_input_form` lists the variables that the app declares."""
        parameters: dict[str, Any] = self._transport.request(
            "GET", "/v1/parameters", shape=shapes.PARAMETERS, auth=self._auth
        )
        return parameters

    def info(self) -> dict[str, Any]:
        """The app's `name` and `mode`. Only the modes in :data:`CHAT_MODES` take questions."""
        info: dict[str, Any] = self._transport.request("GET", "/v1/info", shape=shapes.APP_INFO, auth=self._auth)
        return info
