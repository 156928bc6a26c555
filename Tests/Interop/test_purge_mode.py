"""Inbound Body Purge: a body is delivered once and then gone, whatever came of it. And the settings around it."""

import random
import threading
import uuid

import pytest

from support.fake_twilio import BARE_500, TOO_MANY_REQUESTS, error, slow
from support.problems import REFUSED, assert_problem
from support.receiver import DROP, HANG
from support.tenant import Tenant, customer_number, unique
from support.wait import holds_for, wait_until
from test_purge import (
    assert_verifies, bodies, conversation_of, held, message_of, pulled, received, sent)

__all__ = ["held"]

# Between the end of the one attempt and the end of the key.
PURGE_SECONDS = 5
ATTEMPT_SECONDS = 15
ROUNDS = 5


@pytest.fixture
def tenant(gateway, make_tenant):
    """As elsewhere, on a gateway that some tests of this module kill."""
    if gateway.process is None:
        gateway.start()
    return make_tenant()


def switch(tenant, is_on):
    answer = tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": is_on}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["inbound_body_purge"]["sms"] == is_on


def purging(tenant, endpoint, **settings):
    """Puts the client into purge mode; its schedule would allow retries at once."""
    tenant.subscribe(endpoint, **({"retry_schedule": [1, 1]} | settings))
    switch(tenant, True)


def wait_for_purge(tenant, message_id, seconds=PURGE_SECONDS):
    def purged():
        message = tenant.message(message_id)
        return message if message["purged"] else None

    return wait_until(purged, seconds, f"{message_id} to be purged")


def posted(tenant, customer, text, sid=None):
    """Posts an SMS whose body may be gone before anyone has looked; the ids of its event and its message."""
    before = {one["id"] for one in pulled(tenant)}
    assert tenant.inbound(text, customer, sid=sid).status_code == 200
    event = next(one for one in pulled(tenant) if one["id"] not in before)
    conversation = tenant.read(f"/v1/conversations?phone={customer.replace('+', '%2B')}")["data"][0]
    message = tenant.read(f"/v1/conversations/{conversation['id']}/messages")["data"][0]
    return event["id"], message["id"]


def assert_purged_after(tenant, endpoint, event_id, message_id, state, requests=1):
    """The delivery ended in `state`, nothing is left, and nothing comes after."""
    delivery = tenant.wait_for_delivery(event_id, state)
    message = wait_for_purge(tenant, message_id)
    assert message["text"] is None
    shown = tenant.read(f"/v1/deliveries/{delivery['id']}")
    assert len(shown["attempts"]) == requests
    assert all(attempt["response_excerpt"] is None for attempt in shown["attempts"])
    assert all(attempt["next_attempt_at"] is None for attempt in shown["attempts"])
    mine = [event for event in pulled(tenant) if event["id"] == event_id]
    assert [event.get("purged") for event in mine] == [True] and "data" not in mine[0]
    holds_for(lambda: len(endpoint.requests) == requests, 1.5, "the one attempt")
    return shown


# Settings


def test_every_setting_is_shown(tenant):
    shown = tenant.read("/v1/settings")
    assert set(shown["external_reply_mode"]) == {"global", "facebook", "instagram", "sms", "whatsapp"}
    assert all(isinstance(value, bool) for value in shown["external_reply_mode"].values())
    assert shown["inbound_body_purge"] == {"sms": False, "whatsapp": False}
    assert shown["ai"] == {"prompt": ""}
    assert shown["escalation"] == {"phrases": []}
    assert shown["time_zone"] == "UTC"


def test_a_change_leaves_the_rest(tenant, gateway):
    first = {"ai": {"prompt": "Be brief: \"yes\" or no. Grüße 😀"}, "time_zone": "Europe/Berlin"}
    answer = tenant.call("PATCH", "/v1/settings", json=first)
    assert answer.status_code == 200, answer.text
    second = {"external_reply_mode": {"sms": False}, "escalation": {"phrases": ["human please", "Mensch"]}}
    changed = tenant.call("PATCH", "/v1/settings", json=second).json()
    assert (changed["ai"], changed["time_zone"], changed["escalation"]) == (
        first["ai"], first["time_zone"], second["escalation"])
    assert changed["external_reply_mode"]["sms"] is False
    assert changed == tenant.read("/v1/settings")
    assert tenant.read("/v1/usage")["time_zone"] == "Europe/Berlin"
    gateway.kill()
    gateway.start()
    assert tenant.read("/v1/settings") == changed


def test_an_empty_change_changes_nothing(tenant):
    before = tenant.read("/v1/settings")
    answer = tenant.call("PATCH", "/v1/settings", json={})
    assert (answer.status_code, answer.json()) == (200, before)


def test_settings_of_another_client_are_others(make_tenant, tenant):
    stranger = make_tenant()
    tenant.call("PATCH", "/v1/settings", json={"ai": {"prompt": "mine"}})
    assert stranger.read("/v1/settings")["ai"] == {"prompt": ""}


@pytest.mark.parametrize("body, field", [
    ({"colour": "red"}, "colour"),
    ({"inbound_body_purge": {"facebook": True}}, "inbound_body_purge"),
    ({"inbound_body_purge": {"sms": "yes"}}, "inbound_body_purge"),
    ({"inbound_body_purge": True}, "inbound_body_purge"),
    ({"external_reply_mode": {"telegram": True}}, "external_reply_mode"),
    ({"external_reply_mode": {"sms": 1}}, "external_reply_mode"),
    ({"ai": {"model": "x"}}, "ai"),
    ({"ai": {"prompt": 7}}, "ai"),
    ({"escalation": {"phrases": "help"}}, "escalation"),
    ({"escalation": {"phrases": [7]}}, "escalation"),
    ({"escalation": {"phrase": ["help"]}}, "escalation"),
    ({"time_zone": "Mars/Olympus"}, "time_zone"),
    ({"time_zone": 1}, "time_zone"),
], ids=lambda value: str(value)[:50])
def test_bad_setting_is_refused_by_name_and_changes_nothing(tenant, body, field):
    before = tenant.read("/v1/settings")
    answer = tenant.call("PATCH", "/v1/settings", json={"ai": {"prompt": "not taken"}} | body)
    problem = assert_problem(answer, REFUSED)
    # The last part of the path may be named alone ("facebook").
    assert problem["field"].startswith(field) or problem["field"] in next(iter(body.values())), problem
    assert tenant.read("/v1/settings") == before


# Endpoints that would never be told of an SMS.
LEAVE_SMS_OUT = [{"enabled": False}, {"events": ["message.status"]}, {"events": ["whatsapp.message_received"]}]


def test_purge_mode_needs_an_endpoint_that_takes_it(tenant, receiver):
    before = tenant.read("/v1/settings")
    wanted = {"inbound_body_purge": {"sms": True}, "ai": {"prompt": "not taken"}}

    def assert_refused():
        assert_problem(tenant.call("PATCH", "/v1/settings", json=wanted), 409, code="purge_requires_webhook")
        assert tenant.read("/v1/settings") == before

    assert_refused()
    endpoint = receiver.endpoint()
    for settings in LEAVE_SMS_OUT:
        tenant.subscribe(endpoint, **settings)
        assert_refused()
    # Switching off what is off needs nothing.
    assert tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": False}}).status_code == 200
    purging(tenant, endpoint)


def test_purge_mode_of_a_channel_that_the_endpoint_leaves_out(tenant, receiver):
    tenant.subscribe(receiver.endpoint(), channels=["sms"])
    switch(tenant, True)
    answer = tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"whatsapp": True}})
    problem = assert_problem(answer, 409, code="purge_requires_webhook")
    assert "whatsapp.message_received" in problem["detail"] and "/v1/webhook" in problem["detail"]
    assert tenant.read("/v1/settings")["inbound_body_purge"] == {"sms": True, "whatsapp": False}


@pytest.mark.parametrize("settings", LEAVE_SMS_OUT, ids=str)
def test_endpoint_that_would_leave_a_purged_channel_out_is_refused(tenant, receiver, settings):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    before = tenant.read("/v1/webhook")
    body = {"url": endpoint.url, "enabled": True} | settings
    problem = assert_problem(tenant.put("/v1/webhook", body), 409, code="purge_requires_webhook")
    assert "/v1/settings" in problem["detail"]
    assert tenant.read("/v1/webhook") == before
    switch(tenant, False)
    assert tenant.put("/v1/webhook", body).status_code == 200


# The one attempt


def test_body_is_delivered_once_and_gone(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    text = unique("secret")
    event_id, message_id = posted(tenant, customer, text)
    request = endpoint.wait_for(1)[0]
    assert request.event["data"]["message"]["text"] == text
    assert_purged_after(tenant, endpoint, event_id, message_id, "delivered")
    assert tenant.all("/v1/dead-letters") == []


@pytest.mark.parametrize("step", [500, 404, 429, (503, {"Retry-After": "1"}), (302, {"Location": "/"}), DROP], ids=str)
def test_failing_endpoint_has_one_attempt(tenant, receiver, customer, step):
    endpoint = receiver.endpoint(default=step)
    purging(tenant, endpoint)
    event_id, message_id = posted(tenant, customer, unique("secret"))
    shown = assert_purged_after(tenant, endpoint, event_id, message_id, "purged")
    assert_is_bare_letter(tenant, shown["id"], event_id)


def assert_is_bare_letter(tenant, delivery_id, event_id):
    """A dead letter without a body: what there was, what came of it, and no way to try again."""
    listed = tenant.all("/v1/dead-letters")
    assert [(one["id"], one["state"], one["reason"]) for one in listed] == [(delivery_id, "purged", "body_purged")]
    letter = tenant.read(f"/v1/dead-letters/{delivery_id}")
    assert letter["event_id"] == event_id and letter["event_type"] == "sms.message_received"
    assert letter.get("event") is None or letter["event"].get("purged") is True
    assert_problem(tenant.post(f"/v1/dead-letters/{delivery_id}/replay"), 410, code="body_purged")


def test_endpoint_that_is_gone_has_one_attempt(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=410)
    purging(tenant, endpoint)
    event_id, message_id = posted(tenant, customer, unique("secret"))
    assert_purged_after(tenant, endpoint, event_id, message_id, "purged")
    assert tenant.read("/v1/webhook")["state"] == "disabled"
    # Disabled now: the next one waits for an endpoint, and has its one attempt then.
    text = unique("secret")
    second = posted(tenant, customer, text)
    assert_held(tenant, *second, "endpoint_disabled")
    assert len(endpoint.requests) == 1
    other = receiver.endpoint(default=500)
    tenant.subscribe(other)
    (request,) = other.wait_for(1)
    assert request.event["data"]["message"]["text"] == text
    assert_purged_after(tenant, other, *second, "purged")
    assert len(endpoint.requests) == 1


# A body that no endpoint takes


def assert_held(tenant, event_id, message_id, reason):
    """There is a delivery that may not begin, and a body that can still be read."""
    (delivery,) = tenant.deliveries_of(event_id)
    assert (delivery["state"], delivery["reason"]) == ("scheduled", reason)
    assert (delivery["attempt_count"], delivery["next_attempt_at"]) == (0, None)
    message = tenant.message(message_id)
    assert message["purged"] is False and message["text"]
    (event,) = [one for one in pulled(tenant) if one["id"] == event_id]
    assert event["data"]["message"]["text"] == message["text"]


def set_addon(tenant, status):
    answer = tenant.gateway.admin("PATCH", f"/clients/{tenant.id}", {"addon": {"status": status}})
    assert answer.status_code == 200, answer.text


def test_one_410_loses_no_other_message(tenant, held, receiver, customer):
    """Neither what waits for its turn at that moment nor what comes later, in its order."""
    purging(tenant, held, max_in_flight=1)
    first = posted(tenant, customer, "under way")
    wait_until(lambda: held.requests, 5, "the first attempt")
    other = customer_number()
    later = [posted(tenant, other, "waits for its turn")]
    held.release(410)
    wait_until(lambda: tenant.read("/v1/webhook")["state"] == "disabled", 5, "the endpoint to be disabled")
    wait_for_purge(tenant, first[1])
    later += [posted(tenant, other, f"comes later {number}") for number in range(2)]
    holds_for(lambda: not any(tenant.message(message)["purged"] for _, message in later), 0.5, "they wait")
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, max_in_flight=1)
    requests = endpoint.wait_for(3)
    assert [one.headers["webhook-id"] for one in requests] == [event for event, _ in later]
    for event_id, message_id in later:
        tenant.wait_for_delivery(event_id, "delivered")
        wait_for_purge(tenant, message_id)
    assert len(held.requests) == 1 and tenant.all("/v1/dead-letters")[0]["event_id"] == first[0]


def test_ended_add_on_holds_until_it_is_back(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    set_addon(tenant, "none")
    text = unique("secret")
    event_id, message_id = posted(tenant, customer, text)
    assert_held(tenant, event_id, message_id, "plan_required")
    holds_for(lambda: not endpoint.requests, 0.5, "no attempt")
    set_addon(tenant, "active")
    (request,) = endpoint.wait_for(1)
    assert (request.headers["webhook-id"], request.event["data"]["message"]["text"]) == (event_id, text)
    assert_purged_after(tenant, endpoint, event_id, message_id, "delivered")


def test_purge_by_hand_of_a_held_body(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    set_addon(tenant, "none")
    event_id, message_id = posted(tenant, customer, unique("secret"))
    assert tenant.post(f"/v1/messages/{message_id}/purge").status_code == 200
    delivery = tenant.wait_for_delivery(event_id, "purged")
    assert_is_bare_letter(tenant, delivery["id"], event_id)
    set_addon(tenant, "active")
    holds_for(lambda: not endpoint.requests, 0.5, "nothing to deliver")


def test_killed_while_a_body_is_held(gateway, tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    set_addon(tenant, "none")
    text = unique("secret")
    event_id, message_id = posted(tenant, customer, text)
    gateway.kill()
    gateway.start()
    assert_held(tenant, event_id, message_id, "plan_required")
    set_addon(tenant, "active")
    gateway.kill()
    gateway.start()
    wait_for_purge(tenant, message_id)
    # It was released when the answer came; a kill during its attempt counts as the attempt.
    wait_until(lambda: tenant.deliveries_of(event_id)[0]["state"] in ("delivered", "purged"), 5)
    assert tenant.deliveries_of(event_id)[0]["attempt_count"] == 1 and len(endpoint.requests) <= 1
    assert_verifies(gateway, "--invariants")


def test_endpoint_that_cannot_be_reached_is_tried_as_scheduled(tenant, customer):
    """No byte of the body left, so that none of these was its one attempt."""
    answer = tenant.put("/v1/webhook", {"url": "http://127.0.0.1:9/hook", "enabled": True, "retry_schedule": [1]})
    assert answer.status_code == 200, answer.text
    switch(tenant, True)
    event_id, message_id = posted(tenant, customer, unique("secret"))
    wait_for_purge(tenant, message_id)
    delivery = tenant.wait_for_delivery(event_id, "purged")
    assert [attempt["error"] for attempt in delivery["attempts"]] == ["connect_failed"] * 2
    assert_is_bare_letter(tenant, delivery["id"], event_id)


def test_endpoint_that_hangs_has_one_attempt(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=HANG)
    purging(tenant, endpoint)
    event_id, message_id = posted(tenant, customer, unique("secret"))
    endpoint.wait_for(1)
    assert tenant.message(message_id)["purged"] is False
    wait_for_purge(tenant, message_id, seconds=ATTEMPT_SECONDS + PURGE_SECONDS)
    shown = assert_purged_after(tenant, endpoint, event_id, message_id, "purged")
    assert shown["attempts"][0]["error"] and shown["attempts"][0]["duration_ms"] >= 14_000


def test_neighbours_do_not_wait_for_a_hanging_one(tenant, held, customer):
    purging(tenant, held)
    first, second = posted(tenant, customer, "held"), posted(tenant, customer_number(), "held too")
    wait_until(lambda: len(held.requests) == 2, 5, "both attempts")
    assert not tenant.message(first[1])["purged"] and not tenant.message(second[1])["purged"]
    held.release(200)
    for event_id, message_id in (first, second):
        tenant.wait_for_delivery(event_id, "delivered")
        wait_for_purge(tenant, message_id)


def test_pulling_shows_the_body_until_then_and_keeps_nothing(tenant, held, customer):
    purging(tenant, held)
    text = unique("secret")
    event_id, message_id = posted(tenant, customer, text)
    wait_until(lambda: held.requests, 5, "the attempt")
    assert [event["data"]["message"]["text"] for event in pulled(tenant)] == [text]
    held.release(200)
    wait_for_purge(tenant, message_id)
    assert text not in tenant.get("/v1/events?after=0").text


def test_purge_by_hand_during_the_attempt(tenant, held, customer):
    purging(tenant, held)
    event_id, message_id = posted(tenant, customer, unique("secret"))
    wait_until(lambda: held.requests, 5, "the attempt")
    assert tenant.post(f"/v1/messages/{message_id}/purge").status_code == 200
    held.release(500)
    assert_purged_after(tenant, held, event_id, message_id, "purged")


def test_inbox_keeps_who_wrote_when(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    event = received(tenant, customer, "before")
    path = f"/v1/conversations/{conversation_of(event)}"
    assert tenant.call("PATCH", path, json={"ticket_ref": "T-4711"}).status_code == 200
    switch(tenant, True)
    _, message_id = posted(tenant, customer, unique("secret"))
    message = wait_for_purge(tenant, message_id)
    assert (message["id"], message["conversation_id"], message["direction"]) == (
        message_id, conversation_of(event), "inbound")
    assert message["created_at"].endswith("Z") and message["status"]
    conversation = tenant.read(path)
    assert (conversation["ticket_ref"], conversation["customer"]["phone"]) == ("T-4711", customer)
    assert conversation["message_count"] == 2
    assert tenant.accepted("an answer", customer)["conversation_id"] == conversation_of(event)


def test_late_repeat_makes_no_new_message(tenant, receiver, customer):
    endpoint, sid = receiver.endpoint(), "SM" + uuid.uuid4().hex
    purging(tenant, endpoint)
    _, message_id = posted(tenant, customer, "secret", sid=sid)
    wait_for_purge(tenant, message_id)
    assert tenant.inbound("secret", customer, sid=sid).status_code == 200
    holds_for(lambda: len(pulled(tenant)) == 1 and len(endpoint.requests) == 1, 0.5, "no second event")


def test_keywords_work_in_purge_mode(tenant, receiver, customer):
    purging(tenant, receiver.endpoint())
    _, message_id = posted(tenant, customer, "STOP")
    wait_for_purge(tenant, message_id)
    assert_problem(tenant.send("Hello", customer), 410, code="recipient_opted_out")


# What it concerns


def test_it_concerns_what_arrives_later(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[2, 2, 2])
    before = received(tenant, customer, "before")
    endpoint.wait_for(1)
    switch(tenant, True)
    assert tenant.message(message_of(before))["text"] == "before"
    endpoint.default = 200
    delivery = tenant.wait_for_delivery(before["id"], "delivered")
    assert len(delivery["attempts"]) >= 2, "it keeps its retries"
    _, later = posted(tenant, customer, "later")
    wait_for_purge(tenant, later)
    assert tenant.message(message_of(before))["text"] == "before"


def test_switched_off_messages_keep_their_bodies(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint)
    _, purged = posted(tenant, customer, "purged")
    wait_for_purge(tenant, purged)
    switch(tenant, False)
    event = received(tenant, customer, "kept")
    tenant.wait_for_delivery(event["id"], "delivered")
    holds_for(lambda: tenant.message(message_of(event))["text"] == "kept", 2, "a body that is not purged")
    assert tenant.message(purged)["purged"] is True


def test_other_clients_keep_their_bodies(make_tenant, tenant, receiver, customer):
    neighbour, endpoint = make_tenant(), receiver.endpoint()
    neighbour.subscribe(endpoint)
    purging(tenant, endpoint)
    kept = received(neighbour, customer, "kept")
    _, purged = posted(tenant, customer, "purged")
    wait_for_purge(tenant, purged)
    assert neighbour.message(message_of(kept))["text"] == "kept"


# Sends


def test_accepted_send_is_purged(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint, events=["*"])
    tenant.account.script = [slow(0.5)]
    text = unique("secret")
    accepted = tenant.accepted(text, customer)
    assert tenant.message(accepted["message_id"])["text"] == text, "it is needed until then"
    call_made = tenant.account.wait_for_call(text)
    message = wait_for_purge(tenant, accepted["message_id"])
    assert (message["status"], message["text"]) == ("sent", None)
    assert [step["status"] for step in message["status_history"]] == ["queued", "sending", "sent"]
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    assert tenant.wait_for_status(accepted["message_id"], "delivered")["purged"] is True


def test_statuses_of_a_purged_send_are_told(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    purging(tenant, endpoint, events=["sms.message_received", "message.status"])
    text = unique("secret")
    accepted = tenant.accepted(text, customer)
    call_made = tenant.account.wait_for_call(text)
    endpoint.wait_for_type("message.status")
    wait_for_purge(tenant, accepted["message_id"])
    # What is told of a send has nothing of its body, and stays.
    assert not any(event.get("purged") for event in pulled(tenant))
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    told = endpoint.wait_for_type("message.status", 2)
    assert [one.event["data"]["message"]["status"] for one in told] == ["sent", "delivered"]
    assert not any(text.encode() in one.body for one in told)


def test_rejected_send_is_purged(tenant, receiver, customer):
    purging(tenant, receiver.endpoint())
    tenant.account.script = [error(400, 21211)]
    accepted = tenant.accepted(unique("secret"), customer)
    message = wait_for_purge(tenant, accepted["message_id"])
    assert (message["status"], message["text"], message["error"]["code"]) == ("failed", None, "21211")


def test_canceled_and_unknown_sends_are_purged(tenant, receiver, customer):
    purging(tenant, receiver.endpoint())
    tenant.account.script = [slow(1), BARE_500]
    tenant.accepted("holds the line", customer)
    unknown, canceled = tenant.accepted("unknown", customer), tenant.accepted("canceled", customer)
    assert tenant.post(f"/v1/messages/{canceled['message_id']}/cancel").status_code in (200, 202)
    assert wait_for_purge(tenant, canceled["message_id"])["status"] == "canceled"
    assert wait_for_purge(tenant, unknown["message_id"])["status"] == "outcome_unknown"


def test_send_that_is_tried_again_keeps_its_body_until_then(tenant, receiver, customer):
    purging(tenant, receiver.endpoint())
    tenant.account.script = [TOO_MANY_REQUESTS]
    text = unique("secret")
    accepted = tenant.accepted(text, customer)
    wait_until(lambda: len(tenant.account.calls_with(text)) == 2, 20, "the second call, with its text")
    assert wait_for_purge(tenant, accepted["message_id"])["status"] == "sent"


def test_send_before_it_was_switched_on_keeps_its_body(tenant, receiver, customer):
    accepted, call_made = sent(tenant, customer, "kept")
    purging(tenant, receiver.endpoint())
    tenant.report_status(call_made, "delivered")
    tenant.wait_for_status(accepted["message_id"], "delivered")
    holds_for(lambda: tenant.message(accepted["message_id"])["text"] == "kept", 1, "accepted before")


def test_repeat_of_a_send_in_purge_mode(tenant, receiver, customer):
    purging(tenant, receiver.endpoint())
    key = unique("key")
    first = tenant.send("secret", customer, key=key)
    wait_for_purge(tenant, first.json()["message_id"])
    repeat = tenant.send("secret", customer, key=key)
    assert (repeat.status_code, repeat.content) == (first.status_code, first.content)
    assert repeat.headers["Idempotency-Replayed"] == "true"
    assert len(tenant.account.calls) == 1


# Crashes


def test_killed_before_and_during_the_attempt(gateway, tenant, held, receiver, customer):
    """What was under way has had its attempt; what still waited for its turn has it after the restart."""
    purging(tenant, held, max_in_flight=1)
    during = posted(tenant, customer, unique("under way"))
    wait_until(lambda: held.requests, 5, "the first attempt")
    waiting = posted(tenant, customer_number(), unique("waits"))
    gateway.kill()
    gateway.start()
    held.release(200)
    wait_for_purge(tenant, during[1])
    wait_for_purge(tenant, waiting[1])
    delivery = tenant.wait_for_delivery(during[0], "purged")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [None]
    tenant.wait_for_delivery(waiting[0], "delivered")
    assert sorted(one.headers["webhook-id"] for one in held.requests) == sorted([during[0], waiting[0]])
    assert_verifies(gateway)


def test_stopped_during_the_attempt(gateway, tenant, receiver, customer):
    """Also in an orderly stop, an attempt that was cut short was the attempt."""
    endpoint = receiver.endpoint(default=HANG)
    purging(tenant, endpoint)
    event_id, message_id = posted(tenant, customer, unique("under way"))
    endpoint.wait_for(1)
    assert gateway.stop() == 0
    gateway.start()
    assert_purged_after(tenant, endpoint, event_id, message_id, "purged")


def test_kills_at_any_moment_make_no_second_attempt(gateway, tenant, receiver):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    endpoint = receiver.endpoint(script=[500] * 7)
    purging(tenant, endpoint)
    acknowledged = set()

    def post():
        while not over.is_set():
            sid = "SM" + uuid.uuid4().hex
            try:
                if tenant.inbound("secret " + sid, customer_number(), sid=sid).status_code == 200:
                    acknowledged.add(sid)
            except OSError:
                return

    for _ in range(ROUNDS):
        over, enough = threading.Event(), len(acknowledged) + chance.randrange(2, 40)
        threads = [threading.Thread(target=post, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) >= enough, 20, "some messages")
        gateway.kill()
        over.set()
        for thread in threads:
            thread.join(10)
        gateway.start()
    assert_all_had_one_attempt(tenant, endpoint, acknowledged)
    assert_verifies(gateway)


def assert_all_had_one_attempt(tenant, endpoint, acknowledged):
    def all_gone():
        return all(event.get("purged") for event in pulled(tenant))

    wait_until(all_gone, 20, "every body to be purged")
    wait_until(lambda: {one["state"] for one in tenant.all("/v1/deliveries")} <= {"delivered", "purged"}, 10)
    seen = [one.headers["webhook-id"] for one in list(endpoint.requests)]
    assert len(set(seen)) == len(seen), "a second attempt"
    arrived = {one.event["data"]["message"]["platform_message_id"] for one in list(endpoint.requests)}
    missing = acknowledged - arrived
    # At most what was in flight at a kill did not arrive.
    assert len(missing) <= ROUNDS * 64, f"{len(missing)} of {len(acknowledged)} never arrived"
    for one in tenant.all("/v1/deliveries"):
        assert one["attempt_count"] <= 1, one


def test_replay_has_no_body_left(make_gateway, twilio, receiver, customer):
    running = make_gateway("replayed").start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    endpoint = receiver.endpoint(script=[200, 500])
    purging(tenant, endpoint)
    for text in ("delivered", "failed"):
        _, message_id = posted(tenant, customer, text)
        wait_for_purge(tenant, message_id)
    accepted = tenant.accepted("sent", customer)
    wait_until(lambda: [line for line in bodies(running) if line["message_id"] == accepted["message_id"]
                        and line["purged"]], PURGE_SECONDS, "the purge of the send")
    assert running.stop() == 0
    lines = [line for line in bodies(running, "--client", tenant.id) if line["message_id"]]
    assert len(lines) >= 6 and all(line["purged"] for line in lines), lines
    assert_verifies(running, "--invariants")
