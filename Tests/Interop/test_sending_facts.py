"""What connections, status lines and providers' codes say, and what Waybill makes of it."""

import socket
import struct
import threading
import time
from email.utils import formatdate

import pytest

from support.fake_twilio import BARE_500, error
from support.problems import assert_problem
from support.tenant import customer_number
from support.wait import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class RawEndpoint:
    """An endpoint that writes given bytes to each request; then it resets the connection, or leaves it open."""

    def __init__(self, answer=OK, resets=True):
        self.answer, self.resets, self.requests, self.reset_count = answer, resets, 0, 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/hook"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(30)
            if not self._reads_request(connection):
                return
            self.requests += 1
            connection.sendall(self.answer)
            if not self.resets:
                connection.recv(1)
                return
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.reset_count += 1

    @staticmethod
    def _reads_request(connection):
        data, missing = b"", 1
        while missing > 0:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
            head, end, body = data.partition(b"\r\n\r\n")
            lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            missing = lengths[0] - len(body) if end else 1
        return True

    def close(self):
        self._server.close()


@pytest.fixture
def raw_endpoint():
    made = []

    def make(*args, **kwargs):
        made.append(RawEndpoint(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


def attempts(tenant):
    return [tenant.read(f"/v1/deliveries/{one['id']}") for one in tenant.all("/v1/deliveries")]


def test_reset_idle_connections_cost_no_attempt(tenant, raw_endpoint, customer):
    endpoint = raw_endpoint()
    tenant.subscribe(endpoint, retry_schedule=[30])
    for number in range(1, 4):
        tenant.inbound(f"message {number}", customer)
        wait_until(lambda: endpoint.reset_count == number, 5, f"request {number}")
    found = wait_until(
        lambda: (lambda all: all if all and {one["state"] for one in all} == {"delivered"} else None)(attempts(tenant)),
        5, "all deliveries")
    assert [len(one["attempts"]) for one in found] == [1, 1, 1]
    assert endpoint.requests == 3


@pytest.mark.parametrize("answer, state, resets", [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut", "delivered", True),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nnever ends", "delivered", False),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n", "delivered", True),
    (b"HTTP/1.1 410 Gone\r\nContent-Length: 50\r\n\r\ncut", "dead", True),
], ids=["cut", "endless", "badly chunked", "gone"])
def test_the_status_line_decides(tenant, raw_endpoint, customer, answer, state, resets):
    tenant.subscribe(raw_endpoint(answer, resets))
    tenant.inbound("Hello", customer)
    event = wait_until(tenant.events, 5, "the event")[0]
    delivery = tenant.wait_for_delivery(event["id"], state, seconds=8)
    assert [one["status"] for one in delivery["attempts"]] == [int(answer[9:12])]


def test_retry_after_as_a_date(tenant, receiver, customer):
    endpoint = receiver.endpoint(script=[(503, {"Retry-After": formatdate(time.time() + 3600, usegmt=True)})])
    tenant.subscribe(endpoint)
    tenant.inbound("Hello", customer)
    endpoint.wait_for(1)

    def next_attempt():
        return [one["next_attempt_at"] for found in attempts(tenant) for one in found["attempts"] if one["next_attempt_at"]]

    assert wait_until(next_attempt, 5, "the attempt's outcome")[0] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3500))


@pytest.mark.parametrize("by_answer", [True, False], ids=["answer", "callback"])
def test_21610_opts_out_until_start(tenant, customer, by_answer):
    if by_answer:
        tenant.account.script = [error(400, 21610)]
    message = tenant.accepted("stopped", customer)["message_id"]
    if not by_answer:
        tenant.wait_for_status(message, "sent")
        tenant.report_status(tenant.account.wait_for_call("stopped"), "undelivered", ErrorCode="21610")
    tenant.wait_for_status(message, "failed")
    assert_problem(tenant.send("again", customer), 410, code="recipient_opted_out")
    tenant.accepted("somebody else", customer_number())
    tenant.inbound("START", customer)
    tenant.accepted("welcome back", customer)


def test_reachability_is_shown_until_the_customer_writes(tenant, customer):
    accepted = tenant.accepted("anybody there", customer)
    conversation = f"/v1/conversations/{accepted['conversation_id']}"
    assert tenant.read(conversation)["reachability"] is None
    tenant.wait_for_status(accepted["message_id"], "sent")
    tenant.report_status(tenant.account.wait_for_call("anybody there"), "undelivered", ErrorCode="30005")
    tenant.wait_for_status(accepted["message_id"], "failed")
    known = tenant.read(conversation)["reachability"]
    assert (known["code"], known["reason"], known["message_id"]) == ("30005", "unknown_number", accepted["message_id"])
    tenant.inbound("Here I am", customer)
    wait_until(lambda: tenant.read(conversation)["reachability"] is None, 5, "reachable again")


def test_callback_tells_the_providers_id(tenant, customer):
    tenant.account.script = [BARE_500]
    message = tenant.accepted("perhaps", customer)["message_id"]
    unknown = tenant.wait_for_status(message, "outcome_unknown")
    assert unknown["provider_message_id"] is None
    assert unknown["status_history"][-1]["http_status"] == 500
    sid = "SM" + "d" * 32
    tenant.report_status(tenant.account.wait_for_call("perhaps"), "delivered", sid=sid)
    assert tenant.wait_for_status(message, "delivered")["provider_message_id"] == sid
    tenant.post(f"/v1/messages/{message}/purge")
    assert tenant.message(message)["provider_message_id"] is None
