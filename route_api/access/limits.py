"""How much one caller may ask for: requests a minute, turns and uploads at once, tries to log in.

Counted in `LIMITS_STORAGE`: in each process by itself, or in Redis for all of them together. While Redis does not
answer, each process counts by itself again: a limit that is too wide for a while beats a gateway that stands still.
"""

import logging
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
from ..extensions import components

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])

log = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 1
"""A Redis that is slower than that is treated as one that is away."""

REDIS_RETRY_S = 10.0
"""Seconds after which a Redis that was away is asked again; each try may cost a request REDIS_TIMEOUT_S."""

LEASE_S = 600
"""Seconds after which a turn or upload is no longer counted in Redis: its process may have died. One that takes longer
gives its place back early."""


UNCOUNTED = ("health.check_health", "health.check_readiness")
"""A load balancer asks these often, and must not be told to come later."""


def caller_key() -> str:
    """Whom a request is counted for: a service key, a user, or the address of somebody unknown."""
    return str(g.caller.label) if g.caller.is_known else f"address-{address()}"


def address() -> str:
    """Where the request comes from. Of an IPv6 address the network: whoever has one address has 2**64 of them."""
    return _network(request.remote_addr or "-")


@lru_cache(maxsize=10_000)
def _network(text: str) -> str:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return f"{parsed.exploded[:19]}::/64"
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


class Counters:
    """Counts how often something happened in a window of time, in LIMITS_STORAGE.

    `limits` is what Flask-Limiter counts with; that itself costs each request five times as much as this in memory,
    and offers nothing for logins, which are counted here as well.
    """

    def __init__(self, uri: str, **options: Any) -> None:
        self._storage = cast(Storage, storage_from_string(uri, **options))
        self._shared = FixedWindowRateLimiter(self._storage)
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0

    def hit(self, limit: RateLimitItem, *key: str, cost: int = 1) -> bool:
        """Count; whether that was within the limit. A negative cost takes back what was counted."""
        return self._ask(lambda counters: counters.hit(limit, *key, cost=cost))

    def is_open(self, limit: RateLimitItem, *key: str) -> bool:
        """Whether there is room for one more."""
        return self._ask(lambda counters: counters.test(limit, *key))

    def clear(self, limit: RateLimitItem, *key: str) -> None:
        """Forget what was counted."""
        self._ask(lambda counters: counters.clear(limit, *key))

    def wait_s(self, limit: RateLimitItem, *key: str) -> int:
        """Seconds until the window ends."""
        ends_at = self._ask(lambda counters: counters.get_window_stats(limit, *key).reset_time)
        return max(1, ceil(ends_at - time.time()))

    def _ask(self, what: Callable[[FixedWindowRateLimiter], T]) -> T:
        if time.monotonic() > self._away_until:
            try:
                return what(self._shared)
            except self._storage.base_exceptions as error:
                self._away_until = time.monotonic() + REDIS_RETRY_S
                log.warning("LIMITS_STORAGE does not answer, each process counts by itself: %s", error)
        return what(self._own)


class RequestLimit:
    """Requests a minute of each caller."""

    def __init__(self, counters: Counters, of_callers: int, of_services: int) -> None:
        """:param of_callers: for users, and addresses of strangers; 0: any number, as for service keys"""
        self._counters = counters
        self._of_callers = RateLimitItemPerMinute(of_callers) if of_callers else None
        self._of_services = RateLimitItemPerMinute(of_services) if of_services else None

    def count(self) -> None:
        """Count the request at hand, whoever it comes from: refused ones count for their address.

        :raises TooManyRequests: its caller has made too many
        """
        limit = self._of_services if g.caller.is_known and g.caller.is_service else self._of_callers
        if limit is None or request.endpoint in UNCOUNTED:
            return
        key = caller_key()
        if not self._counters.hit(limit, "requests", key):
            wait = self._counters.wait_s(limit, "requests", key)
            text = f"This caller may make {limit.amount} requests a minute; the next one in {wait} seconds."
            raise TooManyRequests(text, retry_after=wait)


class LoginThrottle:
    """Slows down whoever guesses passwords, and does not lock the owner out.

    Tries are counted for each address; for each account from one address; and for each account from all addresses
    where it has not logged in before. The owner at home is thus never in the attackers' queue, and at a new place
    waits a minute with them at the worst.
    """

    OF_ADDRESS = parse("30 per 5 minutes")
    OF_ACCOUNT_AT_ADDRESS = parse("5 per 5 minutes")
    OF_ACCOUNT = parse("10 per minute")
    OF_ANY = parse("60 per 5 minutes")
    """Of an account at an address, right passwords as well: each costs 60 ms of a core."""
    HOME = parse("1 per 90 days")

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def count(self, username: str) -> None:
        """Count a try to log in.

        :raises TooManyRequests: there were too many
        """
        here = address()
        self._hit(self.OF_ANY, "any", username, here)
        self._hit(self.OF_ADDRESS, "login", here)
        self._hit(self.OF_ACCOUNT_AT_ADDRESS, "login", username, here)
        if not self._is_home(username, here):
            self._hit(self.OF_ACCOUNT, "login", username)

    def count_registration(self) -> None:
        """Count a user whom somebody without a service key makes: each costs the hash of a password, and a row.

        :raises TooManyRequests: there were too many from this address
        """
        self._hit(self.OF_ADDRESS, "register", address())

    def succeeded(self, username: str) -> None:
        """Take the try back that has turned out to be the owner's, and remember where they are at home."""
        here, counters = address(), self._counters
        counters.hit(self.OF_ADDRESS, "login", here, cost=-1)
        counters.clear(self.OF_ACCOUNT_AT_ADDRESS, "login", username, here)
        if not self._is_home(username, here):
            counters.hit(self.OF_ACCOUNT, "login", username, cost=-1)
        counters.clear(self.HOME, "home", username, here)
        counters.hit(self.HOME, "home", username, here)

    def _is_home(self, username: str, here: str) -> bool:
        return not self._counters.is_open(self.HOME, "home", username, here)

    def _hit(self, limit: RateLimitItem, *key: str) -> None:
        if not self._counters.hit(limit, *key):
            wait = self._counters.wait_s(limit, *key)
            raise TooManyRequests(f"Too many tries; the next one in {wait} seconds.", retry_after=wait)


class ConcurrencyLimit:
    """Counts what runs right now.

    :param shared: a Redis in which all processes count together; None: each counts by itself
    """

    def __init__(self, shared: "redis.Redis | None") -> None:
        self._shared = shared
        self._running: Counter[str] = Counter()
        self._away_until = 0.0

    def enter(self, what: str, whose: str, most: int) -> Callable[[], None]:
        """Count one more of them.

        :param what: in the plural, as the caller reads it
        :param most: 0: any number
        :returns: what must be called at its end; calling it again does nothing
        :raises TooManyRequests: there are as many as may be
        """
        key, entry = f"route-api/{what}/{whose}", token_hex(16)
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
        if self._shared is None or time.monotonic() < self._away_until:
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
            self._away_until = time.monotonic() + REDIS_RETRY_S
            log.warning("%s are counted in this process alone, Redis does not answer: %s", key, error)
            return 0

    def _leave(self, key: str, entry: str) -> None:
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        if self._shared is not None and time.monotonic() > self._away_until:
            try:
                self._shared.zrem(key, entry)
            except redis.RedisError as error:
                self._away_until = time.monotonic() + REDIS_RETRY_S
                log.warning("an end of %s was not counted, Redis does not answer: %s", key, error)


def enter_turn(user_id: str) -> Callable[[], None]:
    """Count a turn of this user; what must be called when it has ended.

    :raises TooManyRequests: the user has TURNS_PER_USER running
    """
    most = current_app.config["TURNS_PER_USER"]
    return components.concurrency.enter("answers of this user", user_id, most)


def upload(view: View) -> View:
    """A view whose caller may have UPLOADS_PER_CALLER of them running. Stands above what reads the body."""

    @wraps(view)
    def counted(*args: Any, **kwargs: Any) -> Any:
        most = current_app.config["UPLOADS_PER_CALLER"]
        leave = components.concurrency.enter("uploads of this caller", caller_key(), most)
        try:
            return view(*args, **kwargs)
        finally:
            leave()

    return cast(View, counted)


def limits_of(config: Config) -> tuple[RequestLimit, LoginThrottle, ConcurrencyLimit]:
    """The limits by the settings, counted in LIMITS_STORAGE."""
    uri = config.LIMITS_STORAGE
    in_redis = not uri.startswith("memory:")
    timeouts: Any = {"socket_timeout": REDIS_TIMEOUT_S, "socket_connect_timeout": REDIS_TIMEOUT_S} if in_redis else {}
    counters = Counters(uri, **timeouts)
    return (
        RequestLimit(counters, config.RATE_LIMIT, config.RATE_LIMIT_SERVICE),
        LoginThrottle(counters),
        ConcurrencyLimit(redis.Redis.from_url(uri, **timeouts) if in_redis else None),
    )
