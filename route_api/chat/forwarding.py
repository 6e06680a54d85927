"""Ratings, deletions and wishes for suggested questions, which the gateway passes on to Dify.

Ratings and deletions are already carried out in our database. If Dify does not take one, the caller succeeds all the
same, and the log says so.
"""

import logging
from collections.abc import Iterable
from time import monotonic

from ..dify import ChatApi
from ..dify.chat_app import Rating
from ..errors import DifyError, DifyForbidden, DifyNotFound, DifyRejected, DifyTimeout, DifyUnreachable
from ..storage.conversations import ConversationOnDify
from ..storage.messages import DifyMessage
from .backends import api_of

log = logging.getLogger(__name__)

LIKED_FROM = 60
"""The lowest score, of 100, that Dify is told as a like. Dify knows likes and dislikes only."""

DELETE_ON_DIFY_S = 20.0
"""Seconds for which a caller waits while Dify deletes conversations. After a timeout of Dify's the rest is given up."""


def forward_rating(on_dify: DifyMessage, user_id: str, score: int | None, reason: str | None) -> bool:
    """Tell Dify of a rating: its own pages count likes and dislikes.

    :param score: None withdraws the rating
    :returns: whether Dify took it
    """
    if on_dify.dify_message_id is None:
        return False
    rating: Rating | None = None if score is None else "like" if score >= LIKED_FROM else "dislike"
    try:
        api = api_of(on_dify.backend)
        if not isinstance(api, ChatApi):
            return False  # Only the service API takes ratings, and it does not know the messages of the debugger.
        api.feedback(on_dify.dify_message_id, user_id, rating, reason or "")
    except DifyError as error:
        log.warning("Dify did not take the feedback on its message %s: %s", on_dify.dify_message_id, error.message)
        return False
    return True


def suggested_questions(on_dify: DifyMessage, user_id: str) -> list[str]:
    """The questions that Dify suggests after a message. None if Dify refuses, as it does for an app without them."""
    if on_dify.dify_message_id is None:
        return []
    try:
        return api_of(on_dify.backend).suggested(on_dify.dify_message_id, user_id)
    except (DifyForbidden, DifyNotFound, DifyRejected):
        return []


def delete_on_dify(left: Iterable[ConversationOnDify], user_id: str) -> None:
    """Delete conversations on Dify, as many as it deletes within DELETE_ON_DIFY_S. The log names the others."""
    give_up_at = monotonic() + DELETE_ON_DIFY_S
    for backend, dify_conversation_id in left:
        try:
            if monotonic() > give_up_at:
                raise DifyTimeout("the others took too long.")
            api_of(backend).delete_conversation(dify_conversation_id, user_id)
        except DifyError as error:
            log.warning("Dify keeps its conversation %s: %s", dify_conversation_id, error.message)
            if isinstance(error, (DifyUnreachable, DifyTimeout)):
                give_up_at = 0.0
