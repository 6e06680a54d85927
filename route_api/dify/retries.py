"""Waiting for Dify's indexing worker.

For a moment after a document or chunk was switched, Dify refuses to switch it back
(documents/status-disable-right-after-enable).
"""

from typing import Any, Callable

from ..errors import DifyRejected
from .error_answers import STILL_INDEXING

PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries."""


def when_indexed(call: Callable[[], Any], sleep: Callable[[float], None]) -> Any:
    """Make a call, again after each of :data:`PAUSES` while Dify says that it is still indexing.

    :raises DifyError: any other refusal at once, that one after the last try.
    """
    for pause in PAUSES:
        try:
            return call()
        except DifyRejected as error:
            if error.message != STILL_INDEXING:
                raise
        sleep(pause)
    return call()
