"""Runs the log's own measures and those of its peers in turn, and prints one table with ratios."""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def lines(command, timeout):
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


class Measures:
    def __init__(self, options):
        self.options = options
        self.seconds = options.seconds
        self.dir = Path(options.dir)

    def log(self, *arguments, timeout=900):
        """Measures of the log itself, in a directory that goes again."""
        return lines([self.options.benchmark, *map(str, arguments)], timeout)

    def fresh(self, name):
        path = self.dir / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def throughput(self, kind, producers, batch, seconds=None):
        path = self.fresh("append")
        result = self.log(kind, path, producers, batch, seconds or self.seconds)[0]["per_second"]
        shutil.rmtree(path)
        time.sleep(2)
        return result

    def peer(self, name, seconds=None):
        command = [sys.executable, HERE / "log_peers.py", "--measure", name, "--seconds", str(seconds or self.seconds),
                   "--dir", str(self.dir)]
        result = lines(command, 900)[0]["per_second"]
        time.sleep(2)
        return result

    def crashed(self, records):
        """A log of so many records whose writer was killed."""
        path = self.fresh("read")
        process = subprocess.Popen([self.options.benchmark, "fill", path, str(records), "512"], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "filled\n"
        self.wait_until_sealed(path / "log")
        process.send_signal(signal.SIGKILL)
        process.wait()
        return path

    @staticmethod
    def wait_until_sealed(path):
        for _ in range(600):
            if len(list(path.glob("*.wal"))) == 1:
                return
            time.sleep(1)
        raise SystemExit("the log was not sealed in ten minutes")


def sha256_per_second():
    """OpenSSL's SHA-256 over blocks of 512 bytes, bytes per second on one core."""
    output = subprocess.run(["openssl", "speed", "-evp", "sha256", "-bytes", "512", "-seconds", "2"], check=True,
                            capture_output=True, text=True).stdout
    return float(re.search(r"sha256\s+([\d.]+)k", output).group(1)) * 1000


def row(what, value, wanted, *peers):
    ratios = "; ".join(f"{value / against:.2f} × {name} ({against:,.0f})" for name, against in peers)
    print(f"| {what} | {value:,.0f} | {ratios} | {wanted} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    for name in ("benchmark", "dir"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seconds", "records", "growth"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    measures = Measures(options)

    print("| measure | per second | against | wanted |\n|---|---|---|---|", flush=True)
    piped = measures.peer("redis-xadd-pipelined")
    row("durable append, 64 producers, batches of 64", measures.throughput("append", 64, 64),
        "≥ 4 × Redis, ≥ 0.4 × bare loop", ("Redis, 256 clients, pipelining 16", piped),
        ("bare loop", measures.throughput("bare", 64, 64)))
    row("the same for 60 s", measures.throughput("append", 64, 64, 60), "≥ 2 × Redis",
        ("Redis over 60 s", measures.peer("redis-xadd-pipelined", 60)))
    row("durable append, 256 at once, one by one", measures.throughput("append", 256, 1),
        "≥ 5 × Redis, ≥ 10 × RocksDB, ≥ 50 × JetStream, ≥ 0.7 × bare loop",
        ("Redis, 256 clients", measures.peer("redis-xadd")), ("RocksDB, 64 threads", measures.peer("rocksdb-put")),
        ("JetStream", measures.peer("nats-publish")), ("bare loop", measures.throughput("bare", 256, 1)))

    path = measures.crashed(2_000_000)
    # In turn and three times, because the machine's speed varies by more than what is asked.
    turns = [(measures.log("read", path), sha256_per_second()) for _ in range(3)]
    scan = max(line["per_second"] for read, _ in turns for line in read if line["measure"] == "scan")
    row("scan", scan, "≥ 5 million, ≥ 10 × JetStream", ("JetStream replay", measures.peer("nats-replay")))
    verified = [(next(line["per_second"] for line in read if line["measure"] == "verify") * 512, hashed) for read, hashed in turns]
    verify, hashed = sorted(verified, key=lambda turn: turn[0] / turn[1])[1]
    row("verify, bytes, the middle of three turns", verify, "≥ 0.6 ×", ("SHA-256 of OpenSSL", hashed))

    opened = measures.log("open", measures.crashed(options.records))[0]
    print(f"| open after a crash, {opened['records']:,} records | | {opened['milliseconds']} ms to writable | < 1,000 ms |", flush=True)
    shutil.rmtree(measures.dir / "read")
    if options.growth:
        short, long = measures.log("growth", measures.fresh("growth"), options.growth, timeout=3600)
        print(f"| one append after {short['records']:,} and {long['records']:,} records | | p50 {short['p50_us']} and "
              f"{long['p50_us']} µs: {long['p50_us'] / short['p50_us']:.2f} | ≤ 1.1 |", flush=True)


if __name__ == "__main__":
    main()
