"""What strangers do costs a few lines of the process log, no error, and never waits for whoever reads that log."""

import os
import re
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from support.fake_twilio import inbound_pairs
from support.gateway import binary, clean_environment
from support.http import call
from support.wait import wait_until

# With what can be a signature: the bodies of others are not read.
HEAD = b"POST /channels/meta HTTP/1.1\r\nHost: waybill\r\nX-Hub-Signature-256: sha256=" + b"0" * 64 + b"\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FOREIGN = "an SMS to a number that is not the client's was refused"


@pytest.fixture(scope="module")
def gateway(make_gateway):
    running = make_gateway(WAYBILL_META_APP_SECRETS="secret").start()
    yield running
    assert running.stop() == 0, running.log_tail()


def exchange(gateway, data, half_close=False):
    """All that comes back on a connection of its own."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    return answer


def failures(gateway):
    """Answers of 5xx, as the metrics count them."""
    lines = call("GET", gateway.base_url + "/metrics").text.splitlines()
    return sum(int(line.split()[-1]) for line in lines if 'class="5xx"' in line)


def errors(gateway):
    return [line for line in gateway.log_tail(1 << 20).splitlines() if " error " in line]


@pytest.mark.parametrize("data", [
    CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\nzz\r\n\r\n",
    CHUNKED + b"ffffffffffffffffff\r\nabc",
    CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: x\r\nContent-Length: 3\r\n\r\nabc",
], ids=["first chunk", "later chunk", "huge chunk", "negative chunk", "gzip", "gzip, chunked", "unknown"])
def test_malformed_framing_is_the_callers_fault(gateway, data):
    before = failures(gateway)
    assert exchange(gateway, data).startswith(b"HTTP/1.1 400 ")
    assert failures(gateway) == before
    assert errors(gateway) == []


@pytest.mark.parametrize("sent", [HEAD + b"Content-Length: 100\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n"],
                         ids=["length", "chunks"])
def test_an_upload_that_breaks_off_is_no_error(gateway, sent):
    before = failures(gateway)
    answer = exchange(gateway, sent, half_close=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
            connection.sendall(sent)
            # Closed with a reset, as by a phone that lost its network.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    wait_until(lambda: call("GET", gateway.base_url + "/readyz").status_code == 200, 5)
    assert failures(gateway) == before
    assert errors(gateway) == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE])
def test_a_signal_that_means_nothing_does_nothing(gateway, number):
    gateway.process.send_signal(number)
    assert call("GET", gateway.base_url + "/readyz").status_code == 200
    assert gateway.process.poll() is None


class Unread:
    """A gateway whose standard error is a pipe; nobody reads it before `read`."""

    def __init__(self, gateway):
        self.gateway = gateway
        command = [binary(), "serve", "--data", gateway.data, "--listen", f"127.0.0.1:{gateway.port}"]
        self.reader, writer = os.pipe()
        self.process = gateway.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer, cwd=gateway.directory,
            env=clean_environment(gateway.settings),
        )
        # The pipe is full from the start: the first line of the log already finds no room.
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b"." * 4095 + b"\n")
        except BlockingIOError:
            pass
        # The flag belongs to the pipe's end, which the gateway shares.
        os.set_blocking(writer, True)
        os.close(writer)

    def close(self):
        os.close(self.reader)


@pytest.fixture
def unread(make_gateway):
    one = Unread(make_gateway("unread"))
    yield one
    one.gateway.kill()
    one.close()


def foreign(tenant, number):
    """An SMS to a number that is not the client's: a line of the log each."""
    pairs = inbound_pairs(tenant.account.sid, "+14155550123", "+14155559999", f"n {number}", f"SM{number:032x}")
    return tenant.post_inbound(pairs)


def test_nobody_waits_for_the_reader_of_the_log(unread, make_tenant):
    gateway = unread.gateway
    wait_until(gateway._is_ready, 20, "readyz")
    tenant = make_tenant(on=gateway)
    with ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(foreign, tenant, number) for number in range(12)]
        done, waiting = wait(answers, 10)
        if waiting:
            # Whoever waits for an answer gets one by this.
            unread.gateway.kill()
    assert not waiting, f"{len(waiting)} of {len(answers)} requests wait for a line to be written"
    assert {one.result().status_code for one in done} == {200}
    assert call("GET", gateway.base_url + "/readyz", timeout=5).status_code == 200
    # Nobody reads the last line either, and the process ends.
    assert gateway.stop() == 0


def test_a_flood_is_a_few_lines_and_a_count(make_gateway, make_tenant):
    gateway = make_gateway("flood").start()
    tenant = make_tenant(on=gateway)
    for number in range(60):
        assert foreign(tenant, number).status_code == 200
    assert gateway.stop() == 0
    lines = [line for line in gateway.log_tail(1 << 20).splitlines() if FOREIGN in line]
    told = [re.search(r"and (\d+) more like it", line) for line in lines]
    counts = [int(found.group(1)) for found in told if found]
    written = len(lines) - len(counts)
    assert 1 <= written < 20, lines
    assert written + sum(counts) == 60, lines
