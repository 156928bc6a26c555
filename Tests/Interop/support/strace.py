"""strace, which makes a system call of the gateway fail, or kills the gateway before the call is made.

strace counts calls thread by thread: `when=3` is the third call of each thread that it follows, not the third one of the process.
So a fault is aimed either at a gateway that strace starts, with all its threads, or at some threads of one that already runs; for
that, root or a `kernel.yama.ptrace_scope` of 0 is needed.
"""

import os
import re
import signal
import subprocess
from collections import Counter
from contextlib import contextmanager
from typing import NamedTuple

from support.gateway import START_SECONDS, STOP_SECONDS, binary, clean_environment
from support.http import call
from support.wait import wait_until

# Whatever changes files or makes changes durable, by every name the kernel has for it.
CHANGES = ("write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,syncfs,sync_file_range,rename,renameat,renameat2,link,linkat,"
           "symlink,symlinkat,unlink,unlinkat,truncate,ftruncate,fallocate,mkdir,mkdirat,rmdir,copy_file_range,sendfile,splice")
KILLED = -signal.SIGKILL
# How much the threads that nobody waits for write at once.
PIECE_BYTES = 256 << 10
# What the threads of a running gateway do. All but three serve requests and plan work.
REQUESTS, WRITER, PREPARER, SEALER = "requests", "writer", "preparer", "sealer"


class Fault(NamedTuple):
    call: str
    # An error by name, or KILL.
    kind: str
    # Which call of a thread, from 1.
    at: int

    @property
    def options(self):
        effect = "signal" if self.kind == "KILL" else "error"
        return "-e", f"trace={self.call}", "-e", f"inject={self.call}:{effect}={self.kind}:when={self.at}"


@contextmanager
def one_cpu():
    """What is started here has one CPU. Then Swift's pool has one thread, and a position means the same call in every run."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, every)


class Strace:
    """strace itself, and what it writes."""

    def __init__(self, gateway, *arguments):
        self.gateway = gateway
        self.output = gateway.directory / "strace.out"
        self.output.unlink(missing_ok=True)
        with gateway.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["strace", "-qq", "-y", "-o", self.output, *arguments], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, cwd=gateway.directory, env=clean_environment(gateway.settings))

    def lines(self):
        return self.output.read_text(errors="replace").splitlines() if self.output.exists() else []

    def has_injected(self):
        return any("(INJECTED)" in line for line in self.lines())

    def calls(self):
        """How often the gateway's files were changed by each call: the most that any one thread made."""
        lines = [line for line in self.lines() if str(self.gateway.directory) in line and str(self.gateway.log) not in line]
        made = [re.match(r"(?:(\d+) +)?(\w+)\(", line) for line in lines]
        most = Counter()
        for (_, name), times in Counter(one.groups() for one in made if one).items():
            most[name] = max(most[name], times)
        return most


class FollowedStart:
    """A gateway that strace starts, with all its threads."""

    def __init__(self, gateway, options):
        command = [binary(), "serve", "--data", gateway.data, "--listen", f"127.0.0.1:{gateway.port}"]
        self.gateway = gateway
        self.strace = Strace(gateway, "-f", *options, *command)
        try:
            wait_until(lambda: self.has_ended() or self._is_ready(), START_SECONDS, "a start or its end")
        except BaseException:
            self.stop()
            raise

    def _is_ready(self):
        try:
            return call("GET", self.gateway.base_url + "/readyz", timeout=2).status_code == 200
        except OSError:
            return False

    def has_ended(self):
        return self.strace.process.poll() is not None

    def stop(self):
        """The exit code, which strace hands on."""
        self._signal(signal.SIGTERM)
        try:
            return self.strace.process.wait(STOP_SECONDS)
        finally:
            self._signal(signal.SIGKILL)
            self.strace.process.wait()

    def _signal(self, number):
        path = f"/proc/{self.strace.process.pid}/task/{self.strace.process.pid}/children"
        for pid in open(path).read().split() if os.path.exists(path) else []:
            os.kill(int(pid), number)


class FollowedThreads:
    """A gateway that has started and come to rest, with strace on those of its threads that have a role."""

    def __init__(self, gateway, options, role):
        gateway.start()
        self.gateway, self.process = gateway, gateway.process
        try:
            chosen = wait_until(lambda: threads_at_rest(self.process.pid), 10, "the threads of the log at rest")[role]
            self.strace = Strace(gateway, *options, *(word for thread in chosen for word in ("-p", str(thread))))
            wait_until(lambda: all(self._is_traced(thread) for thread in chosen), 10, "strace to attach")
        except BaseException:
            gateway.kill()
            raise

    def _is_traced(self, thread):
        return "TracerPid:\t0\n" not in open(f"/proc/{self.process.pid}/task/{thread}/status").read()

    def has_ended(self):
        return self.process.poll() is not None

    def stop(self):
        try:
            return self.gateway.stop()
        finally:
            self.strace.process.wait(10)


def threads_at_rest(pid, segment_bytes=1 << 20):
    """Thread ids by role; None before the start's work is done: a segment prepared, another one sealed, a durable mark written.

    The log starts writer, preparer and sealer in one go, and a segment of zeros, in pieces, is all that the preparer ever wrote
    by then.
    """
    zeros = segment_bytes // PIECE_BYTES, segment_bytes
    every = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    written = [_written(pid, thread) for thread in every]
    if written.count(zeros) != 1:
        return None
    number = written.index(zeros)
    writer, preparer, sealer = every[number - 1:number + 2]
    if written[number - 1][0] < 1 or written[number + 1][0] < 2:
        return None
    rest = [thread for thread in every if thread not in (writer, preparer, sealer)]
    return {REQUESTS: rest, WRITER: [writer], PREPARER: [preparer], SEALER: [sealer]}


def _written(pid, thread):
    """Number of writes and bytes written; a thread may end meanwhile."""
    try:
        counters = dict(line.split(": ") for line in open(f"/proc/{pid}/task/{thread}/io").read().splitlines())
    except OSError:
        return 0, 0
    return int(counters["syscw"]), int(counters["wchar"])
