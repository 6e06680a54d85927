"""`/healthz`, `/readyz` and `/metrics`, for load balancers and Prometheus."""

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from ..access.callers import public, service_key_required
from ..chat.monitor import turn_monitor
from ..envelope import success
from ..errors import NotReady
from ..health import health_check
from ..languages import Sentence, joined
from ..monitoring import metrics
from ..schemas.answers import answer
from .blueprint import ApiBlueprint
from .parameters import without_parameters

blueprint = ApiBlueprint("health", __name__, description="Operations")

READY = {"database": "ok", "dify": "ok"}


@blueprint.route("/healthz")
@public
@blueprint.response(200, answer("HealthAnswer", "ok"))
@without_parameters()
def check_health() -> Response:
    """Tell whether this process serves requests. It asks neither the database nor Dify.

    Upstream calls: 0.
    """
    return success("ok")


@blueprint.route("/readyz")
@public
@blueprint.response(200, answer("ReadinessAnswer", READY))
@blueprint.raises(NotReady)
@without_parameters()
def check_readiness() -> Response:
    """Tell whether the gateway is ready for requests.

    It is ready if the database answers and is up to date, Dify answers, and the gateway is not being stopped. Otherwise
    the answer is 503 `not_ready`, and `message` says why. `message` also names the kinds of calls to Dify that fail at
    once because Dify failed in them several times in a row.

    Upstream calls: 1, without a key; 0 if the last check is less than a second old.
    """
    if turn_monitor.is_stopping:
        raise NotReady(Sentence("The gateway is stopping."))
    problems = health_check.problems()
    if problems:
        raise NotReady(
            joined(list(problems.values())), data={part: "failed" if part in problems else "ok" for part in READY}
        )
    return success(READY, health_check.refused_calls() or "success")


@blueprint.route("/metrics")
@service_key_required
@blueprint.response(
    200,
    {"type": "string"},
    content_type="text/plain",
    description="The metrics of all workers, as Prometheus reads them",
)
def get_metrics() -> Response:
    """Get the metrics in the text format of Prometheus, without the envelope.

    Upstream calls: 0.
    """
    return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
