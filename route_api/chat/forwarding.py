"""Forwards ratings, deletions and requests to stop to Dify, and gets suggested questions from Dify.

All of them are already stored in our database. If Dify rejects one, the caller's request still succeeds, and
the log has a warning.
"""

import logging
from collections.abc import Iterable
from time import monotonic

from ..dify.chat_app import Rating
from ..errors import DifyError, DifyForbidden, DifyNotFound, DifyRejected, DifyTimeout, DifyUnreachable, NotSupported
from ..languages import Sentence
from ..storage.conversations import DifyConversationReference
from ..storage.messages import DifyMessageReference, RunningTurn
from .backends import api_of, service_api_of

log = logging.getLogger(__name__)

LIKE_MINIMUM_SCORE = 60
"""The lowest score, of 100, that is sent to Dify as a like. Dify has only likes and dislikes."""

DELETE_ON_DIFY_S = 20.0
"""Seconds for which a caller waits while Dify deletes conversations. After a timeout it deletes no more of them."""


def forward_rating(on_dify: DifyMessageReference, user_id: str, score: int | None, reason: str | None) -> bool:
    """Send a rating to Dify, whose web pages count likes and dislikes.

    :param score: 0 to 100; None deletes the rating
    :returns: whether Dify accepted it
    """
    app = service_api_of(on_dify.backend)
    if on_dify.dify_message_id is None or app is None:
        return False  # Only the service API accepts ratings, and it does not know the debugger's messages.
    rating: Rating | None = None if score is None else "like" if score >= LIKE_MINIMUM_SCORE else "dislike"
    try:
        app.feedback(on_dify.dify_message_id, user_id, rating, reason or "")
    except DifyError as error:
        log.warning("Dify did not take the feedback on its message %s: %s", on_dify.dify_message_id, error.message)
        return False
    return True


def stop_on_dify(turn: RunningTurn, user_id: str) -> None:
    """Stop a running answer on Dify, if Dify's task is known.

    The process of the turn stops it as well, up to a second later. But that process may have died.
    """
    if turn.task_id is None:
        return
    try:
        api_of(turn.backend).stop(turn.task_id, user_id)
    except DifyError as error:
        log.warning("Dify did not stop its task %s: %s", turn.task_id, error.message)


def suggested_questions(on_dify: DifyMessageReference, user_id: str) -> list[str]:
    """The questions that Dify suggests after a message.

    :returns: the questions; empty if the message is not on Dify, or if the app suggests no questions
    :raises DifyError: the call failed for another reason
    """
    if on_dify.dify_message_id is None:
        return []
    try:
        return api_of(on_dify.backend).suggested(on_dify.dify_message_id, user_id)
    except (DifyForbidden, DifyNotFound, DifyRejected):
        return []


def delete_on_dify(deleted: Iterable[DifyConversationReference], user_id: str) -> None:
    """Delete conversations on Dify, for DELETE_ON_DIFY_S seconds at most. The log names the ones that still exist.

    :param deleted: conversations that are already deleted in our database
    """
    give_up_at = monotonic() + DELETE_ON_DIFY_S
    for backend, dify_conversation_id in deleted:
        try:
            if monotonic() > give_up_at:
                raise DifyTimeout(Sentence("the others took too long."))
            api_of(backend).delete_conversation(dify_conversation_id, user_id)
        except (DifyError, NotSupported) as error:  # NotSupported: the app of the debugger was deleted.
            log.warning("Dify keeps its conversation %s: %s", dify_conversation_id, error.message)
            if isinstance(error, (DifyUnreachable, DifyTimeout)):
                give_up_at = 0.0
