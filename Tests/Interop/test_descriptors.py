"""A lack of descriptors stops nothing for good, a data directory is one process's and its owner's alone, and only what
left is an attempt."""

import os
import resource
import shutil
import socket
import subprocess
import threading
import time

import pytest
import requests

from support.fake_twilio import inbound_pairs, signature
from support.gateway import binary, clean_environment, free_port
from support.http import call
from support.tenant import Tenant, customer_number, unique
from support.wait import holds_for, wait_until
from test_purge import pulled

SMALL = {"WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20), "WAYBILL_LOG_SEALING": "false"}


class Shortage:
    """While it lasts the process can open nothing."""

    def __init__(self, gateway):
        self.pid = gateway.process.pid

    def __enter__(self):
        self.limits = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        # Every number below it is in use, and stays so: that of a full segment would be free for the next one.
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (min(self.lowest_free(), self.lowest_segment()), self.limits[1]))
        return self

    def lowest_free(self):
        used = {int(name) for name in os.listdir(f"/proc/{self.pid}/fd")}
        return next(number for number in range(len(used) + 1) if number not in used)

    def lowest_segment(self):
        folder = f"/proc/{self.pid}/fd"
        return min(int(name) for name in os.listdir(folder) if ".wal" in os.readlink(f"{folder}/{name}"))

    def __exit__(self, *_):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, self.limits)


class KeptConnection:
    """Requests over a connection that was there before the shortage."""

    def __init__(self, gateway):
        self.base, self.session = gateway.base_url, requests.Session()
        self.session.trust_env = False
        self.get("/healthz")

    def get(self, path, **kwargs):
        return self.session.get(self.base + path, timeout=20, **kwargs)

    def post(self, path, **kwargs):
        return self.session.post(self.base + path, timeout=20, **kwargs)


@pytest.fixture
def own(make_gateway):
    """A gateway of the test's own, with small segments."""
    running = make_gateway("own", **SMALL).start()
    yield running
    running.kill()


def exit_code(gateway, seconds=20):
    process, gateway.process = gateway.process, None
    try:
        return process.wait(seconds)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def sends(gateway, twilio):
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms().status_code == 200
    return tenant


# Descriptors


def test_log_and_purges_outlive_a_shortage(own, twilio):
    tenant = sends(own, twilio)
    first = tenant.accepted("to be purged", customer_number())
    tenant.wait_for_status(first["message_id"], "sent")
    assert tenant.inbound("the first", customer_number()).status_code == 200
    kept, purging = KeptConnection(own), KeptConnection(own)
    headers = {"Authorization": f"Bearer {tenant.key}"}
    # It waits for the purge, for as long as ten seconds.
    path = f"/v1/messages/{first['message_id']}/purge"
    purge = threading.Thread(target=purging.post, args=(path,), kwargs={"headers": headers}, daemon=True)
    with Shortage(own):
        purge.start()
        # Each takes a block. The segments that are there fill up, and no other can be made.
        for number in range(1500):
            pairs = inbound_pairs(tenant.account.sid, customer_number(), tenant.phone, f"number {number}")
            signed = signature(tenant.account.auth_token, own.public_url + tenant.inbound_path, pairs)
            answer = kept.post(tenant.inbound_path, data=pairs, headers={"X-Twilio-Signature": signed})
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 503 and kept.get("/readyz").status_code == 503:
                break
        assert kept.get("/readyz").status_code == 503, "no roll was needed"
        assert own.process.poll() is None
    wait_until(lambda: call("GET", own.base_url + "/readyz").status_code == 200, 10, "/readyz")
    wait_until(lambda: tenant.message(first["message_id"])["purged"], 10, "the purge")
    purge.join(20)
    assert own.replay("--type", "purge.completed")
    later = tenant.accepted("afterwards", customer_number())
    tenant.wait_for_status(later["message_id"], "sent", seconds=20)
    assert own.stop() == 0
    assert own.verify("--invariants").returncode == 0


def test_attempt_that_never_left_is_none(own, twilio, receiver):
    tenant, endpoint = sends(own, twilio), receiver.endpoint()
    tenant.subscribe(endpoint)
    answer = tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
    assert answer.status_code == 200, answer.text
    text, kept = unique("held back"), KeptConnection(own)
    pairs = inbound_pairs(tenant.account.sid, customer_number(), tenant.phone, text)
    signed = signature(tenant.account.auth_token, own.public_url + tenant.inbound_path, pairs)
    with Shortage(own):
        answer = kept.post(tenant.inbound_path, data=pairs, headers={"X-Twilio-Signature": signed})
        assert answer.status_code == 200, answer.text
        holds_for(lambda: not endpoint.requests, 1, "no request")
    (request,) = endpoint.wait_for(1, seconds=15)
    assert request.event["data"]["message"]["text"] == text
    assert request.headers["x-chatgenius-attempt"] == "1"
    (event,) = [one for one in pulled(tenant) if one["type"] == "sms.message_received"]
    delivery = tenant.wait_for_delivery(event["id"], "delivered")
    assert delivery["attempt_count"] == 1
    assert own.stop() == 0
    assert own.verify("--invariants").returncode == 0


# Purge mode


class Stale:
    """Answers each connection once, says that it keeps it, and closes it a moment later."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.bodies = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.bodies.append(stream.read(length))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")
            time.sleep(0.02)
            # With a reset, as a proxy does that has forgotten the connection.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def close(self):
        self.socket.close()


def test_no_body_is_lost_on_a_connection_that_was_left(tenant):
    stale = Stale()
    answer = tenant.put("/v1/webhook", {"url": stale.url, "enabled": True, "retry_schedule": [1]})
    assert answer.status_code == 200, answer.text
    answer = tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
    assert answer.status_code == 200, answer.text
    texts = [unique("once") for _ in range(40)]
    for text in texts:
        assert tenant.inbound(text, customer_number()).status_code == 200
        time.sleep(0.02)
    wait_until(lambda: len(stale.bodies) >= len(texts), 10, "every body")
    for text in texts:
        assert sum(text.encode() in body for body in list(stale.bodies)) == 1, text
    wait_until(lambda: all(one["state"] == "delivered" for one in tenant.all("/v1/deliveries")), 10, "every outcome")
    stale.close()


# Who has not answered


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Ha"], ids=["status", "half"])
def test_endpoint_that_hangs_up_inside_its_headers_has_not_answered(tenant, said):
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            received = b""
            while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                received += connection.recv(65_536)
            connection.sendall(said)
        server.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    assert tenant.put("/v1/webhook", {"url": url, "enabled": True, "retry_schedule": []}).status_code == 200
    assert tenant.inbound(unique("text"), customer_number()).status_code == 200
    thread.join(20)
    (letter,) = tenant.wait_for_dead_letters(1)
    (attempt,) = tenant.read(f"/v1/dead-letters/{letter['id']}")["attempts"]
    assert (attempt["status"], attempt["error"]) == (None, "connection_lost")


# One process for each directory


def test_lock_removed_by_hand_lets_nobody_in(own, twilio):
    tenant = sends(own, twilio)
    tenant.accepted("before", customer_number())
    (own.data / "lock").unlink()
    second = own.spawn(port=free_port())
    try:
        assert second.wait(20) == 1
    finally:
        second.kill()
        second.wait()
    assert "already writes to this data directory" in own.log_tail()
    try:
        assert tenant.send("after", customer_number()).status_code == 503
    except OSError:
        pass  # it may have ended before it could answer
    assert exit_code(own) not in (0, None)
    assert "log_directory_lost" in own.log_tail()
    own.start()
    assert own.verify("--invariants").returncode == 0


@pytest.mark.parametrize("way", ["removed", "replaced"])
def test_directory_that_is_gone_confirms_nothing(own, twilio, way):
    tenant = sends(own, twilio)
    tenant.accepted("before", customer_number())
    if way == "removed":
        # The gateway may make files meanwhile.
        wait_until(lambda: shutil.rmtree(own.data, ignore_errors=True) or not own.data.exists(), 10, "the removal")
    else:
        own.data.rename(own.directory / "moved")
        own.data.mkdir(mode=0o700)
    try:
        assert tenant.send("after", customer_number()).status_code == 503
    except OSError:
        pass
    assert exit_code(own) not in (0, None)
    assert "log_directory_lost" in own.log_tail()


# Whose the directory is


def serve_refused(directory, *arguments):
    result = subprocess.run(
        [binary(), "serve", "--data", directory / "data", "--listen", f"127.0.0.1:{free_port()}", *map(str, arguments)],
        capture_output=True, text=True, timeout=20, cwd=directory, env=clean_environment({}))
    assert result.returncode == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o770, 0o777, 0o703])
def test_directory_open_to_others_is_refused(tmp_path, mode):
    data = tmp_path / "data"
    data.mkdir()
    (data / "note").write_text("somebody's")
    data.chmod(mode)
    for arguments in ([], ["--check-config"]):
        said = serve_refused(tmp_path, *arguments)
        assert "open to other users" in said and "chmod 700" in said, said
    assert [path.name for path in data.iterdir()] == ["note"]


def test_empty_directory_is_made_its_owners_alone(make_gateway):
    gateway = make_gateway("given")
    gateway.data.mkdir(parents=True, mode=0o755)
    assert gateway.run("serve", "--data", gateway.data, "--check-config").returncode == 0
    assert gateway.data.stat().st_mode & 0o777 == 0o755, "nothing is changed by looking"
    gateway.start()
    assert gateway.data.stat().st_mode & 0o777 == 0o700
    assert gateway.stop() == 0


def test_restore_takes_an_empty_directory_as_a_start_does(make_gateway, tmp_path):
    old, new = make_gateway("backed-up").start(), make_gateway("restored")
    assert old.stop() == 0
    key, copies = tmp_path / "backup.key", tmp_path / "copies"
    old.run_ok("backup", "--data", old.data, "--to", copies, "--backup-key", key, "--horizon=1")
    new.data.mkdir(parents=True)
    # What `mkdir` makes where a user has a group of his own.
    new.data.chmod(0o775)
    new.run_ok("restore", "--from", copies, "--data", new.data, "--backup-key", key)
    assert new.data.stat().st_mode & 0o777 == 0o700
    assert new.verify("--invariants").returncode == 0


def test_directory_that_is_made_is_its_owners_alone(gateway):
    assert gateway.data.stat().st_mode & 0o777 == 0o700


def test_lock_that_is_a_link_is_not_followed(tmp_path):
    data, target = tmp_path / "data", tmp_path / "target"
    data.mkdir(mode=0o700)
    target.write_text("somebody's")
    (data / "lock").symlink_to(target)
    assert "symbolic link" in serve_refused(tmp_path)
    assert target.read_text() == "somebody's"
    target.unlink()
    serve_refused(tmp_path)
    assert not target.exists()


def test_key_root_that_others_may_replace_is_refused(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(0o777)
    said = serve_refused(tmp_path, "--key-root", folder / "root.key")
    assert "other users may replace the root key file" in said, said
    assert list(folder.iterdir()) == []
