"""Limits on one caller: requests per minute, attempts to log in, and turns and uploads that run at the same time.

The counts are kept in `LIMITS_STORAGE`: in the memory of each process, or in one Redis for all processes. While Redis
does not answer, each process counts for itself: for a while the limits allow too much, but the gateway keeps serving.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, wraps
from ipaddress import IPv6Address, ip_address
from math import ceil
from secrets import token_hex
from typing import Any, TypeVar, cast

import redis
from flask import current_app, g, request
from limits import RateLimitItem, RateLimitItemPerMinute, parse
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from config import Config

from ..errors import TooManyRequests
from ..extensions import component

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1
"""Seconds to wait for Redis before it counts as not answering."""

REDIS_RETRY_S = 10.0
"""Seconds until a Redis that did not answer is tried again. Each try can delay a request by REDIS_TIMEOUT_S."""

LEASE_S = 600
"""Seconds for which Redis counts a running turn or upload, so that the entries of a process that died disappear. A turn
that takes longer stops being counted before it ends."""

UNLIMITED_ENDPOINTS = ("health.check_health", "health.check_readiness")
"""A load balancer requests these often. A 429 would make it take the gateway out of service."""


def rate_limit_key() -> str:
    """The name under which a request is counted: its service key's label, its user, or the address it comes from."""
    return str(g.caller.label) if g.caller.is_authenticated else f"address-{client_address()}"


def client_address() -> str:
    """The address that a request comes from; for IPv6 its /64 network, because one household has a whole network."""
    return _address_or_network(request.remote_addr or "-")


@lru_cache(maxsize=10_000)
def _address_or_network(text: str) -> str:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return f"{parsed.exploded[:19]}::/64"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


class RateLimiter:
    """The fixed-window rate limiter of the library `limits`, with its counts in LIMITS_STORAGE.

    Flask-Limiter uses the same library. It is not used here because it takes five times as long per request, and
    because it cannot count attempts to log in.
    """

    def __init__(self, uri: str, **options: Any) -> None:
        self._storage = cast(Storage, storage_from_string(uri, **options))
        self._shared = FixedWindowRateLimiter(self._storage)
        self._in_memory = FixedWindowRateLimiter(MemoryStorage())
        self._retry_at = 0.0

    def hit(self, limit: RateLimitItem, *key: str, cost: int = 1) -> bool:
        """Count one.

        :param cost: how many to count; a negative number takes back an earlier hit
        :returns: False if the limit is exceeded
        """
        return self._call(lambda limiter: limiter.hit(limit, *key, cost=cost))

    def test(self, limit: RateLimitItem, *key: str) -> bool:
        """Whether one more hit would be allowed. Counts nothing."""
        return self._call(lambda limiter: limiter.test(limit, *key))

    def clear(self, limit: RateLimitItem, *key: str) -> None:
        """Set the count to zero."""
        self._call(lambda limiter: limiter.clear(limit, *key))

    def seconds_until_reset(self, limit: RateLimitItem, *key: str) -> int:
        """Seconds until the time window ends and counting starts at zero, at least 1."""
        reset_time = self._call(lambda limiter: limiter.get_window_stats(limit, *key).reset_time)
        return max(1, ceil(reset_time - time.time()))

    def _call(self, function: Callable[[FixedWindowRateLimiter], T]) -> T:
        if time.monotonic() > self._retry_at:
            try:
                return function(self._shared)
            except self._storage.base_exceptions as error:
                self._retry_at = time.monotonic() + REDIS_RETRY_S
                log.warning("LIMITS_STORAGE does not answer, each process counts by itself: %s", error)
        return function(self._in_memory)


class RequestLimit:
    """Limits the requests per minute of each caller."""

    def __init__(self, limiter: RateLimiter, per_caller: int, per_service: int) -> None:
        """
        :param per_caller: limit for each user and for each address without credentials; 0: no limit
        :param per_service: limit for each service key; 0: no limit
        """
        self._limiter = limiter
        self._per_caller = RateLimitItemPerMinute(per_caller) if per_caller else None
        self._per_service = RateLimitItemPerMinute(per_service) if per_service else None

    def count_request(self) -> None:
        """Count the request at hand. A request with invalid credentials counts for its address.

        :raises TooManyRequests: its caller has made too many requests
        """
        limit = self._per_service if g.caller.is_authenticated and g.caller.is_service else self._per_caller
        if limit is None or request.endpoint in UNLIMITED_ENDPOINTS:
            return
        key = rate_limit_key()
        if not self._limiter.hit(limit, "requests", key):
            wait = self._limiter.seconds_until_reset(limit, "requests", key)
            text = f"This caller may make {limit.amount} requests a minute; the next one in {wait} seconds."
            raise TooManyRequests(text, retry_after=wait)


class LoginThrottle:
    """Slows down guessing of passwords without locking out the owner of an account.

    Failed attempts are limited per address, and per username from one address. Attempts for one username from all
    addresses together are limited too, except from addresses where this user has logged in before: an attacker
    elsewhere cannot use up the owner's attempts. An owner at a new address waits a minute at the most.
    """

    PER_ADDRESS = parse("30 per 5 minutes")
    PER_USERNAME_AND_ADDRESS = parse("5 per 5 minutes")
    PER_USERNAME = parse("10 per minute")
    WITH_SUCCESSES = parse("60 per 5 minutes")
    """For a username at an address. It counts successful logins as well, because each takes 60 ms of a CPU core."""
    KNOWN_ADDRESS = parse("1 per 90 days")
    """Not a limit: one hit marks an address where this user has logged in during the last 90 days."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def count_attempt(self, username: str) -> None:
        """Count an attempt to log in, before the password is checked.

        :raises TooManyRequests: there were too many attempts
        """
        address = client_address()
        self._hit(self.WITH_SUCCESSES, "any", username, address)
        self._hit(self.PER_ADDRESS, "login", address)
        self._hit(self.PER_USERNAME_AND_ADDRESS, "login", username, address)
        if not self._is_known_address(username, address):
            self._hit(self.PER_USERNAME, "login", username)

    def count_success(self, username: str) -> None:
        """Take the attempt back, because the password was right, and mark the address as known for this user."""
        address, limiter = client_address(), self._limiter
        limiter.hit(self.PER_ADDRESS, "login", address, cost=-1)
        limiter.clear(self.PER_USERNAME_AND_ADDRESS, "login", username, address)
        if not self._is_known_address(username, address):
            limiter.hit(self.PER_USERNAME, "login", username, cost=-1)
        limiter.clear(self.KNOWN_ADDRESS, "home", username, address)
        limiter.hit(self.KNOWN_ADDRESS, "home", username, address)

    def count_registration(self) -> None:
        """Count a registration by a caller without a service key. Each one costs a password hash and a row.

        :raises TooManyRequests: too many came from this address
        """
        self._hit(self.PER_ADDRESS, "register", client_address())

    def _is_known_address(self, username: str, address: str) -> bool:
        # The key "home" stays: under another one a running Redis would forget all known addresses.
        return not self._limiter.test(self.KNOWN_ADDRESS, "home", username, address)

    def _hit(self, limit: RateLimitItem, *key: str) -> None:
        if not self._limiter.hit(limit, *key):
            wait = self._limiter.seconds_until_reset(limit, *key)
            raise TooManyRequests(f"Too many tries; the next one in {wait} seconds.", retry_after=wait)


class ConcurrencyLimit:
    """A semaphore for each caller: limits how many turns or uploads run at the same time.

    :param shared: the Redis in which all processes count together; None: each process counts for itself
    """

    def __init__(self, shared: "redis.Redis | None") -> None:
        self._shared = shared
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()  # Adding one to a counter is two steps; another thread can come in between.
        self._retry_at = 0.0

    def acquire(self, name: str, owner: str, limit: int) -> Callable[[], None]:
        """Count one more that runs.

        :param name: the name of the things that are counted, in the plural; it stands in the error message
        :param owner: the caller or user whose things are counted
        :param limit: how many may run at the same time; 0: no limit
        :returns: the function `release`, to be called when it has ended; a second call does nothing
        :raises TooManyRequests: `limit` of them are running
        """
        key, entry = f"route-api/{name}/{owner}", token_hex(16)
        with self._lock:
            self._running[key] += 1
            running = self._running[key]
        held = [entry]

        def release() -> None:
            if held:
                held.clear()
                self._release(key, entry)

        if limit and max(running, self._count_shared(key, entry)) > limit:
            release()
            text = f"{limit} {name} are running already, the most at once; wait until one has ended."
            raise TooManyRequests(text, retry_after=5)
        return release

    def _count_shared(self, key: str, entry: str) -> int:
        """Add an entry in Redis.

        :returns: how many entries the key has; 0 if there is no Redis or it does not answer
        """
        if self._shared is None or time.monotonic() < self._retry_at:
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
            self._retry_at = time.monotonic() + REDIS_RETRY_S
            log.warning("%s are counted in this process alone, Redis does not answer: %s", key, error)
            return 0

    def _release(self, key: str, entry: str) -> None:
        with self._lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
        if self._shared is not None and time.monotonic() > self._retry_at:
            try:
                self._shared.zrem(key, entry)
            except redis.RedisError as error:
                self._retry_at = time.monotonic() + REDIS_RETRY_S
                log.warning("an end of %s was not counted, Redis does not answer: %s", key, error)


request_limit: RequestLimit = component("request_limit")
login_throttle: LoginThrottle = component("login_throttle")
concurrency: ConcurrencyLimit = component("concurrency")


def acquire_turn(user_id: str) -> Callable[[], None]:
    """Count a running turn of a user.

    :returns: the function to call when the turn has ended
    :raises TooManyRequests: TURNS_PER_USER turns of the user are running
    """
    return concurrency.acquire("answers of this user", user_id, current_app.config["TURNS_PER_USER"])


def limit_uploads(view: View) -> View:
    """Let each caller run UPLOADS_PER_CALLER of these views at the same time.

    Must stand above the decorators that read the body, so that a refused upload is not received first.
    """

    @wraps(view)
    def limited(*args: Any, **kwargs: Any) -> Any:
        limit = current_app.config["UPLOADS_PER_CALLER"]
        release = concurrency.acquire("uploads of this caller", rate_limit_key(), limit)
        try:
            return view(*args, **kwargs)
        finally:
            release()

    return cast(View, limited)


def limits_of(config: Config) -> tuple[RequestLimit, LoginThrottle, ConcurrencyLimit]:
    """The limits that the settings ask for, counted in LIMITS_STORAGE."""
    uri = config.LIMITS_STORAGE
    in_redis = not uri.startswith("memory:")
    timeouts: Any = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S} if in_redis else {}
    limiter = RateLimiter(uri, **timeouts)
    return (
        RequestLimit(limiter, config.RATE_LIMIT, config.RATE_LIMIT_SERVICE),
        LoginThrottle(limiter),
        ConcurrencyLimit(redis.Redis.from_url(uri, **timeouts) if in_redis else None),
    )
