"""`/conversation`: turns with or without a knowledge base, and the conversations and messages that they make."""

from typing import Any

from flask import Response

from ..access.idempotency import idempotent
from ..chat.forwarding import delete_on_dify, stop_on_dify
from ..chat.resumption import FormSubmission, answer_form, stream_form
from ..envelope import success
from ..errors import ConversationBusy, ConversationNotFound, FormClosed, KbNotFound, MessageNotFound
from ..extensions import db
from ..presenters.conversation import conversation_row
from ..presenters.message import message_row
from ..schemas import completion
from ..schemas import conversation as schemas
from ..storage import conversations, messages
from ..storage.models import dashed
from ..storage.stop_requests import request_stop
from .blueprint import ApiBlueprint
from .turn_answer import TURN_ERRORS, carry_out, respond, think_of

blueprint = ApiBlueprint("conversation", __name__, url_prefix="/conversation", description="Conversations")


@blueprint.route("/completion", methods=["POST"])
@blueprint.arguments(completion.Completion)
@blueprint.response(200, completion.CompletionAnswer)
@blueprint.streams(completion.CompletionAnswer)
@blueprint.raises(TURN_ERRORS)
@idempotent
def complete(given: dict[str, Any]) -> Response:
    """Ask the model.

    Upstream calls: 1, and every five minutes one more to read the app's variables; for turns that begin a conversation
    on Dify every five seconds, because Dify keeps it on the variables of that moment. A history without a variable of
    the app, or a change of the variables, takes one more every five minutes, to read the kind of the app. With
    temperature, max_tokens or a model that has no app of its own, the turn uses Dify's console instead. This also takes
    1 call, and every five minutes 3 to 5 more to read the app, its settings, the model and its parameters.
    """
    return respond(given, has_kb=False)


@blueprint.route("/completion_db", methods=["POST"])
@blueprint.arguments(completion.CompletionWithKb)
@blueprint.response(200, completion.CompletionWithKbAnswer)
@blueprint.streams(completion.CompletionWithKbAnswer)
@blueprint.raises(TURN_ERRORS, KbNotFound)
@idempotent
def complete_with_kb(given: dict[str, Any]) -> Response:
    """Ask the model about a knowledge base.

    Upstream calls: 2, a retrieval and a chat, because Dify's chat API accepts no knowledge base. Each further kb of
    kb_ids takes one more. The calls that `conversation/completion` makes every five minutes are added. A retrieval may
    take more calls: see `chunk/retrieval_test`.
    """
    return respond(given, has_kb=True)


@blueprint.route("/submit_form", methods=["POST"])
@blueprint.arguments(completion.SubmitForm)
@blueprint.response(200, completion.CompletionAnswer)
@blueprint.streams(completion.CompletionAnswer)
@blueprint.raises(TURN_ERRORS, MessageNotFound, FormClosed)
def submit_form(given: dict[str, Any]) -> Response:
    """Fill in the form that a `paused` answer waits for, and get the whole answer.

    `message_id` is that of a message with `status` `paused`; its `forms` have the form, and `action` is the `id` of one
    of the form's `actions`. Only a chatflow of Dify pauses, so the sample data of `/docs` have no such message.

    The rest of the answer is added to the same message, and may be paused again. A form that Dify does not take leaves
    the answer paused; if its chatflow has gone on without us, the message gets the answer that Dify has. A form for
    which Dify asks in its console or by e-mail alone is a 400 `not_supported`.

    Upstream calls: 2, one for the events of the answer and one for the form, and every five minutes one more to read
    the app's variables. One more if Dify does not take the form, to see whether the answer has gone on without it.
    """
    given["think"] = think_of(given)
    is_streamed = given.pop("streaming")
    form = FormSubmission(**given, is_streamed=is_streamed)
    return carry_out(form, stream_form, answer_form)


@blueprint.route("/list", methods=["GET", "POST"])
@blueprint.arguments(schemas.ConversationPage, location="query")
@blueprint.response(200, schemas.ConversationListAnswer)
def list_conversations(given: dict[str, Any]) -> Response:
    """List a user's conversations, newest first, each with its last question.

    Upstream calls: 0.
    """
    rows, total = conversations.list_conversations(db.engine, **given)
    return success({"conversations": [conversation_row(row) for row in rows], "total": total})


@blueprint.route("/get", methods=["GET", "POST"])
@blueprint.arguments(schemas.ConversationId, location="query")
@blueprint.response(200, schemas.ConversationAnswer)
@blueprint.raises(ConversationNotFound)
def get_conversation(given: dict[str, str]) -> Response:
    """Get one conversation.

    Upstream calls: 0.
    """
    return success(conversation_row(conversations.read_conversation(db.engine, **given)))


@blueprint.route("/rename", methods=["POST"])
@blueprint.arguments(schemas.ConversationName)
@blueprint.response(200, schemas.ConversationAnswer)
@blueprint.raises(ConversationNotFound)
def rename_conversation(given: dict[str, str]) -> Response:
    """Give a conversation another name.

    Upstream calls: 0, because Dify has no copy of the name.
    """
    conversations.rename_conversation(db.engine, **given)
    row = conversations.read_conversation(db.engine, given["user_id"], given["conversation_id"])
    return success(conversation_row(row))


@blueprint.route("/rm", methods=["POST", "DELETE"])
@blueprint.arguments(schemas.ConversationIds)
@blueprint.response(200, schemas.ConversationRemoveAnswer)
@blueprint.raises(ConversationNotFound, ConversationBusy)
def remove_conversations(given: dict[str, Any]) -> Response:
    """Delete conversations with all their messages, here and on Dify: all of them, or none if one cannot be deleted.

    Upstream calls: 1 for each conversation on Dify. A turn with a `history` has its own conversation there. If Dify
    fails to delete a conversation, the gateway deletes its own copy all the same.
    """
    user_id, conversation_ids = given["user_id"], given["conversation_id"]
    deleted = conversations.delete_conversations(db.engine, user_id, conversation_ids)
    delete_on_dify(deleted, user_id)
    return success({"deleted": conversation_ids})


@blueprint.route("/messages", methods=["GET", "POST"])
@blueprint.arguments(schemas.MessagePage, location="query")
@blueprint.response(200, schemas.MessageListAnswer)
@blueprint.raises(ConversationNotFound)
def list_messages(given: dict[str, Any]) -> Response:
    """List the messages of a conversation in the order of its turns.

    Upstream calls: 0.
    """
    rows, total = messages.list_messages(db.engine, **given)
    return success({"messages": [message_row(row) for row in rows], "total": total})


@blueprint.route("/stop", methods=["POST"])
@blueprint.arguments(schemas.Stop)
@blueprint.response(200, schemas.StopAnswer)
@blueprint.raises(ConversationNotFound, MessageNotFound)
def stop_answer(given: dict[str, Any]) -> Response:
    """Stop a running answer. The part that has arrived is kept.

    `stopped` is true if an answer was running. Its turn ends within about a second, and the conversation accepts the
    next one, whatever Dify does. If Dify has not begun to answer, it cannot be told to stop yet; the gateway tells it
    as soon as it has begun.

    Upstream calls: 1; 0 if Dify has not begun to answer, or if no answer is running, which is a success with `stopped`
    false.
    """
    turn = messages.find_running_turn(db.engine, **given)
    if turn is None:
        return success({"message_id": given["message_id"], "stopped": False})
    request_stop(db.engine, turn.message_id)
    stop_on_dify(turn, given["user_id"])
    return success({"message_id": dashed(turn.message_id), "stopped": True})
