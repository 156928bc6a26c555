"""The Send API over SMS: what is accepted, what Twilio gets, what is refused, and how a message's status moves."""

import time

import pytest

from support.fake_twilio import BARE_500, DROP, FakeTwilio, TOO_MANY_REQUESTS, error, post_signed, slow, status_pairs
from support.gateway import free_port
from support.problems import REFUSED, assert_problem
from support.tenant import SETTLED, Tenant, customer_number, unique
from support.wait import holds_for, wait_until

# How long a plain refusal of Twilio may take to be repeated: the contract gives no schedule for sends.
RESEND_SECONDS = 45


def sent(tenant, customer, text):
    """A message Twilio has accepted: the answer to the send, and Twilio's call."""
    accepted = tenant.accepted(text, customer)
    tenant.wait_for_status(accepted["message_id"], "sent")
    return accepted, tenant.account.wait_for_call(text)


# What is accepted


def test_accepted_answer(tenant, customer):
    key = unique("key")
    answer = tenant.send("Hello", customer, key=key)
    assert answer.status_code == 202
    body = answer.json()
    assert set(body) >= {
        "message_id", "conversation_id", "platform", "status", "idempotency_key", "created_at", "position"}
    assert body["message_id"].startswith("msg_") and body["conversation_id"].startswith("conv_")
    assert (body["platform"], body["status"], body["idempotency_key"]) == ("sms", "queued", key)
    assert body["created_at"].endswith("Z")
    assert body["position"] >= 1
    assert int(answer.headers["Waybill-Position"]) >= body["position"]
    assert answer.headers.get("Idempotency-Replayed") in (None, "false")


def test_answer_is_readable_at_its_position(tenant, customer):
    answer = tenant.send("Hello", customer)
    headers = {"Waybill-Min-Position": answer.headers["Waybill-Position"]}
    message = tenant.get(f"/v1/messages/{answer.json()['message_id']}", headers=headers)
    assert message.status_code == 200
    body = message.json()
    assert body["id"] == answer.json()["message_id"]
    assert body["conversation_id"] == answer.json()["conversation_id"]
    assert (body["platform"], body["direction"], body["text"]) == ("sms", "outbound", "Hello")


def test_twilio_gets_one_authentic_call(tenant, customer):
    text = unique("Grüße 😀 & 100% + more")
    accepted, call_made = sent(tenant, customer, text)
    assert call_made.problem == ""
    assert (call_made["To"], call_made["From"], call_made["Body"]) == (customer, tenant.phone, text)
    assert call_made["StatusCallback"].startswith(f"{tenant.gateway.public_url}/channels/twilio/{tenant.id}/status?")
    # The message is told apart by the query, and personal data has no place in a URL.
    assert customer.removeprefix("+") not in call_made["StatusCallback"]
    assert len(tenant.account.calls_with(text)) == 1
    message = tenant.message(accepted["message_id"])
    assert message["provider_message_id"] == call_made.sid
    assert message["error"] is None
    statuses = [entry["status"] for entry in message["status_history"]]
    assert statuses[0] == "queued" and statuses[-1] == "sent"
    assert all(entry["at"].endswith("Z") for entry in message["status_history"])


def test_messaging_service_instead_of_a_number(make_tenant, customer):
    tenant = make_tenant(sms=False)
    service = "MG" + "0" * 32
    assert tenant.connect_sms(from_phone=None, messaging_service_sid=service).status_code == 200
    _, call_made = sent(tenant, customer, "by service")
    assert call_made["MessagingServiceSid"] == service
    assert "From" not in call_made.form



def test_reply_into_the_conversation(tenant, customer):
    tenant.inbound("question", customer)
    conversation = wait_until(tenant.events, 5, "the question")[0]["data"]["conversation"]["id"]
    answer = tenant.post("/v1/send", {"conversation_id": conversation, "text": "answer"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["conversation_id"] == conversation
    assert tenant.account.wait_for_call("answer")["To"] == customer
    # By phone it is the same person, so the same conversation.
    assert tenant.accepted("again", customer)["conversation_id"] == conversation


def test_messages_of_a_conversation_leave_in_order(tenant, customer):
    tenant.account.delay_seconds = 0.05
    texts = [f"part {n}" for n in range(6)]
    for text in texts:
        tenant.accepted(text, customer)
    wait_until(lambda: len(tenant.account.calls) == len(texts), 15, "all parts at Twilio")
    assert [one["Body"] for one in tenant.account.calls] == texts


def test_metadata_comes_back_in_events(tenant, customer, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, events=["message.status"])
    metadata = {"order": "42", "Größe": "XL"}
    tenant.accepted("with metadata", customer, metadata=metadata)
    event = endpoint.wait_for_type("message.status")[0].event
    # Where in `data` it stands is not said.
    assert metadata in (event["data"].get("metadata"), event["data"]["message"].get("metadata"))


def test_prefer_wait_answers_with_twilios_result(tenant, customer):
    answer = tenant.send("now", customer, prefer="wait=5")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "sent"
    assert len(tenant.account.calls_with("now")) == 1


def test_prefer_wait_ends_with_a_refusal_too(tenant, customer):
    tenant.account.script = [error(400, 21211)]
    answer = tenant.send("bad number", customer, prefer="wait=5")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "failed"


def test_prefer_wait_gives_up_after_its_time(tenant, customer):
    tenant.account.script = [slow(5)]
    started = time.monotonic()
    answer = tenant.send("later", customer, prefer="wait=1")
    assert 0.9 <= time.monotonic() - started < 4.8
    assert answer.status_code == 202, answer.text
    tenant.wait_for_status(answer.json()["message_id"], "sent")


# What is refused


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"colour": "red"}, "colour"),
        ({"from": "+14155550000"}, "from"),
        ({"from_phone": "+14155550000"}, "from_phone"),
        ({"sender": "Acme"}, "sender"),
        ({"messaging_service_sid": "MG" + "0" * 32}, "messaging_service_sid"),
        ({"to_phone": "650 555 0100"}, "to_phone"),
        ({"to_phone": "6505550100"}, "to_phone"),
        ({"to_phone": "+0505550100"}, "to_phone"),
        ({"to_phone": "+1650555010012345"}, "to_phone"),
        ({"to_phone": "+1650555010x"}, "to_phone"),
        ({"to_phone": "+1６50555０100"}, "to_phone"),
        ({"to_phone": 16505550100}, "to_phone"),
        ({"to_phone": ["+16505550100"]}, "to_phone"),
        ({"platform": "carrier pigeon"}, "platform"),
        ({"text": 7}, "text"),
        ({"text": ""}, "text"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"a": {"b": "c"}}}, "metadata"),
        ({"expires_at": "tomorrow"}, "expires_at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_field_is_refused_by_name(tenant, customer, fields, field):
    answer = tenant.post("/v1/send", {"to_phone": customer, "text": "Hello"} | fields)
    problem = assert_problem(answer, REFUSED)
    # A path into the field ("metadata.a") names it as well.
    assert problem["field"].startswith(field), problem
    assert tenant.account.calls == []


@pytest.mark.parametrize(
    "body",
    [
        {"text": "to nobody"},
        {"to_phone": "+16505550100", "platform_user_id": "1234", "text": "two"},
        {"to_phone": "+16505550100", "conversation_id": "conv_x", "text": "two"},
        {"to_phone": None, "text": "null"},
        {"to_phone": "+16505550100"},
        {"to_phone": "+16505550100", "text": "two", "media_url": "https://x.test/a.png", "media_type": "image"},
        {"to_phone": "+16505550100", "media_url": "https://x.test/a.png"},
        {"to_phone": "+16505550100", "media_url": "file:///etc/passwd", "media_type": "image"},
        {"to_phone": "+16505550100", "typing": True},
        {"to_phone": "+16505550100", "template_name": "hello", "template_language": "en"},
        {"to_phone": "+16505550100", "platform": "facebook", "text": "by phone"},
    ],
    ids=["no recipient", "two recipients", "phone and conversation", "null recipient", "no content", "two contents",
         "media without type", "file URL", "typing on SMS", "template on SMS", "phone on Facebook"],
)
def test_recipient_and_content_are_exactly_one(tenant, body):
    assert_problem(tenant.post("/v1/send", body), REFUSED)
    assert tenant.account.calls == []


@pytest.mark.parametrize("conversation", ["conv_unknown", "conv_" + "A" * 26])
def test_unknown_conversation(tenant, conversation):
    assert_problem(tenant.post("/v1/send", {"conversation_id": conversation, "text": "Hello"}), 404)


@pytest.mark.parametrize("conversation", ["msg_" + "A" * 26, "", "conv_\0", "conv_" + "A" * 5000, 7])
def test_conversation_id_that_is_none(tenant, conversation):
    # Malformed or unknown: either is true of these.
    assert_problem(tenant.post("/v1/send", {"conversation_id": conversation, "text": "Hello"}), (400, 404, 422))


def test_conversation_of_another_client_is_unknown(make_tenant, tenant, customer):
    stranger = make_tenant()
    foreign = stranger.accepted("Hello", customer)
    assert_problem(tenant.post("/v1/send", {"conversation_id": foreign["conversation_id"], "text": "Hi"}), 404)
    assert_problem(tenant.get(f"/v1/messages/{foreign['message_id']}"), 404)
    assert tenant.account.calls == []


def test_unknown_platform_user(tenant):
    answer = tenant.post("/v1/send", {"platform_user_id": "1234567890", "text": "Hello"})
    assert_problem(answer, 404, code="unknown_recipient")


def test_whatsapp_without_a_connection(tenant, customer):
    answer = tenant.send("Hello", customer, platform="whatsapp")
    assert_problem(answer, 403, code="channel_not_connected")


def test_stop_and_start(tenant, customer):
    tenant.inbound("STOP PLEASE", customer)
    sent(tenant, customer, "not a keyword")
    tenant.inbound("  stop ", customer)
    assert_problem(tenant.send("after stop", customer), 410, code="recipient_opted_out")
    # Nobody else is meant by it.
    sent(tenant, customer_number(), "somebody else")
    tenant.inbound("START", customer)
    sent(tenant, customer, "after start")
    assert [one["Body"] for one in tenant.account.calls if one["To"] == customer] == ["not a keyword", "after start"]


@pytest.mark.parametrize("keyword", ["STOPALL", "UNSUBSCRIBE", "Cancel", "END", "quit"])
def test_every_stop_keyword(tenant, customer, keyword):
    tenant.inbound(keyword, customer)
    assert_problem(tenant.send("Hello", customer), 410, code="recipient_opted_out")


def test_opt_out_told_by_twilio(tenant, customer):
    """With Advanced Opt-Out the keyword may be any word: OptOutType says what it meant."""
    tenant.inbound("ARRÊT", customer, OptOutType="STOP")
    assert_problem(tenant.send("Hello", customer), 410, code="recipient_opted_out")
    tenant.inbound("ENCORE", customer, OptOutType="START")
    sent(tenant, customer, "Hello again")


@pytest.mark.parametrize(
    "settings, code",
    [
        ({"addon": {"status": "none"}}, "plan_required"),
        ({"plan": "creator"}, "sms_not_enabled"),
    ],
    ids=["no add-on", "creator plan"],
)
def test_plan_gates(make_tenant, customer, settings, code):
    tenant = make_tenant(sms=False, **settings)
    # Whether the operator may enter a number that the plan does not cover is left open; the gate holds either way.
    assert tenant.connect_sms().status_code in (200, 403, 409, 422)
    assert_problem(tenant.send("Hello", customer), 403, code=code)
    assert tenant.account.calls == []


def test_sms_without_a_number(make_tenant, customer):
    tenant = make_tenant(sms=False)
    # Both codes of the contract describe it.
    assert_problem(tenant.send("Hello", customer), 403, code=("sms_not_enabled", "channel_not_connected"))


def test_webhook_needs_the_add_on(make_tenant, receiver):
    tenant = make_tenant(addon={"status": "none"}, sms=False)
    answer = tenant.put("/v1/webhook", {"url": receiver.endpoint().url, "enabled": True})
    assert_problem(answer, 403, code="plan_required")


def test_trial_opens_the_gate_once(make_tenant, customer):
    tenant = make_tenant(addon={"status": "none"}, sms=False)
    assert_problem(tenant.send("Hello", customer), 403, code="plan_required")
    assert tenant.gateway.admin("POST", f"/clients/{tenant.id}/trial").status_code in (200, 201)
    tenant.connect_sms()
    sent(tenant, customer, "in trial")
    assert_problem(tenant.gateway.admin("POST", f"/clients/{tenant.id}/trial"), 409)


def test_quota_counts_what_twilio_accepted(make_tenant, customer):
    tenant = make_tenant(sms_monthly_quota=1)
    tenant.account.script = [error(400, 21211)]
    refused = tenant.accepted("refused by Twilio", customer)
    tenant.wait_for_status(refused["message_id"], "failed")
    sent(tenant, customer, "the one")
    answer = tenant.send("one too many", customer)
    assert_problem(answer, 429, code="sms_quota_exceeded")
    assert int(answer.headers["Retry-After"]) > 0
    assert len(tenant.account.calls) == 2


# How the status moves


def test_status_only_rises(tenant, customer):
    accepted, call_made = sent(tenant, customer, "rising")
    for status in ("sending", "delivered", "sent", "queued", "delivered"):
        answer = tenant.report_status(call_made, status)
        assert answer.status_code in (200, 204), answer.text
    message = tenant.wait_for_status(accepted["message_id"], "delivered")
    statuses = [entry["status"] for entry in message["status_history"]]
    assert statuses[-1] == "delivered"
    assert statuses.count("delivered") == 1 and statuses.count("sent") == 1


def test_undelivered_is_failed_with_its_code(tenant, customer):
    accepted, call_made = sent(tenant, customer, "unreachable")
    assert tenant.report_status(call_made, "undelivered", ErrorCode="30003").status_code in (200, 204)
    message = tenant.wait_for_status(accepted["message_id"], "failed")
    assert "30003" in str(message["error"])
    # failed < delivered: a late receipt is believed.
    tenant.report_status(call_made, "delivered")
    tenant.wait_for_status(accepted["message_id"], "delivered")
    assert len(tenant.account.calls) == 1


def test_status_events_follow(tenant, customer, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, events=["message.status"])
    _, call_made = sent(tenant, customer, "with events")
    tenant.report_status(call_made, "delivered")
    tenant.report_status(call_made, "delivered")

    def statuses():
        # Assumed `data.message.status`: the message is the part of the shape that has one.
        return [request.event["data"]["message"]["status"] for request in list(endpoint.requests)]

    wait_until(lambda: "delivered" in statuses(), 10, "the event of the delivery")
    assert "sent" in statuses()
    holds_for(lambda: statuses().count("delivered") == 1, 0.5, "a duplicate callback makes no event")


def test_status_callback_is_verified(tenant, customer):
    accepted, call_made = sent(tenant, customer, "forged")
    url = call_made["StatusCallback"]
    local, pairs = tenant.gateway.local(url), status_pairs(call_made, "delivered")
    assert post_signed(local, url, "0" * 32, pairs).status_code == 403
    assert post_signed(local, url, tenant.account.auth_token, pairs, signature_header="").status_code == 403
    # The query is signed too: another message's callback cannot be borrowed.
    assert post_signed(local + "x", url, tenant.account.auth_token, pairs).status_code == 403
    assert tenant.message(accepted["message_id"])["status"] == "sent"


def test_status_of_an_unknown_message_is_accepted(tenant, customer):
    _, call_made = sent(tenant, customer, "known")
    url = f"{tenant.gateway.public_url}/channels/twilio/{tenant.id}/status"
    pairs = status_pairs(call_made, "delivered", sid="SM" + "f" * 32)
    assert post_signed(tenant.gateway.local(url), url, tenant.account.auth_token, pairs).status_code in (200, 204)


def test_callback_before_the_answer(tenant, customer):
    """Twilio may report a message before its answer to the send has been read."""
    tenant.account.script = [slow(1)]
    accepted = tenant.accepted("overtaken", customer)
    call_made = tenant.account.wait_for_call("overtaken")
    assert not call_made.answered
    assert tenant.report_status(call_made, "delivered").status_code in (200, 204)
    tenant.wait_for_status(accepted["message_id"], "delivered")
    wait_until(lambda: call_made.answered, 5, "Twilio's answer")
    holds_for(lambda: tenant.message(accepted["message_id"])["status"] == "delivered", 0.5, "sent after delivered")


def test_refusal_of_twilio_is_final(tenant, customer):
    tenant.account.script = [error(400, 21211, "Invalid 'To' Phone Number")]
    accepted = tenant.accepted("bad number", customer)
    message = tenant.wait_for_status(accepted["message_id"], "failed")
    assert "21211" in str(message["error"])
    assert message["provider_message_id"] is None
    holds_for(lambda: len(tenant.account.calls) == 1, 1, "no second call")


def test_plain_refusals_are_repeated(make_tenant):
    """429, and a 5xx in Twilio's own envelope, say that nothing was sent."""
    tenants = {}
    for name, step in (("429", TOO_MANY_REQUESTS), ("503", error(503, 20503, "Service Unavailable"))):
        tenants[name] = tenant = make_tenant()
        tenant.account.script = [step]
        tenants[name] = (tenant, tenant.accepted("again please", customer_number())["message_id"])
    for name, (tenant, message_id) in tenants.items():
        message = tenant.wait_for_status(message_id, *SETTLED, seconds=RESEND_SECONDS)
        assert message["status"] == "sent", name
        assert len(tenant.account.calls) == 2, name
        callbacks = {one["StatusCallback"] for one in tenant.account.calls}
        assert all(url.startswith(tenant.gateway.public_url) for url in callbacks)


def test_unknown_outcome_is_not_repeated_and_can_still_rise(make_tenant):
    messages = []
    for step in (BARE_500, DROP):
        tenant = make_tenant()
        tenant.account.script = [step]
        messages.append((step, tenant, tenant.accepted("perhaps", customer_number())["message_id"]))
    for step, tenant, message_id in messages:
        message = tenant.wait_for_status(message_id, *SETTLED)
        assert message["status"] == "outcome_unknown", step
    holds_for(lambda: all(len(tenant.account.calls) == 1 for _, tenant, _ in messages), 3, "no second call")
    for step, tenant, message_id in messages:
        answer = tenant.report_status(tenant.account.calls[0], "delivered", sid="SM" + "d" * 32)
        assert answer.status_code in (200, 204)
        message = tenant.wait_for_status(message_id, "delivered")
        assert "outcome_unknown" in [entry["status"] for entry in message["status_history"]], step


def test_twilio_unreachable_is_repeated(make_gateway):
    """A connection that failed before the first byte cannot have sent anything."""
    port = free_port()
    running = make_gateway("unreachable", WAYBILL_PROVIDERS_TWILIO_BASE_URL=f"http://127.0.0.1:{port}").start()
    prepared = FakeTwilio()
    account = prepared.account()
    prepared.close()
    tenant = Tenant(running, account)
    assert tenant.connect_sms().status_code == 200
    message_id = tenant.accepted("is anybody there", customer_number())["message_id"]
    holds_for(lambda: tenant.message(message_id)["status"] in ("queued", "sending"), 1, "still to be sent")
    late = FakeTwilio(port)
    try:
        late.adopt(account)
        tenant.wait_for_status(message_id, "sent", seconds=RESEND_SECONDS)
        assert len(account.calls) == 1
    finally:
        late.close()


def test_cancel_is_too_late_after_sending(tenant, customer):
    accepted, _ = sent(tenant, customer, "gone")
    assert_problem(tenant.post(f"/v1/messages/{accepted['message_id']}/cancel"), 409)
    assert tenant.message(accepted["message_id"])["status"] == "sent"


def statuses_told(tenant, accepted):
    """What the events said about a message, first to last."""
    told = [event["data"]["message"] for event in tenant.events() if event["type"] == "message.status"]
    return [message["status"] for message in told if message["id"] == accepted["message_id"]]


def test_cancel_while_queued(tenant, customer):
    """The second message of a conversation waits for the first, so it can still be called back."""
    tenant.account.script = [slow(2)]
    first = tenant.accepted("first", customer)
    tenant.account.wait_for_call("first")
    second = tenant.accepted("second", customer)
    answer = tenant.post(f"/v1/messages/{second['message_id']}/cancel")
    assert answer.status_code in (200, 202), answer.text
    tenant.wait_for_status(first["message_id"], "sent")
    assert tenant.message(second["message_id"])["status"] == "canceled"
    assert statuses_told(tenant, second) == ["canceled"]
    holds_for(lambda: tenant.account.calls_with("second") == [], 0.5, "a canceled message is not sent")


def test_expired_message_is_not_sent(tenant, customer):
    """A queue that waited must not flush stale messages."""
    tenant.account.script = [slow(5)]
    tenant.accepted("holding the line", customer)
    tenant.account.wait_for_call("holding the line")
    soon = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() + 3))
    stale = tenant.accepted("stale", customer, expires_at=soon)
    message = tenant.wait_for_status(stale["message_id"], "failed")
    assert "expired" in str(message["error"])
    assert tenant.account.calls_with("stale") == []
    assert statuses_told(tenant, stale) == ["failed"]
