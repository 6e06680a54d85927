"""`/message`: single messages, ratings and suggested questions."""

from typing import Any

from flask import Response

from ..chat.forwarding import forward_rating, suggested_questions
from ..envelope import success
from ..errors import DIFY_ERRORS, MessageNotFound
from ..extensions import db
from ..presenters.message import message_row
from ..schemas import conversation as schemas
from ..storage import messages
from .blueprint import ApiBlueprint

blueprint = ApiBlueprint("message", __name__, url_prefix="/message", description="Messages and feedback")


@blueprint.route("/get", methods=["GET", "POST"])
@blueprint.arguments(schemas.MessageId, location="query")
@blueprint.response(200, schemas.MessageAnswer)
@blueprint.raises(MessageNotFound)
def get_message(given: dict[str, str]) -> Response:
    """Get one message.

    Upstream calls: 0.
    """
    return success(message_row(messages.read_message(db.engine, **given)))


@blueprint.route("/feedback", methods=["POST"])
@blueprint.arguments(schemas.Feedback)
@blueprint.response(200, schemas.FeedbackAnswer)
@blueprint.raises(MessageNotFound)
def give_feedback(given: dict[str, Any]) -> Response:
    """Rate an answer from 0 to 100, with a reason. The rating replaces an earlier one.

    Upstream calls: 1, which sends Dify a like for 60 points or more and a dislike below. `passed_on` tells whether Dify
    accepted it. 0 for a message that Dify's service API does not know.
    """
    on_dify = messages.rate_message(db.engine, **given)
    passed_on = forward_rating(on_dify, given["user_id"], given["score"], given["reason"])
    return success({name: given[name] for name in ("message_id", "score", "reason")} | {"passed_on": passed_on})


@blueprint.route("/suggested", methods=["GET", "POST"])
@blueprint.arguments(schemas.MessageId, location="query")
@blueprint.response(200, schemas.SuggestedAnswer)
@blueprint.raises(DIFY_ERRORS, MessageNotFound)
def suggest_questions(given: dict[str, str]) -> Response:
    """List questions that the user might ask next.

    The model of the Dify app suggests them. The list is empty if suggestions are switched off in the app.

    Upstream calls: 1; 0 for a message that did not reach Dify.
    """
    on_dify = messages.find_dify_message(db.engine, **given)
    return success(suggested_questions(on_dify, given["user_id"]))
