"""The state in Redis by which workers tell each other that Dify fails, and what happens while Redis is away."""

import os
import time
from collections.abc import Iterator

import pytest
import redis

from route_api.access.limits import REDIS_OPTIONS
from route_api.dify.breaker_state import LIFETIME_S, RedisState

from ..support import databases

pytestmark = pytest.mark.server
REDIS = "redis://127.0.0.1:6379/12"
DIFY = f"http://dify-{os.getpid()}.example.com"


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    made = redis.Redis.from_url(databases.empty_redis(REDIS), socket_timeout=1, socket_connect_timeout=1)
    yield made
    made.close()


def test_the_workers_of_one_dify_read_what_one_has_published(client: redis.Redis) -> None:
    RedisState(client, DIFY).publish({"read": "first"})
    RedisState(client, DIFY).publish({"read": "second", "chat": "third"})
    assert RedisState(client, DIFY).read() == {"read": "first", "chat": "third"}
    assert RedisState(client, "http://another.example.com").read() == {}
    RedisState(client, DIFY).withdraw("read")
    assert RedisState(client, DIFY).read() == {"chat": "third"}


def test_what_nobody_publishes_any_more_is_forgotten(client: redis.Redis) -> None:
    RedisState(client, DIFY).publish({"read": "first"})
    (key,) = client.keys("route-api/dify-breaker/*")
    assert 0 < client.ttl(key) <= LIFETIME_S


def test_while_redis_is_away_the_state_is_empty_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    state = RedisState(redis.Redis.from_url("redis://127.0.0.1:1", **REDIS_OPTIONS), DIFY)
    begun = time.monotonic()
    state.publish({"read": "first"})
    state.withdraw("read")
    assert state.read() == {} and time.monotonic() - begun < 60
    assert caplog.text.count("each worker finds out by itself") == 1
