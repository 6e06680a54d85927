"""The service API of one Dify chat app."""

from contextlib import suppress
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from ..errors import DifyNotFound, DifyRejected, DifyTimeout, FormClosed
from ..languages import Sentence
from . import shapes
from .credentials import Credential
from .events import EventStream
from .transport import Transport
from .versions import version_tuple

Rating = Literal["like", "dislike"]

CHATBOT = "chat"
CHATFLOW = "advanced-chat"
CHAT_MODES = (CHATBOT, "agent-chat", CHATFLOW, "agent")
"""The kinds of apps that take questions. `agent` is new in 1.16 (tests/contract, chat/agent-streaming)."""

STOPS_WHEN_LEFT_SINCE = (1, 16, 1)
"""1.12.1 lets the model run on. The versions between were not recorded."""

QUEUES_CHATFLOWS_SINCE = (1, 14, 2)
"""Seen on a live 1.14.2. 1.12.1 carries chatflows out by itself. The versions between were not tried."""

TELLS_REFUSALS_SINCE = (1, 16, 1)
"""Since then the stream has what Dify's worker refuses (tests/contract, chat/advanced-chat-query-empty-streaming). The
worker of 1.14.2 writes it into its log alone, and the stream has nothing but pings: the same as without a worker (seen
there). The versions between were not tried."""

STOP_TIMEOUT_S = 5.0
"""Seconds to wait for Dify's answer to a stop. Dify answers at once or is down, and a turn ends only after that."""

_NOTHING_TO_WITHDRAW = "rating cannot be None when feedback not exists"
"""Dify's message when a rating is withdrawn twice (tests/contract, chat/feedback-null-again). Since 1.17 the answer has
a code instead, :data:`_RATING_REQUIRED`; this was read in Dify's code."""

_RATING_REQUIRED = "message_feedback_rating_required"


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

    def resumed_events(self, workflow_run_id: str, user: str, *, in_one_piece: bool = False) -> EventStream:
        """The events of a chatflow that waits for a person, as far as they come from now on. Dify's first event says
        that it sends them. So this must return before :meth:`submit_form`, or events are lost.

        Seen on a live 1.14.2. A stream that is opened later lacks what came before, whatever its options are. A run
        that has ended has one event. The path wants the id of the run, although Dify calls it the id of a task.

        :param in_one_piece: as for :meth:`stream`.
        """
        path = f"/v1/workflow/{workflow_run_id}/events"
        options: dict[str, Any] = {"params": {"user": user}, "read_timeout": self._event_timeout}
        response = self._transport.open("GET", path, auth=self._auth, **options)
        timeouts = {"event_timeout": self._event_timeout, "ping_timeout": self.answer_timeout}
        return EventStream(response, **timeouts, in_one_piece=in_one_piece)

    def submit_form(self, form_token: str, user: str, action: str, inputs: dict[str, str]) -> None:
        """Fill in the form that a chatflow waits for, so that it goes on. Dify takes a form once, and
        from every user: it does not ask whose run it is. A wrong type of a value makes the run fail afterwards.

        :raises FormClosed: it was filled in before, or its time is over.
        :raises DifyNotFound: Dify asks for it in its console or by e-mail alone, although the form has a token.
        """
        body = {"action": action, "inputs": inputs, "user": user}
        try:
            path = f"/v1/form/human_input/{quote(form_token, safe='')}"
            self._transport.request("POST", path, auth=self._auth, json=body)
        except DifyRejected as error:
            if error.dify_status != HTTPStatus.PRECONDITION_FAILED:
                raise
            is_expired = error.dify_code == "human_input_form_expired"
            text = (
                Sentence("This form was not filled in in time.")
                if is_expired
                else Sentence("This form was filled in before.")
            )
            raise FormClosed(text) from error

    def last_messages(self, conversation_id: str, user: str, limit: int) -> list[dict[str, Any]]:
        """The latest messages of a conversation, each with `id`, `answer` and, since 1.14, a `status`: `paused` until
        the whole answer is there, then `normal` or `error` (seen on 1.14.2).

        :raises DifyNotFound: Dify has no such conversation of this user.
        """
        params: dict[str, Any] = {"conversation_id": conversation_id, "user": user, "limit": limit}
        answer = self._transport.request("GET", "/v1/messages", shape=shapes.MESSAGES, auth=self._auth, params=params)
        messages: list[dict[str, Any]] = answer["data"]
        return messages

    def begins(self, wait_s: float) -> bool | None:
        """Whether Dify begins to carry out a chatflow. Since 1.16.1 its worker does that, which may be away.

        The question is empty. Dify refuses it before it stores anything and before it asks a model: up to 1.12.1 at
        once, since 1.16.1 in its worker (tests/contract, chat/advanced-chat-query-empty-streaming).

        :param wait_s: seconds to wait.
        :returns: None if this version does not tell; it is asked nothing then.
        """
        if QUEUES_CHATFLOWS_SINCE <= version_tuple(self._transport.dify_version) < TELLS_REFUSALS_SINCE:
            return None
        body = {"query": "", "inputs": {}, "user": "DEFAULT-USER", "response_mode": "streaming"}
        try:
            response = self._transport.open(
                "POST", "/v1/chat-messages", auth=self._auth, json=body, read_timeout=wait_s
            )
            events = EventStream(response, event_timeout=wait_s, ping_timeout=wait_s)
            begun = any(event.get("event") != "ping" for event in events)
            events.close()
        except DifyRejected:
            return True
        except DifyTimeout:
            return False
        return begun

    @property
    def stops_when_left(self) -> bool:
        """Whether Dify stops the model if the connection of a stream is closed, or a stop would not stop it either.

        The second is so for chatflows (tests/contract/DIFFERENCES-1.16.md, A 12 and B).
        """
        return version_tuple(self._transport.dify_version) >= STOPS_WHEN_LEFT_SINCE

    @property
    def queues_chatflows(self) -> bool:
        """Whether Dify's worker carries out chatflows. A stream then begins with a ping, and Dify names the task as
        soon as a worker has begun, long before the first text."""
        return version_tuple(self._transport.dify_version) >= QUEUES_CHATFLOWS_SINCE

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
            is_withdrawn = error.message == _NOTHING_TO_WITHDRAW or error.dify_code == _RATING_REQUIRED
            if rating is not None or not is_withdrawn:
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
