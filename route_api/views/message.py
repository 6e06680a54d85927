"""`/message`: single messages, and what their users think of them."""

import logging
from typing import Any

from flask import Response

from ..chat import backends
from ..dify import ChatApi
from ..dify.chat_app import Rating
from ..envelope import success
from ..errors import DIFY_ERRORS, DifyError, DifyForbidden, DifyNotFound, DifyRejected, MessageNotFound
from ..extensions import db
from ..schemas import conversation as schemas
from ..storage import messages
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("message", __name__, url_prefix="/message", description="Messages and feedback")

log = logging.getLogger(__name__)

LIKED_FROM = 60
"""Dify knows like and dislike only: from this score on, of 100, an answer was liked."""


@blueprint.route("/get", methods=["GET", "POST"])
@blueprint.arguments(schemas.MessageId, location="query")
@blueprint.response(200, schemas.MessageAnswer)
@blueprint.raises(MessageNotFound)
def get_message(given: dict[str, str]) -> Response:
    """One message.

    Upstream calls: 0.
    """
    return success(messages.read_message(db.engine, **given))


@blueprint.route("/feedback", methods=["POST"])
@blueprint.arguments(schemas.Feedback)
@blueprint.response(200, schemas.FeedbackAnswer)
@blueprint.raises(MessageNotFound)
def give_feedback(given: dict[str, Any]) -> Response:
    """Rate an answer from 0 to 100, with a reason, in place of an earlier rating.

    Upstream calls: 1, a like from 60 points on or else a dislike; `passed_on` says if Dify took it. 0 for a message
    that its service API does not know.
    """
    on_dify = messages.rate_message(db.engine, **given)
    passed_on = pass_on(on_dify, given["user_id"], given["score"], given["reason"])
    return success({name: given[name] for name in ("message_id", "score", "reason")} | {"passed_on": passed_on})


def pass_on(on_dify: messages.DifyMessage, user_id: str, score: int | None, reason: str | None) -> bool:
    """Tell Dify, which counts likes and dislikes on its own pages; whether it took them. Ours is stored either way."""
    if on_dify.dify_message_id is None:
        return False
    rating: Rating | None = None if score is None else "like" if score >= LIKED_FROM else "dislike"
    try:
        api = backends.api_of(on_dify.carrier)
        if not isinstance(api, ChatApi):
            return False  # Dify takes feedback by its service API alone, which does not know what the debugger said
        api.feedback(on_dify.dify_message_id, user_id, rating, reason or "")
    except DifyError as error:
        log.warning("Dify did not take the feedback on its message %s: %s", on_dify.dify_message_id, error.message)
        return False
    return True


@blueprint.route("/suggested", methods=["GET", "POST"])
@blueprint.arguments(schemas.MessageId, location="query")
@blueprint.response(200, schemas.SuggestedAnswer)
@blueprint.raises(DIFY_ERRORS, MessageNotFound)
def suggest_questions(given: dict[str, str]) -> Response:
    """What the user might ask next, as the Dify app's model suggests it; nothing where the app has that switched off.

    Upstream calls: 1; 0 for a message that never reached Dify.
    """
    on_dify = messages.find_on_dify(db.engine, **given)
    return success(suggested_by_dify(on_dify, given["user_id"]))


def suggested_by_dify(on_dify: messages.DifyMessage, user_id: str) -> list[str]:
    """Dify's suggestions; none where it refuses to make any, which is no failure of the caller's."""
    if on_dify.dify_message_id is None:
        return []
    try:
        return backends.api_of(on_dify.carrier).suggested(on_dify.dify_message_id, user_id)
    except (DifyForbidden, DifyNotFound, DifyRejected):
        return []
