"""The service API's routes for workflow apps. The sandbox has none, so each is refused as Dify refuses another app.

Only the list of runs is open to all apps: it is empty.
"""

from typing import Any, NoReturn

from flask import Blueprint, request

from ..errors import SandboxError
from ..request_fields import RequestFields
from ..version import only_since_1_16
from .app_access import require_app, wrong_mode

blueprint = Blueprint("workflows", __name__)


@blueprint.post("/v1/workflows/run")
@blueprint.post("/v1/workflows/<workflow_id>/run")
@blueprint.post("/v1/workflows/tasks/<task_id>/stop")
@require_app("json")
def run_or_stop(workflow_id: str = "", task_id: str = "") -> NoReturn:
    """Run a workflow, or stop it: 400 `not_workflow_app`."""
    raise wrong_mode("workflow")


@blueprint.get("/v1/workflows/run/<run_id>")
@require_app("nowhere")
def show_run(run_id: str) -> NoReturn:
    """Show a run: 400 `not_workflow_app`."""
    raise wrong_mode("workflow")


@blueprint.get("/v1/workflow/<run_id>/events")
@only_since_1_16
@require_app("query")
def show_events(run_id: str) -> NoReturn:
    """Show the events of a run: 400 `not_workflow_app`."""
    raise wrong_mode("workflow")


@blueprint.get("/v1/workflows/logs")
@require_app("nowhere")
def list_runs() -> dict[str, Any]:
    """List the runs of the app: none."""
    query = RequestFields("WorkflowLogQuery", request.args)
    page, limit = query.number("page", 1, 1, 99999), query.number("limit", 20, 1, 100)
    return {"page": page, "limit": limit, "total": 0, "has_more": False, "data": []}


@blueprint.get("/v1/form/human_input/<form_token>")
@only_since_1_16
@require_app("nowhere")
def show_form(form_token: str) -> NoReturn:
    """Show a form that a chatflow waits for: there is none."""
    raise _no_form()


@blueprint.post("/v1/form/human_input/<form_token>")
@only_since_1_16
@require_app("json")
def submit_form(form_token: str) -> NoReturn:
    """Submit a form that a chatflow waits for: there is none."""
    raise _no_form()


def _no_form() -> SandboxError:
    return SandboxError(404, "not_found", "Form not found")
