"""The worker for WORKER_CLASS=gthread: each request runs in a thread of plain, unpatched Python."""

from gunicorn.workers.gthread import ThreadWorker

from .stopping import StopsTurns


class GatewayThreadWorker(StopsTurns, ThreadWorker):
    """gunicorn's gthread worker, which stops turns in time."""
