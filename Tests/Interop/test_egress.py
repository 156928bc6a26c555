"""Where the gateway connects to: no private address that was not allowed, no proxy from the environment."""

import pytest

from support.gateway import free_port
from support.problems import REFUSED, assert_problem
from support.tenant import customer_number
from support.wait import wait_until

# Every one of these reaches 127.0.0.1 when it is simply connected to.
PRIVATE_HOSTS = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "0x7f.1"]


@pytest.fixture(scope="module")
def guarded(make_gateway):
    """Plain http is allowed here, networks are not."""
    return make_gateway("guarded", WAYBILL_WEBHOOKS_ALLOW_CIDRS=None).start()


@pytest.mark.parametrize("host", PRIVATE_HOSTS)
def test_private_address_is_never_connected_to(guarded, make_tenant, receiver, host):
    tenant, endpoint = make_tenant(on=guarded), receiver.endpoint()
    url = endpoint.url.replace("127.0.0.1", host)
    answer = tenant.put("/v1/webhook", {"url": url, "enabled": True, "retry_schedule": [1]})
    if answer.status_code != 200:
        # Refusing what can be seen to be private when it is set is as good as refusing to connect.
        assert_problem(answer, REFUSED, field="url")
        return
    tenant.inbound("Hello", customer_number())
    letter = tenant.wait_for_dead_letters(1)[0]
    attempts = tenant.read(f"/v1/deliveries/{letter['id']}")["attempts"]
    assert attempts and all(attempt["status"] is None and attempt["error"] for attempt in attempts)
    tenant.post("/v1/webhook/test")
    assert endpoint.requests == []


def test_plain_http_needs_to_be_allowed(make_gateway, make_tenant, receiver):
    strict = make_gateway("strict", WAYBILL_WEBHOOKS_ALLOW_HTTP=None).start()
    tenant = make_tenant(on=strict)
    assert_problem(tenant.put("/v1/webhook", {"url": receiver.endpoint().url, "enabled": True}), REFUSED, field="url")


def test_proxy_from_the_environment_is_not_used(make_gateway, make_tenant, receiver):
    nowhere = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    running = make_gateway("proxy", **dict.fromkeys(names, nowhere), no_proxy=None, NO_PROXY=None).start()
    tenant, endpoint, customer = make_tenant(on=running), receiver.endpoint(), customer_number()
    tenant.subscribe(endpoint)
    tenant.inbound("Hello", customer)
    endpoint.wait_for(1)
    message_id = tenant.accepted("Hello back", customer)["message_id"]
    tenant.wait_for_status(message_id, "sent")


def test_client_header_cannot_replace_ours(make_gateway, make_tenant, receiver):
    running = make_gateway("headers").start()
    tenant, endpoint = make_tenant(on=running), receiver.endpoint()
    forged = {"webhook-signature": "v1,forged", "Content-Length": "1", "Host": "elsewhere.test"}
    answer = tenant.put("/v1/webhook", {"url": endpoint.url, "enabled": True, "headers": forged})
    if answer.status_code != 200:
        assert_problem(answer, REFUSED)
        return
    tenant.inbound("Hello", customer_number())
    request = wait_until(lambda: list(endpoint.requests), 10, "the webhook")[0]
    assert "forged" not in request.headers["webhook-signature"]
    assert request.headers["host"] == endpoint.url.split("/")[2]
    assert len(request.body) > 1
