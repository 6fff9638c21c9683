"""The limits of keys, counted in Redis: for gateways that must go on while a process of the cluster is replaced.

The same windows as in serving/access/limiter.py. One script decides and counts, so that no two gateways admit the last
request, and its clock is Redis' own.
"""

from collections.abc import Callable

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serving.access.keys import Limits
from serving.access.limiter import DAY_S, MINUTE_S, Admitted, Refusal, refusal
from serving.api.errors import ApiError

TIMEOUT_S = 5.0
MAX_CONNECTIONS = 16
"""A call takes a fraction of a millisecond; more at once would only wait for each other in Redis."""

_CLOCK = """
local now = tonumber(ARGV[1])
if now < 0 then local time = redis.call('TIME'); now = time[1] + time[2] / 1e6 end
local requests, running, times, tokens, total, last = unpack(KEYS)
local day = KEYS[7] .. math.floor(now / 86400)
"""

_ADMIT = (
    _CLOCK
    + """
local longest, wanted = tonumber(ARGV[2]), tonumber(ARGV[3])
local by_concurrency, by_requests = tonumber(ARGV[4]), tonumber(ARGV[5])
local by_tokens, by_day = tonumber(ARGV[6]), tonumber(ARGV[7])
redis.call('ZREMRANGEBYSCORE', requests, '-inf', now - 60)
redis.call('ZREMRANGEBYSCORE', running, '-inf', now)
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', now - 60)) do
  redis.call('DECRBY', total, redis.call('HGET', tokens, ticket) or 0)
  redis.call('HDEL', tokens, ticket)
  redis.call('ZREM', times, ticket)
end
if by_concurrency > 0 and redis.call('ZCARD', running) >= by_concurrency then return {'concurrency', '0'} end
local sent = redis.call('ZCARD', requests)
if by_requests > 0 and sent >= by_requests then
  local freed = redis.call('ZRANGE', requests, sent - by_requests, sent - by_requests, 'WITHSCORES')[2]
  return {'requests_per_minute', tostring(freed + 60 - now)}
end
if by_tokens > 0 and tonumber(redis.call('GET', total) or 0) + wanted > by_tokens then
  local oldest = redis.call('ZRANGE', times, 0, 0, 'WITHSCORES')[2] or now
  return {'tokens_per_minute', tostring(oldest + 60 - now)}
end
if by_day > 0 and tonumber(redis.call('GET', day) or 0) + wanted > by_day then
  return {'tokens_per_day', tostring(86400 - now % 86400)}
end
local ticket = redis.call('INCR', last)
redis.call('ZADD', requests, now, ticket)
redis.call('ZADD', running, now + longest, ticket)
redis.call('ZADD', times, now, ticket)
redis.call('HSET', tokens, ticket, wanted)
redis.call('INCRBY', total, wanted)
redis.call('INCRBY', day, wanted)
redis.call('EXPIRE', day, 172800)
return {'admitted', tostring(ticket)}
"""
)

_SETTLE = (
    _CLOCK
    + """
local ticket, reserved, used, longest = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local ends = redis.call('ZSCORE', running, ticket)
if ends then day = KEYS[7] .. math.floor((ends - longest) / 86400) end
redis.call('ZREM', running, ticket)
local counted = redis.call('HGET', tokens, ticket)
if counted then
  redis.call('HSET', tokens, ticket, used)
  redis.call('INCRBY', total, used - counted)
end
if redis.call('INCRBY', day, used - reserved) < 0 then redis.call('SET', day, 0) end
redis.call('EXPIRE', day, 172800)
return 0
"""
)
_NAMES = ("requests", "running", "times", "tokens", "total", "last", "day:")


class RedisLimiter:
    """Of one gateway; all that share the Redis share the limits.

    Args:
        url: `redis://host:6379/0`, or `rediss://` with TLS.
        longest_s: how long a request may take.
        clock: for tests; None takes Redis' own.
    """

    def __init__(self, url: str, longest_s: float, clock: Callable[[], float] | None = None) -> None:
        connections: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url, max_connections=MAX_CONNECTIONS, timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 1),
        )  # fmt: skip
        self._redis = Redis.from_pool(connections)
        self._admit, self._settle = self._redis.register_script(_ADMIT), self._redis.register_script(_SETTLE)
        self._longest_s, self._clock = longest_s, clock

    async def admit(self, key: str, limits: Limits, num_tokens: int) -> Admitted | Refusal:
        """Whether a request that may take so many tokens (prompt and answer) may begin.

        Raises:
            ApiError: 503, Redis does not answer: nobody is let in uncounted.
        """
        wanted = (limits.concurrency, limits.requests_per_minute, limits.tokens_per_minute, limits.tokens_per_day)
        try:
            outcome, value = await self._admit(
                self._names(key), [self._now(), self._longest_s, num_tokens, *(limit or 0 for limit in wanted)]
            )
        except RedisError as error:
            raise ApiError(503, "The limits of keys cannot be counted.", code="limits_unavailable") from error
        if outcome == b"admitted":
            return Admitted(int(value))
        return refusal(outcome.decode(), limits, float(value))

    async def settle(self, key: str, ticket: int, reserved: int, num_tokens: int) -> None:
        """A request has ended, and has taken `num_tokens` instead of those that were reserved for it."""
        try:
            await self._settle(self._names(key), [self._now(), ticket, reserved, num_tokens, self._longest_s])
        except RedisError:
            return  # what was reserved stays counted, and its place comes back in time

    async def close(self) -> None:
        await self._redis.aclose()

    def _now(self) -> float:
        return -1.0 if self._clock is None else self._clock()

    def _names(self, key: str) -> list[str]:
        """All of one key lie on one node of a Redis cluster."""
        return [f"tandem:{{{key}}}:{name}" for name in _NAMES]


assert MINUTE_S == 60 and DAY_S == 86_400, "as the scripts have it"
