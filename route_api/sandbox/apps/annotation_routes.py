"""The service API's routes for annotations: list, create, change and delete them, and let the app answer with them."""

import uuid
from sqlite3 import Row
from typing import Any

from flask import Blueprint, Response, g, request

from ..errors import SandboxError
from ..model.available_models import find_model, is_our_provider
from ..page_parameters import Page, contains_pattern, requested_page_or_default
from ..request_fields import RequestFields
from ..store import Store, current_store
from ..version import is_1_16
from .annotation_table import (
    add_annotation,
    delete_annotation_setting,
    find_job,
    get_annotation,
    record_job,
    save_annotation_setting,
)
from .app_access import require_app

blueprint = Blueprint("annotations", __name__)


def _payload(annotation: Row) -> dict[str, Any]:
    return {name: annotation[name] for name in ("id", "question", "answer", "hit_count", "created_at")}


@blueprint.get("/v1/apps/annotations")
@require_app("nowhere")
def list_annotations() -> dict[str, Any]:
    """List the app's annotations whose question or answer contains `keyword`, newest first.

    1.12.1 takes the default for a wrong page or limit; 1.16.1 refuses it.
    """
    if is_1_16():
        query = RequestFields("AnnotationListQuery", request.args)
        page = Page(query.number("page", 1, 1, 2**31 - 1), query.number("limit", 20, 1, 2**31 - 1))
    else:
        page = requested_page_or_default()
    connection, pattern = current_store().connection(), contains_pattern(request.args.get("keyword", ""))
    where = "app_id = :app AND (question LIKE :pattern ESCAPE '\\' OR answer LIKE :pattern ESCAPE '\\')"
    values = {"app": g.app["id"], "pattern": pattern, "rows": page.rows, "offset": page.offset}
    total = connection.execute(f"SELECT count(*) FROM annotation WHERE {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT * FROM annotation WHERE {where} ORDER BY number DESC LIMIT :rows OFFSET :offset", values
    )
    return page.answer([_payload(row) for row in rows], total)


def _question_and_answer() -> tuple[str, str]:
    body = RequestFields("AnnotationCreatePayload", request.get_json())
    return body.text("question"), body.text("answer")


@blueprint.post("/v1/apps/annotations")
@require_app("nowhere")
def create_annotation() -> tuple[dict[str, Any], int]:
    """Create an annotation; the status is 201."""
    return _payload(add_annotation(current_store(), g.app["id"], *_question_and_answer())), 201


@blueprint.put("/v1/apps/annotations/<uuid:annotation_id>")
@require_app("nowhere")
def change_annotation(annotation_id: uuid.UUID) -> dict[str, Any]:
    """Replace the question and the answer of an annotation."""
    question, answer = _question_and_answer()
    store = current_store()
    annotation = get_annotation(store, g.app["id"], str(annotation_id))
    store.connection().execute(
        "UPDATE annotation SET question = ?, answer = ? WHERE id = ?", (question, answer, annotation["id"])
    )
    return _payload(get_annotation(store, g.app["id"], annotation["id"]))


@blueprint.delete("/v1/apps/annotations/<uuid:annotation_id>")
@require_app("nowhere")
def delete_annotation(annotation_id: uuid.UUID) -> Response:
    """Delete an annotation; the status is 204."""
    store = current_store()
    annotation = get_annotation(store, g.app["id"], str(annotation_id))
    store.connection().execute("DELETE FROM annotation WHERE id = ?", (annotation["id"],))
    return Response(status=204, content_type="application/json")


@blueprint.post("/v1/apps/annotation-reply/<action>")
@require_app("nowhere")
def switch_annotation_reply(action: str) -> dict[str, str]:
    """Begin or end answering with annotations. The job ends at once; Dify's job waits for a worker.

    Another action than enable and disable is an error of the server, as in Dify.
    """
    body = RequestFields("AnnotationReplyActionPayload", request.get_json())
    threshold = body.decimal("score_threshold")
    provider, model = body.text("embedding_provider_name"), body.text("embedding_model_name")
    if action not in ("enable", "disable"):
        raise SandboxError(500, "unknown", "Internal Server Error")
    store, error = current_store(), ""
    if action == "disable":
        delete_annotation_setting(store, g.app["id"])
    elif not (error := _error_of_index(store, g.app["id"], provider, model)):
        save_annotation_setting(store, g.app["id"], threshold, provider, model)
    return {"job_id": record_job(store, action, error), "job_status": "waiting"}


def _error_of_index(store: Store, app_id: str, provider: str, model: str) -> str:
    """Return why the questions cannot be embedded, or "". Without annotations Dify's job embeds nothing."""
    sql = "SELECT count(*) FROM annotation WHERE app_id = ?"
    if not store.connection().execute(sql, (app_id,)).fetchone()[0]:
        return ""
    if not is_our_provider(provider):
        return f"Provider {provider} does not exist."
    return "" if find_model(model, "text-embedding") else f"Model {model} credentials is not initialized."


@blueprint.get("/v1/apps/annotation-reply/<action>/status/<uuid:job_id>")
@require_app("nowhere")
def show_job(action: str, job_id: uuid.UUID) -> dict[str, str]:
    """Show the state of a job."""
    job = find_job(current_store(), action, str(job_id))
    if job is None:
        raise SandboxError(400, "invalid_param", "The job does not exist.")
    return {"job_id": job["id"], "job_status": "error" if job["error"] else "completed", "error_msg": job["error"]}
