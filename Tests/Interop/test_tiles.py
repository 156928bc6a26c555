"""Tiles and entry bundles (C2SP tlog-tiles) of a running gateway, put together by a client that is not Waybill's."""

import hashlib
import http.client
import json

import pytest
from support.http import call
from support.tenant import Tenant, customer_number
from tlog import VerifierKey, open_note, parse_checkpoint, sha256


def tile_index(number):
    """`number` in groups of three digits, all but the last with an x."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03}")
    return "/".join(groups)


def tree_hash(leaves):
    """RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1", tree_hash(leaves[:split]), tree_hash(leaves[split:]))


@pytest.fixture(scope="module")
def filled(make_gateway, twilio):
    """A gateway with more than two full tiles, and an auditor's token."""
    gateway = make_gateway("tiles").start()
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms().status_code == 200
    for n in range(300):
        assert tenant.inbound(f"message {n}", customer_number()).status_code == 200
    token = gateway.create_token("auditor")["token"]
    return gateway, token


def fetch(filled, path, status=200):
    gateway, token = filled
    answer = call("GET", f"{gateway.base_url}/audit/v1/{path}", token)
    assert answer.status_code == status, (path, answer.status_code, answer.text)
    return answer


def checkpoint(filled):
    gateway, _ = filled
    key = VerifierKey.parse(gateway.run_ok("checkpoint", "--data", gateway.data, "--vkey"))
    return parse_checkpoint(open_note(fetch(filled, "checkpoint").text, key))


def tiles(filled, kind, count, size):
    """The bytes of all tiles of a level, or bundles, that hold `count` items of `size` bytes."""
    data = b""
    for index in range((count + 255) // 256):
        width = min(256, count - index * 256)
        suffix = "" if width == 256 else f".p/{width}"
        part = fetch(filled, f"tile/{kind}/{tile_index(index)}{suffix}").content
        assert len(part) == width * size
        data += part
    return [data[i:i + size] for i in range(0, len(data), size)]


def test_the_tiles_are_the_tree_of_the_checkpoint(filled):
    size, root = checkpoint(filled)[1:]
    assert size > 512
    leaves = tiles(filled, 0, size, 32)
    assert tree_hash(leaves) == root
    upper = tiles(filled, 1, size // 256, 32)
    assert upper == [tree_hash(leaves[i * 256:(i + 1) * 256]) for i in range(size // 256)]


def test_the_entries_are_the_leaves(filled):
    size, root = checkpoint(filled)[1:]
    entries = tiles(filled, "entries", size, 34)
    assert all(entry[:2] == b"\0\x20" for entry in entries)
    assert tree_hash([sha256(b"\0", entry[2:]) for entry in entries]) == root


def test_tiles_may_be_kept_and_checkpoints_may_not(filled):
    for path in ("tile/0/000", "tile/0/000.p/5"):
        answer = fetch(filled, path)
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable", "a token was needed"
        assert answer.headers["Content-Type"] == "application/octet-stream"
    assert fetch(filled, "checkpoint").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [
    "tile/0/999", "tile/2/000", "tile/9/000", "tile/0/0", "tile/0/000.p/256", "tile/0/000.p/0", "tile/0/x000/000", "tile/", "tile/0",
    "tile/entries", "tile/entries/900.p/1", "tile/0/../../../root.key", "tile/%2e%2e/root.key", "tile/0/000%00",
    "tile/0/x%30%30%31/000", "tile//0/000", "tile/0//000",
])
def test_what_is_not_a_tile_is_not_found(filled, path):
    """Sent as it stands: ordinary clients would tidy such paths up."""
    gateway, token = filled
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.putrequest("GET", f"/audit/v1/{path}")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (404, "not_found")
    connection.close()


def test_tiles_need_a_token(filled, make_gateway):
    gateway, _ = filled
    assert call("GET", f"{gateway.base_url}/audit/v1/tile/0/000.p/1").status_code == 401
    public = make_gateway("public-tiles", WAYBILL_AUDIT_PUBLIC_TILES="true").start()
    answer = call("GET", f"{public.base_url}/audit/v1/tile/0/000.p/1")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"].startswith("public")
