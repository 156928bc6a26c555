"""Signatures of outgoing webhooks, checked with the Standard Webhooks library and by hand, also while rotating."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from support.wait import wait_until

SKEW_SECONDS = 60


@pytest.fixture
def endpoint(tenant, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    return endpoint


def own_signature(request, header="x-chatgenius-signature"):
    """The time and the list of hex digests of `t=…,v1=…[,v1=…]`."""
    parts = [part.partition("=")[::2] for part in request.headers[header].split(",")]
    assert parts[0][0] == "t" and {name for name, _ in parts[1:]} == {"v1"}, request.headers[header]
    return parts[0][1], [value for _, value in parts[1:]]


def expected_digest(secret, moment, body):
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return hmac.new(key, moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def verifies_own(secret, request, header="x-chatgenius-signature"):
    moment, digests = own_signature(request, header)
    assert abs(time.time() - int(moment)) < SKEW_SECONDS
    return expected_digest(secret, moment, request.body) in digests


def verifies_standard(secret, request):
    try:
        return Webhook(secret).verify(request.body, request.headers) == request.event
    except WebhookVerificationError:
        return False


def verifies(secret, request):
    """Both headers must say the same of one secret."""
    own, standard = verifies_own(secret, request), verifies_standard(secret, request)
    assert own == standard, f"the two signatures disagree: {request.headers}"
    return own


def signature_counts(request):
    return len(own_signature(request)[1]), len(request.headers["webhook-signature"].split(" "))


def rotate(tenant, overlap_seconds):
    answer = tenant.post("/v1/webhook/secret/rotate", {"overlap_seconds": overlap_seconds})
    assert answer.status_code == 200, answer.text
    # Named as at creation.
    secret = answer.json()["webhook_secret"]
    assert secret != tenant.secret
    return secret


def next_request(tenant, endpoint, customer):
    before = len(endpoint.requests)
    assert tenant.inbound("Hello", customer).status_code == 200
    return endpoint.wait_for(before + 1)[before]


def test_secret_is_whsec_with_32_bytes(tenant):
    assert tenant.secret.startswith("whsec_")
    assert len(base64.b64decode(tenant.secret.removeprefix("whsec_"), validate=True)) == 32


def test_both_signatures_verify(tenant, endpoint, customer):
    request = next_request(tenant, endpoint, customer)
    assert verifies(tenant.secret, request)
    assert signature_counts(request) == (1, 1)
    assert request.headers["webhook-id"] == request.event["id"]
    assert abs(time.time() - int(request.headers["webhook-timestamp"])) < SKEW_SECONDS


def test_signatures_cover_the_body_the_id_and_the_time(tenant, endpoint, customer):
    request = next_request(tenant, endpoint, customer)
    moment, digests = own_signature(request)
    assert expected_digest(tenant.secret, moment, request.body + b" ") not in digests
    assert expected_digest(tenant.secret, str(int(moment) + 1), request.body) not in digests
    for name, value in [("webhook-id", "evt_other"), ("webhook-timestamp", str(int(moment) - 1))]:
        with pytest.raises(WebhookVerificationError):
            Webhook(tenant.secret).verify(request.body, request.headers | {name: value})


def test_another_clients_secret_does_not_verify(make_tenant, tenant, endpoint, customer):
    assert not verifies(make_tenant().secret, next_request(tenant, endpoint, customer))


def test_every_attempt_has_the_same_bytes_and_verifies(tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[500, 500])
    tenant.subscribe(endpoint)
    tenant.inbound("Grüße ☕", customer)
    attempts = endpoint.wait_for(3)
    assert [request.headers["x-chatgenius-attempt"] for request in attempts] == ["1", "2", "3"]
    assert len({request.body for request in attempts}) == 1
    assert len({request.headers["webhook-id"] for request in attempts}) == 1
    assert all(verifies(tenant.secret, request) for request in attempts)
    # Each attempt is signed anew: the first one's time would be stale after the default schedule's hours.
    times = [int(request.headers["webhook-timestamp"]) for request in attempts]
    assert times[0] < times[1] < times[2]


def test_rotation_with_overlap_signs_with_both(tenant, endpoint, customer):
    new = rotate(tenant, 3600)
    request = next_request(tenant, endpoint, customer)
    assert signature_counts(request) == (2, 2)
    assert verifies(tenant.secret, request)
    assert verifies(new, request)


def test_overlap_of_zero_ends_the_old_secret_at_once(tenant, endpoint, customer):
    new = rotate(tenant, 0)
    request = next_request(tenant, endpoint, customer)
    assert signature_counts(request) == (1, 1)
    assert verifies(new, request)
    assert not verifies(tenant.secret, request)


def test_overlap_ends_when_its_time_is_over(tenant, endpoint, customer):
    new = rotate(tenant, 1)
    time_out = time.monotonic() + 1

    def signed_once():
        request = next_request(tenant, endpoint, customer)
        assert verifies(new, request)
        return request if signature_counts(request) == (1, 1) else None

    request = wait_until(signed_once, 10, "the old secret to end")
    assert time.monotonic() >= time_out - 0.1, "the old secret ended before its overlap"
    assert not verifies(tenant.secret, request)


def test_retry_after_rotation_is_signed_with_the_new_secret(tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[500])
    tenant.subscribe(endpoint)
    tenant.inbound("Hello", customer)
    first = endpoint.wait_for(1)[0]
    new = rotate(tenant, 0)
    second = endpoint.wait_for(2)[1]
    assert verifies(tenant.secret, first)
    assert verifies(new, second) and not verifies(tenant.secret, second)


def test_attempts_name_the_secret_and_do_not_show_it(tenant, endpoint, customer):
    before = next_request(tenant, endpoint, customer)
    new = rotate(tenant, 0)
    after = next_request(tenant, endpoint, customer)
    deliveries = [tenant.wait_for_delivery(request.event["id"], "delivered") for request in (before, after)]
    names = [delivery["attempts"][0]["secret_id"] for delivery in deliveries]
    assert all(names) and names[0] != names[1]
    shown = json.dumps(deliveries)
    assert tenant.secret not in shown and new not in shown


def test_secret_is_shown_only_when_made(tenant, endpoint):
    new = rotate(tenant, 3600)
    text = tenant.get("/v1/webhook").text
    assert tenant.secret not in text and new not in text
    shown = tenant.gateway.admin("GET", f"/clients/{tenant.id}").text
    for secret in (tenant.secret, new, tenant.key, tenant.account.auth_token):
        assert secret not in shown


def test_test_event_is_signed_and_answers_what_the_endpoint_said(tenant, endpoint):
    answer = tenant.post("/v1/webhook/test")
    assert answer.status_code == 200, answer.text
    # "Answers what the endpoint said": assumed `status`, as in an attempt.
    assert answer.json()["status"] == 200, answer.text
    request = endpoint.wait_for(1)[0]
    assert request.event["type"] == "webhook.test"
    assert request.headers["x-chatgenius-event"] == "webhook.test"
    assert verifies(tenant.secret, request)


def test_test_event_reports_a_failing_endpoint(tenant, receiver):
    endpoint = receiver.endpoint(default=418)
    tenant.subscribe(endpoint)
    answer = tenant.post("/v1/webhook/test")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == 418, answer.text


def test_headers_of_the_client_are_sent(tenant, receiver, customer):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint, headers={"X-Environment": "interop"})
    request = next_request(tenant, endpoint, customer)
    assert request.headers["x-environment"] == "interop"
    assert verifies(tenant.secret, request)


def test_header_prefix_is_a_setting(make_gateway, make_tenant, receiver, customer):
    tenant = make_tenant(on=make_gateway("prefix", WAYBILL_WEBHOOKS_HEADER_PREFIX="Acme").start())
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    request = next_request(tenant, endpoint, customer)
    assert verifies_own(tenant.secret, request, "x-acme-signature")
    assert request.headers["x-acme-event"] == "sms.message_received"
    assert request.headers["x-acme-attempt"] == "1"
    assert not [name for name in request.headers if name.startswith("x-chatgenius")]
