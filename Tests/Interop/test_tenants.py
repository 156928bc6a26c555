"""What one client's requests may cost the others, and what ends a request that waits."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from support.http import call
from support.problems import assert_problem
from support.tenant import customer_number, unique
from support.wait import wait_until

# Far more than an answer takes once the key has ended, and far less than a poll waits that nothing ends.
POLL_SECONDS = 20


@pytest.mark.parametrize("overlap", [0, 1])
def test_long_poll_ends_with_its_key(tenant, overlap):
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        polled = pool.submit(tenant.get, f"/v1/events?after=0&wait={POLL_SECONDS}", token=tenant.key)
        time.sleep(0.3)  # The poll is let in meanwhile.
        new = tenant.post("/v1/api-key/rotate", {"overlap_seconds": overlap}).json()["api_key"]
        assert_problem(polled.result(), 401)
        assert time.monotonic() - started < POLL_SECONDS / 2
    # The key that follows it polls on.
    assert tenant.get("/v1/events?after=0", token=new).status_code == 200


def test_more_than_the_rate_is_told_when_to_come_again(make_gateway, make_tenant):
    gateway = make_gateway("rates", WAYBILL_LIMITS_READS_PER_SECOND="1", WAYBILL_LIMITS_SENDS_PER_SECOND="1").start()
    busy, other = make_tenant(on=gateway), make_tenant(on=gateway)
    answers = []
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(2100):
            answers.append(session.get(gateway.base_url + "/v1/usage", headers={"Authorization": f"Bearer {busy.key}"}))
            if answers[-1].status_code != 200:
                break
    first, last = answers[0], answers[-1]
    assert first.headers["RateLimit-Policy"] == '"reads";q=2000;w=2000'
    assert re.fullmatch(r'"reads";r=\d+;t=\d+', first.headers["RateLimit"])
    assert_problem(last, 429, "rate_limited")
    assert int(last.headers["Retry-After"]) >= 1 and last.headers["RateLimit"].startswith('"reads";r=0;t=')
    # Sends have a bucket of their own, and so has everybody else.
    sent = busy.accepted(unique("text"), customer_number())
    assert sent["status"] == "queued"
    assert other.get("/v1/usage").status_code == 200
    assert gateway.stop() == 0
    assert not any(line["type"].startswith("request") for line in gateway.replay()), "nothing of it is on record"


def test_pages_end_at_a_size(tenant, receiver):
    customer = customer_number()
    text = "All of it is shown. " * 3000
    for number in range(40):
        assert tenant.inbound(f"{number} {text}", customer).status_code == 200
    (conversation,) = tenant.all("/v1/conversations")
    path = f"/v1/conversations/{conversation['id']}/messages"
    page = tenant.read(f"{path}?limit=200")
    assert 1 <= len(page["data"]) < 40 and page["next_cursor"]
    assert len(json.dumps(page)) < 2 << 20
    shown = tenant.all(path)
    assert [one["text"].split()[0] for one in shown] == [str(number) for number in reversed(range(40))] or \
        [one["text"].split()[0] for one in shown] == [str(number) for number in range(40)]
    pulled = tenant.read("/v1/events?limit=200")
    assert 1 <= len(pulled["data"]) < 40 and pulled["next_after"] == len(pulled["data"])
    assert [event["sequence"] for event in tenant.events()] == list(range(1, 41))


def test_many_lists_at_once_keep_nobody_out(tenant, make_tenant):
    other, customer = make_tenant(), customer_number()
    for number in range(60):
        assert tenant.inbound(f"{number}", customer_number()).status_code == 200
    with ThreadPoolExecutor(64) as pool:
        lists = [pool.submit(tenant.get, "/v1/conversations?limit=200") for _ in range(200)]
        sent = other.accepted(unique("meanwhile"), customer)
        other.wait_for_status(sent["message_id"], "sent")
        assert {one.result().status_code for one in lists} <= {200, 503}
        assert sum(one.result().status_code == 200 for one in lists) >= 150


def test_walks_of_long_lists_find_everything(tenant):
    """A list is walked in steps; what a filter leaves out over many of them ends no page early."""
    numbers = [customer_number() for _ in range(3)]
    for number in numbers:
        assert tenant.inbound("of whom I ask", number).status_code == 200
    for _ in range(1200):
        assert tenant.inbound("of whom nobody asks", customer_number()).status_code == 200
    (found,) = tenant.read(f"/v1/conversations?phone=%2B{numbers[0][1:]}")["data"]
    assert found["customer"]["phone"] == numbers[0]
    assert len(tenant.all("/v1/conversations")) == 1203


def anonymous_bytes(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:"))


def half_sent(gateway, source, length, sent):
    """A connection with `sent` bytes of a body of `length` under what has the form of Meta's signature."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=10, source_address=(source, 0))
    head = f"POST /channels/meta HTTP/1.1\r\nHost: waybill\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\n"
    try:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + bytes(sent))
    except OSError:
        pass  # Refused and closed before it had sent all.
    return connection


def metric(gateway, name):
    lines = call("GET", gateway.base_url + "/metrics").text.splitlines()
    return next((int(line.split()[-1]) for line in lines if line.startswith(name + " ")), 0)


def test_bodies_of_strangers_take_bounded_memory(make_gateway, make_tenant):
    gateway = make_gateway("strangers", WAYBILL_META_APP_SECRETS="app-secret-of-a-test").start()
    tenant = make_tenant(on=gateway)
    assert tenant.inbound("before", "+14155550123").status_code == 200
    before = anonymous_bytes(gateway)
    refused = 'waybill_requests_refused_total{reason="memory"}'
    with ThreadPoolExecutor(8) as pool:
        sources = [f"127.0.0.{2 + number % 8}" for number in range(80)]
        connections = list(pool.map(lambda source: half_sent(gateway, source, 3900 << 10, 3899 << 10), sources))
    try:
        assert tenant.inbound("meanwhile", "+14155550123").status_code == 200
        assert anonymous_bytes(gateway) - before < 200 << 20
        assert metric(gateway, refused) > 0
        assert 0 < metric(gateway, "waybill_request_memory_bytes") <= 128 << 20
        with half_sent(gateway, "127.0.0.2", 3900 << 10, 1000) as one:
            answer = one.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 503 ") and "retry-after: 2" in answer.lower()
    finally:
        for connection in connections:
            connection.close()
    # What they held is everybody's again.
    wait_until(lambda: metric(gateway, "waybill_request_memory_bytes") == 0, 10)
    assert gateway.stop() == 0, gateway.log_tail()
