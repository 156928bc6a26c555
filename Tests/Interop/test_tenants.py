"""What one client's requests may cost the others, and what ends a request that waits."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from support.problems import assert_problem
from support.tenant import customer_number, unique

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
