"""What was acknowledged survives `kill -9`, and what may have been sent is never sent again.

The ledger is outside the gateway: it holds only what a caller was told, and what it asked without an answer.
"""

import json
import os
import random
import signal
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from support.fake_twilio import HANG
from support.gateway import free_port
from support.receiver import HANG as ENDPOINT_HANG
from support.tenant import SETTLED, Tenant, customer_number, unique
from support.wait import holds_for, wait_until

ROUNDS = 6
SENDERS = 4
POSTERS = 2
CHECKERS = 8


@pytest.fixture
def tenant(gateway, twilio):
    """As elsewhere, on a gateway that the tests of this module kill."""
    if gateway.process is None:
        gateway.start()
    tenant = Tenant(gateway, twilio.account(), sms_monthly_quota=100_000)
    assert tenant.connect_sms().status_code == 200
    return tenant


def restart_after_kill(gateway):
    gateway.kill()
    gateway.start()


def assert_verifies(gateway, *arguments):
    result = gateway.verify(*arguments)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


class Ledger:
    """Who was told what. Each dictionary is written by the threads of one round, and read after they ended."""

    def __init__(self):
        self.sends = {}
        self.unanswered_sends = {}
        self.inbound = {}
        self.unanswered_inbound = {}

    @property
    def acknowledged(self):
        return len(self.sends) + len(self.inbound)


class Load:
    """Senders and posters that work until the gateway is gone."""

    def __init__(self, tenant, ledger):
        self.tenant, self.ledger = tenant, ledger
        self.over = threading.Event()
        self.failures = []
        jobs = [self.send_one] * SENDERS + [self.post_one] * POSTERS
        self.threads = [threading.Thread(target=self._repeat, args=(job,), daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def join(self):
        self.over.set()
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive(), "a request outlived the gateway"
        assert self.failures == []

    def _repeat(self, job):
        customer = customer_number()
        while not self.over.is_set():
            try:
                job(customer)
            except requests.RequestException:
                return
            except Exception as failure:
                self.failures.append(failure)
                return

    def send_one(self, customer):
        key, text = unique("key"), unique("send")
        self.ledger.unanswered_sends[key] = (customer, text)
        answer = self.tenant.send(text, customer, key=key)
        assert answer.status_code == 202, answer.text
        self.ledger.sends[key] = (customer, text, answer.content)
        del self.ledger.unanswered_sends[key]

    def post_one(self, customer):
        sid, text = "SM" + uuid.uuid4().hex, unique("inbound")
        self.ledger.unanswered_inbound[sid] = (customer, text)
        answer = self.tenant.inbound(text, customer, sid=sid)
        assert answer.status_code == 200, answer.text
        self.ledger.inbound[sid] = (customer, text)
        del self.ledger.unanswered_inbound[sid]


def check_sends(tenant, ledger):
    def check(entry):
        key, (customer, text, first_answer) = entry
        repeat = tenant.send(text, customer, key=key)
        assert repeat.status_code == 202, repeat.text
        assert repeat.content == first_answer
        assert repeat.headers.get("Idempotency-Replayed") == "true"
        message = tenant.message(repeat.json()["message_id"])
        assert (message["text"], message["direction"]) == (text, "outbound")

    with ThreadPoolExecutor(CHECKERS) as pool:
        list(pool.map(check, list(ledger.sends.items())))


def resolve_unanswered(tenant, ledger):
    """What a careful caller does after a lost connection: the same again, with the same key."""
    for key, (customer, text) in list(ledger.unanswered_sends.items()):
        answer = tenant.send(text, customer, key=key)
        assert answer.status_code == 202, answer.text
        ledger.sends[key] = (customer, text, answer.content)
    for sid, (customer, text) in list(ledger.unanswered_inbound.items()):
        assert tenant.inbound(text, customer, sid=sid).status_code == 200
        ledger.inbound[sid] = (customer, text)
    ledger.unanswered_sends.clear()
    ledger.unanswered_inbound.clear()


def inbound_by_sid(tenant):
    found = {}
    for event in tenant.events():
        if event["type"] == "sms.message_received":
            found.setdefault(event["data"]["message"]["platform_message_id"], []).append(event)
    return found


def test_kill_under_load(make_gateway, twilio, receiver):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # Small segments, so that kills also meet the change from one to the next.
    running = make_gateway("load", WAYBILL_LOG_SEGMENT_BYTES=str(4 * 1024 * 1024)).start()
    tenant = Tenant(running, twilio.account(), sms_monthly_quota=100_000)
    assert tenant.connect_sms().status_code == 200
    # Long enough that calls are under way at each kill.
    tenant.account.delay_seconds = 0.03
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, retry_schedule=[1, 1, 1, 1, 1, 1])
    ledger, history = Ledger(), []

    for number in range(ROUNDS):
        enough = ledger.acknowledged + chance.randrange(20, 120)
        load = Load(tenant, ledger)
        wait_until(lambda: ledger.acknowledged >= enough or load.failures, 30, "load in the round")
        running.kill()
        load.join()
        running.start()
        assert_verifies(running)

        check_sends(tenant, ledger)
        resolve_unanswered(tenant, ledger)
        lines = running.replay()
        assert lines[: len(history)] == history, f"round {number}: history changed"
        assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
        history = lines

    settle(tenant, ledger)
    events = inbound_by_sid(tenant)
    assert set(events) == set(ledger.inbound)
    assert all(len(found) == 1 for found in events.values()), "an inbound message became two events"
    assert [event["sequence"] for event in tenant.events()] == list(range(1, len(tenant.events()) + 1))

    wanted = {found[0]["id"] for found in events.values()}
    wait_until(lambda: wanted <= {r.headers["webhook-id"] for r in list(endpoint.requests)}, 30, "every webhook")
    bodies = {(request.headers["webhook-id"], request.body) for request in list(endpoint.requests)}
    assert len(bodies) == len({event_id for event_id, _ in bodies}), "one event id with two bodies"
    assert running.stop() == 0
    assert_verifies(running)


def settle(tenant, ledger):
    """Every accepted message comes to an end, and Twilio saw none of them twice."""
    for customer, text, first_answer in ledger.sends.values():
        message_id = json.loads(first_answer)["message_id"]
        message = tenant.wait_for_status(message_id, *SETTLED, seconds=30)
        calls = tenant.account.calls_with(text)
        assert message["status"] in ("sent", "outcome_unknown"), message
        fewest = 0 if message["status"] == "outcome_unknown" else 1
        assert fewest <= len(calls) <= 1, f"{len(calls)} calls: {message}"
    assert {one["Body"] for one in tenant.account.calls} <= {text for _, text, _ in ledger.sends.values()}
    callbacks = [one["StatusCallback"] for one in tenant.account.calls]
    assert len(set(callbacks)) == len(callbacks)


def test_send_hanging_at_twilio_is_not_repeated(gateway, tenant, customer):
    tenant.account.script = [HANG]
    accepted = tenant.accepted("hanging", customer)
    call_made = tenant.account.wait_for_call("hanging")
    restart_after_kill(gateway)
    tenant.wait_for_status(accepted["message_id"], "outcome_unknown")
    holds_for(lambda: len(tenant.account.calls_with("hanging")) == 1, 3, "no second call")
    assert tenant.message(accepted["message_id"])["status"] == "outcome_unknown"
    # The callback's address survives the crash too.
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    tenant.wait_for_status(accepted["message_id"], "delivered")
    assert_verifies(gateway)


def test_queued_behind_a_hanging_send_is_sent_after_restart(gateway, tenant, customer):
    tenant.account.script = [HANG]
    tenant.accepted("first in line", customer)
    tenant.account.wait_for_call("first in line")
    second = tenant.accepted("second in line", customer)
    restart_after_kill(gateway)
    tenant.wait_for_status(second["message_id"], "sent")
    assert len(tenant.account.calls_with("second in line")) == 1


def test_pending_retry_survives(gateway, tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[500])
    tenant.subscribe(endpoint, retry_schedule=[3])
    tenant.inbound("retry me", customer)
    first = endpoint.wait_for(1)[0]
    wait_until(
        lambda: any(tenant.read(f"/v1/deliveries/{one['id']}")["attempts"] for one in tenant.all("/v1/deliveries")),
        5, "the first outcome to be recorded")
    restart_after_kill(gateway)
    second = endpoint.wait_for(2, seconds=15)[1]
    assert second.headers["x-chatgenius-attempt"] == "2"
    assert second.headers["webhook-id"] == first.headers["webhook-id"]
    assert second.body == first.body
    assert second.at - first.at >= 2.9, "a restart brings no retry forward"
    delivery = tenant.wait_for_delivery(first.event["id"], "delivered")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 200]


def test_delivery_under_way_at_the_kill_is_repeated(gateway, tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[ENDPOINT_HANG])
    tenant.subscribe(endpoint)
    tenant.inbound("at least once", customer)
    first = endpoint.wait_for(1)[0]
    restart_after_kill(gateway)
    second = endpoint.wait_for(2, seconds=15)[1]
    assert (second.headers["webhook-id"], second.body) == (first.headers["webhook-id"], first.body)
    # The interrupted attempt was recorded as started: it counts, and shows in the history.
    delivery = tenant.wait_for_delivery(first.event["id"], "delivered")
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]
    assert delivery["attempts"][0]["status"] is None


def test_dead_letters_settings_and_tokens_survive(gateway, tenant, receiver, customer):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[1], headers={"X-Kept": "yes"})
    tenant.inbound("dead", customer)
    letter = tenant.wait_for_dead_letters(1)[0]
    paths = [
        "/v1/webhook", "/v1/usage", "/v1/conversations", "/v1/events?after=0", "/v1/deliveries",
        f"/v1/dead-letters/{letter['id']}", f"/v1/deliveries/{letter['id']}",
    ]
    before = [tenant.read(path) for path in paths]
    restart_after_kill(gateway)
    assert [tenant.read(path) for path in paths] == before
    endpoint.default = 200
    assert tenant.post(f"/v1/dead-letters/{letter['id']}/replay").status_code == 202
    request = endpoint.wait_for(3)[2]
    assert request.headers["x-kept"] == "yes"
    assert request.headers["webhook-id"] == letter["event_id"]


def test_opt_out_and_duplicates_survive(gateway, tenant, customer):
    sid = "SM" + uuid.uuid4().hex
    tenant.inbound("STOP", customer, sid=sid)
    restart_after_kill(gateway)
    assert tenant.send("Hello", customer).status_code == 410
    assert tenant.inbound("STOP", customer, sid=sid).status_code == 200
    assert len(tenant.events()) == 1


def test_graceful_stop_keeps_everything(gateway, tenant, customer):
    # Slow enough that a send is under way at SIGTERM: draining lets it end, so its outcome is known.
    tenant.account.delay_seconds = 0.3
    ids = [tenant.accepted(f"kept {n}", customer)["message_id"] for n in range(5)]
    tenant.account.wait_for_call("kept 0")
    assert gateway.stop() == 0
    assert_verifies(gateway)
    gateway.start()
    for message_id in ids:
        tenant.wait_for_status(message_id, "sent")
    assert sorted(one["Body"] for one in tenant.account.calls) == [f"kept {n}" for n in range(5)]


def test_second_process_is_refused_with_the_pid_of_the_first(gateway, tenant, customer):
    logged = len(gateway.log_tail(10**9))
    second = gateway.spawn(port=free_port())
    try:
        assert second.wait(20) == 1
    finally:
        second.kill()
        second.wait()
    assert str(gateway.process.pid) in gateway.log_tail(10**9)[logged:]
    assert tenant.send("still here", customer).status_code == 202


def test_lock_does_not_outlive_its_process(gateway, tenant, customer):
    for _ in range(3):
        restart_after_kill(gateway)
    assert tenant.send("still here", customer).status_code == 202
    assert_verifies(gateway, "--invariants")


def test_a_segment_cut_under_the_gateway_ends_it_with_a_name(make_gateway, twilio):
    """Reads go through maps, where a medium error and a file that somebody cut are a signal: the end, but with a name."""
    running = make_gateway("cut").start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    assert tenant.inbound("to be cut off", customer_number()).status_code == 200
    message = tenant.events()[0]["data"]["message"]["id"]
    segment = running.data / "00000000000000000001.wal"
    deadline = time.monotonic() + 20
    while running.process.poll() is None and time.monotonic() < deadline:
        os.truncate(segment, 4096)
        try:
            # A group written since the cut has filled it with zeros: then the read is refused, and the next cut counts.
            assert tenant.get(f"/v1/messages/{message}").json()["code"] == "internal_error"
        except requests.RequestException:
            break
    process, running.process = running.process, None
    assert process.wait(20) == -signal.SIGBUS
    assert "waybill: SIGBUS: segment 00000000000000000001.wal cannot be read at offset" in running.log_tail()
