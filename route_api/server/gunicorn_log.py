"""gunicorn's own log lines, in the form of our log.

A worker's lines go through `monitoring/logs.py` as soon as the worker has loaded the application. gunicorn's master
never loads the application, because a gevent worker must patch the standard library before that.
"""

import logging
from typing import Any

from gunicorn.glogging import Logger
from pythonjsonlogger.orjson import OrjsonFormatter


class JsonLog(Logger):
    """A JSON object in each line, for LOG_FORMAT=json."""

    def setup(self, cfg: Any) -> None:
        """Set the format. gunicorn calls this at the start, and again when it reloads its configuration."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(self.formatter())

    @staticmethod
    def formatter() -> logging.Formatter:
        columns = ("time", "levelname", "name", "request_id", "message")
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        return OrjsonFormatter(columns, rename_fields=names, timestamp="time", static_fields={"request_id": "-"})


class TextLog(JsonLog):
    """Lines for people, for LOG_FORMAT=text."""

    @staticmethod
    def formatter() -> logging.Formatter:
        return logging.Formatter("%(asctime)s %(levelname)s %(name)s [-] %(message)s")
