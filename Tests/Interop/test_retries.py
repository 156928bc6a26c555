"""Retries, dead letters and what becomes of an endpoint that fails."""

import time

import pytest

from support.problems import REFUSED, assert_problem
from support.receiver import DROP, HANG, Receiver
from support.tenant import customer_number
from support.wait import holds_for, wait_until

# An attempt is due this long after the failure before it; nothing may come earlier than scheduled.
TOLERANCE_SECONDS = 0.1


def inbound_event(tenant, customer, text="Hello"):
    """Posts one SMS; its event by pull."""
    before = len(tenant.events())
    assert tenant.inbound(text, customer).status_code == 200
    return wait_until(lambda: tenant.events(), 5, "the event")[before]


def dead_letter(tenant, receiver, customer, retry_schedule=(1,)):
    """An endpoint that failed until the event became a dead letter."""
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=list(retry_schedule))
    tenant.inbound("Hello", customer)
    return endpoint, tenant.wait_for_dead_letters(1)[0]


def intervals(requests):
    return [later.at - earlier.at for earlier, later in zip(requests, requests[1:])]


def test_failing_endpoint_is_tried_until_it_accepts(tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[500, 503, 204])
    tenant.subscribe(endpoint)
    event = inbound_event(tenant, customer)
    requests = endpoint.wait_for(3)
    delivery = tenant.wait_for_delivery(event["id"], "delivered")

    assert all(gap >= 1 - TOLERANCE_SECONDS for gap in intervals(requests)), intervals(requests)
    attempts = delivery["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3]
    assert [attempt["status"] for attempt in attempts] == [500, 503, 204]
    # The schedule is part of the recorded outcome: known for each failed attempt, and over after the success.
    assert [attempt["next_attempt_at"] is not None for attempt in attempts] == [True, True, False]
    assert all(0 <= attempt["duration_ms"] < 15_000 for attempt in attempts)
    assert all(attempt["started_at"].endswith("Z") and attempt["secret_id"] for attempt in attempts)
    assert "received" in attempts[0]["response_excerpt"]
    assert tenant.all("/v1/dead-letters") == []
    holds_for(lambda: len(endpoint.requests) == 3, 1.5, "no attempt after the success")


def test_scheduled_delivery_is_visible_between_attempts(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[600])
    event = inbound_event(tenant, customer)
    delivery = tenant.wait_for_delivery(event["id"], "scheduled")
    delivery = wait_until(
        lambda: next((one for one in [tenant.read(f"/v1/deliveries/{delivery['id']}")] if one["attempts"]), None),
        5, "the first attempt to be recorded")
    assert delivery["state"] == "scheduled"
    assert delivery["attempts"][0]["next_attempt_at"] is not None
    assert len(endpoint.requests) == 1


def test_default_schedule_is_six_retries(tenant):
    assert tenant.put("/v1/webhook", {"url": "http://127.0.0.1:9/hook", "enabled": True}).status_code == 200
    assert tenant.read("/v1/webhook")["retry_schedule"] == [30, 60, 300, 900, 3600, 14400]


@pytest.fixture
def fresh_receiver():
    """One to which no connection is kept: over a kept one a drop is repeated within the attempt."""
    server = Receiver()
    yield server
    server.close()


@pytest.mark.parametrize("step", [DROP, (302, {"Location": "/hook/elsewhere"}), 404, 429], ids=str)
def test_everything_but_2xx_fails(tenant, fresh_receiver, customer, step):
    endpoint = fresh_receiver.endpoint(script=[step])
    tenant.subscribe(endpoint)
    event = inbound_event(tenant, customer)
    delivery = tenant.wait_for_delivery(event["id"], "delivered")
    first = delivery["attempts"][0]
    if step == DROP:
        assert first["status"] is None and first["error"]
    else:
        assert first["status"] == (step[0] if isinstance(step, tuple) else step)
    assert [attempt["number"] for attempt in delivery["attempts"]] == [1, 2]
    assert len(endpoint.requests) == 2


def test_redirect_is_not_followed(tenant, receiver, customer):
    other = receiver.endpoint()
    endpoint = receiver.endpoint(script=[(307, {"Location": other.url})])
    tenant.subscribe(endpoint)
    tenant.inbound("Hello", customer)
    endpoint.wait_for(2)
    assert other.requests == []


def test_endpoint_that_refuses_connections(tenant, customer):
    tenant.put("/v1/webhook", {"url": "http://127.0.0.1:9/hook", "enabled": True, "retry_schedule": [1]})
    event = inbound_event(tenant, customer)
    delivery = tenant.wait_for_delivery(event["id"], "dead")
    assert [attempt["status"] for attempt in delivery["attempts"]] == [None, None]
    assert all(attempt["error"] for attempt in delivery["attempts"])


def test_endpoint_that_hangs_times_out_and_delays_nobody_else(make_tenant, tenant, receiver, customer):
    slow = receiver.endpoint(script=[HANG])
    tenant.subscribe(slow)
    event = inbound_event(tenant, customer)
    slow.wait_for(1)

    neighbour, quick = make_tenant(), receiver.endpoint()
    neighbour.subscribe(quick)
    neighbour.inbound("Hello", customer_number())
    quick.wait_for(1, seconds=3)

    slow.wait_for(2, seconds=25)
    first = tenant.wait_for_delivery(event["id"], "delivered")["attempts"][0]
    assert first["status"] is None and first["error"]
    assert 14_000 <= first["duration_ms"] <= 17_000


def test_retry_after_never_shortens(make_tenant, receiver):
    endpoints = {}
    for value in ("0", "1", "-5", "nonsense", "Thu, 01 Jan 1970 00:00:00 GMT"):
        tenant = make_tenant()
        endpoints[value] = receiver.endpoint(script=[(503, {"Retry-After": value})])
        tenant.subscribe(endpoints[value], retry_schedule=[2])
        tenant.inbound("Hello", customer_number())
    for value, endpoint in endpoints.items():
        assert intervals(endpoint.wait_for(2))[0] >= 2 - TOLERANCE_SECONDS, value


def test_last_failure_makes_a_dead_letter(tenant, receiver, customer):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[1, 1])
    event = inbound_event(tenant, customer)
    letter = tenant.wait_for_dead_letters(1)[0]
    assert len(endpoint.requests) == 3

    assert letter["id"].startswith("dlv_")
    assert letter["event_id"] == event["id"]
    assert letter["reason"]
    assert tenant.read(f"/v1/dead-letters/{letter['id']}")["event_id"] == event["id"]
    delivery = tenant.wait_for_delivery(event["id"], "dead")
    assert delivery["id"] == letter["id"]
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 500, 500]
    assert delivery["attempts"][-1]["next_attempt_at"] is None
    holds_for(lambda: len(endpoint.requests) == 3, 1.5, "no attempt after the last")


def test_replay_of_one_dead_letter(tenant, receiver, customer):
    endpoint, letter = dead_letter(tenant, receiver, customer)
    failed = endpoint.requests[-1]
    endpoint.default = 200
    answer = tenant.post(f"/v1/dead-letters/{letter['id']}/replay")
    assert answer.status_code == 202, answer.text
    replayed = answer.json()
    assert replayed["event_id"] == letter["event_id"]
    assert replayed["delivery_id"].startswith("dlv_") and replayed["delivery_id"] != letter["id"]

    request = endpoint.wait_for(3)[2]
    assert request.headers["webhook-id"] == failed.headers["webhook-id"]
    assert request.body == failed.body
    delivery = tenant.wait_for_delivery(letter["event_id"], "delivered")
    assert delivery["id"] == replayed["delivery_id"]
    # A replay is a new delivery; what happened before stays history.
    assert tenant.read(f"/v1/deliveries/{letter['id']}")["attempts"][-1]["status"] == 500
    holds_for(lambda: len(endpoint.requests) == 3, 0.5, "one replay, one attempt")


def test_replay_by_filter(tenant, receiver):
    endpoint = receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[1])
    for _ in range(3):
        tenant.inbound("Hello", customer_number())
    letters = tenant.wait_for_dead_letters(3)
    endpoint.default = 200

    def replay(**body):
        answer = tenant.post("/v1/dead-letters/replay", body)
        # 200 counts now; 202 as for one is as good.
        assert answer.status_code in (200, 202), answer.text
        return {name: answer.json()[name] for name in ("matched", "replayed")}

    assert replay(dry_run=True) == {"matched": 3, "replayed": 0}
    assert replay(dry_run=False, event_type="lead_captured") == {"matched": 0, "replayed": 0}
    assert replay(dry_run=False, since="2100-01-01T00:00:00.000Z") == {"matched": 0, "replayed": 0}
    assert replay(dry_run=False, until="2000-01-01T00:00:00.000Z") == {"matched": 0, "replayed": 0}
    holds_for(lambda: len(endpoint.requests) == 6, 0.5, "nothing was replayed yet")
    assert replay(dry_run=True, event_type="sms.message_received", since="2000-01-01T00:00:00.000Z",
                  until="2100-01-01T00:00:00.000Z") == {"matched": 3, "replayed": 0}

    assert replay(dry_run=False, event_type="sms.message_received") == {"matched": 3, "replayed": 3}
    requests = endpoint.wait_for(9)[6:]
    assert {request.headers["webhook-id"] for request in requests} == {letter["event_id"] for letter in letters}
    for letter in letters:
        tenant.wait_for_delivery(letter["event_id"], "delivered")


def test_replay_by_filter_refuses_an_unknown_filter(tenant):
    # A misspelt filter must not mean "everything".
    answer = tenant.post("/v1/dead-letters/replay", {"dry_run": True, "evnt_type": "x"})
    assert_problem(answer, REFUSED, field="evnt_type")


def test_discarding_a_dead_letter(tenant, receiver, customer):
    endpoint, letter = dead_letter(tenant, receiver, customer)
    answer = tenant.delete(f"/v1/dead-letters/{letter['id']}")
    assert answer.status_code in (200, 204), answer.text
    assert tenant.all("/v1/dead-letters") == []
    assert tenant.read(f"/v1/deliveries/{letter['id']}")["state"] == "discarded"
    endpoint.default = 200
    # Whether a discarded one is gone (404, 410) or in the wrong state (409) is not said; it must not be sent.
    assert_problem(tenant.post(f"/v1/dead-letters/{letter['id']}/replay"), (404, 409, 410))
    holds_for(lambda: len(endpoint.requests) == 2, 0.5, "a discarded event is not sent")


def test_dead_letters_of_another_client_are_not_there(make_tenant, tenant, receiver, customer):
    _, letter = dead_letter(tenant, receiver, customer)
    stranger = make_tenant()
    path = f"/v1/dead-letters/{letter['id']}"
    assert_problem(stranger.get(path), 404)
    assert_problem(stranger.post(path + "/replay"), 404)
    assert_problem(stranger.delete(path), 404)
    assert stranger.all("/v1/dead-letters") == []
    assert len(tenant.all("/v1/dead-letters")) == 1


def test_410_disables_and_put_enables_again(tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[410])
    tenant.subscribe(endpoint)
    enabled = tenant.read("/v1/webhook")
    event = inbound_event(tenant, customer)
    endpoint.wait_for(1)

    def is_disabled():
        webhook = tenant.read("/v1/webhook")
        return webhook if webhook["state"] != enabled["state"] else None

    webhook = wait_until(is_disabled, 5, "the endpoint to be disabled")
    assert webhook["state"] == "disabled"
    # "`state` and reason": the second name is not fixed.
    reason = webhook.get("reason") or webhook.get("state_reason")
    assert reason and ("410" in reason or "gone" in reason.lower()), webhook
    holds_for(lambda: len(endpoint.requests) == 1, 1.5, "no retry after 410")

    # Nothing is sent while disabled, and nothing is lost.
    second = inbound_event(tenant, customer, "while disabled")
    holds_for(lambda: len(endpoint.requests) == 1, 0.5, "nothing goes to a disabled endpoint")
    assert [one["id"] for one in tenant.events()] == [event["id"], second["id"]]

    tenant.subscribe(endpoint)
    assert tenant.read("/v1/webhook")["state"] == enabled["state"]
    third = inbound_event(tenant, customer, "enabled again")
    wait_until(
        lambda: third["id"] in [request.headers["webhook-id"] for request in list(endpoint.requests)],
        10, "delivery after enabling again")


def test_paused_endpoint_gets_nothing(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, enabled=False)
    inbound_event(tenant, customer)
    holds_for(lambda: endpoint.requests == [], 0.5, "enabled:false")


def test_subscription_selects_types(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, events=["message.status"])
    tenant.inbound("not wanted", customer)
    message_id = tenant.accepted("wanted", customer)["message_id"]
    wait_until(lambda: "sent" in str([r.event for r in endpoint.of_type("message.status")]), 10, "the status sent")
    assert {request.event["type"] for request in endpoint.requests} == {"message.status"}
    assert all(r.event["data"]["message"]["id"] == message_id for r in endpoint.requests)


@pytest.mark.parametrize(
    "body, field",
    [
        ({"url": "ftp://127.0.0.1/x"}, "url"),
        ({"url": "not a url"}, "url"),
        ({"url": "http://user:secret@127.0.0.1:9/x", "colour": "red"}, "colour"),
        ({"events": ["sms.message_recieved"]}, "events"),
        ({"retry_schedule": [-1]}, "retry_schedule"),
        ({"retry_schedule": "soon"}, "retry_schedule"),
        ({"enabled": "yes"}, "enabled"),
        ({"ordering": "random"}, "ordering"),
        ({"headers": {"X-Bad\r\nInjected": "1"}}, "headers"),
        ({"headers": {"X-Bad": "1\r\nInjected: 1"}}, "headers"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_endpoint_settings_are_refused(tenant, body, field):
    answer = tenant.put("/v1/webhook", {"url": "http://127.0.0.1:9/x", "enabled": True} | body)
    problem = assert_problem(answer, REFUSED)
    # A path into the field ("headers.X-Bad", "events[0]") names it as well.
    assert problem["field"].startswith(field), problem
    assert "Injected" not in tenant.get("/v1/webhook").text


def test_time_between_event_and_first_attempt_is_short(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    started = time.monotonic()
    tenant.inbound("now", customer)
    # "One immediate attempt": generous, as two busy cores are.
    assert endpoint.wait_for(1)[0].at - started < 4
