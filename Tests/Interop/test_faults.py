"""The real binary on a disk that fails: strace makes single system calls fail, or kills at them, and a ledger kept outside
says what had been acknowledged. Slow, so only with WAYBILL_LONG set (`scripts/test --long`)."""

import os
import shutil
import signal
import subprocess
import time

import pytest
from support.gateway import binary, clean_environment
from support.http import call
from support.tenant import Tenant, customer_number

pytestmark = [
    pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing"),
]

SENDS = 12
CALLS = {"pwrite64": ("EIO", "ENOSPC", "KILL"), "fdatasync": ("EIO", "KILL"), "fsync": ("EIO", "KILL"),
         "renameat2": ("EIO", "ENOSPC", "KILL")}
# A start makes a segment and its header, the state of the keys and a checkpoint; the rest falls into the sends.
POSITIONS = {"pwrite64": (1, 2, 4, 6, 8, 10, 12, 15, 18, 22), "fdatasync": (1, 2, 3, 4, 5, 6, 8, 10, 13, 17),
             "fsync": (1, 2, 3, 4, 5), "renameat2": (1, 2)}
# Which runs showed their fault: a sweep that never met one would prove nothing.
DISTURBED = {name: 0 for name in CALLS}
SWEEP = [(call, fault, at) for call, faults in CALLS.items() for fault in faults for at in POSITIONS[call]]


@pytest.fixture(scope="module")
def prepared(make_gateway, twilio):
    """A gateway with a paced sender, so that sends stay queued; it was stopped in order."""
    gateway = make_gateway("faults", WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20))
    gateway.start()
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms(segments_per_second=1).status_code == 200
    assert gateway.stop() == 0
    return gateway, tenant


class Faulty:
    """`serve` under strace."""

    def __init__(self, gateway, call, fault, at):
        inject = f"signal={fault}" if fault == "KILL" else f"error={fault}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{inject}:when={at}",
                   binary(), "serve", "--data", gateway.data, "--listen", f"127.0.0.1:{gateway.port}"]
        with gateway.log.open("ab") as log:
            self.tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                           cwd=gateway.directory, env=clean_environment(gateway.settings))

    def wait_until_ready(self, gateway):
        """False when the process ended instead."""
        for _ in range(300):
            if self.tracer.poll() is not None:
                return False
            try:
                if call("GET", gateway.base_url + "/readyz", timeout=2).status_code == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def end(self):
        """Stops what the fault left running."""
        for pid in self.children():
            os.kill(pid, signal.SIGTERM)
        try:
            self.tracer.wait(20)
        except subprocess.TimeoutExpired:
            for pid in self.children():
                os.kill(pid, signal.SIGKILL)
            self.tracer.wait(20)

    def children(self):
        path = f"/proc/{self.tracer.pid}/task/{self.tracer.pid}/children"
        return [int(pid) for pid in open(path).read().split()] if os.path.exists(path) else []


def send_some(tenant, run):
    """Message ids by idempotency key of what was answered with 202."""
    acknowledged = {}
    for n in range(SENDS):
        key = f"{run}-{n}"
        try:
            answer = tenant.send(f"message {key}", customer_number(), key=key)
        except OSError:
            continue
        if answer.status_code == 202:
            acknowledged[key] = answer.json()["message_id"]
        else:
            assert answer.status_code == 503, answer.text
    return acknowledged


@pytest.mark.parametrize(("system_call", "fault", "at"), SWEEP)
def test_nothing_acknowledged_is_lost(prepared, system_call, fault, at):
    gateway, tenant = prepared
    faulty = Faulty(gateway, system_call, fault, at)
    try:
        ready = faulty.wait_until_ready(gateway)
        acknowledged = send_some(tenant, f"{system_call}-{fault}-{at}") if ready else {}
        ended_itself = faulty.tracer.poll() is not None
    finally:
        faulty.end()
    DISTURBED[system_call] += not ready or ended_itself or len(acknowledged) < SENDS
    checked = gateway.verify()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    gateway.start()
    try:
        for key, message in acknowledged.items():
            assert tenant.message(message)["idempotency_key"] == key
    finally:
        assert gateway.stop() == 0


def test_the_sweep_met_its_faults():
    assert all(DISTURBED.values()), DISTURBED
    print(DISTURBED)
