"""The real binary on a disk that fails. strace makes every call that changes a file or syncs one fail with EIO or ENOSPC, or
kills the gateway before it, one call a run; a ledger kept outside says what was acknowledged. Slow, so only with WAYBILL_LONG set
(`scripts/test --long`).

Swept are the very first start, a start after a crash with its recovery, and a workload with a change of segment, its sealing
and the stop after it. A sweep has one call, one fault and one thread, or all threads from the process's first instruction. It
goes up by one position a run, until a position is not reached in several runs. Counting runs beforehand watch every call there is
to change a file: only those swept may be used, and a sweep must come as far as each of these runs. The gateway has one CPU; see
`one_cpu`.

Not swept is what strace cannot tell apart before a gateway is ready, because the thread that opens the log makes the same call
with the same number sooner: the preparer's calls, and the sealer's sync of the directory and its removal. Both threads do the
same once more after the change of segment, and there they are swept. Nor can strace carry out half a call.
"""

import json
import os
import re
import shutil
import uuid

import pytest
from support.files import BLOCK_BYTES, copy_data, used_offsets
from support.strace import (
    CHANGES, KILLED, PREPARER, REQUESTS, SEALER, WRITER, Fault, FollowedStart, FollowedThreads, one_cpu)
from support.tenant import SETTLED, Tenant, customer_number
from support.wait import wait_until

pytestmark = [
    pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing"),
]

FIRST_START, RECOVERY, START_SEALER = "first start", "start after a crash", "sealer of a start"
OPENING = ("mkdir", "ftruncate", "pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink")
CALLS = {
    FIRST_START: OPENING,
    RECOVERY: OPENING,
    START_SEALER: ("pwrite64", "fdatasync", "renameat2"),
    REQUESTS: ("pwrite64", "fdatasync", "fsync", "rename", "renameat2", "unlink"),
    WRITER: ("pwrite64", "fdatasync", "fsync", "renameat2"),
    PREPARER: ("pwrite64", "fdatasync", "unlink"),
    SEALER: ("pwrite64", "fdatasync", "fsync", "renameat2", "unlink"),
}
KINDS = ("EIO", "ENOSPC", "KILL")
SWEEPS = [(place, call, kind) for place, calls in CALLS.items() for call in calls for kind in KINDS]
SEGMENT_BYTES = 1 << 20
# Three of them do not fit a segment.
LARGE = "x" * 480_000
# So many show what is wrong with a sweep.
FAILURES_MAX = 3
# Positions met, by sweep: a sweep that never met its fault would prove nothing. Then the faults that were not met, and how the
# gateway ended where that was neither in order nor by the fault.
MET = {}
MISSED = []
BAD_ENDS = []


def tries(place):
    """How often a position may be missed before it counts as one that does not exist.

    Most are there in every run, but whether a request or the writer writes a group is decided anew in each.
    """
    return 5 if place in (REQUESTS, WRITER) else 3


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
        amiss = {sid: found.count(sid) for sid in self.inbound if found.count(sid) != 1}
        assert not amiss, f"inbound messages by how often they are events, where that is not once: {amiss}"

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


def tear(segment):
    """Leaves behind the last block what a write leaves that a crash cut short."""
    content = bytearray(segment.read_bytes())
    end = -(-max(used_offsets(content)) // BLOCK_BYTES) * BLOCK_BYTES
    content[end:end + 1000] = bytes([0x5A]) * 1000
    segment.write_bytes(content)


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
        self.history.check()
        assert gateway.stop() == 0
        self.clean = copy_data(gateway.data, gateway.directory / "clean")
        self.last = max(self.clean.glob("*.wal")).stem
        self.late = Ledger(self.tenant)
        gateway.start()
        # A message to receive, not one to send: that would go out in each run.
        self.late.receive()
        gateway.kill()
        tear(max(gateway.data.glob("*.wal")))
        self.crashed = copy_data(gateway.data, gateway.directory / "crashed")
        told = [*self.history.sends.values(), *self.history.inbound.values(), *self.late.inbound.values()]
        assert len(told) == 3 and all(told)

    def begin(self, place, options):
        shutil.rmtree(self.gateway.data)
        copy_data(self.crashed if place == RECOVERY else self.clean, self.gateway.data)
        self.ledger = Ledger(self.tenant)
        self.known = [self.history, self.late, self.ledger] if place == RECOVERY else [self.history, self.ledger]
        if place == RECOVERY:
            return FollowedStart(self.gateway, options)
        if place == START_SEALER:
            paths = self.gateway.data / f"sealing-{int(self.last)}.tmp", self.gateway.data / f"{self.last}.sealed"
            return FollowedStart(self.gateway, [*options, "-P", paths[0], "-P", paths[1]])
        return FollowedThreads(self.gateway, options, place)

    def work(self, running, place):
        """Messages, inbound ones until the log goes on to another segment, and something in that one.

        On a quiet log whoever waits for a record writes it, the change of segment too. Sending wakes the writer.
        """
        for _ in range({REQUESTS: 0, WRITER: 3}.get(place, 1)):
            self.ledger.send()
        if place in (RECOVERY, START_SEALER):
            return
        for _ in range(3):
            self.ledger.receive(Padding=LARGE)
        self.ledger.receive()
        original = self.gateway.data / f"{int(self.last) + 1:020}.wal"
        is_over = (lambda: not original.exists() or running.has_ended() or running.strace.has_injected())
        wait_until(is_over, 10, "sealing or a fault")

    def check(self):
        self.verify()
        self.gateway.start()
        try:
            for ledger in self.known:
                ledger.check()
        finally:
            assert self.gateway.stop() == 0
        self.verify()

    def verify(self):
        checked = self.gateway.verify("--invariants", "--checkpoint", self.clean / "checkpoint")
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
    is_kill = fault.kind == "KILL"
    met = code == KILLED if is_kill else strace.has_injected()
    if code not in ((KILLED,) if met and is_kill else (0, 1) if met else (0,)):
        BAD_ENDS.append((place, fault, code))
    gateway.check()
    return met


def count(gateway, place, calls):
    """How often each call is made by the thread that makes it most."""
    code, strace = run(gateway, place, ("-e", f"trace={calls}"))
    assert code == 0
    return strace.calls()


@pytest.fixture(scope="module")
def counted(gateways):
    """How many positions each of some runs had at least. To watch more than the one call would change who writes what."""
    return {(place, call): min(count(gateways[place], place, call)[call] for _ in range(tries(place)))
            for place, calls in CALLS.items() for call in calls}


@pytest.mark.parametrize("place", CALLS)
def test_no_other_call_changes_files(gateways, place):
    assert set(count(gateways[place], place, CHANGES)) <= set(CALLS[place])


@pytest.mark.parametrize(("place", "call", "kind"), SWEEPS)
def test_every_position(gateways, counted, place, call, kind):
    met, missed, failures = 0, 0, []
    while missed < tries(place) and len(failures) < FAILURES_MAX:
        fault = Fault(call, kind, met + 1)
        try:
            is_met = run_with(fault, gateways[place], place)
        except AssertionError as failure:
            failures.append(f"{fault}: {failure}")
            is_met = True
        if is_met:
            met, missed = met + 1, 0
        else:
            missed += 1
            MISSED.append(fault)
    MET[place, call, kind] = met
    assert not failures, "\n".join(failures)
    assert met >= counted[place, call]


def test_the_sweeps_met_their_faults(capsys):
    with capsys.disabled():
        print(f"\n{sum(MET.values())} runs met their fault, {len(MISSED)} showed that there is no further position")
        for place, calls in CALLS.items():
            for call in calls:
                print(f"{place}, {call}:", *(f"{kind} {MET.get((place, call, kind), 0)}" for kind in KINDS))
    assert all(MET[sweep] for sweep in SWEEPS), MET


def test_the_gateway_ended_in_order():
    """A log that fails ends the process with 1, and nothing else does."""
    assert BAD_ENDS == []
