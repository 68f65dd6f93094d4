"""Redis 7 and Valkey, by redis-py: a topic, a queue and a stream are all a Redis stream of that name.

    redis://[[user]:password@]host[:6379][/database]     rediss:// with TLS; valkey:// and valkeys:// are the same

    ?timeout=10     seconds for the server to answer (and one more for each MiB of what is sent)
    &maxlen=100000  trim a stream to about so many entries when something is published to it (default: never)
    &from=0         where a new group begins: 0, the oldest entry that is there, or $, what comes from now on
    &min_idle=60    seconds after which what a consumer took and never accepted goes to another
    &takeover=15    seconds without a sign of life after which another consumer reads on, where order is asked for
    &ca=, &cert=, &key=    files, for TLS

**An entry** has the field `body`, and of `content-type`, `message-id`, `message-key`, `reply-to` and `correlation-id`
those that the message has; every other field is a header. A foreign producer need not know that: without a `body` the
field `data` or `payload` is it, and failing that the body is the JSON object of all other fields, with texts as values.
What is not UTF-8 in a name or a header is replaced by U+FFFD; the body is handed over as it is.

**Groups.** A topic's or stream's group is a consumer group of that name; a queue has the one group `offpath`. Within a
group every entry goes to one consumer; one that is not accepted goes to another after `min_idle`, or within a second
when it was given back or its consumer was closed. Several consumers of a group overtake each other, unless order is
asked for (`@jobs.on(…, ordered=True)`).

**In order**, one consumer of a group is active: that whose token the key `<stream>:<group>:active` holds. The others
stand by; one of them takes over within half a second when it is closed, and after `takeover` when it gives no sign of
life, and begins with all that the ones before it took and did not accept. All consumers of the group have to ask for
order: one that does not (of an earlier release, say) reads what it can get.

**Replies** go to streams that are there: none is made for them (`XADD … NOMKSTREAM`), whoever asked may have named
anything. Whoever waits for answers begins to read first.

**Trimming.** A stream grows until somebody trims it, and reading and accepting removes nothing: give `maxlen`, or run
XTRIM yourself. Both cut the oldest entries, *whether they have been read or not*: a group that is further behind than
that loses them, and nobody is told.

**Rights.** With an ACL the user needs `+ping +select +multi +exec +xadd` to publish, and to consume also `+xgroup
+xreadgroup +xack +xclaim +xpending +xinfo +client|id`; `+client|kill` lets names of closed consumers go. In order:
`+eval +get +set +pexpire +pttl +del +xread` as well, and the key named above.

**What a confirmation is worth.** Redis confirms what it holds in memory. With `appendonly no` all that came since the
last snapshot is lost with the process; with `appendfsync everysec` (the default once appendonly is on) the death of the
process loses nothing and the death of the machine about a second; `always` loses nothing. A replica that takes over has
what had reached it. `maxmemory-policy` has to be `noeviction`, or whole streams may be thrown out.
"""

from __future__ import annotations

from ...ports import Broker
from ..address import Address


def broker(address: Address) -> Broker:
    """Nothing is opened yet. ConfigurationError for an option that is none, MissingExtraError without the extra."""
    from .client import RedisBroker

    return RedisBroker(address)


__all__ = ["broker"]
