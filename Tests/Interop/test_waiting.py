"""Requests that wait: what they cost, what wakes them, and what ends them."""

import os
import re
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.http import call
from support.wait import wait_until

# Far longer than any of these tests takes.
WAIT_SECONDS = 30
# Of processor time in two seconds for 500 requests that wait: less than a sixth of what looking every 20 ms costs.
IDLE_CPU_SECONDS = 0.3


@pytest.fixture(scope="module")
def host(make_gateway):
    running = make_gateway(WAYBILL_LIMITS_CONNECTIONS_PER_ADDRESS="2000").start()
    yield running
    assert running.stop() == 0, running.log_tail()


def waiting(gateway):
    text = call("GET", gateway.base_url + "/metrics").text
    return int(re.search(r"^waybill_waiting_requests (\d+)$", text, re.MULTILINE).group(1))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Polls:
    """Long polls of one client, each on a connection of its own."""

    def __init__(self, tenant, count):
        request = (f"GET /v1/events?after=0&wait={WAIT_SECONDS} HTTP/1.1\r\nHost: waybill\r\n"
                   f"Authorization: Bearer {tenant.key}\r\n\r\n").encode()
        self.sockets = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", tenant.gateway.port), 10)
            connection.settimeout(10)
            connection.sendall(request)
            self.sockets.append(connection)

    def answered(self):
        """Those that have an answer, or were closed."""
        poller = select.poll()
        for connection in self.sockets:
            poller.register(connection, select.POLLIN)
        return len(poller.poll(0))

    def first_lines(self):
        lines = []
        for connection in self.sockets:
            lines.append(connection.recv(65536).split(b"\r\n", 1)[0])
        return set(lines)

    def close(self):
        for connection in self.sockets:
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def test_waiting_costs_nothing_and_ends_with_the_caller(host, make_tenant):
    tenant = make_tenant(on=host, sms=False)
    with Polls(tenant, 200), Polls(tenant, 300) as abandoned:
        wait_until(lambda: waiting(host) == 500, 10, "500 requests that wait")
        before = cpu_seconds(host.process.pid)
        for _ in range(4):
            time.sleep(0.5)
        assert cpu_seconds(host.process.pid) - before < IDLE_CPU_SECONDS
        abandoned.close()
        wait_until(lambda: waiting(host) == 200, 10, "the others alone", exactly=True)
    wait_until(lambda: waiting(host) == 0, 10, "nobody", exactly=True)


def test_who_sends_nothing_more_has_left(host, make_tenant):
    with Polls(make_tenant(on=host, sms=False), 1) as polls:
        wait_until(lambda: waiting(host) == 1, 10, "a request that waits")
        polls.sockets[0].shutdown(socket.SHUT_WR)
        assert polls.first_lines() == {b"HTTP/1.1 200 OK"}
        wait_until(lambda: waiting(host) == 0, 10, "nobody", exactly=True)


def test_an_event_wakes_its_client_alone(host, make_tenant, customer):
    tenant, other = make_tenant(on=host), make_tenant(on=host, sms=False)
    with Polls(tenant, 20) as woken, Polls(other, 20) as asleep:
        wait_until(lambda: waiting(host) == 40, 10, "40 requests that wait")
        assert tenant.inbound("Hello", customer).status_code == 200
        assert woken.first_lines() == {b"HTTP/1.1 200 OK"}
        wait_until(lambda: waiting(host) == 20, 10, "those of the other client")
        assert asleep.answered() == 0


def test_a_revoked_key_ends_its_polls(host, make_tenant):
    tenant, other = make_tenant(on=host, sms=False), make_tenant(on=host, sms=False)
    with Polls(tenant, 20) as ended, Polls(other, 5) as asleep:
        wait_until(lambda: waiting(host) == 25, 10, "25 requests that wait")
        tenant.post("/v1/api-key/rotate", {"overlap_seconds": 0})
        assert ended.first_lines() == {b"HTTP/1.1 401 Unauthorized"}
        wait_until(lambda: waiting(host) == 5, 10, "those of the other client")
        assert asleep.answered() == 0


def test_a_stop_answers_who_waits(make_gateway, make_tenant):
    running = make_gateway("stopped").start()
    with Polls(make_tenant(on=running, sms=False), 20) as polls, ThreadPoolExecutor(1) as pool:
        wait_until(lambda: waiting(running) == 20, 10, "20 requests that wait")
        stopped = pool.submit(running.stop)
        assert polls.first_lines() == {b"HTTP/1.1 200 OK"}
        assert stopped.result() == 0
