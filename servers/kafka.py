"""What stands in for Kafka: the mock cluster of librdkafka, which speaks Kafka's protocol, in a process of its own.

It is a mock. Topics, messages and consumer groups (classic and new), transactions' coordinators and error codes are
there. It lacks: disks (all is gone with the process), retention, compaction, quotas, ACLs, TLS and passwords, more than
one copy of anything, and the administration of topics: a topic is made, with `PARTITIONS` partitions, when it is first
asked for, or by `topic`. And a consumer's question that finds nothing is answered when its whole wait is over, whatever
comes meanwhile: 0.5 s, unless the URL says less (`BRISK`).
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .postgres import Unavailable
from .server import Process, Server, end, tied

PARTITIONS = 4  # of a topic that was not made by `topic`
PRODUCER = 0  # of librdkafka's kinds of handle
BROKERS = 1
BRISK = "?wait=10"
"""What one adds to the mock's URL to have messages soon."""


def library() -> Path:
    """The librdkafka in the wheel `confluent-kafka`."""
    found = find_spec("confluent_kafka")
    if found is None or found.origin is None:
        raise Unavailable("the wheel confluent-kafka is not installed")
    package = Path(found.origin).parent
    for path in [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]:
        return path
    raise Unavailable("the wheel confluent-kafka has no librdkafka in it")


class Kafka(Server):
    """The mock. It keeps its data in memory: `stop` and `kill` end it for good, while `down` and `up` refuse everybody
    and let them come back, to the same messages and on the same port, as after a restart."""

    name = "kafka"

    def __init__(self, home: Path, *, port: int | None = None) -> None:
        library()
        super().__init__(home, port=port)
        self._address = ""

    @property
    def url(self) -> str:
        return f"kafka://{self._address}"

    def start(self) -> None:
        """New and empty, on a port of the mock's choice; or, when it runs, up again."""
        if self.running:
            self.up()
            return
        root = str(Path(__file__).parents[1])
        command = [sys.executable, "-c", "from servers.kafka import serve; serve()"]
        self._process = tied(
            command, self.home / "log", {"PYTHONPATH": root}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._address = self._heard(self._process)

    def down(self) -> None:
        """Refuse connections and end those there are."""
        self._tell("down")

    def up(self) -> None:
        self._tell("up")

    def topic(self, name: str, partitions: int) -> None:
        """Make a topic before somebody asks for it."""
        self._tell("topic", name, partitions)

    def advertise(self, port: int) -> None:
        """Send clients to this port of 127.0.0.1 (a proxy's): what they connect to first is but a list of addresses."""
        self._tell("advertise", port)

    def _tell(self, *words: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise Unavailable("the mock of Kafka does not run")
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        if (answer := self._heard(process)) != "ok":
            raise Unavailable(f"the mock of Kafka: {answer}")

    def _heard(self, process: Process) -> str:
        assert process.stdout is not None
        if line := process.stdout.readline():
            return line.strip()
        end(process)
        raise Unavailable(f"kafka ended: {self.said()}")


# -- the process -------------------------------------------------------------------------------------------------------


class _Cluster:
    def __init__(self) -> None:
        import_module("confluent_kafka")  # brings the libraries that librdkafka wants
        self._rd = rd = ctypes.CDLL(str(library()))
        pointer = ctypes.c_void_p
        rd.rd_kafka_conf_new.restype = rd.rd_kafka_new.restype = rd.rd_kafka_mock_cluster_new.restype = pointer
        rd.rd_kafka_new.argtypes = [ctypes.c_int, pointer, ctypes.c_char_p, ctypes.c_size_t]
        rd.rd_kafka_conf_set.argtypes = [pointer, *[ctypes.c_char_p] * 3, ctypes.c_size_t]
        rd.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        said = ctypes.create_string_buffer(512)
        config = rd.rd_kafka_conf_new()
        rd.rd_kafka_conf_set(config, b"log_level", b"0", said, 512)  # its own client has no server, and says so
        handle = rd.rd_kafka_new(PRODUCER, config, said, 512)
        if not handle:
            raise Unavailable(said.value.decode())
        self._at = pointer(rd.rd_kafka_mock_cluster_new(pointer(handle), BROKERS))
        rd.rd_kafka_mock_group_initial_rebalance_delay_ms(self._at, 0)  # 3 s for a group to meet are no test's wish

    def address(self) -> str:
        said: bytes = self._rd.rd_kafka_mock_cluster_bootstraps(self._at)
        return said.decode()

    def down(self) -> int:
        return self._each(self._rd.rd_kafka_mock_broker_set_down)

    def up(self) -> int:
        return self._each(self._rd.rd_kafka_mock_broker_set_up)

    def advertise(self, port: int) -> int:
        set_address = self._rd.rd_kafka_mock_broker_set_host_port
        return self._each(lambda at, broker: set_address(at, broker, b"127.0.0.1", port))

    def topic(self, name: str, partitions: int) -> int:
        return int(self._rd.rd_kafka_mock_topic_create(self._at, name.encode(), partitions, BROKERS))

    def _each(self, do: Callable[[Any, int], int]) -> int:
        return max((abs(int(do(self._at, broker))) for broker in range(1, BROKERS + 1)), default=0)


def serve() -> None:
    """Be the mock until nobody holds the other end of stdin. One line of JSON asks for one thing."""
    cluster = _Cluster()
    _say(cluster.address())
    for line in sys.stdin:
        verb, *words = json.loads(line)
        code = getattr(cluster, verb)(*words)
        _say("ok" if code == 0 else f"{verb}: error {code}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
