"""`/dify`: what the Dify behind this gateway can do, for operators."""

from flask import Response

from ..access.callers import service_key_required
from ..envelope import success
from ..health import capability_report
from ..schemas.answers import answer
from .blueprint import ApiBlueprint
from .parameters import without_parameters

blueprint = ApiBlueprint("dify", __name__, url_prefix="/dify", description="Operations")

REPORT = {
    "checked_at": 1754297803,
    "works": True,
    "findings": [
        {"capability": "Dify", "state": "works", "text": "version 1.12.1 at DIFY_BASE_URL", "remedy": ""},
        {
            "capability": "console login",
            "state": "optional",
            "text": "no console login is set: no default models, no model parameters per request",
            "remedy": "set DIFY_CONSOLE_EMAIL and DIFY_CONSOLE_PASSWORD (`flask dify provision` writes them)",
        },
    ],
}


@blueprint.route("/check", methods=["GET", "POST"])
@service_key_required
@blueprint.response(200, answer("DifyCheckAnswer", REPORT))
@without_parameters()
def check_dify() -> Response:
    """Tell what works, what is missing, and what to do about it, as `flask dify check --without-login` does.

    The `state` of a finding is `works`, `missing` (it is needed), `optional` (it is missing, and nothing needs it) or
    `unknown` (only a real call would show it). `works` is false if something is missing that is needed. The check asks
    no model and does not try the console login. In place of addresses and e-mail addresses it has the names of their
    settings. The words are in the caller's language, as those of an error.

    Upstream calls: about 10; 0 if the last check of this process is less than 30 seconds old, or while another request
    is checking: then the answer is the last one, or 429 if there is none yet.
    """
    return success(capability_report.latest())
