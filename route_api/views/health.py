"""`/healthz`: whether this process serves."""

from flask import Response

from ..auth import public
from ..envelope import success
from ..schemas.answers import answer
from .resource import ResourceBlueprint

blueprint = ResourceBlueprint("health", __name__, description="Operations")


@blueprint.route("/healthz")
@public
@blueprint.response(200, answer("HealthAnswer", "ok"))
def check_health() -> Response:
    """Whether this process serves; asks neither the database nor Dify.

    Upstream calls: 0.
    """
    return success("ok")
