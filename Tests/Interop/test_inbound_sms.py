"""Twilio's inbound webhook: verified, stored once, answered with empty TwiML, and delivered as one event."""

import re
import uuid
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.fake_twilio import inbound_pairs, post_signed, signature
from support.http import call
from support.wait import wait_until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def identifier(prefix):
    # Opaque, so only the alphabet of a URL path segment is asserted.
    return re.compile(rf"{prefix}_[A-Za-z0-9_-]{{8,}}")


def assert_empty_twiml(answer):
    """Anything but this texts the customer (plain text) or fills Twilio's debugger (no content type)."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "text/xml"
    root = ElementTree.fromstring(answer.content)
    assert (root.tag, len(root), (root.text or "").strip()) == ("Response", 0, "")


def history(gateway):
    """What replay prints, once nothing of earlier tests is still being recorded."""
    seen = [None]

    def settled():
        lines = gateway.replay()
        same, seen[0] = lines == seen[0], lines
        return lines if same else None

    return wait_until(settled, 20, "the log to be quiet")


@pytest.fixture
def endpoint(tenant, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    return endpoint


def delivered(tenant, endpoint, customer, text, **extra):
    """Posts one SMS and returns the event that arrived for it."""
    before = len(endpoint.requests)
    assert_empty_twiml(tenant.inbound(text, customer, **extra))
    return endpoint.wait_for(before + 1)[before].event


def test_event_has_the_contracts_shape(tenant, endpoint, customer):
    sid = "SM" + uuid.uuid4().hex
    event = delivered(tenant, endpoint, customer, "Hello", sid=sid)

    assert set(event) >= {"id", "type", "timestamp", "api_version", "sequence", "data"}
    assert identifier("evt").fullmatch(event["id"])
    assert event["type"] == "sms.message_received"
    assert event["api_version"] == "2026-11-01"
    assert TIME.fullmatch(event["timestamp"])
    assert event["sequence"] == 1
    # The contract does not say what stands there when there was none before: null, 0 and absence all show no gap.
    assert event.get("previous_sequence") in (None, 0)

    data = event["data"]
    assert data["client_id"] == tenant.id
    assert data["platform"] == "sms"
    assert data["account"]["phone"] == tenant.phone
    assert data["customer"]["phone"] == customer
    assert "referral" not in data, "a part that does not apply is absent"
    conversation = data["conversation"]
    assert identifier("conv").fullmatch(conversation["id"])
    assert conversation["status"] == "open"
    assert conversation["ticket_ref"] is None
    assert isinstance(conversation["external_reply_mode"], bool)
    message = data["message"]
    assert identifier("msg").fullmatch(message["id"])
    assert message["platform_message_id"] == sid
    assert message["direction"] == "inbound"
    assert message["type"] == "text"
    assert message["text"] == "Hello"
    assert message["media"] == []
    assert message["reply_to"] is None
    assert TIME.fullmatch(message["received_at"])
    # "sms adds encoding and segments" stands in the sentence on message.type: assumed inside `message`.
    assert message["encoding"] == "GSM-7"
    assert message["segments"] == 1


def test_request_to_the_endpoint_is_a_json_post(tenant, endpoint, customer):
    tenant.inbound("Hello", customer)
    request = endpoint.wait_for(1)[0]
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Waybill/")
    assert request.headers["x-chatgenius-event"] == "sms.message_received"
    assert request.headers["x-chatgenius-attempt"] == "1"


def test_message_and_conversation_are_readable(tenant, endpoint, customer):
    data = delivered(tenant, endpoint, customer, "Hello inbox")["data"]
    message = tenant.message(data["message"]["id"])
    assert message["conversation_id"] == data["conversation"]["id"]
    assert message["platform"] == "sms"
    assert message["direction"] == "inbound"
    assert message["text"] == "Hello inbox"
    assert message["provider_message_id"] == data["message"]["platform_message_id"]
    assert tenant.read(f"/v1/conversations/{message['conversation_id']}")["id"] == message["conversation_id"]
    listed = tenant.all(f"/v1/conversations/{message['conversation_id']}/messages")
    assert [one["id"] for one in listed] == [message["id"]]


def test_sequence_counts_by_one_in_one_conversation(tenant, endpoint, customer):
    events = [delivered(tenant, endpoint, customer, f"number {n}") for n in range(4)]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert [event["previous_sequence"] for event in events[1:]] == [1, 2, 3]
    assert len({event["data"]["conversation"]["id"] for event in events}) == 1
    assert len({event["id"] for event in events}) == 4


def test_first_attempts_keep_order_within_a_conversation(tenant, endpoint, customer):
    texts = [f"line {n}" for n in range(20)]
    for text in texts:
        assert tenant.inbound(text, customer).status_code == 200
    arrived = [request.event["data"]["message"]["text"] for request in endpoint.wait_for(20)]
    assert arrived == texts


def test_previous_sequence_skips_what_the_endpoint_did_not_want(tenant, endpoint, customer):
    first = delivered(tenant, endpoint, customer, "before")
    sent = tenant.accepted("in between", customer)
    tenant.wait_for_status(sent["message_id"], "sent")
    # message.status is not among the default types, yet counts: the pull feed shows it.
    wait_until(lambda: "message.status" in [event["type"] for event in tenant.events()], 10, "a message.status event")
    second = delivered(tenant, endpoint, customer, "after")
    assert second["previous_sequence"] == first["sequence"]
    assert second["sequence"] > first["sequence"] + 1
    assert {request.event["type"] for request in endpoint.requests} == {"sms.message_received"}


def test_pull_feed_has_the_same_bytes_in_order(tenant, endpoint, customer):
    for n in range(3):
        delivered(tenant, endpoint, customer, f"Grüße {n} ☕")
    answer = tenant.get("/v1/events?after=0")
    assert answer.status_code == 200
    assert [event["sequence"] for event in answer.json()["data"]] == [1, 2, 3]
    for request in endpoint.requests:
        assert request.body in answer.content, "the event's bytes by webhook and by pull differ"
    assert [event["sequence"] for event in tenant.events(after=2)] == [3]


def test_inbound_without_a_webhook_is_recorded(tenant, customer):
    assert_empty_twiml(tenant.inbound("nobody listens", customer))
    event = wait_until(lambda: tenant.events(), 5, "the event by pull")[0]
    assert event["data"]["message"]["text"] == "nobody listens"


@pytest.mark.parametrize(
    "text, segments, encoding",
    [
        ("Grüße 😀👩‍👩‍👧 ☕", 1, "UCS-2"),
        ("50 € [ok] {é}", 1, "GSM-7"),
        ("a `back-tick`", 1, "UCS-2"),
        ("Ç" * 160, 1, "GSM-7"),
        ("ç" * 71, 2, "UCS-2"),
        ("a" * 161, 2, "GSM-7"),
        ("😀" * 67, 3, "UCS-2"),
        ("line 1\nline 2 & 100% +1", 1, "GSM-7"),
    ],
    ids=["emoji", "extension table", "back-tick", "160 Ç", "71 ç", "161 a", "67 emoji", "reserved characters"],
)
def test_text_and_encoding(tenant, endpoint, customer, text, segments, encoding):
    message = delivered(tenant, endpoint, customer, text, NumSegments=str(segments))["data"]["message"]
    assert message["text"] == text
    assert message["encoding"] == encoding
    assert message["segments"] == segments


def test_num_segments_of_twilio_is_authoritative(tenant, endpoint, customer):
    # Carriers re-encode: what Twilio counted is what was paid for.
    message = delivered(tenant, endpoint, customer, "short", NumSegments="2")["data"]["message"]
    assert message["segments"] == 2


def test_nul_byte_in_the_body(tenant, endpoint, customer):
    message = delivered(tenant, endpoint, customer, "a\0b")["data"]["message"]
    # Kept as it came, or stripped: the contract is silent, and both are seen elsewhere.
    assert message["text"] in ("a\0b", "ab")


@pytest.mark.parametrize("body", ["", None], ids=["empty", "absent"])
def test_body_empty_or_absent(tenant, endpoint, customer, body):
    message = delivered(tenant, endpoint, customer, body)["data"]["message"]
    assert message.get("text") in ("", None)
    assert message["segments"] == 1


def test_unknown_and_repeated_parameters(tenant, endpoint, customer):
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "new parameters")
    pairs += [("Zukunft", "ja"), ("A.b[0]", "x y"), ("Tag", "two"), ("Tag", "one"), ("Tag", "two"), ("Empty", "")]
    assert_empty_twiml(tenant.post_inbound(pairs))
    assert endpoint.wait_for(1)[0].event["data"]["message"]["text"] == "new parameters"


@pytest.mark.parametrize("port", [":443", ""], ids=["with port", "without port"])
def test_signature_over_the_url_with_and_without_port(tenant, customer, port):
    signed = tenant.gateway.public_url + port + tenant.inbound_path
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "port")
    local = tenant.gateway.base_url + tenant.inbound_path
    assert_empty_twiml(post_signed(local, signed, tenant.account.auth_token, pairs))


def wrong_signatures(tenant, pairs):
    """Each of these is a request that Twilio did not sign as it arrived."""
    url = tenant.gateway.public_url + tenant.inbound_path
    token = tenant.account.auth_token
    yield "missing", ""
    yield "not base64", "????"
    yield "another token", signature("0" * 32, url, pairs)
    yield "another path", signature(token, url + "x", pairs)
    yield "the local address", signature(token, tenant.gateway.base_url + tenant.inbound_path, pairs)
    yield "another text", signature(token, url, [(n, "Bye" if n == "Body" else v) for n, v in pairs])
    yield "blank parameters dropped", signature(token, url, [(n, v) for n, v in pairs if v])
    yield "url only", signature(token, url, [])
    # Twilio's newer shared-key signatures use SHA-256; the Auth Token is not such a key.
    yield "SHA-256", signature(token, url, pairs, "HMAC_SHA256")
    yield "a byte more", signature(token, url, pairs) + "A"


def test_wrong_signature_is_refused_and_nothing_stored(tenant, endpoint, customer):
    before = history(tenant.gateway)
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "Hi")
    for name, value in wrong_signatures(tenant, pairs):
        answer = tenant.post_inbound(pairs, signature_header=value)
        assert answer.status_code == 403, f"{name}: {answer.status_code}"
    assert history(tenant.gateway) == before
    assert endpoint.requests == []
    assert tenant.events() == []


def test_json_body_without_its_hash_is_refused(tenant):
    url = tenant.gateway.public_url + tenant.inbound_path
    headers = {"X-Twilio-Signature": signature(tenant.account.auth_token, url, [])}
    answer = call("POST", tenant.gateway.base_url + tenant.inbound_path, headers=headers, json={"Body": "hi"})
    assert answer.status_code == 403


def test_parameters_in_the_query_are_part_of_the_signed_url(tenant, endpoint, customer):
    query = "?tenant=a%20b&x='1'"
    url = tenant.gateway.public_url + tenant.inbound_path + query
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "query")
    local = tenant.gateway.base_url + tenant.inbound_path
    # requests leaves these characters alone, as Twilio does.
    assert_empty_twiml(post_signed(local + query, url, tenant.account.auth_token, pairs))
    assert post_signed(local, url, tenant.account.auth_token, pairs).status_code == 403


def test_duplicate_is_answered_and_not_repeated(tenant, endpoint, customer):
    sid = "SM" + uuid.uuid4().hex
    assert_empty_twiml(tenant.inbound("once", customer, sid=sid))
    assert_empty_twiml(tenant.inbound("once", customer, sid=sid))
    # The key is the MessageSid, not the content.
    assert_empty_twiml(tenant.inbound("once more", customer, sid=sid))
    marker = delivered_after(tenant, endpoint, customer)
    assert [event["data"]["message"]["platform_message_id"] for event in tenant.events()] == [sid, marker]
    assert len(endpoint.requests) == 2


def delivered_after(tenant, endpoint, customer):
    """Sends one more message and waits for it: what came before it has been delivered by then."""
    marker = "SM" + uuid.uuid4().hex
    assert_empty_twiml(tenant.inbound("marker", customer, sid=marker))
    wait_until(
        lambda: any(r.event["data"]["message"]["platform_message_id"] == marker for r in list(endpoint.requests)),
        10, "the marker",
    )
    return marker


def test_concurrent_duplicates_make_one_event(tenant, endpoint, customer):
    sid = "SM" + uuid.uuid4().hex
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: tenant.inbound("race", customer, sid=sid), range(12)))
    for answer in answers:
        assert_empty_twiml(answer)
    marker = delivered_after(tenant, endpoint, customer)
    assert [event["data"]["message"]["platform_message_id"] for event in tenant.events()] == [sid, marker]
    assert len(endpoint.requests) == 2


def test_same_message_sid_of_another_client_is_another_message(make_tenant, customer):
    sid = "SM" + uuid.uuid4().hex
    for tenant in (make_tenant(), make_tenant()):
        assert_empty_twiml(tenant.inbound("mine", customer, sid=sid))
        assert len(wait_until(tenant.events, 5, "its event")) == 1


@pytest.mark.parametrize(
    "client", ["cl_unknown", "cl_" + "A" * 22, "nonsense", "%00", "cl_%F0%9F%98%80", "x" * 2000, "..%2F..%2Fadmin"],
)
def test_unknown_client(tenant, customer, client):
    path = f"/channels/twilio/{client}/sms"
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "who?")
    answer = post_signed(
        tenant.gateway.base_url + path, tenant.gateway.public_url + path, tenant.account.auth_token, pairs)
    # 403 tells nobody which clients exist; 404 is as good. 400 and 414 are fair for a path that is none.
    assert answer.status_code in (403, 404, 400, 414), answer.status_code


def test_client_without_sms_has_no_inbound(make_tenant, customer):
    tenant = make_tenant(sms=False)
    assert tenant.inbound("too early", customer).status_code in (403, 404)
    assert tenant.events() == []

