"""The open circuits of all workers, in Redis: in which kinds of calls Dify fails (`breaker.py`)."""

import hashlib
import logging
from typing import Any

from redis import Redis, RedisError

log = logging.getLogger(__name__)

LIFETIME_S = 10
"""Seconds for which an entry is kept after the last worker published it. A worker publishes every second or two."""


class RedisState:
    """A :class:`~route_api.dify.breaker.SharedState`: a hash in Redis for each Dify.

    While Redis does not answer, the state is empty, and each worker finds out by itself.
    """

    def __init__(self, redis: "Redis", dify_address: str) -> None:
        """
        :param redis: a client with short time limits; only the breaker's own thread waits for it
        """
        self._redis: Any = redis
        self._key = f"route-api/dify-breaker/{hashlib.sha256(dify_address.encode()).hexdigest()[:16]}"
        self._is_away = False

    def publish(self, opened: dict[str, str]) -> None:
        try:
            with self._redis.pipeline() as pipeline:
                for kind, opening in opened.items():
                    pipeline.hsetnx(self._key, kind, opening)  # The first id stays, and the others take it over.
                pipeline.expire(self._key, LIFETIME_S)
                pipeline.execute()
        except RedisError as error:
            self._note(error)

    def withdraw(self, kind: str) -> None:
        try:
            self._redis.hdel(self._key, kind)
        except RedisError as error:
            self._note(error)

    def read(self) -> dict[str, str]:
        try:
            found = {kind.decode(): opening.decode() for kind, opening in self._redis.hgetall(self._key).items()}
        except RedisError as error:
            self._note(error)
            return {}
        self._is_away = False
        return found

    def _note(self, error: RedisError) -> None:
        if not self._is_away:
            log.warning("Redis does not answer, so each worker finds out by itself whether Dify is away: %s", error)
        self._is_away = True
