"""The built-in sandbox as a developer uses it: customers who write in batches, again and out of order, and providers that refuse.
"""

import re

import pytest

from support.http import call
from support.problems import assert_problem
from support.tenant import unique
from support.wait import holds_for, wait_until

CUSTOMERS = {
    "whatsapp": "16505557001", "facebook": "97001", "instagram": "97002", "sms": "+16505557002"}
TAKEN = {"sent", "delivered", "read"}
# The first wait is two seconds.
RESEND_SECONDS = 45


def post(base, path, form):
    return call("POST", f"{base}/sandbox/{path}", json=form)


def events_with(gateway, key, texts):
    """What the demo client is told of these messages, in the order in which it is told."""
    found, after = [], 0
    while page := call("GET", f"{gateway.base_url}/v1/events?after={after}&limit=200", key).json()["data"]:
        found += [one["data"] for one in page if one["data"].get("message", {}).get("text") in texts]
        after = page[-1]["sequence"]
    return found


def conversation_with(sandbox, platform):
    """One that the customer has opened."""
    gateway, base, key = sandbox
    text = unique("hi")
    answer = post(base, "messages", {"platform": platform, "from": CUSTOMERS[platform], "text": text})
    assert answer.json() == {"gateway_status": 200, "accepted": True}
    return wait_until(lambda: events_with(gateway, key, [text]), 5, "the event")[0]["conversation"]["id"]


def sent(sandbox, conversation):
    gateway, _, key = sandbox
    answer = call("POST", f"{gateway.base_url}/v1/send", key, json={"conversation_id": conversation, "text": unique("text")})
    assert answer.status_code == 202, answer.text
    return answer.json()["message_id"]


def settled(sandbox, message_id, statuses, seconds=10):
    gateway, _, key = sandbox

    def reached():
        message = call("GET", f"{gateway.base_url}/v1/messages/{message_id}", key).json()
        return message if message["status"] in statuses else None

    return wait_until(reached, seconds, f"{message_id} to be one of {sorted(statuses)}")


def failures(base):
    return call("GET", f"{base}/sandbox/failures").json()["data"]


# Customers


@pytest.mark.parametrize("is_batch, posts", [(False, 8), (True, 5)])
def test_many_repeated_and_out_of_order(sandbox, is_batch, posts):
    gateway, base, key = sandbox
    messages = [{"platform": platform, "from": sender, "text": unique(platform)}
                for _ in range(2) for platform, sender in CUSTOMERS.items()]
    answer = post(base, "messages", {"messages": messages, "batch": is_batch, "shuffle": True, "repeat": 3})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["accepted"] and {one["gateway_status"] for one in body["posts"]} == {200}
    assert len(body["posts"]) == 3 * posts
    assert sorted(index for one in body["posts"] for index in one["messages"]) == sorted([*range(8)] * 3)
    for one in body["posts"]:
        assert len({messages[index]["platform"] for index in one["messages"]}) == 1

    texts = [message["text"] for message in messages]

    def told():
        return sorted(data["message"]["text"] for data in events_with(gateway, key, texts))

    wait_until(lambda: told() == sorted(texts), 10, "one event of each")
    holds_for(lambda: told() == sorted(texts), 0.5, "a repeat is no other message")


# Failures


@pytest.mark.parametrize("platform, code", [("whatsapp", 131026), ("facebook", 100), ("instagram", 100), ("sms", 21614)])
def test_refused_for_good(sandbox, platform, code):
    _, base, _ = sandbox
    conversation = conversation_with(sandbox, platform)
    asked = {"platform": platform, "status": 400, "code": code, "count": 1}
    answer = post(base, "failures", asked)
    assert (answer.status_code, answer.json()) == (200, {"data": [asked]}), answer.text
    failed = settled(sandbox, sent(sandbox, conversation), {"failed"} | TAKEN)
    assert (failed["status"], failed["error"]["code"]) == ("failed", str(code))
    assert failures(base) == []
    assert settled(sandbox, sent(sandbox, conversation), {"failed"} | TAKEN)["status"] in TAKEN


def test_refused_for_now(sandbox):
    _, base, _ = sandbox
    messages = {}
    for platform, status, code in (("whatsapp", 500, 131000), ("sms", 503, 20503)):
        conversation = conversation_with(sandbox, platform)
        post(base, "failures", {"platform": platform, "status": status, "code": code})
        messages[sent(sandbox, conversation)] = str(code)
    for message_id, code in messages.items():
        message = settled(sandbox, message_id, {"failed"} | TAKEN, RESEND_SECONDS)
        assert message["status"] in TAKEN
        assert code in [step.get("code") for step in message["status_history"]]
    assert failures(base) == []


def test_failures_end_when_asked_to(sandbox):
    _, base, _ = sandbox
    post(base, "failures", {"platform": "facebook", "status": 400, "code": 100, "count": 100})
    assert [one["count"] for one in failures(base)] == [100]
    assert post(base, "failures", {"platform": "facebook", "count": 0}).json() == {"data": []}


@pytest.mark.parametrize("path, form, field", [
    ("messages", {"platform": "sms", "from": "+16505557002", "repeat": 11}, "repeat"),
    ("messages", {"platform": "sms", "from": "+16505557002", "delay": 1}, "delay"),
    ("messages", {"messages": [{"platform": "sms"}]}, "messages.from"),
    ("failures", {"platform": "sms", "status": 400, "code": 1, "mode": "hang"}, "mode"),
    ("failures", {"platform": "sms", "status": 200, "code": 1}, "status"),
])
def test_bad_field_is_refused_by_name(sandbox, path, form, field):
    assert_problem(post(sandbox[1], path, form), 400, field=field)


# Restarts


PRINTED = re.compile(r"Sandbox: +(http://\S+).*?Demo key: +(wb_\S+).*?demo client: +(whsec_\S+)", re.DOTALL)


def test_demo_client_stays_over_restarts(make_gateway):
    names = ("PUBLIC_URL", "WEBHOOKS_ALLOW_HTTP", "WEBHOOKS_ALLOW_CIDRS", "PROVIDERS_TWILIO_BASE_URL")
    running = make_gateway("restarted", **{f"WAYBILL_{name}": None for name in names})

    def started():
        already = len(running.log_tail(10**9))
        running.start("--sandbox")
        return wait_until(lambda: PRINTED.search(running.log_tail(10**9)[already:]), 10, "the sandbox").groups()

    def asked(method, path, key, **kwargs):
        return call(method, running.base_url + path, key, **kwargs)

    first = started()
    base, key, secret = first
    own = asked("GET", "/v1/webhook", key).json()["url"]
    assert own == base + "/receiver"
    sent_before = asked("POST", "/v1/send", key, json={"to_phone": "+15551234567", "text": unique("hello")})
    assert sent_before.status_code == 202, sent_before.text
    assert running.stop() == 0
    second = started()
    assert second[1:] == (key, secret)
    assert asked("GET", "/v1/webhook", key).json()["url"] == second[0] + "/receiver"
    assert asked("GET", f"/v1/messages/{sent_before.json()['message_id']}", key).status_code == 200, "the same client"
    text = unique("after")
    post(second[0], "messages", {"platform": "whatsapp", "from": CUSTOMERS["whatsapp"], "text": text})
    received = wait_until(
        lambda: [one for one in call("GET", second[0] + "/sandbox/received").json()["data"]
                 if one["signature_verified"] and one["event"]["data"].get("message", {}).get("text") == text],
        10, "the webhook at the receiver")
    assert received
    # What a developer has set stays, a rotated key too: the start makes one of its own beside it.
    theirs = asked("PUT", "/v1/webhook", key, json={"url": "http://127.0.0.1:9/mine", "events": ["message.status"]})
    assert theirs.status_code == 200, theirs.text
    rotated = asked("POST", "/v1/api-key/rotate", key, json={"overlap_seconds": 0}).json()["api_key"]
    assert running.stop() == 0
    third = started()
    assert third[1] not in (key, rotated) and third[2] == secret
    for one in (rotated, third[1]):
        shown = asked("GET", "/v1/webhook", one).json()
        assert (shown["url"], shown["events"]) == ("http://127.0.0.1:9/mine", ["message.status"])
    assert running.stop() == 0
    assert started()[1] == third[1]
    assert running.stop() == 0
