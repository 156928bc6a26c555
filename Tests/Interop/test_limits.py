"""Bounds that clients rely on: which endpoints are taken, how many secrets overlap, how many attempts run at once, what an
unknown status does, who reads the checkpoint, when a silent connection ends, and that a repeated SMS counts once."""

import base64
import hashlib
import hmac
import os
import re
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from urllib.parse import parse_qs

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from support.http import LoopbackServer, call
from support.problems import assert_problem
from support.tenant import Tenant, customer_number
from support.wait import holds_for, wait_until

# "At most four older values overlap", so with the newest five are valid.
VALID_MAX = 5
# Shorter than the 15 s after which a webhook attempt fails by itself.
HOLD_SECONDS = 12
IDLE_SECONDS = 75
HEADER_SECONDS = 15


# Which endpoints are taken


@pytest.fixture(scope="module")
def strict(make_gateway):
    """As installed: https only, public addresses only."""
    return make_gateway("strict", WAYBILL_WEBHOOKS_ALLOW_HTTP=None, WAYBILL_WEBHOOKS_ALLOW_CIDRS=None).start()


def set_endpoint(tenant, url, **settings):
    return tenant.put("/v1/webhook", {"url": url, "enabled": True, "retry_schedule": []} | settings)


def attempts_at(tenant, url):
    """What the one attempt to deliver an SMS to `url` came to."""
    answer = set_endpoint(tenant, url)
    assert answer.status_code == 200, answer.text
    assert tenant.inbound("Hello", customer_number()).status_code == 200
    return tenant.read(f"/v1/deliveries/{tenant.wait_for_dead_letters(1)[0]['id']}")["attempts"]


@pytest.mark.parametrize("url", ["http://example.com/hook", "HTTP://example.com/hook", "hTtP://example.com:443/hook"])
def test_plain_http_is_refused_when_it_is_set_and_changes_nothing(strict, make_tenant, url):
    tenant = make_tenant(on=strict)
    assert set_endpoint(tenant, "https://example.com/kept").status_code == 200
    before = tenant.read("/v1/webhook")
    assert_problem(set_endpoint(tenant, url), 400, code="invalid_request", field="url")
    assert tenant.read("/v1/webhook") == before


def test_plain_http_is_taken_and_delivered_to_where_the_operator_allows_it(tenant, receiver):
    endpoint = receiver.endpoint()
    assert endpoint.url.startswith("http://")
    assert set_endpoint(tenant, endpoint.url).status_code == 200
    assert tenant.inbound("Hello", customer_number()).status_code == 200
    endpoint.wait_for(1)


def test_plain_http_that_is_no_longer_allowed_fails_as_insecure_url(make_gateway, make_tenant, receiver):
    running = make_gateway("tightened").start()
    tenant, endpoint = make_tenant(on=running), receiver.endpoint()
    assert set_endpoint(tenant, endpoint.url).status_code == 200
    assert running.stop() == 0
    running.settings["WAYBILL_WEBHOOKS_ALLOW_HTTP"] = None
    running.start()
    assert tenant.inbound("Hello", customer_number()).status_code == 200
    letter = tenant.wait_for_dead_letters(1)[0]
    attempts = tenant.read(f"/v1/deliveries/{letter['id']}")["attempts"]
    assert [(one["status"], one["error"]) for one in attempts] == [(None, "insecure_url")]
    assert endpoint.requests == []


@pytest.mark.parametrize("allows_http", [False, True], ids=["as installed", "http allowed"])
@pytest.mark.parametrize("user", ["ana:hunter2hunter2", "ana", ":hunter2hunter2", "", "ana%40x:hunter2hunter2"])
def test_credentials_in_a_url_are_refused_and_not_repeated(strict, gateway, make_tenant, user, allows_http):
    tenant = make_tenant(on=gateway if allows_http else strict, sms=False)
    for scheme in ("https", "http") if allows_http else ("https",):
        answer = set_endpoint(tenant, f"{scheme}://{user}@example.com/hook")
        assert_problem(answer, 400, code="invalid_request", field="url")
        assert "hunter2" not in answer.text
    assert "hunter2" not in tenant.get("/v1/webhook").text


def test_an_at_sign_after_the_host_is_no_credential(strict, make_tenant):
    tenant = make_tenant(on=strict, sms=False)
    for url in ("https://example.com/@ana", "https://example.com/?mail=ana@example.com"):
        assert set_endpoint(tenant, url).status_code == 200, url


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "[fd00::1]", "169.254.169.254",
     "[fe80::1]", "100.64.0.1", "224.0.0.1", "[ff02::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]",
     "[2001:0:7f00:1::1]"],
)
def test_private_address_is_taken_when_set_and_refused_at_the_connection(strict, make_tenant, receiver, host):
    """The PUT knows no addresses: the documented place of the refusal is the attempt."""
    attempts = attempts_at(make_tenant(on=strict), f"https://{host}:{receiver.port}/hook")
    assert [(one["status"], one["error"]) for one in attempts] == [(None, "address_refused")]


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.0.1", "169.254.169.254", "[::1]"])
def test_allowing_one_network_allows_no_other(tenant, receiver, host):
    """The module's gateway allows 127.0.0.0/8."""
    attempts = attempts_at(tenant, f"http://{host}:{receiver.port}/hook")
    assert [(one["status"], one["error"]) for one in attempts] == [(None, "address_refused")]
    tested = tenant.call("POST", "/v1/webhook/test").json()
    assert tested["error"] == "address_refused" and "webhooks.allow_cidrs" in tested["detail"]


# How many secrets and keys overlap


def rotate(tenant, what, overlap_seconds):
    """The new value, and when the older ones end. Uses the newest key, and remembers it."""
    answer = tenant.post(f"/v1/{what}/rotate", {"overlap_seconds": overlap_seconds})
    assert answer.status_code == 200, answer.text
    ends = datetime.fromisoformat(answer.json()["previous_expires_at"].replace("Z", "+00:00"))
    assert abs((ends - datetime.now(timezone.utc)).total_seconds() - overlap_seconds) < 20
    return answer.json()["api_key" if what == "api-key" else "webhook_secret"]


def own_digests(request):
    """The time and the hex digests of `t=…,v1=…[,v1=…]`."""
    parts = [part.partition("=")[::2] for part in request.headers["x-chatgenius-signature"].split(",")]
    assert parts[0][0] == "t" and {name for name, _ in parts[1:]} == {"v1"}, parts
    return parts[0][1], [value for _, value in parts[1:]]


def own_digest(secret, moment, body):
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return hmac.new(key, moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def verifies_standard(secret, request):
    try:
        return Webhook(secret).verify(request.body, request.headers) == request.event
    except WebhookVerificationError:
        return False


def signers(request, secrets):
    """Which of `secrets` signed, in the order of the signatures. Both headers must agree; none may be a stranger's."""
    moment, digests = own_digests(request)
    owners = {own_digest(secret, moment, request.body): secret for secret in secrets}
    assert set(digests) <= set(owners), "a signature by none of the secrets"
    signed = [owners[digest] for digest in digests]
    assert len(request.headers["webhook-signature"].split(" ")) == len(signed)
    assert {secret for secret in secrets if verifies_standard(secret, request)} == set(signed)
    return signed


def next_request(tenant, endpoint):
    before = len(endpoint.requests)
    assert tenant.inbound("Hello", customer_number()).status_code == 200
    return endpoint.wait_for(before + 1)[before]


@pytest.fixture
def endpoint(tenant, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    return endpoint


def test_newest_secret_and_at_most_four_older_ones_sign(tenant, endpoint):
    secrets = [tenant.secret]
    for _ in range(7):
        secrets.append(rotate(tenant, "webhook/secret", 3600))
        newest_first = secrets[::-1][:VALID_MAX]
        assert signers(next_request(tenant, endpoint), secrets) == newest_first
    assert len(secrets) == 8 and len(set(secrets)) == 8


def test_secrets_rotated_at_once_stay_within_the_cap(tenant, endpoint):
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda _: rotate(tenant, "webhook/secret", 3600), range(10)))
    assert len(set(made)) == 10
    signed = signers(next_request(tenant, endpoint), [tenant.secret, *made])
    assert len(signed) == VALID_MAX and tenant.secret not in signed
    newest = rotate(tenant, "webhook/secret", 3600)
    assert signers(next_request(tenant, endpoint), [*made, newest]) == [newest, *signed[:-1]]


def test_end_of_an_older_secret_is_not_put_off_by_the_next_rotation(tenant, endpoint):
    second = rotate(tenant, "webhook/secret", 2)
    due = time.monotonic() + 2
    third = rotate(tenant, "webhook/secret", 3600)
    everything = [tenant.secret, second, third]

    def without_the_first():
        return signers(next_request(tenant, endpoint), everything) == [third, second]

    wait_until(without_the_first, 10, "the first secret to end")
    assert time.monotonic() >= due - 0.1, "it ended before its time"


def test_a_shorter_overlap_ends_all_older_secrets_together(tenant, endpoint):
    older = [tenant.secret] + [rotate(tenant, "webhook/secret", 3600) for _ in range(2)]
    newest = rotate(tenant, "webhook/secret", 0)
    assert signers(next_request(tenant, endpoint), [*older, newest]) == [newest]


def accepted_keys(tenant, keys):
    answers = {key: tenant.get("/v1/webhook", token=key) for key in keys}
    for answer in answers.values():
        if answer.status_code != 200:
            assert_problem(answer, 401, code="unauthorized")
    return [key for key, answer in answers.items() if answer.status_code == 200]


def test_newest_key_and_at_most_four_older_ones_work(tenant):
    keys = [tenant.key]
    for _ in range(7):
        tenant.key = rotate(tenant, "api-key", 3600)
        keys.append(tenant.key)
        assert accepted_keys(tenant, keys) == keys[-VALID_MAX:]
    assert len(set(keys)) == 8


def test_cap_of_overlapping_secrets_and_keys_survives_a_crash(make_gateway, make_tenant, receiver):
    running = make_gateway("rotated").start()
    tenant, endpoint = make_tenant(on=running), receiver.endpoint()
    tenant.subscribe(endpoint)
    secrets = [tenant.secret] + [rotate(tenant, "webhook/secret", 3600) for _ in range(6)]
    keys = [tenant.key]
    for _ in range(6):
        tenant.key = rotate(tenant, "api-key", 3600)
        keys.append(tenant.key)
    running.kill()
    running.start()
    assert accepted_keys(tenant, keys) == keys[-VALID_MAX:]
    assert signers(next_request(tenant, endpoint), secrets) == secrets[::-1][:VALID_MAX]


@pytest.mark.parametrize("what", ["webhook/secret", "api-key"])
@pytest.mark.parametrize("seconds", [-1, 2_592_001, "60", 1.5])
def test_overlap_outside_its_bounds_is_refused_and_rotates_nothing(tenant, endpoint, what, seconds):
    answer = tenant.post(f"/v1/{what}/rotate", {"overlap_seconds": seconds})
    assert_problem(answer, 400, code="invalid_request", field="overlap_seconds")
    assert signers(next_request(tenant, endpoint), [tenant.secret]) == [tenant.secret]
    assert tenant.get("/v1/webhook").status_code == 200


# How many attempts run at once


class Holding(LoopbackServer):
    """An endpoint that answers nothing on /held until it is released, and everything else at once."""

    def __init__(self):
        self.released = threading.Event()
        self.status = 200
        self.running = 0
        self.peak = 0
        self.held = []
        self.quick = []
        super().__init__()

    def handle(self, handler, body):
        name = handler.headers["webhook-id"]
        if handler.path != "/held":
            with self.lock:
                self.quick.append(name)
            return self.answer(handler, 200)
        with self.lock:
            self.held.append(name)
            self.running += 1
            self.peak = max(self.peak, self.running)
        self.released.wait(HOLD_SECONDS)
        # Counted down before the answer: only then may the gateway start another.
        with self.lock:
            self.running -= 1
        self.answer(handler, self.status)

    def close(self):
        self.released.set()
        super().close()


@pytest.fixture
def holding():
    server = Holding()
    yield server
    server.close()


def receive(tenant, count):
    """So many SMS of as many customers, so that nothing but `max_in_flight` keeps their deliveries apart."""
    customers = [customer_number() for _ in range(count)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda customer: tenant.inbound("Hello", customer), customers))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("most", [1, 3, 20])
def test_max_in_flight_is_reached_and_never_exceeded(tenant, holding, most):
    assert set_endpoint(tenant, holding.base_url + "/held", max_in_flight=most).status_code == 200
    count = most + 10
    receive(tenant, count)
    wait_until(lambda: holding.running == most, 5, f"{most} attempts at once")
    holds_for(lambda: holding.running == most, 1, "no attempt beyond max_in_flight")
    holding.released.set()
    wait_until(lambda: len(holding.held) == count, 10, "all deliveries")
    assert holding.peak == most
    assert len(set(holding.held)) == count
    wait_until(lambda: {one["state"] for one in tenant.all("/v1/deliveries")} == {"delivered"}, 10, "their outcomes")


def test_max_in_flight_holds_for_replays_too(tenant, holding):
    holding.status = 500
    holding.released.set()
    assert set_endpoint(tenant, holding.base_url + "/held", max_in_flight=4).status_code == 200
    receive(tenant, 15)
    tenant.wait_for_dead_letters(15)
    assert holding.peak <= 4
    holding.released.clear()
    holding.status, holding.held = 200, []
    answer = tenant.post("/v1/dead-letters/replay", {})
    assert answer.status_code in (200, 202) and answer.json()["replayed"] == 15, answer.text
    wait_until(lambda: holding.running == 4, 5, "four replays at once")
    holds_for(lambda: holding.running == 4, 1, "no replay beyond max_in_flight")
    holding.released.set()
    wait_until(lambda: len(holding.held) == 15, 10, "all replays")
    assert holding.peak == 4


@pytest.mark.parametrize("most", [0, 257, -1, "8"])
def test_max_in_flight_outside_its_bounds_is_refused(tenant, most):
    answer = set_endpoint(tenant, "https://example.com/hook", max_in_flight=most)
    assert_problem(answer, 400, code="invalid_request", field="max_in_flight")


def test_slow_endpoint_with_many_events_delays_no_other_client(make_tenant, holding, receiver):
    """The slow client has the most attempts a client may have at once, and more events waiting behind them."""
    slow = make_tenant()
    assert set_endpoint(slow, holding.base_url + "/held", max_in_flight=256).status_code == 200
    elsewhere, same_host, endpoint = make_tenant(), make_tenant(), receiver.endpoint()
    elsewhere.subscribe(endpoint)
    assert set_endpoint(same_host, holding.base_url + "/quick").status_code == 200

    receive(slow, 300)
    wait_until(lambda: holding.running == 256, 8, "256 attempts that wait for the slow endpoint")
    delays = []
    for n in range(1, 6):
        for tenant, arrived in ((elsewhere, endpoint.requests), (same_host, holding.quick)):
            started = time.monotonic()
            assert tenant.inbound("Hello", customer_number()).status_code == 200
            wait_until(lambda: len(arrived) == n, 5, "a quick client's webhook")
            delays.append(time.monotonic() - started)
    assert holding.running == 256, "the slow endpoint answered meanwhile: nothing is shown"
    # Less than half of what the slow ones are held for; a busy machine takes its part.
    assert max(delays) < 5, delays

    holding.released.set()
    wait_until(lambda: len(set(holding.held)) == 300, 20, "the slow client's own deliveries")
    assert holding.peak == 256


# What an unknown status does


STATUSES = {
    "a new word": "flibbertigibbet",
    "another case": "Delivered",
    "blanks around": " delivered ",
    "empty": "",
    "odd characters": "delivered\0\r\n'\"<b>&=+%41;{}\\ é😀\u202e",
    "a combining mark": "delivered\u0301",
    "JSON": '{"status":"delivered"}',
    "long": "x" * 20_000,
}


def recorded(tenant, *arguments):
    return tenant.gateway.replay("--client", tenant.id, "--type", "provider_event.unrecognized", *arguments)


@pytest.mark.parametrize("name", STATUSES)
def test_unknown_status_is_answered_recorded_and_changes_nothing(tenant, customer, name):
    accepted = tenant.accepted("Hello", customer)
    before = tenant.wait_for_status(accepted["message_id"], "sent")
    call_made, events = tenant.account.wait_for_call("Hello"), tenant.events()
    answer = tenant.report_status(call_made, STATUSES[name])
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "text/xml"

    records = recorded(tenant)
    assert [(one["data"]["platform"], one["body"]) for one in records] == [("sms", None)]
    if STATUSES[name]:
        assert STATUSES[name] not in str(records), "the provider's words are sealed"
    # Twilio repeats a callback: it is the same one.
    assert tenant.report_status(call_made, STATUSES[name]).status_code == 200
    shown = recorded(tenant, "--bodies")
    assert [one["position"] for one in shown] == [one["position"] for one in records]
    assert status_in(shown[0]["body"]) == STATUSES[name]

    assert tenant.message(accepted["message_id"]) == before
    assert tenant.events() == events
    # And what is known is still believed afterwards.
    assert tenant.report_status(call_made, "delivered").status_code == 200
    tenant.wait_for_status(accepted["message_id"], "delivered")


def status_in(body):
    """MessageStatus in the provider's own bytes, as `replay --bodies` shows them."""
    return parse_qs(body["provider_bytes"], keep_blank_values=True, strict_parsing=True)["MessageStatus"][0]


# Who reads the checkpoint


@pytest.fixture(scope="module")
def public(make_gateway):
    return make_gateway("public", WAYBILL_AUDIT_PUBLIC_TILES="true").start()


def checkpoint(gateway, token=None):
    return call("GET", gateway.base_url + "/audit/v1/checkpoint", token)


def assert_checkpoint(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == "text/plain"
    origin, size, root = answer.text.split("\n")[:3]
    assert origin and int(size) >= 1 and len(base64.b64decode(root, validate=True)) == 32
    assert re.search(r"\n\n— \S+ \S+\n\Z", answer.text), "a signed note"


def test_checkpoint_needs_a_token_by_default(gateway):
    assert_problem(checkpoint(gateway), 401, code="unauthorized")
    assert_problem(checkpoint(gateway, "wb_aud_" + "A" * 43), 401, code="unauthorized")


def test_checkpoint_is_not_for_client_keys(gateway, tenant):
    assert_problem(checkpoint(gateway, tenant.key), 403, code="forbidden")


def test_checkpoint_is_for_auditors_and_operators(gateway):
    assert_checkpoint(checkpoint(gateway, gateway.create_token("auditor")["token"]))
    assert_checkpoint(checkpoint(gateway, gateway.operator))


def test_checkpoint_is_for_everybody_with_public_tiles(public):
    assert_checkpoint(checkpoint(public))
    assert_checkpoint(checkpoint(public, public.create_token("auditor")["token"]))


def test_public_tiles_open_nothing_else(public):
    for path in ("/admin/v1/clients", "/v1/webhook", "/v1/events"):
        assert_problem(call("GET", public.base_url + path), 401, code="unauthorized")


# When a silent connection ends


class Silent:
    """A connection that says `opening`, reads one answer if there is to be one, and then waits to be closed."""

    def __init__(self, port, opening=b"", answered=False):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if opening:
            self.socket.sendall(opening)
        if answered:
            assert self.socket.recv(65536).startswith(b"HTTP/1.1 200")
        self.quiet_since = time.monotonic()

    def closed_after(self):
        """Seconds of silence until the other side closed, or None when it did not within the bound."""
        self.socket.settimeout(max(0.1, self.quiet_since + IDLE_SECONDS + 15 - time.monotonic()))
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return None
        except ConnectionResetError:
            pass
        finally:
            self.socket.close()
        return time.monotonic() - self.quiet_since


@pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set")
def test_silent_connection_is_closed(gateway):
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    connections = {
        "nothing said": Silent(gateway.port),
        "half a request": Silent(gateway.port, request),
        "between requests": Silent(gateway.port, request + b"\r\n", answered=True),
    }
    with ThreadPoolExecutor(len(connections)) as pool:
        times = dict(zip(connections, pool.map(Silent.closed_after, connections.values())))
    expected = {"between requests": IDLE_SECONDS}
    for name, seconds in times.items():
        assert seconds is not None and abs(seconds - expected.get(name, HEADER_SECONDS)) < 5, times


# That a repeated SMS counts once


def assert_counted_once(tenant, endpoint, sids):
    """One event, one delivery, one message and one record for each of `sids`."""
    marker = "SM" + uuid.uuid4().hex
    assert tenant.inbound("marker", customer_number(), sid=marker).status_code == 200
    expected = sorted([*sids, marker])

    def platform_ids(events):
        return sorted(event["data"]["message"]["platform_message_id"] for event in events)

    wait_until(lambda: set(platform_ids([r.event for r in list(endpoint.requests)])) == set(expected), 10, "the webhooks")
    assert platform_ids(tenant.events()) == expected
    holds_for(lambda: platform_ids([r.event for r in list(endpoint.requests)]) == expected, 0.5, "one webhook each")
    conversations = tenant.all("/v1/conversations")
    messages = [m for one in conversations for m in tenant.all(f"/v1/conversations/{one['id']}/messages")]
    assert sorted(message["provider_message_id"] for message in messages) == expected
    wait_until(lambda: len(tenant.gateway.replay("--client", tenant.id, "--type", "message.received")) == len(expected),
               10, "a record of each")


def test_repeated_message_sid_is_answered_and_makes_one_event(tenant, endpoint, customer):
    sid = "SM" + uuid.uuid4().hex
    for text in ("Hello", "Hello", "another text"):
        assert tenant.inbound(text, customer, sid=sid).status_code == 200
    assert tenant.events()[0]["data"]["message"]["text"] == "Hello"
    assert_counted_once(tenant, endpoint, [sid])


def test_ten_repeats_at_once_make_one_event(tenant, endpoint):
    sids = ["SM" + uuid.uuid4().hex for _ in range(8)]
    for sid in sids:
        customer, together = customer_number(), threading.Barrier(10)

        def post(_):
            together.wait(10)
            return tenant.inbound("Hello", customer, sid=sid).status_code

        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(post, range(10))) == [200] * 10
    assert_counted_once(tenant, endpoint, sids)


def test_message_sid_repeated_after_a_crash_makes_no_second_event(make_gateway, twilio, receiver, customer):
    running = make_gateway("repeated").start()
    tenant, endpoint = Tenant(running, twilio.account()), receiver.endpoint()
    assert tenant.connect_sms().status_code == 200
    tenant.subscribe(endpoint)
    sid = "SM" + uuid.uuid4().hex
    assert tenant.inbound("Hello", customer, sid=sid).status_code == 200
    event = tenant.events()[0]
    tenant.wait_for_delivery(event["id"], "delivered")
    running.kill()
    running.start()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: tenant.inbound("Hello", customer, sid=sid), range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert_counted_once(tenant, endpoint, [sid])
    assert tenant.events()[0] == event
