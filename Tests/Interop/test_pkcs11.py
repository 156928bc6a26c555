"""Root keys in a PKCS #11 token: the gateway works with them, nothing of them is on its disk, and a purge destroys one.

The token is SoftHSM's; who looks into it is OpenSC's pkcs11-tool, which shares no code with either side.
"""

import json
import struct

import pytest

from read_log import crc32c
from support.files import copy_data, find_bytes, regular_files
from support.gateway import free_port
from support.soft_token import SoftToken
from support.tenant import Tenant, customer_number, unique
from support.wait import wait_until

SLOT_BYTES = 65_536
SLOT_HEAD = struct.Struct("<8sIIQQ")


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    return SoftToken(tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def make_running(make_gateway, token):
    """Gateways whose root keys are in the token, each under a label of its own."""

    def make(label):
        return make_gateway(label, **token.environment).start("--key-root", token.uri(label=label))

    return make


def tenant_of(running, twilio):
    tenant = Tenant(running, twilio.account())
    answer = tenant.connect_sms()
    assert answer.status_code == 200, answer.text
    return tenant


def received(tenant, text):
    """The id of the message that a customer's SMS became."""
    known = {event["id"] for event in tenant.events()}
    assert tenant.inbound(text, customer_number()).status_code == 200
    event = wait_until(lambda: [one for one in tenant.events() if one["id"] not in known], 10, "the event")[0]
    return event["data"]["message"]["id"]


def serve(running, key_root, data=None):
    """`serve` that is to fail, to its end."""
    listen = f"127.0.0.1:{free_port()}"
    return running.run("serve", "--data", data or running.data, "--listen", listen, "--key-root", key_root, timeout=30)


def test_bodies_are_read_again_after_a_restart(make_running, token, twilio):
    running = make_running("restarts")
    tenant, text = tenant_of(running, twilio), unique("inbound")
    message = received(tenant, text)
    keys = token.keys("restarts")
    assert len(keys) == 1
    for restart in (running.stop, running.kill):
        restart()
        running.start("--key-root", token.uri(label="restarts"))
        assert tenant.message(message)["text"] == text
    assert token.keys("restarts") == keys, "only a destruction begins a new generation"
    assert running.stop() == 0


def test_the_key_is_the_tokens_alone(make_running, token, twilio):
    running = make_running("alone")
    received(tenant_of(running, twilio), unique("inbound"))
    (key,) = token.keys("alone").values()
    assert key["type"] == "AES length 32"
    assert {"sensitive", "always sensitive", "never extractable", "local"} <= set(key["Access"].split(", "))
    assert {"encrypt", "decrypt"} <= set(key["Usage"].split(", "))
    assert not {"wrap", "unwrap"} & set(key["Usage"].split(", "))
    assert [path for path in regular_files(running.directory) if path.name == "root.key"] == []
    assert find_bytes(running.directory, {"the PIN": token.pin.encode()}) == []
    assert running.stop() == 0


def test_replay_with_the_token(make_running, token, twilio):
    running = make_running("replay")
    text = unique("inbound")
    received(tenant_of(running, twilio), text)
    assert text in json.dumps(running.replay("--bodies", "--key-root", token.uri(label="replay"))), "beside the gateway"
    assert running.stop() == 0
    assert text in json.dumps(running.replay("--bodies", "--key-root", token.uri(label="replay")))
    assert running.run("replay", "--data", running.data, "--bodies").returncode == 1


def test_a_purge_destroys_the_generation(make_running, token, twilio):
    running = make_running("purge")
    tenant, texts = tenant_of(running, twilio), (unique("purged"), unique("kept"))
    purged, kept = (received(tenant, text) for text in texts)
    (before,) = token.keys("purge")
    answer = tenant.post(f"/v1/messages/{purged}/purge")
    assert answer.status_code in (200, 202), answer.text
    wait_until(lambda: tenant.message(purged)["purged"], 20, "the purge")
    (after,) = wait_until(lambda: set(token.keys("purge")) - {before}, 20, "a new generation")
    assert after > before
    wait_until(lambda: set(token.keys("purge")) == {after}, 20, "the old generation to be gone from the token")
    assert tenant.message(purged)["text"] is None
    assert tenant.message(kept)["text"] == texts[1]

    assert running.stop() == 0
    running.start("--key-root", token.uri(label="purge"))
    assert set(token.keys("purge")) == {after}
    assert tenant.message(purged)["purged"] is True
    assert tenant.message(kept)["text"] == texts[1]
    assert running.stop() == 0


@pytest.fixture(scope="module")
def stopped(make_running, twilio):
    running = make_running("stopped")
    received(tenant_of(running, twilio), unique("inbound"))
    assert running.stop() == 0
    return running


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"pin": "wrong-pin-4711"}, "C_Login failed: CKR_PIN_INCORRECT"),
        ({"token": "elsewhere"}, "no token with token=elsewhere"),
        ({"label": "another"}, "the root key is missing"),
        ({"module": "/nowhere/libpkcs11.so"}, "/nowhere/libpkcs11.so"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_token_that_cannot_be_used_is_explained(stopped, token, changed, said):
    before = token.keys("stopped")
    result = serve(stopped, token.uri(**({"label": "stopped"} | changed)))
    assert result.returncode == 1, result.stderr
    assert said in result.stderr
    assert token.pin not in result.stdout + result.stderr
    assert changed.get("pin", token.pin) not in result.stdout + result.stderr
    assert token.keys("stopped") == before
    assert token.keys("another") == {}, "no key is made for a log that has lost its own"


def test_a_pin_file_for_everybody_is_refused(stopped, token):
    token.write_pin(token.pin, mode=0o644)
    try:
        result = serve(stopped, token.uri(label="stopped"))
    finally:
        token.write_pin(token.pin)
    assert result.returncode == 1, result.stderr
    assert "open to other users" in result.stderr and str(token.pin_file) in result.stderr


def test_the_pin_is_read_from_its_file_each_time(stopped, token):
    token.write_pin("wrong-pin-4711")
    try:
        result = serve(stopped, token.uri(label="stopped"))
    finally:
        token.write_pin(token.pin)
    assert result.returncode == 1, result.stderr
    assert "CKR_PIN_INCORRECT" in result.stderr


def test_a_uri_that_is_not_right_is_explained(stopped, token):
    result = serve(stopped, token.uri(label="stopped").replace("module-path=", "module-way="))
    assert result.returncode in (1, 2), result.stderr
    assert "module-path" in result.stderr


def test_a_pin_in_the_settings_is_masked(stopped, token):
    uri = token.uri(label="stopped", pin=token.pin)
    result = stopped.run("serve", "--data", stopped.data, "--key-root", uri, "--check-config")
    assert result.returncode == 0, result.stderr
    assert "object=stopped" in result.stdout
    assert token.pin not in result.stdout + result.stderr


def test_a_changed_root_page_is_no_fault_of_the_token(stopped, token, tmp_path):
    """SoftHSM calls a wrong tag CKR_GENERAL_ERROR: what does not open must not be taken for a token that fails."""
    copy = copy_data(stopped.data, tmp_path / "copy")
    (pages,) = [path for path in regular_files(copy) if path.name.startswith("keys-")]
    content = bytearray(pages.read_bytes())
    slots = [start for start in (0, SLOT_BYTES, 2 * SLOT_BYTES) if content[start:start + 8] == b"WAYBKEY2"]
    assert slots, "docs/log-format.md says where the root page is"
    for start in slots:
        _, _, length, _, _ = SLOT_HEAD.unpack_from(content, start)
        end = start + SLOT_HEAD.size + length
        content[end - 1] ^= 1
        struct.pack_into("<I", content, start + 8, crc32c(bytes(content[start + 12:end])))
    pages.write_bytes(content)
    before = token.keys("stopped")

    result = serve(stopped, token.uri(label="stopped"), data=copy)
    assert result.returncode == 1, result.stderr
    assert "does not open under this root key" in result.stderr
    assert "CKR_" not in result.stderr
    assert token.keys("stopped") == before, "nothing is destroyed for a state that does not open"
