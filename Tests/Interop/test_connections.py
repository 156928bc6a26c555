"""Connections of strangers: how many there may be, how long a request may take, and that a stop waits for nobody."""

import contextlib
import os
import re
import resource
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.gateway import Gateway, binary, clean_environment, free_port
from support.http import call
from support.wait import wait_until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Limited(Gateway):
    """A gateway whose process may have `descriptors` open."""

    def __init__(self, directory, descriptors, **settings):
        super().__init__(directory, **settings)
        self.descriptors = descriptors

    def spawn(self, *arguments, port=None):
        command = [binary(), "serve", "--data", self.data, "--listen", f"127.0.0.1:{port or self.port}", *arguments]
        limit = (self.descriptors, self.descriptors)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.directory,
                env=clean_environment(self.settings),
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
            )


@contextlib.contextmanager
def limited(directory, descriptors, **settings):
    one = Limited(directory, descriptors, **settings)
    try:
        yield one.start()
    finally:
        one.kill()


def connect(port, said=b"", timeout=10, **options):
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout, **options)
    if said:
        connection.sendall(said)
    return connection


def rest(connection, seconds=10):
    """What comes up to the end of the connection; None where it does not end in time."""
    connection.settimeout(seconds)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except TimeoutError:
        return None
    except ConnectionError:
        pass
    return b"".join(parts)


def is_open(connection):
    connection.setblocking(False)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def metric(gateway, name):
    text = call("GET", gateway.base_url + "/metrics").text
    found = re.search(rf"^{re.escape(name)} (\d+)$", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


# How many


def test_400_strangers_at_256_descriptors(tmp_path):
    """They cannot keep the gateway from answering, from recording, or from beginning a segment."""
    settings = {"WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20), "WAYBILL_LIMITS_CONNECTIONS_PER_ADDRESS": "1000"}
    with limited(tmp_path, 256, **settings) as gateway:
        created = gateway.admin("POST", "/clients", {"name": "one", "plan": "professional"})
        assert created.status_code in (200, 201), created.text
        key, files = created.json()["api_key"], log_files(gateway)
        strangers = [connect(gateway.port) for _ in range(400)]
        for number in range(150):
            answer = call("PATCH", gateway.base_url + "/v1/settings", key,
                          json={"ai": {"prompt": f"{number} " + os.urandom(8_000).hex()[:16_000]}})
            assert answer.status_code == 200, answer.text
            strangers += [connect(gateway.port) for _ in range(2)]
        assert log_files(gateway) > files, "segments were begun"
        assert call("GET", gateway.base_url + "/readyz").status_code == 200
        assert 0 < metric(gateway, "waybill_connections") < 150
        assert metric(gateway, 'waybill_connections_closed_total{reason="oldest_idle"}') > 100
        assert not is_open(strangers[0]), "the oldest go first"
        assert is_open(strangers[-1])
        assert gateway.stop() == 0, gateway.log_tail()
        assert gateway.verify().returncode == 0


def log_files(gateway):
    return sum(path.is_file() for path in gateway.data.rglob("*"))


def test_too_few_descriptors_are_refused(tmp_path):
    one = Limited(tmp_path, 100)
    process = one.spawn()
    try:
        assert process.wait(20) not in (0, -4, -6, -11)
    finally:
        process.kill()
        process.wait()
    assert "open descriptors" in one.log_tail()


def test_limits_hold_by_address_and_a_proxy_is_exempt(make_gateway, make_tenant):
    gateway = make_gateway("few", WAYBILL_LIMITS_CONNECTIONS_PER_ADDRESS="4",
                           WAYBILL_LIMITS_TRUSTED_PROXIES="127.0.0.9/32").start()
    tenant = make_tenant(on=gateway, sms=False)
    other = connect(gateway.port, source_address=("127.0.0.8", 0))
    proxied = [connect(gateway.port, source_address=("127.0.0.9", 0)) for _ in range(8)]
    mine = [connect(gateway.port) for _ in range(4)]
    fifth = connect(gateway.port)
    # Those that come within a moment of each other may be taken in in another order.
    wait_until(lambda: not all(map(is_open, mine)), 5, "an older one of the address to be closed")
    mine = [*filter(is_open, mine), fifth]
    assert len(mine) == 4
    assert all(map(is_open, [*mine, other, *proxied]))
    # All four wait for an answer: there is nobody to close for another one.
    for connection in mine:
        connection.setblocking(True)
        connection.sendall(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                           + f"Authorization: Bearer {tenant.key}\r\nContent-Length: 9\r\n\r\n".encode())
    time.sleep(0.3)
    assert rest(connect(gateway.port), 5) == b"", "refused"
    assert all(map(is_open, [*mine, other, *proxied]))
    for connection in mine:
        connection.close()
    assert gateway.stop() == 0


# How long


def test_refused_body_is_not_read_for_ever(gateway):
    connection = connect(gateway.port, b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483648\r\n\r\n")
    connection.settimeout(10)
    block, sent, begun = b"x" * (1 << 20), 0, time.monotonic()
    with contextlib.suppress(OSError):
        while sent < 256 << 20:
            connection.sendall(block)
            sent += len(block)
    assert sent < 64 << 20 and time.monotonic() - begun < 8


def test_refusal_of_a_large_body_closes(gateway):
    connection = connect(gateway.port, b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\nabc")
    begun = time.monotonic()
    answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 401 ") and b"connection: close" in answer.lower()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("request_text", [
    "GET /healthz HTTP/1.0\r\n\r\n", "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: CLOSE\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: te, close\r\n\r\n",
], ids=["1.0", "1.0 kept", "CLOSE", "list"])
def test_who_wants_the_end_gets_it(gateway, request_text):
    begun = time.monotonic()
    answer = rest(connect(gateway.port, request_text.encode()), 8)
    assert answer is not None and b" 200 " in answer.split(b"\r\n")[0]
    assert b"connection: close" in answer.lower() and time.monotonic() - begun < 5


def test_connection_is_kept_otherwise(gateway):
    connection = connect(gateway.port)
    for _ in range(3):
        connection.sendall(GET)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_expectations(gateway, tenant):
    head = (f"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            f"Authorization: Bearer {tenant.key}\r\nExpect: ")
    connection = connect(gateway.port, f"{head}100-continue\r\n\r\n".encode())
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    # Whoever is refused need not send.
    strange = head.replace(tenant.key, "wb_live_nonsense") + "100-continue\r\n\r\n"
    answer = rest(connect(gateway.port, strange.encode()))
    assert answer.startswith(b"HTTP/1.1 401 ") and b"connection: close" in answer.lower()
    answer = rest(connect(gateway.port, f"{head}a-pony\r\nConnection: close\r\n\r\n{{}}".encode()))
    assert answer.startswith(b"HTTP/1.1 417 ") and b'"expectation_failed"' in answer


# TLS


@pytest.fixture(scope="module")
def secured(make_gateway, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", directory / "key.pem", "-out", directory / "certificate.pem"],
        check=True, capture_output=True)
    gateway = make_gateway("tls", WAYBILL_TLS_CERTIFICATE=str(directory / "certificate.pem"),
                           WAYBILL_TLS_KEY=str(directory / "key.pem"))
    gateway.process = gateway.spawn()
    wait_until(lambda: handshake(gateway.port), 30, "the gateway to serve TLS")
    yield gateway
    assert gateway.stop() == 0, gateway.log_tail()


def handshake(port, configure=lambda context: None, protocols=None):
    """What was agreed on: version and cipher; None where nothing was."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    configure(context)
    try:
        with connect(port) as raw, context.wrap_socket(raw) as connection:
            return connection.version(), connection.cipher()[0]
    except OSError:
        return None


def version(exactly, ciphers=None):
    def configure(context):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = exactly
        context.minimum_version = exactly
        # What is old is not even offered otherwise.
        context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    return configure


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_and_ciphers_of_tls(secured):
    assert handshake(secured.port, version(ssl.TLSVersion.TLSv1_3))[0] == "TLSv1.3"
    agreed = handshake(secured.port, version(ssl.TLSVersion.TLSv1_2))
    assert agreed[0] == "TLSv1.2" and agreed[1].startswith("ECDHE-")
    assert handshake(secured.port, version(ssl.TLSVersion.TLSv1_1)) is None
    assert handshake(secured.port, version(ssl.TLSVersion.TLSv1)) is None
    assert handshake(secured.port, version(ssl.TLSVersion.TLSv1_2, "kRSA:@SECLEVEL=0")) is None


# The end


def test_stop_waits_for_nobody(make_gateway, make_tenant):
    gateway = make_gateway("stopped").start()
    tenant = make_tenant(on=gateway)
    drip = connect(gateway.port, b"GET /heal")
    half = connect(gateway.port, b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   + f"Authorization: Bearer {tenant.key}\r\nContent-Length: 100\r\n\r\n{{".encode())
    idle = connect(gateway.port, GET)
    assert idle.recv(65536)
    poll = connect(gateway.port, b"GET /v1/events?after=0&wait=30 HTTP/1.1\r\nHost: x\r\n"
                   + f"Authorization: Bearer {tenant.key}\r\n\r\n".encode())
    ending = threading.Event()

    def dripping():
        with contextlib.suppress(OSError):
            while not ending.wait(0.2):
                half.sendall(b" ")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(dripping)
        time.sleep(0.5)
        begun = time.monotonic()
        try:
            assert gateway.stop() == 0, gateway.log_tail()
        finally:
            ending.set()
    assert time.monotonic() - begun < 12
    assert gateway.replay()[-1]["type"] == "process.stopped"
    assert "request failed" not in gateway.log_tail(20_000)
    for connection in (drip, half, idle, poll):
        connection.close()


# What takes its time


@pytest.mark.long
def test_time_limits(gateway, tenant, secured):
    """Each for itself, side by side: a header, a body and a handshake that drip, and HTTP/2 that says nothing."""
    authorized = (f"Host: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n"
                  f"Authorization: Bearer {tenant.key}\r\n")

    def ended(port, opening, drip=None, tls=None):
        connection = connect(port, timeout=60)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(tls)
            connection = context.wrap_socket(connection)
        begun, answer = time.monotonic(), b""
        connection.settimeout(2)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            if opening:
                connection.sendall(opening)
            while time.monotonic() - begun < 60:
                try:
                    if not (part := connection.recv(65536)):
                        break
                    answer += part
                except TimeoutError:
                    if drip:
                        connection.sendall(drip)
        return time.monotonic() - begun, answer

    cases = {
        "header": (15, b"HTTP/1.1 408 ", (gateway.port, b"GET /healthz HTTP/1.1\r\nHost: ", b"x")),
        "nothing": (15, b"", (gateway.port, b"")),
        "body": (30, b"HTTP/1.1 408 ", (gateway.port, f"POST /v1/send HTTP/1.1\r\n{authorized}\r\n".encode(), b" ")),
        "handshake": (15, b"", (secured.port, b"\x16\x03\x01\x02\x00\x01\x00", b"\x00")),
        "preface": (15, None, (secured.port, b"", None, ["h2"])),
    }
    with ThreadPoolExecutor(len(cases)) as pool:
        results = {name: pool.submit(ended, *case[2]) for name, case in cases.items()}
    for name, (seconds, answer, _) in cases.items():
        took, heard = results[name].result()
        assert seconds - 2 < took < seconds + 8, (name, took)
        if answer is not None:
            assert heard.startswith(answer) and bool(heard) == bool(answer), (name, heard)
