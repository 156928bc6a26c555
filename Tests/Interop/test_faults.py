"""The real binary on a disk that fails. strace makes every call that changes a file fail with EIO or ENOSPC, or kills the gateway
before it, one call in each run; a ledger kept outside says what had been acknowledged. Slow, so only with WAYBILL_LONG set
(`scripts/test --long`).

What is swept: the very first start, a start over a history, and a workload with a change of segment up to the stop; each call of each
thread, one position after the other, until no thread comes so far. A counting run beforehand, which watches for every call there
is to change a file, says how far that must be, and that no other call is used.

What is not: a thread's call at a moment that the sweep of its thread did not hit; a write that is done in part; and during a start,
before it is ready, the preparer's calls and the sealer's sync of the directory, which strace cannot tell from those of the thread that
opens the log. Both threads make the same calls again after the change of segment, and there they are swept.
"""

import json
import os
import re
import shutil
import time
import uuid

import pytest
from support.files import copy_data
from support.strace import (
    COUNTING, KILLED, PREPARER, REQUESTS, SEALER, WRITER, Fault, FollowedStart, FollowedThreads, one_cpu)
from support.tenant import SETTLED, Tenant, customer_number
from support.wait import wait_until

pytestmark = [
    pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing"),
]

FIRST_START, START, START_SEALER = "first start", "start", "sealer of a start"
OPENING = ("mkdir", "ftruncate", "pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink")
CALLS = {
    FIRST_START: OPENING,
    START: OPENING,
    START_SEALER: ("pwrite64", "fdatasync", "renameat2"),
    REQUESTS: ("pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink"),
    WRITER: ("pwrite64", "fdatasync", "fsync", "renameat2"),
    PREPARER: ("pwrite64", "fdatasync", "unlink"),
    SEALER: ("pwrite64", "fdatasync", "fsync", "renameat2", "unlink"),
}
SWEEPS = [(place, call, kind) for place, calls in CALLS.items() for call in calls for kind in ("EIO", "ENOSPC", "KILL")]
SEGMENT_BYTES = 1 << 20
# Three of them do not fit a segment.
LARGE = "x" * 480_000
TRIES = 5
# Positions met, by sweep; and runs without a fault, for a position was not reached.
MET = {}
MISSED = []


class Ledger:
    """What was sent and received, and what of that somebody was told. The text of a message is its idempotency key."""

    def __init__(self, tenant):
        self.tenant, self.customer = tenant, customer_number()
        # None where there was no 202.
        self.sends = {}
        # Whether there was a 200.
        self.inbound = {}

    def send(self):
        key = uuid.uuid4().hex
        answer = ask(self.tenant.send, key, self.customer, key=key)
        self.sends[key] = answer.content if was_accepted(answer, 202) else None

    def receive(self, **extra):
        sid = "SM" + uuid.uuid4().hex
        answer = ask(self.tenant.inbound, "hello", self.customer, sid, **extra)
        self.inbound[sid] = was_accepted(answer, 200)

    def check(self):
        """Asks for everything again as a careful caller does, and looks whether each thing is there once."""
        for key, told in self.sends.items():
            again = self.tenant.send(key, self.customer, key=key)
            assert again.status_code == 202, again.text
            assert told in (None, again.content)
            assert told is None or again.headers.get("Idempotency-Replayed") == "true"
            self._check_message(json.loads(again.content)["message_id"], key)
        for sid in self.inbound:
            if not self.inbound[sid]:
                assert self.tenant.inbound("hello", self.customer, sid).status_code == 200
        found = [event["data"]["message"]["platform_message_id"] for event in self.tenant.events()
                 if event["type"] == "sms.message_received"]
        assert {sid: found.count(sid) for sid in self.inbound} == dict.fromkeys(self.inbound, 1)

    def _check_message(self, message_id, key):
        message = self.tenant.wait_for_status(message_id, *SETTLED)
        assert (message["idempotency_key"], message["text"]) == (key, key)
        assert message["status"] in ("sent", "outcome_unknown"), message
        calls = len(self.tenant.account.calls_with(key))
        assert calls == 1 or (calls == 0 and message["status"] == "outcome_unknown"), (calls, message)


def ask(request, *arguments, **named):
    """The answer; None when the gateway was gone before it gave one."""
    try:
        return request(*arguments, **named)
    except OSError:
        return None


def was_accepted(answer, status):
    """Refusing for a while is right on a disk that fails; any other answer is not."""
    assert answer is None or answer.status_code in (status, 503), answer.text
    return answer is not None and answer.status_code == status


class Old:
    """A gateway with a history, which each run begins with anew."""

    def __init__(self, gateway, twilio):
        self.gateway = gateway
        gateway.settings["WAYBILL_KEY_ROOT"] = str(gateway.directory / "root.key")
        gateway.start()
        self.tenant = Tenant(gateway, twilio.account())
        assert self.tenant.connect_sms().status_code == 200
        self.history = Ledger(self.tenant)
        self.history.send()
        self.history.receive()
        assert all(self.history.sends.values()) and all(self.history.inbound.values())
        self.history.check()
        assert gateway.stop() == 0
        self.copy = copy_data(gateway.data, gateway.directory / "copy")
        self.last = max(self.copy.glob("*.wal")).stem
        # The history up to here must never change.
        self.checkpoint = self.copy / "checkpoint"

    def begin(self, place, options):
        shutil.rmtree(self.gateway.data)
        copy_data(self.copy, self.gateway.data)
        self.ledger = Ledger(self.tenant)
        if place == START:
            return FollowedStart(self.gateway, options)
        if place == START_SEALER:
            paths = self.gateway.data / f"sealing-{int(self.last)}.tmp", self.gateway.data / f"{self.last}.sealed"
            return FollowedStart(self.gateway, [*options, "-P", paths[0], "-P", paths[1]])
        return FollowedThreads(self.gateway, options, place)

    def work(self, running, place):
        """Messages, inbound ones until the log goes on to another segment, and something in that one.

        On a quiet log whoever waits for a record writes it, the change of segment too; sending wakes the writer.
        """
        sends, large = [self.ledger.send] * 2, [lambda: self.ledger.receive(Padding=LARGE)] * 3
        if place in (START, START_SEALER):
            return self.ledger.send()
        for step in large + sends if place == REQUESTS else sends + large:
            step()
        self.ledger.receive()
        used = f"{int(self.last) + 1:020}"
        is_sealed = (lambda: not (self.gateway.data / f"{used}.wal").exists())
        wait_until(lambda: is_sealed() or running.has_ended() or running.strace.has_injected(), 10, "sealing or a fault")

    def check(self):
        self.verify()
        self.gateway.start()
        try:
            self.history.check()
            self.ledger.check()
        finally:
            assert self.gateway.stop() == 0
        self.verify()

    def verify(self):
        checked = self.gateway.verify("--invariants", "--checkpoint", self.checkpoint)
        assert checked.returncode == 0, checked.stdout + checked.stderr


class New:
    """A gateway that is started for the first time, again and again."""

    def __init__(self, gateway, twilio):
        self.gateway, self.twilio = gateway, twilio
        gateway.settings["WAYBILL_KEY_ROOT"] = str(gateway.directory / "root.key")

    def begin(self, place, options):
        shutil.rmtree(self.gateway.data, ignore_errors=True)
        for path in self.gateway.directory.glob("root.key*"):
            path.unlink()
        self.gateway.log.unlink(missing_ok=True)
        return FollowedStart(self.gateway, options)

    def work(self, running, place):
        pass

    def check(self):
        """The next start is in order, and a token that was shown is one."""
        shown = re.search(r"Operator token \(shown once\): (\S+)", self.gateway.log_tail())
        self.gateway.start()
        try:
            self.gateway._operator = shown and shown[1]
            tenant = Tenant(self.gateway, self.twilio.account())
            assert tenant.connect_sms().status_code == 200
            ledger = Ledger(tenant)
            ledger.send()
            ledger.check()
        finally:
            assert self.gateway.stop() == 0
        checked = self.gateway.verify("--invariants")
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def gateways(make_gateway, twilio):
    """By place."""
    old = Old(make_gateway("old", WAYBILL_LOG_SEGMENT_BYTES=str(SEGMENT_BYTES)), twilio)
    new = New(make_gateway("new", WAYBILL_LOG_SEGMENT_BYTES=str(SEGMENT_BYTES)), twilio)
    return {place: new if place == FIRST_START else old for place in CALLS}


def run(gateway, place, options):
    """The exit code, and strace."""
    with one_cpu():
        running = gateway.begin(place, options)
    try:
        if not running.has_ended():
            gateway.work(running, place)
    finally:
        code = running.stop()
    return code, running.strace


def run_with(fault, gateway, place):
    """Whether the fault was met."""
    code, strace = run(gateway, place, fault.options)
    met = code == KILLED if fault.kind == "KILL" else strace.has_injected()
    assert code in ((KILLED,) if met and fault.kind == "KILL" else (0, 1) if met else (0,)), f"exit code {code}"
    gateway.check()
    return met


@pytest.fixture(scope="module")
def counted(gateways):
    """How many positions each of some runs had at least, by place and call."""
    counts = {}
    for place, gateway in gateways.items():
        runs = [count(gateway, place) for _ in range(3)]
        counts |= {(place, call): min(one[call] for one in runs) for call in set().union(*runs)}
    return counts


def count(gateway, place):
    code, strace = run(gateway, place, COUNTING)
    assert code == 0
    return strace.calls()


def test_no_other_call_changes_files(counted):
    assert set(counted) <= {(place, call) for place, calls in CALLS.items() for call in calls}


@pytest.mark.parametrize(("place", "call", "kind"), SWEEPS)
def test_every_position(gateways, counted, place, call, kind):
    """Runs differ by a call or two, so each position is tried a few times before there is none."""
    met = MET[place, call, kind] = []
    missed = 0
    while missed < TRIES:
        fault = Fault(call, kind, len(met) + 1)
        try:
            is_met = run_with(fault, gateways[place], place)
        except BaseException as failure:
            failure.add_note(f"{fault} in {place}")
            raise
        if is_met:
            met.append(fault.at)
            missed = 0
        else:
            missed += 1
            MISSED.append(fault)
    assert len(met) >= counted.get((place, call), 1)


def test_the_sweep_met_its_faults(capsys):
    with capsys.disabled():
        print(f"{sum(map(len, MET.values()))} runs met their fault, {len(MISSED)} showed that there is no further position")
        for sweep, met in MET.items():
            print(*sweep, len(met))
    assert all(MET[sweep] for sweep in SWEEPS), MET
