"""Reading a stream in order: one consumer of a group is active, the others stand by.

Who is active is a key of Redis' own, with the active one's token, that goes away when it is not renewed. Looking at the
key and reading are one script, so whoever reads is active at that moment, however long it has slept. Whoever becomes
active claims first, in the order of the stream, all that those before it were given and did not accept. (Why one of
them that wakes later does no harm is said at `ports.Consumer`.)
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Sequence
from typing import Any

from ...errors import BrokerError
from ...ports import Received
from .connection import Line, Redis
from .consumer import LOOK, RedisConsumer

ASK = 0.5  # s between two looks, of one who stands by, at whether somebody else is active
GOODBYE = 1.0  # s that giving up the key may take

# KEYS: who is active, the stream. ARGV: our token, its life in ms, group, consumer, how many to claim, how many to
# read, since how many ms what is claimed must have been idle ("": claim nothing), and all that we have in hand.
# The server may be short of memory: nothing here takes much of it, and reading on is what may help.
READ = """#!lua flags=allow-oom
local active, stream = KEYS[1], KEYS[2]
local token, life, group, me, claim, read, idle = unpack(ARGV, 1, 7)
claim = tonumber(claim)
local first = 0
if redis.call('GET', active) == token then
  redis.call('PEXPIRE', active, life)
elseif redis.call('SET', active, token, 'NX', 'PX', life) then
  first, idle = 1, '0'
else
  return {'held', redis.call('PTTL', active)}
end
if idle ~= '' then
  local ours, ids = {}, {}
  for n = 8, #ARGV do ours[ARGV[n]] = true end
  local pending = redis.call('XPENDING', stream, group, 'IDLE', idle, '-', '+', claim + #ARGV - 7)
  for _, one in ipairs(pending) do
    if not ours[one[1]] and #ids < claim then ids[#ids + 1] = one[1] end
  end
  if #ids > 0 then
    return {'claimed', first, redis.call('XCLAIM', stream, group, me, 0, unpack(ids)), pending}
  end
end
local found = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', read, 'STREAMS', stream, '>')
if found then return {'read', found[1][2]} end
for _, one in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local said = {}
  for n = 1, #one, 2 do said[one[n]] = one[n + 1] end
  if said['name'] == group then return {'none', said['last-delivered-id']} end
end
"""

KEEP = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""

LEAVE = """#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
"""


class OrderedRedisConsumer(RedisConsumer):
    """See `ports.Consumer`. `takeover`: seconds without a sign of life after which another is active."""

    def __init__(
        self, line: Line, stream: str, group: str, reader: Redis, number: int, min_idle: int, takeover: float
    ) -> None:
        super().__init__(line, stream, group, reader, number, min_idle)
        self._active, self._token = f"{stream}:{group}:active", secrets.token_hex(16)
        self._takeover = takeover
        self._idle: int | None = None  # ms since which others may have left what is to be claimed before we read on
        self._keeping: asyncio.Task[None] | None = None

    async def allowed(self) -> None:
        """BrokerRefused when this user may run no scripts."""
        await self._line.ask(self._run(self._reader, KEEP, self._life))

    async def _receive(self, most: int, wait: float) -> list[Received]:
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        if self._abandoned:
            await self._ask(self._resume())
        while True:
            if self._idle is None and clock() >= self._look_at:  # somebody may read who does not keep to this
                self._look_at, self._idle = clock() + LOOK, self._min_idle
            said, *rest = await self._next(most)
            if said == b"held":
                pause = min(rest[0] / 1000, ASK, until - clock())
                await asyncio.sleep(max(0.0, pause))
            else:
                self._keep()
                if said == b"claimed":
                    if rest[0]:
                        self._idle = 0
                    if found := self._claimed(rest[1], rest[2], most):
                        return found
                    continue  # what it saw had been deleted
                self._idle = None
                if said == b"read":
                    return [self._received(entry, 1) for entry in _entries(rest[0])]
                await self._more(rest[0], min(until, self._look_at) - clock())
            if clock() >= until:
                return []

    async def give_back(self, received: Sequence[Received]) -> None:
        """They stay ours, and come first when this consumer reads on; another's, when he is active."""
        if self._lost is not None:
            raise self._lost
        self._out.difference_update(str(one.tag) for one in received)
        self._idle = 0

    async def close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        try:
            await super().close()
        finally:
            with contextlib.suppress(BrokerError, TimeoutError):  # then it goes away by itself
                async with asyncio.timeout(GOODBYE):
                    await self._line.ask(self._run(self._line.client(), LEAVE))

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _next(self, most: int) -> list[Any]:
        """What READ says."""
        if self._lost is not None:
            raise self._lost
        wanted = [self._group, self._me, min(most, self._careful), most, "" if self._idle is None else self._idle]
        reading = self._run(self._reader, READ, self._life, *wanted, *self._out, keys=[self._stream])
        return await self._ask(reading)

    async def _more(self, last: str, seconds: float) -> None:
        """Wait until there is something behind that entry, which the script then reads: it cannot wait."""
        if seconds > 0:
            waiting: Awaitable[Any] = self._reader.xread({self._stream: last}, 1, max(1, int(seconds * 1000)))
            await self._ask(waiting, seconds)

    def _claimed(self, entries: list[Any], pending: list[Any], most: int) -> list[Received]:
        times = {one[0]: int(one[3]) + 1 for one in pending}
        return self._paced(_entries(entries), times, min(most, self._careful))

    async def _resume(self) -> None:
        await self._read_anew()
        self._abandoned, self._idle = False, 0

    @property
    def _life(self) -> int:
        return int(self._takeover * 1000)

    def _run(self, client: Redis, script: str, *words: Any, keys: list[str] | None = None) -> Awaitable[Any]:
        names = [self._active, *(keys or ())]
        running: Any = client.eval(script, len(names), *names, self._token, *words)
        return running  # type: ignore[no-any-return]

    def _keep(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._give_signs())

    async def _give_signs(self) -> None:
        """While messages are in hand, or nobody asks for any, for however long."""
        while True:
            await asyncio.sleep(self._takeover / 3)
            with contextlib.suppress(BrokerError):  # whoever reads is told
                await self._line.ask(self._run(self._line.client(), KEEP, self._life))


def _entries(said: list[Any]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return [(tag, dict(zip(fields[::2], fields[1::2], strict=True))) for tag, fields in filter(None, said)]
