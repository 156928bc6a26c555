"""One damaged record hides nothing beside it, and a log that does not open any more goes on from what is whole."""

import copy
import json
import struct
from contextlib import contextmanager

import pytest

from support.files import copy_data
from support.gateway import free_port
from support.tenant import Tenant, customer_number, unique
from test_log_format import blocks, names_of_types, record_parts

SETTINGS = {"WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20), "WAYBILL_LOG_SEALING": "false"}


def records(path):
    """Type, position, and where the sealed section ends, of every record of a written segment."""
    content, names = path.read_bytes(), names_of_types()
    for block in blocks(content):
        record = block.record
        while block.frame_length and record < block.frame_end:
            length, kind = struct.unpack_from("<IH", content, record)
            (position,) = struct.unpack_from("<Q", content, record + 8)
            yield names[kind], position, record_parts(content, record)[2]
            record += length


def flip(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def place_of(data, kind, which):
    found = [(path, position, end) for path in sorted(data.glob("*.wal")) for name, position, end in records(path)
             if name == kind]
    return found[which]


@pytest.fixture(scope="module")
def stopped(make_gateway, twilio):
    gateway = make_gateway("whole", **SETTINGS).start()
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms().status_code == 200
    customer = customer_number()
    for n in range(6):
        assert tenant.inbound(unique(f"text {n}"), customer).status_code == 200
    shown = tenant.events()
    assert gateway.stop() == 0
    return gateway, tenant, shown


@contextmanager
def damaged(path, end):
    flip(path, end - 1)
    try:
        yield
    finally:
        flip(path, end - 1)


def test_damage_under_a_running_gateway_is_shown_in_its_place(make_gateway, twilio):
    gateway = make_gateway("live", **SETTINGS).start()
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms().status_code == 200
    customer = customer_number()
    for n in range(4):
        assert tenant.inbound(unique(f"text {n}"), customer).status_code == 200
    before = tenant.events()
    (conversation,) = tenant.all("/v1/conversations")
    path = f"/v1/conversations/{conversation['id']}/messages"
    messages = list(tenant.all(path))
    file, position, end = place_of(gateway.data, "event.published", 1)
    with damaged(file, end):
        after = tenant.events()
        assert [event.get("damaged", False) for event in after] == [False, True, False, False]
        assert (after[1]["position"], after[1]["sequence"], after[1]["id"]) == (
            position, before[1]["sequence"], before[1]["id"])
        assert after[:1] + after[2:] == before[:1] + before[2:]
        assert len(tenant.read(f"/v1/events?after={before[0]['sequence']}")["data"]) == 3
    file, position, end = place_of(gateway.data, "message.received", 2)
    with damaged(file, end):
        shown = {message["id"]: message for message in tenant.all(path)}
        hurt = [message for message in shown.values() if message.get("damaged")]
        assert [message["position"] for message in hurt] == [position]
        assert (hurt[0]["text"], hurt[0]["purged"]) == (None, False)
        assert [shown[one["id"]] for one in messages if one["id"] != hurt[0]["id"]] == [
            one for one in messages if one["id"] != hurt[0]["id"]]
        assert tenant.message(hurt[0]["id"])["damaged"]
    assert tenant.events() == before
    assert gateway.stop() == 0


def test_replay_shows_the_damage_in_its_place(stopped, tmp_path):
    gateway, _, _ = stopped
    data = copy_data(gateway.data, tmp_path / "data")
    whole = [json.loads(line) for line in gateway.run_ok("replay", "--data", data).splitlines()]
    path, position, end = place_of(data, "message.received", 2)
    flip(path, end - 1)
    result = gateway.run("replay", "--data", data)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 1 and f"from {position} to {position}" in result.stderr
    assert [line["position"] for line in lines] == [line["position"] for line in whole]
    assert [line["position"] for line in lines if line.get("damaged")] == [position]
    assert [line for line in lines if not line.get("damaged")] == [
        line for line in whole if line["position"] != position]


def salvage(gateway, data, to, *arguments):
    return gateway.run("salvage", "--data", data, "--to", to, *arguments)


def test_salvage_goes_on_from_what_is_whole(stopped, make_gateway, tmp_path):
    gateway, tenant, shown = stopped
    data = copy_data(gateway.data, tmp_path / "data")
    path, position, end = place_of(data, "event.published", 2)
    flip(path, end - 1)
    refused = gateway.run("serve", "--data", data, "--listen", f"127.0.0.1:{free_port()}", timeout=30)
    assert refused.returncode == 1
    before = {file.name: file.read_bytes() for file in data.glob("*.wal")}
    new = make_gateway("salvaged", **SETTINGS)
    result = salvage(gateway, data, new.data, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["lost"] == [{"first_position": position, "last_position": position}]
    assert {file.name: file.read_bytes() for file in data.glob("*.wal")} == before, "the damaged log stays as it is"

    lines = new.replay()
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    (filler,) = [line for line in lines if line["type"] == "log.record_lost"]
    assert filler["position"] == position
    (event,) = [line for line in lines if line["type"] == "log.salvaged"]
    assert event["data"]["log_id"] == report["log_id"] and event["data"]["lost_count"] == 1
    assert event["position"] <= report["through"] + 3, "the first records name the loss"
    verified = new.verify("--json")
    assert verified.returncode == 0, verified.stdout
    old = tmp_path / "old"
    old.write_text((data / "checkpoint").read_text())
    kept = new.verify("--json", "--checkpoint", old)
    assert kept.returncode == 1 and json.loads(kept.stdout)["state"] == "unproven"
    assert "abandoned" in kept.stdout

    new.start()
    there = copy.copy(tenant)
    there.gateway = new
    events = there.events()
    assert [event["sequence"] for event in events] == [event["sequence"] for event in shown]
    assert [event.get("damaged", False) for event in events] == [n == 2 for n in range(len(events))]
    assert events[:2] + events[3:] == shown[:2] + shown[3:], "survivors are served, with the ids they had"
    assert there.inbound(unique("after it"), customer_number()).status_code == 200
    assert new.stop() == 0
    assert new.verify("--invariants").returncode == 0


def test_salvage_of_what_opens_or_into_something_is_refused(stopped, tmp_path):
    gateway, _, _ = stopped
    nothing = salvage(gateway, gateway.data, tmp_path / "new")
    assert nothing.returncode == 2 and "nothing to salvage; it opens" in " ".join(nothing.stderr.split())
    assert not (tmp_path / "new").exists()
    data = copy_data(gateway.data, tmp_path / "data")
    path, _, end = place_of(data, "message.received", 0)
    flip(path, end - 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("somebody's")
    for target in (tmp_path / "full", data / "inside", data):
        result = salvage(gateway, data, target)
        assert result.returncode == 1, result.stderr
    assert salvage(gateway, tmp_path / "missing", tmp_path / "new").returncode == 1
    assert not (tmp_path / "new").exists()


def test_salvage_beside_a_gateway_is_refused(gateway, tmp_path):
    result = salvage(gateway, gateway.data, tmp_path / "new")
    assert result.returncode == 1 and "already writes" in result.stderr
