"""How a start goes: address, first token, environment, owner of the files, and what SIGHUP does to what runs."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest

from support.files import copy_data
from support.gateway import binary, clean_environment, free_port
from support.http import call
from support.wait import wait_until

LISTENS = re.compile(r"Waybill listens on (https?://\S+)")
TOKEN = re.compile(r"wb_op_[A-Za-z0-9_-]+")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class Serve:
    """`serve` with these arguments, and what it prints."""

    def __init__(self, directory, *arguments, settings=None):
        self.log = directory / "serve.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary(), "serve", "--data", directory / "data", *map(str, arguments)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, cwd=directory, env=clean_environment(settings or {}))

    def said(self):
        return self.log.read_text(errors="replace")

    def address(self):
        """Where it says that it listens."""
        def printed():
            assert self.process.poll() is None, self.said()
            return LISTENS.search(self.said())
        return wait_until(printed, 30, "the address")[1]

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def serve(tmp_path):
    running = []

    def start(*arguments, **kwargs):
        running.append(Serve(tmp_path, *arguments, **kwargs))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


# The address and the first token


def test_port_in_use_costs_no_token(serve, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = serve("--listen", f"127.0.0.1:{port}")
        assert refused.process.wait(30) == 1
        said = refused.said()
        assert f"127.0.0.1:{port}" in said and not TOKEN.search(said), said
        assert not (tmp_path / "data").exists(), "a start that is refused leaves nothing"
    running = serve("--listen", f"127.0.0.1:{port}")
    base = running.address()
    (token,) = TOKEN.findall(running.said())
    assert call("GET", base + "/admin/v1/clients", token).status_code == 200
    assert running.stop() == 0


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6")
def test_listen_on_ipv6(serve):
    running = serve("--listen", "[::1]:0")
    base = running.address()
    assert re.fullmatch(r"http://\[::1\]:[1-9]\d*", base)
    assert call("GET", base + "/healthz").status_code == 200
    assert running.stop() == 0


@pytest.mark.parametrize("listen", ["", pytest.param("[::]", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))])
def test_listen_on_every_address(serve, listen):
    port = free_port()
    base = serve("--listen", f"{listen}:{port}").address()
    assert base == f"http://127.0.0.1:{port}"
    for host in ["127.0.0.1"] + (["[::1]"] if has_ipv6() else []):
        assert call("GET", f"http://{host}:{port}/healthz").status_code == 200


# Settings


def test_variables_of_a_kubernetes_service_are_ignored(gateway, tmp_path):
    arguments = ["serve", "--data", tmp_path / "unused", "--check-config", "--json"]
    service = {
        "WAYBILL_SERVICE_HOST": "10.0.0.1", "WAYBILL_SERVICE_PORT": "8080", "WAYBILL_SERVICE_PORT_HTTP": "8080",
        "WAYBILL_PORT": "tcp://10.0.0.1:8080", "WAYBILL_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "WAYBILL_PORT_8080_TCP_PROTO": "tcp", "WAYBILL_PORT_8080_TCP_PORT": "8080", "WAYBILL_PORT_8080_TCP_ADDR": "10.0.0.1"}
    result = gateway.run(*arguments, settings=service)
    assert result.returncode == 0, result.stderr
    result = gateway.run(*arguments, settings={"WAYBILL_PORT": "8080"})
    assert result.returncode == 2 and "WAYBILL_PORT" in result.stderr


def test_check_config_shows_every_setting_and_where_it_is_from(gateway, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("meta:\n  verify_token: hidden\nsends.queue_max: 7\n")
    arguments = ["serve", "--data", tmp_path / "unused", "--config", file, "--check-config"]
    result = gateway.run(*arguments, "--json", settings={"WAYBILL_LOG_SEALING": "no"})
    assert result.returncode == 0, result.stderr
    shown = {one["key"]: one for one in json.loads(result.stdout)["settings"]}
    assert (shown["data"]["source"], shown["data"]["place"]) == ("flag", "--data")
    assert (shown["log.sealing"]["source"], shown["log.sealing"]["value"]) == ("environment", "false")
    assert (shown["sends.queue_max"]["value"], shown["sends.queue_max"]["place"]) == ("7", f"{file}, line 3")
    assert (shown["listen"]["source"], shown["listen"]["value"]) == ("default", "127.0.0.1:8080")
    assert shown["meta.verify_token"]["secret"] and "hidden" not in result.stdout
    documented = gateway.run_ok("schema", "--settings")
    assert all(f"| `{key}` |" in documented for key in shown)
    file.write_text("webhooks:\n  allow_cidrs: [10.0.0.0/8, x/8]\n")
    result = gateway.run(*arguments, settings={})
    assert result.returncode == 2 and f"item 2; {file}, line 2" in result.stderr, result.stderr


# SIGHUP


def certificate(directory, name):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         f"/CN={name}", "-keyout", directory / "key.new", "-out", directory / "certificate.new"],
        check=True, capture_output=True)
    for kind in ("key", "certificate"):
        os.replace(directory / f"{kind}.new", directory / f"{kind}.pem")
    return ssl.PEM_cert_to_DER_cert((directory / "certificate.pem").read_text())


def served(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain) as connection:
        return connection.getpeercert(binary_form=True)


def test_sighup_reloads_the_certificate(serve, tmp_path):
    first, port = certificate(tmp_path, "first"), free_port()
    running = serve("--listen", f"127.0.0.1:{port}", settings={
        "WAYBILL_TLS_CERTIFICATE": str(tmp_path / "certificate.pem"), "WAYBILL_TLS_KEY": str(tmp_path / "key.pem")})
    assert running.address() == f"https://127.0.0.1:{port}"
    assert served(port) == first
    second = certificate(tmp_path, "second")
    running.hang_up()
    wait_until(lambda: served(port) == second, 10, "the new certificate")
    (tmp_path / "certificate.pem").write_text("no certificate")
    running.hang_up()
    wait_until(lambda: "nothing was reloaded" in running.said(), 10, "the error")
    assert "tls.certificate" in running.said()
    assert served(port) == second, "what was in force stays"
    assert running.stop() == 0


def test_sighup_reloads_settings_and_ends_nothing(serve, tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("meta.verify_token: old\n")
    running = serve("--listen", "127.0.0.1:0", "--config", file)
    url = running.address() + "/channels/meta?hub.mode=subscribe&hub.challenge=7&hub.verify_token="
    assert [call("GET", url + token).status_code for token in ("old", "new")] == [200, 403]
    running.hang_up()
    wait_until(lambda: running.said().count("SIGHUP") == 1, 10, "a line that nothing changed")
    file.write_text("meta.verify_token: new\nlog.sealing: false\n")
    running.hang_up()
    wait_until(lambda: call("GET", url + "new").status_code == 200, 10, "the new token")
    assert call("GET", url + "old").status_code == 403
    wait_until(lambda: "log.sealing" in running.said(), 10, "what needs a restart is named")
    file.write_text("meta.verify_token: [\n")
    running.hang_up()
    wait_until(lambda: "nothing was reloaded" in running.said(), 10, "the error")
    assert call("GET", url + "new").status_code == 200
    assert running.stop() == 0


# Whose files they are


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused for being root")
def test_root_writes_nothing_among_the_files_of_another_user(make_gateway, tmp_path):
    running = make_gateway("owned").start()
    kept = running.create_token()
    assert running.stop() == 0
    data = copy_data(running.data, tmp_path / "data")
    for path in [data, *data.rglob("*")]:
        os.chown(path, 4711, 4711)

    def files():
        return {path: path.stat().st_mtime_ns for path in data.rglob("*")}

    before = files()
    for arguments in (
            ["key", "rotate", "--data", data, "--root"], ["key", "rotate", "--data", data, "--log"],
            ["token", "create", "--data", data], ["token", "revoke", "--data", data, kept["id"]],
            ["serve", "--data", data, "--listen", "127.0.0.1:0"]):
        result = running.run(*arguments)
        assert result.returncode == 1 and "4711" in result.stderr and "sudo" in result.stderr, (arguments, result.stderr)
        assert files() == before, arguments
    for arguments in (["verify", "--data", data], ["replay", "--data", data], ["checkpoint", "--data", data]):
        assert running.run(*arguments).returncode == 0, arguments
