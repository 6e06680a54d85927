"""Limits: requests per minute, attempts to log in, and turns and uploads that run at the same time.

The counts are kept in `LIMITS_STORAGE`: in the memory of each process, or in one Redis for all processes. While Redis
does not answer, each process counts separately. The limits then allow more than they should, but the gateway serves.
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
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import Config

from ..errors import TooManyRequests
from ..extensions import component
from ..languages import Sentence

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1
"""Seconds to wait for an answer of Redis."""

REDIS_OPTIONS: Any = {
    "socket_timeout": REDIS_TIMEOUT_S,
    "socket_connect_timeout": REDIS_TIMEOUT_S,
    "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
}
"""redis-py's own retries would wait six seconds for a Redis that refuses connections. One retry at once is enough: it
replaces a connection of the pool that Redis closed."""

REDIS_RETRY_S = 10.0
"""If Redis did not answer, it is not asked for this many seconds. Each try can delay a request by REDIS_TIMEOUT_S."""

REDIS_ENTRY_LIFETIME_S = 600
"""Seconds for which Redis counts a running turn or upload. So the entries of a process that died disappear. After this
time only its own process still counts a turn or upload."""

UNLIMITED_ENDPOINTS = ("health.check_health", "health.check_readiness")
"""A load balancer calls these often. After a 429 it would send no more requests to this gateway."""


def rate_limit_key() -> str:
    """The key under which a request is counted: its service key's label, its user, or its client's address."""
    return str(g.caller.label) if g.caller.is_authenticated else f"address-{client_address()}"


def client_address() -> str:
    """The client's address. For IPv6 it is the /64 network, because one household has a whole network."""
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

    Flask-Limiter uses the same library, but it takes five times as long for a request and cannot count attempts to log
    in.
    """

    def __init__(self, uri: str, **options: Any) -> None:
        self._storage = cast(Storage, storage_from_string(uri, **options))
        self._primary = FixedWindowRateLimiter(self._storage)
        self._fallback = FixedWindowRateLimiter(MemoryStorage())
        self._retry_at = 0.0

    def hit(self, limit: RateLimitItem, *key: str, cost: int = 1) -> bool:
        """Add to the count of a key.

        :param cost: the number to add; a negative number undoes earlier hits
        :returns: False if the limit is exceeded
        """
        return self._call(lambda limiter: limiter.hit(limit, *key, cost=cost))

    def test(self, limit: RateLimitItem, *key: str) -> bool:
        """Whether one more hit would be allowed. The count does not change."""
        return self._call(lambda limiter: limiter.test(limit, *key))

    def clear(self, limit: RateLimitItem, *key: str) -> None:
        """Set the count to zero."""
        self._call(lambda limiter: limiter.clear(limit, *key))

    def seconds_until_reset(self, limit: RateLimitItem, *key: str) -> int:
        """Seconds until the time window ends and the count becomes zero; at least 1."""
        reset_time = self._call(lambda limiter: limiter.get_window_stats(limit, *key).reset_time)
        return max(1, ceil(reset_time - time.time()))

    def _call(self, function: Callable[[FixedWindowRateLimiter], T]) -> T:
        if time.monotonic() > self._retry_at:
            try:
                return function(self._primary)
            except self._storage.base_exceptions as error:
                self._retry_at = time.monotonic() + REDIS_RETRY_S
                log.warning("LIMITS_STORAGE does not answer, each process counts by itself: %s", error)
        return function(self._fallback)


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
        """Count the current request. A request with invalid credentials counts for its client's address.

        :raises TooManyRequests: the caller has made too many requests
        """
        limit = self._per_service if g.caller.is_authenticated and g.caller.is_service else self._per_caller
        if limit is None or request.endpoint in UNLIMITED_ENDPOINTS:
            return
        key = rate_limit_key()
        if not self._limiter.hit(limit, "requests", key):
            wait = self._limiter.seconds_until_reset(limit, "requests", key)
            text = Sentence(
                "This caller may make {amount} requests a minute; try again in {wait} seconds.",
                amount=limit.amount,
                wait=wait,
            )
            raise TooManyRequests(text, retry_after=wait)


class LoginThrottle:
    """Slows down attackers who guess passwords.

    Failed attempts are limited for each address, and for each username at one address. Attempts for one username from
    all addresses together are limited too. This last limit does not apply at an address where the user has logged in
    before, so an attacker at another address cannot lock the user out. At a new address the user must wait if an
    attacker has used up these attempts.
    """

    PER_ADDRESS = parse("30 per 5 minutes")
    PER_USERNAME_AND_ADDRESS = parse("5 per 5 minutes")
    PER_USERNAME = parse("10 per minute")
    PER_USERNAME_AND_ADDRESS_WITH_SUCCESSES = parse("60 per 5 minutes")
    """Successful logins count here too, because each login takes 60 ms of a CPU core."""
    KNOWN_ADDRESS_MARK = parse("1 per 90 days")
    """Not a limit: a hit marks an address where this user has logged in during the last 90 days."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def count_attempt(self, username: str) -> None:
        """Count an attempt to log in, before the password is checked.

        :raises TooManyRequests: there were too many attempts
        """
        address = client_address()
        self._hit(self.PER_USERNAME_AND_ADDRESS_WITH_SUCCESSES, "any", username, address)
        self._hit(self.PER_ADDRESS, "login", address)
        self._hit(self.PER_USERNAME_AND_ADDRESS, "login", username, address)
        if not self._is_known_address(username, address):
            self._hit(self.PER_USERNAME, "login", username)

    def count_success(self, username: str) -> None:
        """Undo the count of an attempt whose password was right, and mark the address as known for this user.

        The earlier failures for this username at this address are cleared too.
        """
        address, limiter = client_address(), self._limiter
        limiter.hit(self.PER_ADDRESS, "login", address, cost=-1)
        limiter.clear(self.PER_USERNAME_AND_ADDRESS, "login", username, address)
        if not self._is_known_address(username, address):
            limiter.hit(self.PER_USERNAME, "login", username, cost=-1)
        limiter.clear(self.KNOWN_ADDRESS_MARK, "home", username, address)
        limiter.hit(self.KNOWN_ADDRESS_MARK, "home", username, address)

    def count_registration(self) -> None:
        """Count a registration by a caller without a service key. Each registration costs a password hash and a row.

        :raises TooManyRequests: there were too many registrations from this address
        """
        self._hit(self.PER_ADDRESS, "register", client_address())

    def _is_known_address(self, username: str, address: str) -> bool:
        # Do not rename the key "home": the addresses that are already in Redis would no longer be known.
        return not self._limiter.test(self.KNOWN_ADDRESS_MARK, "home", username, address)

    def _hit(self, limit: RateLimitItem, *key: str) -> None:
        if not self._limiter.hit(limit, *key):
            wait = self._limiter.seconds_until_reset(limit, *key)
            raise TooManyRequests(
                Sentence("Too many attempts; try again in {wait} seconds.", wait=wait), retry_after=wait
            )


class ConcurrencyLimit:
    """Limits how many turns or uploads of one caller run at the same time, like a semaphore for each caller."""

    def __init__(self, storage: "redis.Redis | None") -> None:
        """
        :param storage: the Redis in which all processes count together; None: each process counts separately
        """
        self._redis = storage
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()  # Adding 1 to a counter is two steps, between which another thread may run.
        self._retry_at = 0.0

    def acquire(self, kind: Sentence, caller: str, limit: int) -> Callable[[], None]:
        """Count a turn or upload that begins now.

        :param kind: a plural noun for the error message, such as "uploads of this caller"
        :param caller: the caller or user to count for
        :param limit: how many may run at the same time; 0: no limit
        :returns: the function `release`. Call it when the turn or upload has ended; further calls do nothing.
        :raises TooManyRequests: as many as the limit allows are already running
        """
        key, entry = f"route-api/{kind}/{caller}", token_hex(16)
        with self._lock:
            self._running[key] += 1
            running = self._running[key]
        is_released = False

        def release() -> None:
            nonlocal is_released
            if not is_released:
                is_released = True
                self._release(key, entry)

        if limit and max(running, self._count_in_redis(key, entry)) > limit:
            release()
            text = Sentence(
                "{limit} {kind} are already running, which is the limit; wait until one has ended.",
                limit=limit,
                kind=kind,
            )
            raise TooManyRequests(text, retry_after=5)
        return release

    def _count_in_redis(self, key: str, entry: str) -> int:
        """Add an entry to a key in Redis.

        :returns: how many entries the key has now; 0 if there is no Redis, or if Redis does not answer
        """
        if self._redis is None or time.monotonic() < self._retry_at:
            return 0
        now = time.time()
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now - REDIS_ENTRY_LIFETIME_S)
                pipeline.zadd(key, {entry: now})
                pipeline.zcard(key)
                pipeline.expire(key, REDIS_ENTRY_LIFETIME_S)
                return int(pipeline.execute()[2])
        except redis.RedisError as error:
            self._retry_at = time.monotonic() + REDIS_RETRY_S
            log.warning("Redis does not answer, so only this process counts %s: %s", key, error)
            return 0

    def _release(self, key: str, entry: str) -> None:
        with self._lock:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
        if self._redis is not None and time.monotonic() > self._retry_at:
            try:
                self._redis.zrem(key, entry)
            except redis.RedisError as error:
                self._retry_at = time.monotonic() + REDIS_RETRY_S
                log.warning("Redis does not answer, so an entry of %s was not removed: %s", key, error)


request_limit: RequestLimit = component("request_limit")
login_throttle: LoginThrottle = component("login_throttle")
concurrency: ConcurrencyLimit = component("concurrency")


def acquire_turn(user_id: str) -> Callable[[], None]:
    """Count a turn of a user that begins now.

    :returns: a function; call it when the turn has ended
    :raises TooManyRequests: TURNS_PER_USER turns of the user are running
    """
    return concurrency.acquire(Sentence("answers of this user"), user_id, current_app.config["TURNS_PER_USER"])


def limit_uploads(view: View) -> View:
    """Let each caller run UPLOADS_PER_CALLER of these views at the same time.

    Put this decorator above the decorators that read the body, so that the body of a refused upload is not read.
    """

    @wraps(view)
    def limited(*args: Any, **kwargs: Any) -> Any:
        limit = current_app.config["UPLOADS_PER_CALLER"]
        release = concurrency.acquire(Sentence("uploads of this caller"), rate_limit_key(), limit)
        try:
            return view(*args, **kwargs)
        finally:
            release()

    return cast(View, limited)


def limits_of(config: Config) -> tuple[RequestLimit, LoginThrottle, ConcurrencyLimit]:
    """The limits of the settings, with their counts in LIMITS_STORAGE."""
    in_redis = not config.LIMITS_STORAGE.startswith("memory:")
    limiter = RateLimiter(config.LIMITS_STORAGE, **(REDIS_OPTIONS if in_redis else {}))
    return (
        RequestLimit(limiter, config.RATE_LIMIT, config.RATE_LIMIT_SERVICE),
        LoginThrottle(limiter),
        ConcurrencyLimit(redis_of(config)),
    )


def redis_of(config: Config) -> "redis.Redis | None":
    """A client of the Redis in LIMITS_STORAGE, with short time limits; None if the counts are kept in memory."""
    if config.LIMITS_STORAGE.startswith("memory:"):
        return None
    return redis.Redis.from_url(config.LIMITS_STORAGE, **REDIS_OPTIONS)
