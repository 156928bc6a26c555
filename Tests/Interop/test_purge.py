"""Purge: the key of a message, a conversation or a client is destroyed, and everything else stays as it was."""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from read_log import read_log
from support.fake_twilio import TOO_MANY_REQUESTS, slow
from support.http import LoopbackServer, call
from support.problems import REFUSED, assert_problem
from support.receiver import Received
from support.tenant import SETTLED, customer_number, unique
from support.wait import holds_for, wait_until
from tlog import Proof, VerifierKey, open_note, parse_checkpoint, root_from_inclusion

# How often two things are tried to happen at one moment.
RACES = 32
# Of one text that costs the sender this much at a pace of one segment a second; what is behind it stays queued.
LONG_TEXT = "a long text " * 120
# What lies with the body under the message's key; whether it outlives the body is left open.
SEALED_WITH_THE_BODY = {"text", "purged", "provider_message_id", "metadata", "idempotency_key"}


@pytest.fixture
def tenant(gateway, make_tenant):
    """As elsewhere, on a gateway that some tests of this module kill."""
    if gateway.process is None:
        gateway.start()
    return make_tenant()


# What the tests do


def purge(tenant, message_id):
    """Purges, and asserts the 200."""
    answer = tenant.post(f"/v1/messages/{message_id}/purge")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"message_id": message_id, "purged": True}
    return answer


def erase(tenant, conversation_id):
    answer = tenant.post(f"/v1/conversations/{conversation_id}/erase")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"conversation_id": conversation_id, "status": "erased", "erased": True}


def pulled(tenant):
    """Everything by pull, continued as documented: a purged event may be the last of its page."""
    events, after = [], 0
    while True:
        page = tenant.read(f"/v1/events?after={after}&limit=200")
        events += page["data"]
        if page["next_after"] == after:
            return events
        after = page["next_after"]


def received(tenant, customer, text, sid=None):
    """The event of one inbound SMS; its message is `event["data"]["message"]["id"]`."""
    before = len(pulled(tenant))
    answer = tenant.inbound(text, customer, sid=sid)
    assert answer.status_code == 200, answer.text
    return pulled(tenant)[before]


def message_of(event):
    return event["data"]["message"]["id"]


def conversation_of(event):
    return event["data"]["conversation"]["id"]


def sent(tenant, customer, text, **fields):
    """The answer to a send that Twilio has accepted, and Twilio's call."""
    accepted = tenant.accepted(text, customer, **fields)
    tenant.wait_for_status(accepted["message_id"], "sent")
    return accepted, tenant.account.wait_for_call(text)


def queued(make_tenant, text, to, **settings):
    """A client whose sender's pace keeps `text` queued."""
    tenant = make_tenant(**settings)
    assert tenant.connect_sms(segments_per_second=1).status_code == 200
    sent(tenant, customer_number(), LONG_TEXT)
    accepted = tenant.accepted(text, to)
    assert tenant.message(accepted["message_id"])["status"] == "queued"
    return tenant, accepted


def scheduled(tenant, receiver, customer, text="to be retried", retry_schedule=(600,)):
    """An event whose first attempt failed and whose retry is far away: endpoint, event, delivery."""
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=list(retry_schedule))
    event = received(tenant, customer, text)

    def tried():
        found = tenant.deliveries_of(event["id"])
        delivery = found and tenant.read(f"/v1/deliveries/{found[0]['id']}")
        return delivery if delivery and delivery["attempts"] else None

    return endpoint, event, wait_until(tried, 10, "the first attempt to be recorded")


def history(gateway, *arguments):
    return gateway.replay(*arguments)


class Held(LoopbackServer):
    """An endpoint that keeps every request waiting for `release`, so that a test can act in between."""

    def __init__(self):
        self.released = threading.Event()
        self.status = 200
        self.requests = []
        super().__init__()

    @property
    def url(self):
        return self.base_url + "/hook"

    def handle(self, handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(Received(body, headers, time.monotonic(), handler.command))
        self.released.wait(14)
        self.answer(handler, self.status, b'{"received":true}')

    def release(self, status):
        self.status = status
        self.released.set()

    def close(self):
        self.released.set()
        super().close()


@pytest.fixture
def held():
    server = Held()
    yield server
    server.close()


# One message


def test_answer_comes_when_the_key_is_gone(tenant, customer, gateway):
    message_id = message_of(received(tenant, customer, "secret"))
    before = len(history(gateway, "--type", "purge.completed"))
    answer = purge(tenant, message_id)
    assert int(answer.headers["Waybill-Position"]) > 0
    assert len(history(gateway, "--type", "purge.completed")) > before, "200 says that it is done"


def test_purged_inbound_keeps_all_but_its_body(tenant, customer):
    message_id = message_of(received(tenant, customer, "secret"))
    before = tenant.message(message_id)
    assert before["purged"] is False
    purge(tenant, message_id)
    assert_only_body_is_gone(before, tenant.message(message_id))


@pytest.mark.parametrize("status", ["sent", "delivered", "undelivered"])
def test_purged_send_keeps_all_but_its_body(tenant, customer, status):
    accepted, call_made = sent(tenant, customer, "secret", metadata={"order": "4711"})
    if status != "sent":
        tenant.report_status(call_made, status)
    before = tenant.message(accepted["message_id"])
    purge(tenant, accepted["message_id"])
    assert_only_body_is_gone(before, tenant.message(accepted["message_id"]))


def assert_only_body_is_gone(before, after):
    assert set(after) == set(before), "no field goes"
    assert (after["purged"], after["text"]) == (True, None)
    for name in set(before) - SEALED_WITH_THE_BODY:
        assert after[name] == before[name], name
    for name in SEALED_WITH_THE_BODY - {"text", "purged"}:
        assert after.get(name) in (before.get(name), None, {}, ""), name


def test_other_messages_stay_byte_for_byte(tenant, customer):
    events = [received(tenant, customer, f"message {n}") for n in range(3)]
    events.append(received(tenant, customer_number(), "of somebody else"))
    accepted, _ = sent(tenant, customer, "an answer")
    wait_until(lambda: "sent" in str(pulled(tenant)), 5, "the event of the status")
    paths = [f"/v1/messages/{message_of(event)}" for event in events] + [f"/v1/messages/{accepted['message_id']}"]
    paths += [f"/v1/events?after={n}&limit=1" for n in range(len(pulled(tenant)))]
    paths += ["/v1/usage", "/v1/deliveries", "/v1/dead-letters"]
    before = {path: tenant.get(path).content for path in paths}
    purge(tenant, message_of(events[1]))
    changed = {path for path in paths if tenant.get(path).content != before[path]}
    assert changed == {paths[1], "/v1/events?after=1&limit=1"}


def test_nothing_shows_the_body_any_more(tenant, customer):
    text = unique("secret")
    event = received(tenant, customer, text)
    purge(tenant, message_of(event))
    for path in ("/v1/events?after=0", f"/v1/messages/{message_of(event)}", "/v1/conversations", "/v1/deliveries",
                 f"/v1/conversations/{conversation_of(event)}", f"/v1/conversations/{conversation_of(event)}/messages"):
        answer = tenant.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert text not in answer.text, path
    listed = tenant.read(f"/v1/conversations/{conversation_of(event)}/messages")["data"][0]
    assert (listed["id"], listed["purged"], listed["text"]) == (message_of(event), True, None)


def test_purged_event_keeps_its_place(tenant, customer):
    """Whoever pulls by sequence must be able to go on behind a purged event, also as the last one of a page."""
    first = received(tenant, customer, "secret")
    second = received(tenant, customer, "kept")
    purge(tenant, message_of(first))
    events = pulled(tenant)
    assert (events[0]["id"], events[0]["purged"], events[1]) == (first["id"], True, second)
    assert "data" not in events[0]
    assert {name: events[0].get(name) for name in ("type", "timestamp", "sequence")} == {
        name: first[name] for name in ("type", "timestamp", "sequence")}


def test_purging_twice_is_purging_once(tenant, customer, gateway):
    message_id = message_of(received(tenant, customer, "secret"))
    purge(tenant, message_id)
    mine = ("--client", tenant.id)
    before = history(gateway, *mine)
    purge(tenant, message_id)
    assert history(gateway, *mine) == before
    assert [line["message_id"] for line in before].count(message_id) > 0
    assert len([line for line in before if line["type"] == "purge.requested"]) == 1


def test_concurrent_purges(tenant, customer, gateway):
    messages = [message_of(received(tenant, customer, f"secret {n}")) for n in range(8)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda message_id: purge(tenant, message_id), messages * 4))
    assert all(tenant.message(message_id)["purged"] for message_id in messages)
    assert len(history(gateway, "--client", tenant.id, "--type", "purge.requested")) == len(messages)


def test_message_of_somebody_else_is_not_there(make_tenant, tenant, customer):
    stranger = make_tenant()
    event = received(stranger, customer, "theirs")
    assert_problem(tenant.post(f"/v1/messages/{message_of(event)}/purge"), 404, code="not_found")
    assert_problem(tenant.post(f"/v1/conversations/{conversation_of(event)}/erase"), 404, code="not_found")
    assert stranger.message(message_of(event))["text"] == "theirs"
    assert stranger.read(f"/v1/conversations/{conversation_of(event)}")["customer"]["phone"] == customer


@pytest.mark.parametrize("path", [
    "messages/msg_unknown/purge", "messages/conv_x/purge", "conversations/conv_unknown/erase",
    "conversations/msg_x/erase"])
def test_unknown_ids(tenant, path):
    assert_problem(tenant.post(f"/v1/{path}"), 404, code="not_found")


def test_an_id_of_another_kind_purges_nothing(tenant, customer):
    event = received(tenant, customer, "kept")
    assert_problem(tenant.post(f"/v1/messages/{conversation_of(event)}/purge"), 404)
    assert_problem(tenant.post(f"/v1/conversations/{message_of(event)}/erase"), 404)
    assert tenant.message(message_of(event))["text"] == "kept"


def test_unknown_fields_are_refused_and_purge_nothing(tenant, customer):
    event = received(tenant, customer, "kept")
    for path in (f"messages/{message_of(event)}/purge", f"conversations/{conversation_of(event)}/erase"):
        assert_problem(tenant.post(f"/v1/{path}", {"really": True}), REFUSED, field="really")
    assert tenant.message(message_of(event))["text"] == "kept"
    assert tenant.read(f"/v1/conversations/{conversation_of(event)}")["status"] == "open"


def test_no_body_is_as_good_as_an_empty_one(tenant, customer):
    event = received(tenant, customer, "secret")
    assert tenant.call("POST", f"/v1/messages/{message_of(event)}/purge").status_code == 200
    assert tenant.call("POST", f"/v1/conversations/{conversation_of(event)}/erase").status_code == 200


def test_client_key_is_needed(tenant, customer, gateway):
    message_id = message_of(received(tenant, customer, "kept"))
    path = f"/v1/messages/{message_id}/purge"
    assert_problem(call("POST", gateway.base_url + path), 401)
    assert_problem(call("POST", gateway.base_url + path, gateway.operator), 403)
    assert tenant.message(message_id)["purged"] is False


# Sends


def test_queued_send_is_cancelled(make_tenant, customer):
    tenant, accepted = queued(make_tenant, "not any more", customer)
    before = tenant.read("/v1/usage")["sms"]
    purge(tenant, accepted["message_id"])
    assert tenant.read("/v1/usage")["sms"] == before | {"reserved": before["reserved"] - 1}
    message = tenant.message(accepted["message_id"])
    assert message["status"] == "failed"
    assert [step["status"] for step in message["status_history"]] == ["queued", "failed"]
    assert_failed_as_purged(message)


def assert_failed_as_purged(message):
    assert (message["status"], message["purged"], message["text"]) == ("failed", True, None)
    assert message["status_history"][-1]["status"] == "failed"
    assert message["status_history"][-1].get("code") == "body_purged"
    assert (message["error"] or {}).get("code") == "body_purged"


def test_cancelled_send_is_told_by_pull(make_tenant, customer):
    """The event came after the purge and holds nothing of the body, so there is nothing of it to hide."""
    tenant, accepted = queued(make_tenant, "not any more", customer)
    before = len(pulled(tenant))
    purge(tenant, accepted["message_id"])
    told = pulled(tenant)[before:]
    assert [event.get("type") for event in told] == ["message.status"]
    message = told[0]["data"]["message"]
    assert (message["id"], message["status"]) == (accepted["message_id"], "failed")
    assert message["error"]["code"] == "body_purged"


def test_cancelled_send_never_leaves(make_tenant, customer):
    """Not even when the sender has its turn again: what came after it goes out in its place."""
    tenant = make_tenant()
    assert tenant.connect_sms(segments_per_second=1).status_code == 200
    sent(tenant, customer_number(), "x" * 300)
    first, second = tenant.accepted("purged", customer), tenant.accepted("kept", customer)
    purge(tenant, first["message_id"])
    tenant.wait_for_status(second["message_id"], "sent")
    assert tenant.account.calls_with("purged") == []


def test_released_reservation_can_be_used(make_tenant, customer):
    tenant, accepted = queued(make_tenant, "not any more", customer, sms_monthly_quota=2)
    assert_problem(tenant.send("one too many", customer), 429, code="sms_quota_exceeded")
    purge(tenant, accepted["message_id"])
    tenant.accepted("in its place", customer)


def test_send_waiting_for_another_try_is_cancelled(tenant, customer):
    tenant.account.script = [TOO_MANY_REQUESTS] * 8
    accepted = tenant.accepted("refused for now", customer)
    wait_until(lambda: len(tenant.message(accepted["message_id"])["status_history"]) > 2, 5, "the refusal on record")
    purge(tenant, accepted["message_id"])
    calls = len(tenant.account.calls)
    assert tenant.read("/v1/usage")["sms"]["reserved"] == 0
    holds_for(lambda: len(tenant.account.calls) == calls, 3, "no further call")
    message = tenant.message(accepted["message_id"])
    assert_failed_as_purged(message)
    assert [step["status"] for step in message["status_history"]][:3] == ["queued", "sending", "queued"]


def test_send_under_way_keeps_its_outcome(tenant, customer):
    tenant.account.script = [slow(1)]
    accepted = tenant.accepted("on its way", customer)
    call_made = tenant.account.wait_for_call("on its way")
    purge(tenant, accepted["message_id"])
    assert not call_made.answered, "the purge was to come before the answer"
    message = tenant.wait_for_status(accepted["message_id"], *SETTLED)
    assert (message["status"], message["purged"], message["text"]) == ("sent", True, None)
    assert tenant.read("/v1/usage")["sms"] | {"quota": 0} == {"quota": 0, "used": 1, "reserved": 0}
    assert len(tenant.account.calls) == 1
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    tenant.wait_for_status(accepted["message_id"], "delivered")


def test_status_of_a_purged_send_still_rises(tenant, customer):
    accepted, call_made = sent(tenant, customer, "secret")
    before = tenant.message(accepted["message_id"])
    purge(tenant, accepted["message_id"])
    for status in ("delivered", "sent", "delivered"):
        assert tenant.report_status(call_made, status).status_code in (200, 204)
    message = tenant.wait_for_status(accepted["message_id"], "delivered")
    assert message["status_history"][:-1] == before["status_history"]
    assert (message["purged"], message["text"]) == (True, None)


def test_status_of_a_purged_send_is_told_without_its_body(tenant, customer, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, events=["message.status"])
    text, metadata = unique("secret"), {"order": unique("order")}
    accepted, call_made = sent(tenant, customer, text, metadata=metadata)
    endpoint.wait_for_type("message.status")
    purge(tenant, accepted["message_id"])
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    told = endpoint.wait_for_type("message.status", 2)[1]
    message = told.event["data"]["message"]
    assert (message["id"], message["status"]) == (accepted["message_id"], "delivered")
    assert text.encode() not in told.body and metadata["order"].encode() not in told.body
    assert pulled(tenant)[-1] == told.event


def test_events_go_on_behind_the_status_of_a_purged_send(tenant, customer, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, events=["*"])
    accepted, call_made = sent(tenant, customer, "secret")
    purge(tenant, accepted["message_id"])
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    event = received(tenant, customer, "thank you")
    tenant.wait_for_delivery(event["id"], "delivered")
    wait_until(lambda: all_ended(tenant), 5, "no delivery to stay in flight")


def all_ended(tenant):
    return {one["state"] for one in tenant.all("/v1/deliveries")} <= {"delivered", "purged"}


def test_repeat_of_a_purged_send_gets_the_first_answer(tenant, customer):
    key = unique("key")
    first = tenant.send("secret", customer, key=key)
    tenant.wait_for_status(first.json()["message_id"], "sent")
    purge(tenant, first.json()["message_id"])
    repeat = tenant.send("secret", customer, key=key)
    assert (repeat.status_code, repeat.content) == (first.status_code, first.content)
    assert repeat.headers["Idempotency-Replayed"] == "true"
    assert_problem(tenant.send("another", customer, key=key), 422, code="idempotency_mismatch")
    assert len(tenant.account.calls) == 1


# Deliveries


def test_scheduled_retry_becomes_a_letter_without_a_body(tenant, receiver, customer):
    endpoint, event, delivery = scheduled(tenant, receiver, customer)
    assert "received" in delivery["attempts"][0]["response_excerpt"]
    purge(tenant, message_of(event))
    assert_is_purged_letter(tenant, delivery, event)
    assert len(endpoint.requests) == 1


def test_dead_letter_loses_its_body(tenant, receiver, customer):
    _, event, delivery = scheduled(tenant, receiver, customer, retry_schedule=[])
    tenant.wait_for_delivery(event["id"], "dead")
    assert tenant.read(f"/v1/dead-letters/{delivery['id']}")["event"] == event
    purge(tenant, message_of(event))
    assert_is_purged_letter(tenant, delivery, event)


def assert_is_purged_letter(tenant, delivery, event):
    listed = [one for one in tenant.all("/v1/dead-letters") if one["id"] == delivery["id"]]
    assert [(one["state"], one["reason"], one["event_id"]) for one in listed] == [
        ("purged", "body_purged", event["id"])]
    for path in (f"/v1/dead-letters/{delivery['id']}", f"/v1/deliveries/{delivery['id']}"):
        answer = tenant.get(path)
        shown = answer.json()
        assert (answer.status_code, shown["state"]) == (200, "purged"), answer.text
        assert shown["next_attempt_at"] is None
        assert shown.get("event") is None or shown["event"].get("purged") is True, "the event has no body"
        assert event["data"]["message"]["text"] not in answer.text
        assert_attempts_without_excerpts(delivery["attempts"], shown["attempts"])


def assert_attempts_without_excerpts(before, after):
    changed = {"response_excerpt": None, "next_attempt_at": None}
    assert [one | changed for one in after] == [one | changed for one in before]
    assert all(one["response_excerpt"] is None for one in after)


def test_purged_letter_cannot_be_replayed(tenant, receiver, customer):
    endpoint, event, delivery = scheduled(tenant, receiver, customer)
    purge(tenant, message_of(event))
    endpoint.default = 200
    assert_problem(tenant.post(f"/v1/dead-letters/{delivery['id']}/replay"), 410, code="body_purged")
    answer = tenant.post("/v1/dead-letters/replay", {"dry_run": False})
    assert answer.status_code in (200, 202) and answer.json()["replayed"] == 0, answer.text
    holds_for(lambda: len(endpoint.requests) == 1, 1, "nothing is sent")
    assert tenant.read(f"/v1/deliveries/{delivery['id']}")["state"] == "purged"


def test_purged_letter_can_be_discarded(tenant, receiver, customer):
    _, event, delivery = scheduled(tenant, receiver, customer)
    purge(tenant, message_of(event))
    answer = tenant.delete(f"/v1/dead-letters/{delivery['id']}")
    assert answer.status_code in (200, 204), answer.text
    assert tenant.all("/v1/dead-letters") == []
    assert tenant.read(f"/v1/deliveries/{delivery['id']}")["state"] == "discarded"


def test_retry_of_another_message_goes_on(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[1, 1, 1])
    purged, kept = received(tenant, customer, "purged"), received(tenant, customer, "kept")
    endpoint.wait_for(2)
    purge(tenant, message_of(purged))
    endpoint.default = 200
    tenant.wait_for_delivery(kept["id"], "delivered")
    assert [one["id"] for one in tenant.all("/v1/dead-letters")] == [tenant.deliveries_of(purged["id"])[0]["id"]]


def test_conversation_goes_on_behind_a_purged_retry(tenant, receiver, customer):
    """Strict order waits for what failed before; what is purged will never arrive, and must not hold up the rest."""
    endpoint = receiver.endpoint(script=[500])
    tenant.subscribe(endpoint, retry_schedule=[600], ordering="strict")
    first = received(tenant, customer, "purged")
    endpoint.wait_for(1)
    second = received(tenant, customer, "behind it")
    holds_for(lambda: len(endpoint.requests) == 1, 0.5, "the second waits for the first")
    purge(tenant, message_of(first))
    tenant.wait_for_delivery(second["id"], "delivered")


@pytest.mark.parametrize("status, state", [(200, "delivered"), (500, "purged"), (410, "purged")])
def test_delivery_under_way_ends_and_is_not_retried(tenant, held, customer, status, state):
    tenant.subscribe(held, retry_schedule=[1])
    event = received(tenant, customer, "on its way")
    wait_until(lambda: held.requests, 5, "the attempt")
    purge(tenant, message_of(event))
    assert tenant.deliveries_of(event["id"])[0]["state"] == "in_flight"
    held.release(status)
    delivery = tenant.wait_for_delivery(event["id"], state)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [status]
    assert delivery["attempts"][0]["response_excerpt"] is None, "written after the purge, it would outlive it"
    holds_for(lambda: len(held.requests) == 1, 1.5, "no second attempt")
    assert len(tenant.all("/v1/dead-letters")) == (0 if state == "delivered" else 1)


def at_once(*jobs):
    """Runs the jobs as close to one another as threads can; their results."""
    together = threading.Barrier(len(jobs))

    def run(job):
        together.wait(10)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [one.result() for one in [pool.submit(run, job) for job in jobs]]


def test_purge_at_the_moment_of_an_attempt(tenant, receiver):
    """Whoever is first, each delivery comes to an end, and its conversation goes on."""
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[])
    people = [customer_number() for _ in range(RACES)]
    events = [received(tenant, customer, "at once") for customer in people]
    letters = {one["event_id"]: one["id"] for one in tenant.wait_for_dead_letters(RACES)}
    endpoint.default = 200
    for event in events:
        replay, _ = at_once(
            lambda: tenant.post(f"/v1/dead-letters/{letters[event['id']]}/replay"),
            lambda: purge(tenant, message_of(event)))
        if replay.status_code != 202:
            assert_problem(replay, 410, code="body_purged")
    after = [received(tenant, customer, "and on") for customer in people]
    wait_until(lambda: all(tenant.deliveries_of(event["id"])[0]["state"] == "delivered" for event in after), 10)
    ends = {"delivered", "purged", "discarded"}
    wait_until(lambda: {one["state"] for one in tenant.all("/v1/deliveries")} <= ends, 10, "every delivery to end")


def test_purge_at_the_moment_of_the_call(tenant):
    """As with deliveries: a message between the start on record and the call to Twilio must not stay there.

    A message starts when the one before it in its conversation has its answer, so that moment can be met.
    """
    tenant.account.delay_seconds = 0.03
    purged = [purged_at_its_start(tenant, customer_number(), 0.0005 * n) for n in range(RACES)]
    wait_until(lambda: tenant.read("/v1/usage")["sms"]["reserved"] == 0, 10, "every call to have an outcome")
    assert tenant.read("/v1/usage")["sms"]["used"] == len(tenant.account.calls)
    for message_id in purged:
        assert tenant.message(message_id)["status"] in ("sent", "failed")


def purged_at_its_start(tenant, customer, delay):
    """The message that was purged `delay` seconds after the answer it waited for; another one waits for it in turn."""
    texts = [unique(name) for name in ("before", "purged", "behind")]
    tenant.accepted(texts[0], customer)
    answered_at = tenant.account.wait_for_call(texts[0]).at + tenant.account.delay_seconds
    message_id = tenant.accepted(texts[1], customer)["message_id"]
    behind = tenant.accepted(texts[2], customer)["message_id"]
    time.sleep(max(0, answered_at + delay - time.monotonic()))
    purge(tenant, message_id)
    tenant.wait_for_status(behind, "sent")
    return message_id


# What a provider repeats


def test_late_repeat_of_a_purged_message_makes_no_new_one(tenant, customer):
    sid = "SM" + uuid.uuid4().hex
    event = received(tenant, customer, "secret", sid=sid)
    purge(tenant, message_of(event))
    before = tenant.get("/v1/conversations").content, pulled(tenant)
    assert tenant.inbound("secret", customer, sid=sid).status_code == 200
    assert (tenant.get("/v1/conversations").content, pulled(tenant)) == before
    assert len(tenant.all(f"/v1/conversations/{conversation_of(event)}/messages")) == 1


# Erasing a conversation


def test_erased_conversation_has_no_identifiers(tenant, customer):
    event = received(tenant, customer, "secret")
    conversation_id = conversation_of(event)
    erase(tenant, conversation_id)
    digits = customer.removeprefix("+")
    answer = tenant.get(f"/v1/conversations/{conversation_id}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "erased"
    shown = answer.json().get("customer") or {}
    assert not any(shown.values()), shown
    for path in ("/v1/conversations", "/v1/events?after=0", f"/v1/conversations/{conversation_id}/messages",
                 f"/v1/messages/{message_of(event)}"):
        answer = tenant.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert digits not in answer.text and "secret" not in answer.text, path
    assert [one["id"] for one in tenant.all("/v1/conversations")] == [conversation_id]
    assert tenant.read(f"/v1/conversations?phone=%2B{digits}")["data"] == []


def test_erase_purges_every_message(tenant, customer):
    inbound = received(tenant, customer, "secret")
    outbound, call_made = sent(tenant, customer, "answer")
    other = received(tenant, customer_number(), "kept")
    kept = tenant.message(message_of(other))
    before = {one["id"]: one for one in tenant.all(f"/v1/conversations/{conversation_of(inbound)}/messages")}
    erase(tenant, conversation_of(inbound))
    after = tenant.all(f"/v1/conversations/{conversation_of(inbound)}/messages")
    assert {one["id"] for one in after} == set(before) == {message_of(inbound), outbound["message_id"]}
    for one in after:
        assert_only_body_is_gone(before[one["id"]], one)
    assert tenant.message(message_of(other)) == kept
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    tenant.wait_for_status(outbound["message_id"], "delivered")
    purge(tenant, message_of(inbound))


def test_erasing_twice_is_erasing_once(tenant, customer, gateway):
    conversation_id = conversation_of(received(tenant, customer, "secret"))
    erase(tenant, conversation_id)
    before = history(gateway, "--client", tenant.id)
    erase(tenant, conversation_id)
    assert history(gateway, "--client", tenant.id) == before


def test_send_to_an_erased_conversation(tenant, customer):
    conversation_id = conversation_of(received(tenant, customer, "secret"))
    erase(tenant, conversation_id)
    answer = tenant.post("/v1/send", {"conversation_id": conversation_id, "text": "still there?"})
    assert_problem(answer, 410, code="conversation_erased")
    assert tenant.account.calls == []


def test_erased_conversation_stays_as_it_is(tenant, customer):
    conversation_id = conversation_of(received(tenant, customer, "secret"))
    erase(tenant, conversation_id)
    # Which refusal it is, the contract leaves open; opening it again would bring back somebody nobody knows.
    answer = tenant.call("PATCH", f"/v1/conversations/{conversation_id}", json={"status": "open"})
    assert_problem(answer, (409, 410))
    assert tenant.read(f"/v1/conversations/{conversation_id}")["status"] == "erased"


def test_same_person_later_is_a_new_conversation(tenant, customer):
    old = conversation_of(received(tenant, customer, "secret"))
    erase(tenant, old)
    new = conversation_of(received(tenant, customer, "hello again"))
    assert new != old
    assert tenant.read(f"/v1/conversations/{new}")["customer"]["phone"] == customer
    assert tenant.accepted("welcome back", customer)["conversation_id"] == new
    assert tenant.read(f"/v1/conversations/{old}")["message_count"] == 1
    other = customer_number()
    erase(tenant, conversation_of(received(tenant, other, "secret")))
    assert tenant.accepted("written to first", other)["conversation_id"] not in (old, new)


def test_queued_sends_of_an_erased_conversation_fail(make_tenant, customer):
    tenant, accepted = queued(make_tenant, "not any more", customer)
    erase(tenant, accepted["conversation_id"])
    assert tenant.read("/v1/usage")["sms"]["reserved"] == 0
    assert_failed_as_purged(tenant.message(accepted["message_id"]))


def test_send_under_way_while_its_conversation_is_erased(tenant, customer):
    tenant.account.script = [slow(1)]
    accepted = tenant.accepted("on its way", customer)
    tenant.account.wait_for_call("on its way")
    waiting = tenant.accepted("behind it", customer)
    erase(tenant, accepted["conversation_id"])
    assert tenant.message(waiting["message_id"])["status"] == "failed"
    assert tenant.wait_for_status(accepted["message_id"], *SETTLED)["status"] == "sent"
    assert [one["Body"] for one in tenant.account.calls] == ["on its way"]


def test_retries_of_an_erased_conversation_end(tenant, receiver, customer):
    endpoint, event, delivery = scheduled(tenant, receiver, customer)
    erase(tenant, conversation_of(event))
    assert_is_purged_letter(tenant, delivery, event)
    assert len(endpoint.requests) == 1


def test_opt_out_survives_an_erase(tenant, customer):
    received(tenant, customer, "hello")
    stop = received(tenant, customer, "STOP")
    erase(tenant, conversation_of(stop))
    assert_problem(tenant.send("are you sure", customer), 410, code="recipient_opted_out")
    received(tenant, customer, "START")
    tenant.accepted("welcome back", customer)


def test_repeat_of_an_erased_message_makes_no_new_conversation(tenant, customer):
    sid = "SM" + uuid.uuid4().hex
    event = received(tenant, customer, "secret", sid=sid)
    erase(tenant, conversation_of(event))
    assert tenant.inbound("secret", customer, sid=sid).status_code == 200
    assert [one["id"] for one in tenant.all("/v1/conversations")] == [conversation_of(event)]
    assert len(pulled(tenant)) == 1


# Deleting a client, and what survives


@pytest.fixture
def own(make_gateway, request):
    """A gateway of the test's own, for tests that stop it and read its data directory."""
    running = make_gateway(request.node.name[:40]).start()
    yield running
    running.kill()


def bodies(gateway, *arguments):
    """The lines of a replay with bodies that had one, or have."""
    return [line for line in gateway.replay("--bodies", *arguments) if line["body"] is not None or line["purged"]]


def test_deletion_of_a_client_destroys_its_bodies(own, make_tenant, receiver):
    tenant, neighbour = make_tenant(on=own), make_tenant(on=own)
    for one in (tenant, neighbour):
        one.subscribe(receiver.endpoint(default=500), retry_schedule=[600])
        received(one, customer_number(), unique("secret"))
        sent(one, customer_number(), unique("answer"))
    kept = neighbour.get("/v1/events?after=0").content
    answer = own.admin("DELETE", f"/clients/{tenant.id}")
    assert answer.status_code in (200, 204), answer.text
    assert tenant.get("/v1/conversations").status_code == 401
    wait_until(lambda: own.replay("--type", "purge.completed"), 10, "the purge")
    assert neighbour.get("/v1/events?after=0").content == kept
    assert own.stop() == 0

    gone = bodies(own, "--client", tenant.id)
    assert len(gone) >= 6 and all(line["purged"] and line["body"] is None for line in gone), gone
    left = bodies(own, "--client", neighbour.id)
    assert len(left) == len(gone) and not any(line["purged"] for line in left)
    assert_verifies(own)


def assert_verifies(gateway, *arguments):
    result = gateway.verify(*arguments)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_replay_says_what_is_purged(own, make_tenant, customer):
    tenant = make_tenant(on=own)
    first, second = received(tenant, customer, "secret one"), received(tenant, customer, "kept")
    purge(tenant, message_of(first))
    assert own.stop() == 0
    lines = [line for line in bodies(own, "--client", tenant.id) if line["message_id"]]
    for event, purged in ((first, True), (second, False)):
        mine = [line for line in lines if line["message_id"] == message_of(event)]
        assert len(mine) >= 2 and all(line["purged"] == purged for line in mine), mine
    assert "secret one" not in json.dumps(lines)


def seen(tenant, conversations, messages):
    """Everything that a client sees, byte for byte."""
    paths = ["/v1/events?after=0&limit=200", "/v1/deliveries", "/v1/dead-letters", "/v1/conversations", "/v1/usage"]
    paths += [f"/v1/conversations/{one}" for one in conversations] + [f"/v1/messages/{one}" for one in messages]
    answers = {path: tenant.get(path) for path in paths}
    assert {path: one.status_code for path, one in answers.items() if one.status_code != 200} == {}
    return {path: one.content for path, one in answers.items()}


def test_everything_survives_a_kill(gateway, tenant, receiver, customer):
    endpoint, event, delivery = scheduled(tenant, receiver, customer)
    kept = received(tenant, customer, "kept")
    accepted, call_made = sent(tenant, customer, "answer", key=unique("key"))
    erased = received(tenant, customer_number(), "erased")
    purge(tenant, message_of(event))
    purge(tenant, accepted["message_id"])
    erase(tenant, conversation_of(erased))
    wait_until(lambda: all(one["state"] in ("purged", "scheduled") for one in tenant.all("/v1/deliveries")), 10)
    of = ([conversation_of(event), conversation_of(erased)],
          [message_of(event), message_of(kept), message_of(erased), accepted["message_id"]])
    before = seen(tenant, *of)
    gateway.kill()
    assert_verifies(gateway)
    gateway.start()
    assert seen(tenant, *of) == before
    assert_problem(tenant.post(f"/v1/dead-letters/{delivery['id']}/replay"), 410, code="body_purged")
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    assert tenant.wait_for_status(accepted["message_id"], "delivered")["purged"] is True
    assert_problem(tenant.post("/v1/send", {"conversation_id": conversation_of(erased), "text": "x"}), 410)
    assert len([one for one in endpoint.requests if one.headers["webhook-id"] == event["id"]]) == 1


def test_purge_that_a_kill_interrupts_is_completed(gateway, tenant, customer):
    """Killed at some moment of many purges: after the restart each was asked for and done, or never asked for."""
    events = [received(tenant, customer, f"secret {n}") for n in range(24)]
    answered = set()

    def purge_or_lose(event):
        try:
            if tenant.post(f"/v1/messages/{message_of(event)}/purge").status_code == 200:
                answered.add(message_of(event))
        except OSError:
            pass

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(purge_or_lose, event) for event in events]
        wait_until(lambda: len(answered) >= 6, 10, "some purges")
        gateway.kill()
        for one in work:
            one.result()
    gateway.start()
    asked = {line["message_id"] for line in history(gateway, "--client", tenant.id, "--type", "purge.requested")}
    assert answered <= asked
    for event in events:
        message = tenant.message(message_of(event))
        assert message["purged"] == (message["id"] in asked), message

    def done():
        return {line["message_id"] for line in bodies(gateway, "--client", tenant.id) if line["purged"]}

    wait_until(lambda: done() >= asked, 10, "every purge that was asked for to be done")
    assert_verifies(gateway)


def test_history_verifies_against_what_was_signed_before(own, make_tenant, tmp_path):
    """Purging changes no byte that a checkpoint, a proof or an auditor's copy of a digest speaks of."""
    tenant = make_tenant(on=own)
    events = [received(tenant, customer_number(), f"secret {n}") for n in range(6)]
    key = VerifierKey.parse(own.run_ok("checkpoint", "--data", own.data, "--vkey"))
    assert own.stop() == 0
    kept = tmp_path / "kept"
    kept.write_text(own.run_ok("checkpoint", "--data", own.data))
    digests = [record.digest for record in read_log(own.data).records]
    proofs = [own.run_ok("prove", "--data", own.data, "--position", n + 1) for n in range(len(digests))]

    own.start()
    for event in events[:3]:
        purge(tenant, message_of(event))
    erase(tenant, conversation_of(events[3]))
    own.admin("DELETE", f"/clients/{tenant.id}")
    wait_until(lambda: len(own.replay("--type", "purge.completed")) >= 5, 10, "the purges")
    own.kill()
    own.start()
    assert own.stop() == 0

    for arguments in ((), ("--checkpoint", kept), ("--invariants",)):
        assert_verifies(own, *arguments)
    log = read_log(own.data)
    assert [record.digest for record in log.records][:len(digests)] == digests
    for n, text in enumerate(proofs):
        assert_proves(text, key, digests[n], n)
        assert_proves(own.run_ok("prove", "--data", own.data, "--position", n + 1), key, digests[n], n)


def assert_proves(text, key, digest, index):
    proof = Proof.parse(text)
    checkpoint = parse_checkpoint(open_note(proof.note, key))
    assert proof.index == index
    assert root_from_inclusion(digest, index, checkpoint.size, proof.hashes) == checkpoint.root
