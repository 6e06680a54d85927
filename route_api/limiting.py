"""How much one caller may ask for: requests a minute, turns and uploads at once, tries to log in.

Counted in `LIMITS_STORAGE`: in each process by itself, or in Redis for all of them together. While Redis does not
answer, each process counts by itself again: a limit that is too wide for a while beats a gateway that stands still.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any, TypeVar, cast
from uuid import uuid4

import redis
from flask import Flask, Response, current_app, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from .envelope import failure
from .errors import TooManyRequests

View = TypeVar("View", bound=Callable[..., Any])

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1
"""A Redis that is slower than that is treated as one that is away."""

LEASE_S = 3600
"""Seconds after which a turn or upload whose process died is no longer counted in Redis."""


UNCOUNTED = ("health.check_health", "health.check_readiness")
"""A load balancer asks these often, and must not be told to come later."""


def caller_key() -> str:
    """Whom a request is counted for: a service key, a user, or the address of somebody unknown."""
    return str(g.caller.label) if g.caller.is_known else f"address-{address()}"


def address() -> str:
    """Where the request comes from. Of an IPv6 address the network: whoever has one address has 2**64 of them."""
    text = request.remote_addr or "-"
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return f"{parsed.exploded[:19]}::/64"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _requests_a_minute() -> int:
    limit: int = current_app.config["RATE_LIMIT_SERVICE" if g.caller.is_service and g.caller.is_known else "RATE_LIMIT"]
    return limit


def init_app(app: Flask) -> None:
    """Count requests, and prepare the other limits. Comes after `auth`, which knows the callers."""
    uri = app.config["LIMITS_STORAGE"]
    in_redis = not uri.startswith("memory:")
    timeouts: Any = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S} if in_redis else {}
    limiter = Limiter(
        key_func=caller_key,
        application_limits=[lambda: f"{_requests_a_minute() or 1}/minute"],
        application_limits_exempt_when=lambda: _requests_a_minute() == 0 or request.endpoint in UNCOUNTED,
        strategy="fixed-window",
        storage_uri=uri,
        storage_options=timeouts,
        in_memory_fallback_enabled=in_redis,
        enabled=bool(app.config["RATE_LIMIT"] or app.config["RATE_LIMIT_SERVICE"]),
    )
    limiter.init_app(app)
    app.register_error_handler(RateLimitExceeded, partial(_rate_exceeded, limiter))
    app.extensions["login_guard"] = LoginGuard(cast(Storage, storage_from_string(uri, **timeouts)))
    app.extensions["at_once"] = AtOnce(redis.Redis.from_url(uri, **timeouts) if in_redis else None)


def _rate_exceeded(limiter: Limiter, _error: RateLimitExceeded) -> Response:
    limit = limiter.current_limit
    wait = _seconds_until(limit.window.reset_time if limit else time.time() + 60)
    text = f"This caller may make {_requests_a_minute()} requests a minute; the next one in {wait} seconds."
    return failure(TooManyRequests(text, retry_after=wait))


def _seconds_until(moment: float) -> int:
    return max(1, ceil(moment - time.time()))


class LoginGuard:
    """Slows down whoever guesses passwords, and does not lock the owner out.

    Tries are counted for each address; for each account from one address; and for each account from all addresses
    where it has not logged in before. The owner at home is thus never in the attackers' queue, and at a new place
    waits a minute with them at the worst.
    """

    OF_ADDRESS = parse("30 per 5 minutes")
    OF_ACCOUNT_AT_ADDRESS = parse("5 per 5 minutes")
    OF_ACCOUNT = parse("10 per minute")
    HOME = parse("1 per 90 days")

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._shared = FixedWindowRateLimiter(storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())

    def count(self, username: str) -> None:
        """Count a try to log in.

        :raises TooManyRequests: there were too many
        """
        try:
            self._count(self._shared, username, address())
        except self._storage.base_exceptions as error:
            log.warning("logins are counted in this process alone, LIMITS_STORAGE does not answer: %s", error)
            self._count(self._own, username, address())

    def succeeded(self, username: str) -> None:
        """Take the try back that has turned out to be the owner's, and remember where they are at home."""
        here = address()
        try:
            self._shared.hit(self.OF_ADDRESS, "login", here, cost=-1)
            if self._shared.test(self.HOME, "home", username, here):
                self._shared.hit(self.OF_ACCOUNT, "login", username, cost=-1)
            self._shared.clear(self.OF_ACCOUNT_AT_ADDRESS, "login", username, here)
            self._shared.clear(self.HOME, "home", username, here)
            self._shared.hit(self.HOME, "home", username, here)
        except self._storage.base_exceptions as error:
            log.warning("a login could not be noted, LIMITS_STORAGE does not answer: %s", error)

    def _count(self, counters: FixedWindowRateLimiter, username: str, here: str) -> None:
        self._hit(counters, self.OF_ADDRESS, "login", here)
        self._hit(counters, self.OF_ACCOUNT_AT_ADDRESS, "login", username, here)
        if counters.test(self.HOME, "home", username, here):
            self._hit(counters, self.OF_ACCOUNT, "login", username)

    def _hit(self, counters: FixedWindowRateLimiter, limit: RateLimitItem, *key: str) -> None:
        if not counters.hit(limit, *key):
            wait = _seconds_until(counters.get_window_stats(limit, *key).reset_time)
            raise TooManyRequests(f"Too many tries to log in; the next one in {wait} seconds.", retry_after=wait)


class AtOnce:
    """Counts what runs right now.

    :param shared: a Redis in which all processes count together; None: each counts by itself
    """

    def __init__(self, shared: "redis.Redis | None") -> None:
        self._shared = shared
        self._running: Counter[str] = Counter()

    def enter(self, what: str, whose: str, most: int) -> Callable[[], None]:
        """Count one more of them.

        :param what: in the plural, as the caller reads it
        :param most: 0: any number
        :returns: what must be called at its end; calling it again does nothing
        :raises TooManyRequests: there are as many as may be
        """
        key, entry = f"route-api/{what}/{whose}", uuid4().hex
        self._running[key] += 1
        open_entries = [entry]

        def leave() -> None:
            if open_entries:
                open_entries.clear()
                self._leave(key, entry)

        if most and max(self._running[key], self._count_shared(key, entry)) > most:
            leave()
            text = f"{most} {what} are running already, the most at once; wait until one has ended."
            raise TooManyRequests(text, retry_after=5)
        return leave

    def _count_shared(self, key: str, entry: str) -> int:
        if self._shared is None:
            return 0
        now = time.time()
        try:
            with self._shared.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now - LEASE_S)
                pipeline.zadd(key, {entry: now})
                pipeline.zcard(key)
                pipeline.expire(key, LEASE_S)
                return int(pipeline.execute()[2])
        except redis.RedisError as error:
            log.warning("%s are counted in this process alone, Redis does not answer: %s", key, error)
            return 0

    def _leave(self, key: str, entry: str) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        if self._shared is not None:
            try:
                self._shared.zrem(key, entry)
            except redis.RedisError as error:
                log.warning("an end of %s was not counted, Redis does not answer: %s", key, error)


def enter_turn(user_id: str) -> Callable[[], None]:
    """Count a turn of this user; what must be called when it has ended.

    :raises TooManyRequests: the user has TURNS_PER_USER running
    """
    most = current_app.config["TURNS_PER_USER"]
    leave: Callable[[], None] = current_app.extensions["at_once"].enter("answers of this user", user_id, most)
    return leave


def upload(view: View) -> View:
    """A view whose caller may have UPLOADS_PER_CALLER of them running. Stands above what reads the body."""

    @wraps(view)
    def counted(*args: Any, **kwargs: Any) -> Any:
        most = current_app.config["UPLOADS_PER_CALLER"]
        leave = current_app.extensions["at_once"].enter("uploads of this caller", caller_key(), most)
        try:
            return view(*args, **kwargs)
        finally:
            leave()

    return cast(View, counted)
