"""Twilio's own Python library against both edges, in both directions: what it signs we take, what we send is what it sends,
and what our fakes of Twilio say it understands."""

import base64
import hashlib
import json
import re
import uuid
import xml.etree.ElementTree as ElementTree
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qsl, urlencode

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest.api.v2010.account.message import MessageInstance
from twilio.twiml.messaging_response import MessagingResponse

import read_keys
from support.fake_twilio import BARE_500, TOO_MANY_REQUESTS, FormValues, error, inbound_pairs, status_pairs
from support.http import call
from support.tenant import unique
from support.twilio_library import FORM, Front, RecordingTwilio, library, validates
from support.wait import wait_until

SERVICE = "MG" + "0" * 32
PICTURE = "https://files.example.test/a%20picture.png?size=1&sig=a%2Bb%3D%3D"
KNOWN_STATUSES = {value for name, value in vars(MessageInstance.Status).items() if name.isupper()}


@pytest.fixture(scope="module")
def twilio():
    """In the place of the suite's: it also keeps the requests as they came."""
    server = RecordingTwilio()
    yield server
    server.close()


def sign(tenant, url, pairs):
    return RequestValidator(tenant.account.auth_token).compute_signature(url, FormValues(pairs))


def post(tenant, url, body, signature, content_type=FORM + "; charset=UTF-8", method="POST"):
    """Exactly these bytes to the place of a public URL."""
    headers = {"X-Twilio-Signature": signature}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return call(method, tenant.gateway.local(url), headers=headers, data=body)


def assert_librarys_empty_answer(answer):
    """What `MessagingResponse()` writes, as XML."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] in ("text/xml", "application/xml")
    root = ElementTree.fromstring(answer.content)
    assert (root.tag, root.attrib, list(root), root.text) == ("Response", {}, [], None)
    ours, theirs = answer.content.decode(), str(MessagingResponse())
    assert ElementTree.canonicalize(ours) == ElementTree.canonicalize(theirs)


def test_comparison_of_answers_sees_a_reply():
    texted = MessagingResponse()
    texted.message("hi")
    assert ElementTree.canonicalize(str(texted)) != ElementTree.canonicalize(str(MessagingResponse()))


# In: what the library signs


def of_text(sid, text, **extra):
    return lambda tenant, customer: inbound_pairs(tenant.account.sid, customer, tenant.phone, text, sid, **extra)


def mms(tenant, customer):
    sid = "MM" + uuid.uuid4().hex
    place = f"{tenant.gateway.twilio.base_url}/2010-04-01/Accounts/{tenant.account.sid}/Messages/{sid}/Media/ME"
    return inbound_pairs(
        tenant.account.sid, customer, tenant.phone, "two pictures", sid, NumMedia="2",
        MediaUrl0=place + "0" * 32, MediaContentType0="image/png",
        MediaUrl1=place + "1" * 32, MediaContentType1="application/pdf")


def repeated(tenant, customer):
    pairs = of_text(None, "repeated")(tenant, customer)
    return pairs + [("Tag", "two"), ("Tag", "one"), ("Tag", "two"), ("Tag", ""), ("tag", "zero"), ("TagA", "x")]


# What the library's own test data has, and what its rules of order and of blanks are about.
FORMS = {
    "text": of_text(None, "Hello"),
    "no text": of_text(None, ""),
    "media": mms,
    "empty parameters": of_text(None, "blanks", Empty="", AddOns="", A=""),
    "unicode": of_text(None, "Grüße 😀 e\u0301 é \u2028 שלום", ProfileName="Zoë 𝔘 ﬁ", Ａ="fullwidth", 𐐀="astral", ß="sharp"),
    "reserved characters": of_text(None, "a+b&c=d%20%zz#/?;\r\n\t\"'<>\\~*", **{"A.b[0]": "x y", "x=y&z": "+"}),
    "spaces": of_text(None, "  \u00a0 both ends  ", ToCity=" "),
    "repeated parameters": repeated,
    "add-ons": of_text(None, "json", AddOns='{"status":"successful","results":{"a":[1,2]}}'),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_signed_form_is_taken(tenant, customer, form):
    pairs = form(tenant, customer)
    url = tenant.gateway.public_url + tenant.inbound_path
    signature = sign(tenant, url, pairs)
    assert validates(tenant.account.auth_token, url, pairs, signature)
    assert_librarys_empty_answer(post(tenant, url, urlencode(pairs).encode(), signature))

    (event,) = wait_until(tenant.events, 5, "the event")
    message, sent = event["data"]["message"], dict(pairs)
    assert event["type"] == "sms.message_received"
    assert message["platform_message_id"] == sent["MessageSid"]
    assert (message.get("text") or "") == sent["Body"]
    assert [one["mime_type"] for one in message["media"]] == [value for name, value in pairs if "ContentType" in name]


def test_order_of_the_form_is_not_signed(tenant, customer):
    pairs = repeated(tenant, customer)
    url = tenant.gateway.public_url + tenant.inbound_path
    assert_librarys_empty_answer(post(tenant, url, urlencode(pairs[::-1]).encode(), sign(tenant, url, pairs)))


def is_right(tenant, url, body, signature):
    """What the library says of a form's bytes."""
    pairs = parse_qsl(body.decode(errors="replace"), keep_blank_values=True, errors="replace")
    return validates(tenant.account.auth_token, url, pairs, signature)


@pytest.mark.parametrize("form", ["text", "media", "unicode", "repeated parameters"])
def test_one_changed_byte_of_the_form_is_refused(tenant, customer, form):
    pairs = FORMS[form](tenant, customer)
    url = tenant.gateway.public_url + tenant.inbound_path
    signature = sign(tenant, url, pairs)
    whole = urlencode(pairs).encode()
    refused = taken = 0
    for place in range(len(whole)):
        body = bytearray(whole)
        body[place] ^= 1
        answer = post(tenant, url, bytes(body), signature)
        # A few changes are none, as `+` for `%20` would be: the library is asked each time.
        expected = 200 if is_right(tenant, url, bytes(body), signature) else 403
        assert answer.status_code == expected, (place, bytes(body))
        refused += expected == 403
        taken += expected == 200
    assert refused > 0.95 * len(whole)
    # As one message at most: all of them have its MessageSid.
    assert len(tenant.events()) == min(taken, 1)


def test_one_changed_character_of_the_signature_is_refused(tenant, customer):
    pairs = FORMS["text"](tenant, customer)
    url = tenant.gateway.public_url + tenant.inbound_path
    right = sign(tenant, url, pairs)
    for place, character in enumerate(right):
        wrong = right[:place] + ("A" if character != "A" else "B") + right[place + 1:]
        assert not validates(tenant.account.auth_token, url, pairs, wrong)
        assert post(tenant, url, urlencode(pairs).encode(), wrong).status_code == 403, place
    assert tenant.events() == []
    assert_librarys_empty_answer(post(tenant, url, urlencode(pairs).encode(), right))


def test_one_changed_character_of_the_query_is_refused(tenant, customer):
    pairs = FORMS["text"](tenant, customer)
    path = tenant.gateway.public_url + tenant.inbound_path
    query = "?shop=a%20b&x=1"
    signature = sign(tenant, path + query, pairs)
    body = urlencode(pairs).encode()
    for wrong in ("?shop=a%20b&x=2", "?shop=a+b&x=1", "?shop=A%20b&x=1", "?x=1&shop=a%20b", "?shop=a%20b&x=1&", ""):
        assert not validates(tenant.account.auth_token, path + wrong, pairs, signature)
        assert post(tenant, path + wrong, body, signature).status_code == 403, wrong
    assert tenant.events() == []
    assert_librarys_empty_answer(post(tenant, path + query, body, signature))


def test_get_is_signed_by_its_url(tenant, customer):
    """Twilio can be told to call with GET: then the library is given no parameters, and the URL has them all."""
    pairs = inbound_pairs(tenant.account.sid, customer, tenant.phone, "by GET")
    url = f"{tenant.gateway.public_url}{tenant.inbound_path}?{urlencode(pairs)}"
    validator = RequestValidator(tenant.account.auth_token)
    signature = validator.compute_signature(url, {})
    assert validator.validate(url, {}, signature)
    changed = url.replace("by+GET", "by+GOT")
    assert changed != url and not validator.validate(changed, {}, signature)
    assert post(tenant, changed, None, signature, None, "GET").status_code == 403
    assert tenant.events() == []
    assert_librarys_empty_answer(post(tenant, url, None, signature, None, "GET"))
    (event,) = wait_until(tenant.events, 5, "the event")
    assert event["data"]["message"]["text"] == "by GET"


# JSON: the signature covers the URL, and the URL the digest of the body.


def json_request(tenant, body, path=None):
    url = tenant.gateway.public_url + (path or tenant.inbound_path)
    url += "?bodySHA256=" + hashlib.sha256(body.encode()).hexdigest()
    return url, RequestValidator(tenant.account.auth_token).compute_signature(url, {})


@pytest.mark.parametrize("kind", ["sms", "status"])
def test_json_with_its_digest_is_taken(tenant, kind):
    body = json.dumps({"Payload": [{"Größe": "XL"}], "n": 1}, ensure_ascii=False)
    url, signature = json_request(tenant, body, f"/channels/twilio/{tenant.id}/{kind}")
    assert RequestValidator(tenant.account.auth_token).validate(url, body, signature)
    assert_librarys_empty_answer(post(tenant, url, body.encode(), signature, "application/json"))
    # It is no message that we know, so the client is told of none.
    assert tenant.events() == []


def test_one_changed_byte_of_json_is_refused(tenant):
    body = json.dumps({"Payload": "x" * 40})
    url, signature = json_request(tenant, body)
    validator = RequestValidator(tenant.account.auth_token)
    for place in range(len(body)):
        changed = body[:place] + chr(ord(body[place]) ^ 1) + body[place + 1:]
        assert not validator.validate(url, changed, signature)
        assert post(tenant, url, changed.encode(), signature, "application/json").status_code == 403, changed
    for changed in (body + " ", body[:-1], ""):
        assert not validator.validate(url, changed, signature)
        assert post(tenant, url, changed.encode(), signature, "application/json").status_code == 403, changed
    other = url[:-1] + ("0" if url[-1] != "0" else "1")
    assert post(tenant, other, body.encode(), signature, "application/json").status_code == 403


def test_json_without_a_digest_is_refused_where_the_library_would_read_it(tenant):
    """The library signs a text as nothing when there is no digest, and so vouches for any body. We do not."""
    url = tenant.gateway.public_url + tenant.inbound_path
    signature = RequestValidator(tenant.account.auth_token).compute_signature(url, {})
    assert post(tenant, url, b'{"Body":"hi"}', signature, "application/json").status_code == 403


# Out: what the library sends for the same message

# Form parameters that only one of the two sends for the same message.
ONLY_WAYBILL_SENDS = set()
ONLY_LIBRARY_SENDS = set()

# Header fields that only one of the two has. Twilio reads none of them to make a message:
ONLY_WAYBILL_HAS = set()
ONLY_LIBRARY_HAS = {
    "accept-encoding",  # `gzip, deflate`: an answer of a kilobyte comes as it is
    "accept-charset",  # obsolete by RFC 9110, section 12.5.2; Twilio's JSON is UTF-8
    "x-twilio-client",  # the library's name and version once more
    "connection",  # `keep-alive`, the default of HTTP/1.1
}

# Of the message, as the client asks for it and as the library's caller does.
MESSAGES = {
    "text": ({"text": "Hello"}, {"body": "Hello"}),
    "unicode": ({"text": "Grüße 😀 e\u0301 שלום"}, {"body": "Grüße 😀 e\u0301 שלום"}),
    "reserved": ({"text": "a+b&c=d%20~*'!()\r\n\"<>;/?"}, {"body": "a+b&c=d%20~*'!()\r\n\"<>;/?"}),
    "blank ends": ({"text": "  both ends \n"}, {"body": "  both ends \n"}),
    "longest": ({"text": "€" * 1600}, {"body": "€" * 1600}),
    "media": ({"media_url": PICTURE, "media_type": "image"}, {"media_url": [PICTURE]}),
    "media and text": (
        {"media_url": PICTURE, "media_type": "image", "caption": "Zoë & co"}, {"media_url": [PICTURE], "body": "Zoë & co"}),
}

# Of the channel, as the operator sets it up and as the library's caller names it.
SENDERS = {
    "number": lambda tenant: ({}, {"from_": tenant.phone}),
    "service": lambda tenant: ({"from_phone": None, "messaging_service_sid": SERVICE}, {"messaging_service_sid": SERVICE}),
}
COMBINATIONS = [(name, "number") for name in MESSAGES] + [(name, "service") for name in ("text", "media and text")]


def sent_by_both(tenant, twilio, customer, message, sender):
    """The gateway's request, then the library's."""
    settings, named = SENDERS[sender](tenant)
    answer = tenant.connect_sms(**settings)
    assert answer.status_code == 200, answer.text
    asked, given = MESSAGES[message]
    answer = tenant.post("/v1/send", {"to_phone": customer} | asked)
    assert answer.status_code == 202, answer.text
    tenant.wait_for_status(answer.json()["message_id"], "sent")
    (ours,) = twilio.of(tenant.account)
    # The one thing that nobody else can know. The tests of status callbacks are about it.
    (callback,) = ours.values("StatusCallback")
    assert callback.startswith(f"{tenant.gateway.public_url}/channels/twilio/{tenant.id}/status?message=")
    client = library(twilio.base_url, tenant.account.sid, tenant.account.auth_token)
    client.messages.create(to=customer, status_callback=callback, **given, **named)
    _, theirs = twilio.of(tenant.account)
    return ours, theirs


@pytest.mark.parametrize("message, sender", COMBINATIONS, ids=[" by ".join(one) for one in COMBINATIONS])
def test_gateway_sends_what_the_library_sends(make_tenant, twilio, customer, message, sender):
    tenant = make_tenant(sms=False)
    ours, theirs = sent_by_both(tenant, twilio, customer, message, sender)
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.target == f"/2010-04-01/Accounts/{tenant.account.sid}/Messages.json"
    assert [pair for pair in ours.pairs if pair[0] not in ONLY_WAYBILL_SENDS] == \
        [pair for pair in theirs.pairs if pair[0] not in ONLY_LIBRARY_SENDS]
    assert ONLY_WAYBILL_SENDS <= {name for name, _ in ours.pairs}
    assert ONLY_LIBRARY_SENDS <= {name for name, _ in theirs.pairs}

    for name in ("authorization", "content-type", "accept", "host"):
        assert ours.headers[name] == theirs.headers[name], name
    expected = base64.b64encode(f"{tenant.account.sid}:{tenant.account.auth_token}".encode()).decode()
    assert ours.headers["authorization"] == "Basic " + expected
    assert ours.headers["content-type"] == FORM
    assert "transfer-encoding" not in ours.headers and int(ours.headers["content-length"]) == len(ours.body)
    assert set(ours.headers) - set(theirs.headers) == ONLY_WAYBILL_HAS
    assert set(theirs.headers) - set(ours.headers) == ONLY_LIBRARY_HAS


def test_comparison_of_requests_sees_a_difference(make_tenant, twilio, customer):
    ours, theirs = sent_by_both(make_tenant(sms=False), twilio, customer, "text", "number")
    assert ours.pairs == theirs.pairs
    for body in (theirs.body + b"&Body=Hello", theirs.body.replace(b"Hello", b"hello"), theirs.body + b"&Attempt="):
        assert ours.pairs != theirs._replace(body=body).pairs, body


# What our fake of Twilio answers


@pytest.fixture
def client(tenant, twilio):
    return library(twilio.base_url, tenant.account.sid, tenant.account.auth_token)


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("message", ["unicode", "media and text"])
def test_fakes_success_is_a_message_to_the_library(client, tenant, customer, message, sender):
    _, given = MESSAGES[message]
    _, named = SENDERS[sender](tenant)
    made = client.messages.create(to=customer, **given, **named)
    assert isinstance(made, MessageInstance)
    assert made.sid == tenant.account.calls[-1].sid
    assert re.fullmatch(("MM" if "media_url" in given else "SM") + "[0-9a-f]{32}", made.sid)
    by_service = "messaging_service_sid" in named
    assert made.status == (MessageInstance.Status.ACCEPTED if by_service else MessageInstance.Status.QUEUED)
    assert made.direction == MessageInstance.Direction.OUTBOUND_API
    assert (made.account_sid, made.to, made.from_) == (tenant.account.sid, customer, named.get("from_"))
    assert (made.body, made.messaging_service_sid) == (given["body"], named.get("messaging_service_sid"))
    assert (made.num_media, made.num_segments) == (str(len(given.get("media_url", []))), "0" if by_service else "1")
    assert (made.error_code, made.error_message, made.price, made.date_sent) == (None, None, None, None)
    assert made.uri == f"/2010-04-01/Accounts/{tenant.account.sid}/Messages/{made.sid}.json"
    for date in (made.date_created, made.date_updated):
        assert abs(date - datetime.now(timezone.utc)) < timedelta(minutes=5)


ERRORS = {
    "refused": (error(400, 21211, "The 'To' number is not a valid phone number"), 400, 21211),
    "account": (error(401, 20003, "Authenticate"), 401, 20003),
    "too many": (TOO_MANY_REQUESTS, 429, 20429),
    "of the service": (error(503, 20500, "Internal Server Error"), 503, 20500),
}


@pytest.mark.parametrize("step, status, code", ERRORS.values(), ids=ERRORS)
def test_fakes_error_is_twilios_to_the_library(client, tenant, customer, step, status, code):
    tenant.account.script = [step]
    with pytest.raises(TwilioRestException) as caught:
        client.messages.create(to=customer, from_=tenant.phone, body="refused")
    raised = caught.value
    assert (raised.status, raised.code, raised.method) == (status, code, "POST")
    assert raised.uri.endswith(f"/Accounts/{tenant.account.sid}/Messages.json")
    assert raised.msg.endswith(": " + step[3])


def test_gateway_and_library_read_the_same_code(client, tenant, customer):
    tenant.account.script = [error(400, 21610, "Attempt to send to unsubscribed recipient")] * 2
    with pytest.raises(TwilioRestException) as caught:
        client.messages.create(to=customer, from_=tenant.phone, body="stopped")
    accepted = tenant.accepted("stopped", customer)
    failed = tenant.wait_for_status(accepted["message_id"], "failed")
    assert str(failed["error"]["code"]) == str(caught.value.code) == "21610"


def test_bare_500_has_no_code_to_the_library(client, tenant, customer):
    """Not Twilio's error body: the library then puts the HTTP status where the code would be."""
    tenant.account.script = [BARE_500]
    with pytest.raises(TwilioRestException) as caught:
        client.messages.create(to=customer, from_=tenant.phone, body="broken")
    assert (caught.value.status, caught.value.code) == (500, 500)


def test_fake_refuses_a_wrong_token_as_twilio(tenant, twilio, customer):
    wrong = library(twilio.base_url, tenant.account.sid, "0" * 32)
    with pytest.raises(TwilioRestException) as caught:
        wrong.messages.create(to=customer, from_=tenant.phone, body="who?")
    assert (caught.value.status, caught.value.code) == (401, 20003)


def test_fakes_list_is_read_by_the_library(client, tenant, customer):
    made = client.messages.create(to=customer, from_=tenant.phone, body="in the list")
    client.messages.create(to="+16505559999", from_=tenant.phone, body="to another")
    (listed,) = client.messages.list(to=customer, limit=20)
    assert isinstance(listed, MessageInstance)
    assert (listed.sid, listed.to, listed.body, listed.status) == (made.sid, customer, "in the list", "sent")
    assert len(client.messages.list(limit=20)) == 2


# The sandbox's Twilio


class SandboxedTwilio:
    def __init__(self, base_url, account, front, gateway, key):
        self.base_url = base_url
        self.sid, self.auth_token, self.number = account["account_sid"], account["auth_token"], account["from_phone"]
        self.front = front
        self.gateway = gateway
        self.key = key

    def library(self, **replaced):
        arguments = {"account_sid": self.sid, "auth_token": self.auth_token} | replaced
        return library(self.base_url, **arguments)

    def wait_for_signed(self, count, wanted):
        """What it posted to the front, each with the status that it got, and every one of them right by the library."""
        def found():
            came = [both for both in list(self.front.recorded) if wanted(both[0])]
            return came if len(came) >= count else None

        came = wait_until(found, 10, f"{count} requests of the sandbox's Twilio")
        assert len(came) == count
        for one, _ in came:
            assert one.method == "POST" and one.headers["content-type"].startswith(FORM)
            url, signature = self.front.base_url + one.target, one.headers["x-twilio-signature"]
            assert validates(self.auth_token, url, one.pairs, signature)
            assert not validates(self.auth_token, url, one.pairs + [("A", "")], signature)
            assert not validates(self.auth_token, url + "x", one.pairs, signature)
        return came


def account_of_sandbox(data):
    """The account that `serve --sandbox` made up, as its log has it: docs/keys.md says how to read that with the root key."""
    bodies = read_keys.open_bodies(data, read_keys.read_keys(data, data / "root.key"))
    contents = [content for body in bodies for content in (body.parts or {}).values() if b'"account_sid"' in content]
    (account,) = map(json.loads, contents)
    return account


@pytest.fixture(scope="module")
def sandbox(make_gateway):
    """Its public URL is a server of ours, which sees what the sandbox's Twilio posts and passes it on."""
    front = Front()
    names = ("WEBHOOKS_ALLOW_HTTP", "WEBHOOKS_ALLOW_CIDRS", "PROVIDERS_TWILIO_BASE_URL")
    settings = {f"WAYBILL_{name}": None for name in names} | {"WAYBILL_PUBLIC_URL": front.base_url}
    running = make_gateway("sandbox", **settings)
    front.target = running.base_url
    running.start("--sandbox")

    def printed():
        return re.search(r"Sandbox: +(http://\S+).*?Demo key: +(wb_\S+)", running.log_tail(20_000), re.DOTALL)

    base, key = wait_until(printed, 10, "the sandbox").groups()
    yield SandboxedTwilio(base, account_of_sandbox(running.data), front, running, key)
    assert running.stop() == 0, running.log_tail()
    front.close()


def test_sandbox_makes_a_message_for_the_library(sandbox, customer):
    text = unique("Grüße 😀 & 100%")
    target = f"/{unique('callback')}?a=b%20c&d='1'"
    made = sandbox.library().messages.create(
        to=customer, from_=sandbox.number, body=text, status_callback=sandbox.front.base_url + target)
    assert isinstance(made, MessageInstance)
    assert re.fullmatch("SM[0-9a-f]{32}", made.sid)
    assert made.status == MessageInstance.Status.QUEUED
    assert made.direction == MessageInstance.Direction.OUTBOUND_API
    assert (made.account_sid, made.to, made.from_, made.body) == (sandbox.sid, customer, sandbox.number, text)
    assert (made.error_code, made.num_segments) == (None, "1")

    came = [one for one, _ in sandbox.wait_for_signed(2, lambda one: one.target == target)]
    assert [one.values("MessageStatus") for one in came] == [["sent"], ["delivered"]]
    for one in came:
        assert (one.values("MessageSid"), one.values("AccountSid")) == ([made.sid], [sandbox.sid])
    listed = call("GET", f"{sandbox.base_url}/sandbox/sent").json()["data"]
    assert {"sid": made.sid, "to": customer, "body": text} in listed


def test_sandbox_refuses_a_wrong_token_as_twilio(sandbox, customer):
    text = unique("who?")
    for replaced in ({"auth_token": "0" * 32}, {"account_sid": "AC" + "1" * 32}):
        with pytest.raises(TwilioRestException) as caught:
            sandbox.library(**replaced).messages.create(to=customer, from_=sandbox.number, body=text)
        assert (caught.value.status, caught.value.code) == (401, 20003)
    assert text not in call("GET", f"{sandbox.base_url}/sandbox/sent").text


@pytest.mark.parametrize("to", ["+15005550001", "nobody", "650555"])
def test_sandbox_refuses_a_number_as_twilio(sandbox, to):
    with pytest.raises(TwilioRestException) as caught:
        sandbox.library().messages.create(to=to, from_=sandbox.number, body="Hello")
    assert (caught.value.status, caught.value.code) == (400, 21211)


def test_sandbox_makes_a_message_of_media_alone(sandbox, customer):
    made = sandbox.library().messages.create(to=customer, from_=sandbox.number, media_url=[PICTURE])
    assert made.sid


def test_sandbox_signs_status_callbacks_as_the_library(sandbox, customer):
    answer = call("POST", sandbox.gateway.base_url + "/v1/send", sandbox.key, json={"to_phone": customer, "text": "Hello"})
    assert answer.status_code == 202, answer.text
    mid = answer.json()["message_id"]

    def delivered():
        message = call("GET", f"{sandbox.gateway.base_url}/v1/messages/{mid}", sandbox.key).json()
        return message if message["status"] == "delivered" else None

    message = wait_until(delivered, 10, f"{mid} to be delivered")
    came = sandbox.wait_for_signed(2, lambda one: one.target.endswith("/status?message=" + mid))
    assert [(one.values("MessageStatus"), status) for one, status in came] == [(["sent"], 200), (["delivered"], 200)]
    assert {one.values("MessageSid")[0] for one, _ in came} == {message["provider_message_id"]}


@pytest.mark.parametrize("media", [None, {"type": "image", "mime_type": "image/png", "content": "AAAA"}], ids=["text", "media"])
def test_sandbox_signs_what_customers_write_as_the_library(sandbox, customer, media):
    text = unique("Grüße 😀 & 100%")
    body = {"platform": "sms", "from": customer, "text": text} | ({} if media is None else {"media": media})
    written = call("POST", f"{sandbox.base_url}/sandbox/messages", json=body)
    assert (written.status_code, written.json()) == (200, {"gateway_status": 200, "accepted": True})
    ((one, status),) = sandbox.wait_for_signed(1, lambda one: one.target.endswith("/sms") and one.values("Body") == [text])
    assert status == 200
    assert one.values("From") == [customer] and one.values("NumMedia") == ["0" if media is None else "1"]


# Status callbacks


@pytest.fixture
def sent(tenant, customer):
    """A message that Twilio has taken, made as the client does: its id, and Twilio's call."""
    text = unique("status")
    accepted = tenant.accepted(text, customer)
    tenant.wait_for_status(accepted["message_id"], "sent")
    return accepted["message_id"], tenant.account.wait_for_call(text)


@pytest.mark.parametrize("said, status, extra", [
    ("delivered", "delivered", {"RawDlrDoneDate": "2611011200", "ErrorCode": ""}),
    ("read", "read", {"ChannelPrefix": "rcs", "EventType": "READ"}),
    ("undelivered", "failed", {"ErrorCode": "30003", "ErrorMessage": "Unreachable — Gerät aus"}),
])
def test_signed_status_raises_the_message(tenant, sent, said, status, extra):
    mid, made = sent
    url = made["StatusCallback"]
    assert "?" in url
    pairs = status_pairs(made, said, **extra)
    signature = sign(tenant, url, pairs)
    assert validates(tenant.account.auth_token, url, pairs, signature)
    assert_librarys_empty_answer(post(tenant, url, urlencode(pairs).encode(), signature))
    message = tenant.wait_for_status(mid, status)
    assert [one["status"] for one in message["status_history"]].count(status) == 1
    if status == "failed":
        assert str(message["error"]["code"]) == "30003"


def test_status_that_the_library_would_not_accept_changes_nothing(tenant, sent, customer):
    mid, made = sent
    other = tenant.accepted(unique("another"), customer)["message_id"]
    tenant.wait_for_status(other, "sent")
    url = made["StatusCallback"]
    assert mid in url
    pairs = status_pairs(made, "delivered")
    signature = sign(tenant, url, pairs)
    without_query = url.partition("?")[0]
    wrong = {
        "no query": (without_query, pairs),
        "another message": (url.replace(mid, other), pairs),
        "a longer query": (url + "&x", pairs),
        "another status": (url, [(name, "read" if value == "delivered" else value) for name, value in pairs]),
        "one more": (url, pairs + [("ErrorCode", "30003")]),
        "one less": (url, [pair for pair in pairs if pair[0] != "ApiVersion"]),
    }
    for name, (asked, form) in wrong.items():
        assert not validates(tenant.account.auth_token, asked, form, signature), name
        assert post(tenant, asked, urlencode(form).encode(), signature).status_code == 403, name
    # Signed for the path alone, it is not for the URL that was given out.
    short = sign(tenant, without_query, pairs)
    assert not validates(tenant.account.auth_token, url, pairs, short)
    assert post(tenant, url, urlencode(pairs).encode(), short).status_code == 403
    for one in (mid, other):
        assert tenant.message(one)["status"] == "sent"
    assert_librarys_empty_answer(post(tenant, url, urlencode(pairs).encode(), signature))
    tenant.wait_for_status(mid, "delivered")
    assert tenant.message(other)["status"] == "sent"


def test_status_names_are_all_the_librarys(tenant, sent):
    """Every status that the library knows of is taken by our edge, and the highest of them stands at the end."""
    mid, made = sent
    url = made["StatusCallback"]
    assert {"delivered", "undelivered", "partially_delivered", "read", "accepted"} <= KNOWN_STATUSES
    for said in sorted(KNOWN_STATUSES):
        pairs = status_pairs(made, said)
        assert_librarys_empty_answer(post(tenant, url, urlencode(pairs).encode(), sign(tenant, url, pairs)))
    tenant.wait_for_status(mid, "read")
