"""Receipts of purges, checked by verify_receipt.py, which knows docs/keys.md and none of Waybill's code."""

import base64
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import read_keys
import read_log
import verify_receipt
from support.http import call
from support.problems import assert_problem
from support.tenant import SETTLED, Tenant, customer_number, unique
from support.wait import wait_until
from test_purge import conversation_of, erase, message_of, purge, received, sent
from tlog import VerifierKey, parse_checkpoint, sha256

# A checkpoint is stored every ten seconds.
STORED_SECONDS = 20
# Enough records that proofs go through whole tiles of 256 entries.
FILLERS = 100
KINDS = ["inbound", "outbound", "purge mode", "erased inbound", "erased outbound", "erased in the queue",
         "of a deleted client"]


class Case(NamedTuple):
    """A message that is purged, and what the receipt must say of it."""

    message_id: str
    text: str
    requested: str
    original: str = "message.received"
    key_class: int = 1


class History(NamedTuple):
    """What a gateway did, said and kept; it is stopped."""

    gateway: object
    vkey: str
    id_key: bytes
    cases: dict
    kept: str  # a message that was not purged
    answers: dict  # by kind, the receipt as the API gave it
    leaf_keys: list  # of everything, as they were before the purges


def receipt_url(gateway, message_id):
    return f"{gateway.base_url}/audit/v1/receipts/{message_id}"


def printed(gateway, message_id):
    return gateway.run("purge-receipt", "--data", gateway.data, "--message", message_id)


def log_key(gateway):
    return gateway.run_ok("checkpoint", "--data", gateway.data, "--vkey").strip()


@pytest.fixture(scope="module")
def history(make_gateway, twilio, receiver):
    # The first segment is read as it was written.
    gateway = make_gateway("receipts", WAYBILL_LOG_SEALING="false").start()
    tenant, deleted = (connected(gateway, twilio) for _ in range(2))
    cases = make_cases(tenant, deleted, receiver)
    leaf_keys = living_leaf_keys(gateway)
    kept = message_of(received(tenant, customer_number(), "kept"))
    purge(tenant, cases["inbound"].message_id)
    purge(tenant, cases["outbound"].message_id)
    erase(tenant, tenant.message(cases["erased inbound"].message_id)["conversation_id"])
    assert gateway.admin("DELETE", f"/clients/{deleted.id}").status_code == 204
    for n in range(FILLERS):
        assert tenant.inbound(f"filler {n}", customer_number()).status_code == 200
    auditor = gateway.create_token("auditor")["token"]
    answers = {kind: wait_until(lambda: answered(gateway, case, auditor), 10, kind) for kind, case in cases.items()}
    vkey = log_key(gateway)
    assert gateway.stop() == 0
    return History(gateway, vkey, id_key(gateway.data), cases, kept, answers, leaf_keys)


def id_key(data):
    """From the payload of the first record; listings leave it out."""
    segment = (data / f"{1:020}.wal").read_bytes()
    start = read_log.PAGE + read_log.BLOCK_HEAD.size + read_log.GROUP_HEADER.size
    record = read_log.parse_record(read_log.record_bytes(segment, start))
    assert record.position == record.type == 1
    payload = segment[start + read_log.RECORD_HEADER.size:][:record.payload_length]
    assert payload[-34:-32] == b"\x02\x20", "field 2, 32 bytes"
    return payload[-32:]


def connected(gateway, twilio):
    tenant = Tenant(gateway, twilio.account())
    assert tenant.connect_sms().status_code == 200
    return tenant


def make_cases(tenant, deleted, receiver):
    cases = {}
    customer, other = customer_number(), customer_number()
    cases["inbound"] = inbound(tenant, customer, "purge.requested")
    cases["outbound"] = outbound(tenant, customer, "purge.requested")
    cases["erased inbound"] = inbound(tenant, other, "conversation.erase_requested")
    cases["erased outbound"] = outbound(tenant, other, "conversation.erase_requested")
    cases["of a deleted client"] = inbound(deleted, customer, "client.deleted")
    cases["purge mode"] = in_purge_mode(tenant, receiver)
    # What is not sent within a second is not sent for a minute: it stays queued.
    assert tenant.connect_sms(segments_per_second=1).status_code == 200
    sent(tenant, customer_number(), "a long text " * 120)
    # An end of its own: its status gets a record.
    cases["erased in the queue"] = outbound(tenant, other, "purge.requested", status="queued")
    return {kind: cases[kind] for kind in KINDS}


def inbound(tenant, customer, requested):
    text = unique("secret")
    return Case(message_of(received(tenant, customer, text)), text, requested)


def outbound(tenant, customer, requested, status="sent"):
    text = unique("secret")
    message_id = tenant.accepted(text, customer, metadata={"order": text}, key=text)["message_id"]
    tenant.wait_for_status(message_id, status)
    return Case(message_id, text, requested, "send.accepted")


def in_purge_mode(tenant, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    change = {"inbound_body_purge": {"sms": True}}
    assert tenant.call("PATCH", "/v1/settings", json=change).status_code == 200
    text = unique("secret")
    assert tenant.inbound(text, customer_number()).status_code == 200
    message_id = message_of(endpoint.wait_for(1)[0].event)
    change["inbound_body_purge"]["sms"] = False
    assert tenant.call("PATCH", "/v1/settings", json=change).status_code == 200
    return Case(message_id, text, "purge.requested", key_class=2)


def living_leaf_keys(gateway):
    state = read_keys.read_keys(gateway.data, gateway.data / "root.key")
    found = {state.leaf_key(record.reference) for record in read_keys.sealed_records(gateway.data)}
    return [key for key in found if key is not None]


def answered(gateway, case, token):
    """The receipt as the API gives it; None while the purge is not completed."""
    answer = call("GET", receipt_url(gateway, case.message_id), token)
    if answer.status_code == 404:
        return None
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    return answer.text


def check(history, receipt):
    """What a receipt (text or JSON) says to somebody who keeps the log's key and knows the id key."""
    text = receipt if isinstance(receipt, str) else json.dumps(receipt)
    return verify_receipt.verify(text, history.vkey, id_key=history.id_key)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


# What holds


def test_receipt_of_the_api(history, kind):
    assert_says(history, kind, history.answers[kind])


def test_receipt_of_the_command(history, kind):
    result = printed(history.gateway, history.cases[kind].message_id)
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert_says(history, kind, result.stdout)
    shown, before = json.loads(result.stdout), json.loads(history.answers[kind])
    assert parse_checkpoint(shown["checkpoint"]).size >= parse_checkpoint(before["checkpoint"]).size
    for one in (shown, before):
        del one["checkpoint"]
        for record in one["records"].values():
            del record["proof"]
    assert shown == before, "only checkpoint and proofs move on"


def assert_says(history, kind, text):
    case, shown, receipt = history.cases[kind], check(history, text), json.loads(text)
    assert shown.message_id == case.message_id
    types = [receipt["records"][name]["type"] for name in ("original", "requested", "completed")]
    assert types == [case.original, case.requested, "purge.completed"]
    assert receipt["key"]["class"] == case.key_class
    lines = {line["position"]: line for line in history.gateway.replay()}
    assert lines[shown.position]["message_id"] in (None, case.message_id)
    assert (lines[shown.requested]["type"], lines[shown.completed]["type"]) == (case.requested, "purge.completed")
    record = next(one for one in read_keys.sealed_records(history.gateway.data) if one.position == shown.position)
    assert receipt["key_commitment"] == record.commitment.hex()
    assert receipt["surviving_hashes"] and len(receipt["surviving_hashes"]) == (1 if record.type == 96 else 2)


def test_proofs_go_through_whole_tiles(history):
    proofs = [record["proof"] for text in history.answers.values() for record in json.loads(text)["records"].values()]
    assert min(len(proof) for proof in proofs) >= 8


def test_receipt_holds_neither_plaintext_nor_ciphertext_nor_key(history, kind):
    case, text = history.cases[kind], history.answers[kind]
    assert case.text not in text
    held = [one.encode() for _, one in leaves(json.loads(text)) if isinstance(one, str)]
    held += [decoded for one in list(held) for decode in (bytes_of_hex, bytes_of_base64) for decoded in decode(one)]
    assert not any(case.text.encode() in one for one in held)
    parts = [box for record in read_keys.sealed_records(history.gateway.data) for _, box in record.boxes]
    assert len(parts) > 20 and len(history.leaf_keys) > 10
    for part in [*parts, *history.leaf_keys]:
        for piece in (part[:12], part[12:24], part[-16:]):
            assert not any(bytes(piece) in one for one in held)


def bytes_of_hex(text):
    try:
        return [bytes.fromhex(text.decode())]
    except ValueError:
        return []


def bytes_of_base64(text):
    try:
        return [base64.b64decode(text, validate=True)]
    except ValueError:
        return []


def test_the_message_is_bound_by_id_and_by_position(history):
    """The evidence is about a position. Who knows neither that nor the id key takes the id on trust."""
    receipt, other = (json.loads(history.answers[kind]) for kind in ("inbound", "erased inbound"))
    position = receipt["records"]["original"]["position"]
    assert verify_receipt.verify(json.dumps(receipt), history.vkey, position=position).position == position
    receipt["message_id"] = other["message_id"]
    with pytest.raises(ValueError, match="another message"):
        check(history, receipt)
    with pytest.raises(ValueError, match="position"):
        verify_receipt.verify(json.dumps(receipt), history.vkey,
                              position=other["records"]["original"]["position"])


# What must not hold


def leaves(value, path=()):
    """Paths and values of everything that is no object and no list."""
    if isinstance(value, (dict, list)):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, name))
    else:
        yield path, value


def lists_and_objects(value, path=()):
    if isinstance(value, (dict, list)):
        yield path, value
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from lists_and_objects(one, (*path, name))


def other_values(value):
    """Values that are near, and values of another kind."""
    if isinstance(value, str):
        places = sorted({0, 1, len(value) // 3, len(value) // 2, max(len(value) - 3, 0), max(len(value) - 2, 0),
                         len(value) - 1})
        for place in places:
            for new in ("0", "1", "A", "B", "b", "=", "\n"):
                changed = value[:place] + new + value[place + 1:]
                if changed != value:
                    yield changed
        yield from (value + "0", value + "\n", value[:-1], " " + value, "", None, 0)
    elif value is None:
        yield from ("", "00" * 32, 0)
    else:
        yield from (value + 1, value + 256, str(value), float(value), -value - 1, None)
        if value:
            yield from (value - 1, 0)
        if value == 1:
            yield True


def other_containers(value):
    if isinstance(value, dict):
        yield from ({name: one for name, one in value.items() if name != left_out} for left_out in value)
    else:
        yield from ([*value[:n], *value[n + 1:]] for n in range(len(value)))
        yield from ([*value[:n], value[n + 1], value[n], *value[n + 2:]] for n in range(len(value) - 1)
                    if value[n] != value[n + 1])
        yield [*value, value[-1] if value else "00" * 32]
    yield None


def replaced(receipt, path, new):
    changed = copy.deepcopy(receipt)
    place = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = new
    return changed


def holds(history, receipt):
    try:
        check(history, receipt)
        return True
    except ValueError:
        return False


def test_every_changed_value_is_found(history, kind):
    receipt = json.loads(history.answers[kind])
    assert holds(history, receipt)
    changes = [(path, new) for path, value in leaves(receipt) for new in other_values(value)]
    changes += [(path, new) for path, value in lists_and_objects(receipt) if path for new in other_containers(value)]
    changes += [((name,), None) for name, value in receipt.items() if value is not None]
    assert len(changes) > 1000
    assert [(path, new) for path, new in changes if holds(history, replaced(receipt, path, new))] == []
    for name in receipt:
        # Of backups a receipt proves nothing; see `test_backup.py`.
        assert not holds(history, {other: value for other, value in receipt.items() if other != name}), name


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "{", '{"format":"waybill-purge-receipt/1"}'])
def test_what_is_no_receipt(history, text):
    with pytest.raises(ValueError):
        verify_receipt.verify(text, history.vkey)


def test_a_member_that_comes_twice(history):
    text = history.answers["inbound"]
    assert holds(history, text)
    assert not holds(history, '{"format":"waybill-purge-receipt/1",' + text.strip()[1:])


def test_records_of_another_purge(history):
    """Every record is genuine; together they are no receipt."""
    # Those of the command all end in one checkpoint. What was erased in the queue has two purges, and both are true.
    receipts = {kind: json.loads(printed(history.gateway, case.message_id).stdout)
                for kind, case in history.cases.items() if kind != "erased in the queue"}
    assert len({receipt["checkpoint"] for receipt in receipts.values()}) == 1
    mixed = 0
    for receipt in receipts.values():
        for other in receipts.values():
            for name, record in other["records"].items():
                if record == receipt["records"][name]:
                    continue
                mixed += 1
                assert not holds(history, replaced(receipt, ("records", name), record))
    assert mixed > 40


def test_a_message_that_the_purge_does_not_name(history):
    """With key, commitment, hashes and id of its own, and the records of somebody else's purge."""
    receipt, other = (json.loads(printed(history.gateway, history.cases[kind].message_id).stdout)
                      for kind in ("inbound", "erased inbound"))
    for name in ("message_id", "key", "key_commitment", "surviving_hashes"):
        receipt[name] = other[name]
    receipt["records"]["original"] = other["records"]["original"]
    assert not holds(history, receipt)


def test_a_checkpoint_of_another_key(history):
    """Whoever writes a log can sign it; only the key that was kept says whose it is."""
    receipt = json.loads(history.answers["inbound"])
    genuine = VerifierKey.parse(history.vkey)
    private = Ed25519PrivateKey.generate()
    typed = b"\1" + private.public_key().public_bytes_raw()
    key_id = sha256(genuine.name.encode() + b"\n" + typed)[:4]
    text = receipt["checkpoint"].rpartition("\n\n")[0] + "\n"
    blob = base64.b64encode(key_id + private.sign(text.encode())).decode()
    receipt["checkpoint"] = f"{text}\n— {genuine.name} {blob}\n"
    receipt["verifier_key"] = f"{genuine.name}+{key_id.hex()}+{base64.b64encode(typed).decode()}"
    assert verify_receipt.verify(json.dumps(receipt)).message_id == receipt["message_id"], "it agrees with itself"
    assert not holds(history, receipt)


# The verifier's command


def run_verifier(*arguments, **kwargs):
    script = Path(verify_receipt.__file__)
    return subprocess.run([sys.executable, "-B", script, *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, **kwargs)


def test_the_command_of_the_verifier(history, tmp_path):
    text, file = history.answers["outbound"], tmp_path / "receipt"
    file.write_text(text)
    position = json.loads(text)["records"]["original"]["position"]
    result = run_verifier(file, "--vkey", history.vkey, "--position", position, "--id-key", history.id_key.hex())
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert history.cases["outbound"].message_id in result.stdout
    result = run_verifier("-", input=text)
    assert result.returncode == 0 and "compare it" in result.stderr
    for bad in (["--vkey", history.vkey.replace("+", "x+", 1)], ["--position", position + 1], ["--id-key", "00" * 32]):
        result = run_verifier(file, *bad)
        assert result.returncode == 1 and result.stdout == "" and "Traceback" not in result.stderr, bad
    file.write_text(text.replace('"before":', '"before":1'))
    assert run_verifier(file, "--vkey", history.vkey).returncode == 1


# Where there is none


@pytest.mark.parametrize("message_id", ["kept", "msg_unknown", "msg_" + "0" * 26, "conversation"])
def test_no_receipt_without_a_purge(gateway, tenant, customer, message_id):
    event = received(tenant, customer, "kept")
    message_id = {"kept": message_of(event), "conversation": conversation_of(event)}.get(message_id, message_id)
    auditor = gateway.create_token("auditor")["token"]
    assert_problem(call("GET", receipt_url(gateway, message_id), auditor), 404, code="not_found")


def test_no_printed_receipt_without_a_purge(history):
    result = printed(history.gateway, history.kept)
    assert (result.returncode, result.stdout) == (1, "") and "not purged" in result.stderr
    for message_id in ("msg_unknown", "", history.kept.replace("msg_", "conv_")):
        result = printed(history.gateway, message_id)
        assert (result.returncode, result.stdout) == (2, ""), message_id


def test_no_receipt_while_a_purge_waits_for_its_send(gateway, tenant, receiver, customer):
    """In purge mode a send keeps its body until its outcome."""
    tenant.subscribe(receiver.endpoint())
    change = {"inbound_body_purge": {"sms": True}}
    assert tenant.call("PATCH", "/v1/settings", json=change).status_code == 200
    tenant.account.delay_seconds = 1
    auditor = gateway.create_token("auditor")["token"]
    message_id = tenant.accepted(unique("secret"), customer)["message_id"]
    assert_problem(call("GET", receipt_url(gateway, message_id), auditor), 404)
    tenant.wait_for_status(message_id, *SETTLED)
    wait_until(lambda: call("GET", receipt_url(gateway, message_id), auditor).status_code == 200, 5, "the receipt")


# Beside a running gateway


def test_command_beside_a_gateway_waits_for_a_checkpoint(gateway, tenant, customer):
    message_id = message_of(received(tenant, customer, unique("secret")))
    purge(tenant, message_id)

    def covered():
        result = printed(gateway, message_id)
        if result.returncode == 0:
            return result.stdout
        assert (result.returncode, result.stdout) == (1, "") and "wait for the next checkpoint" in result.stderr, result.stderr

    text = wait_until(covered, STORED_SECONDS, "a stored checkpoint behind the purge")
    assert verify_receipt.verify(text, log_key(gateway)).message_id == message_id


def test_receipt_under_a_new_log_key(make_gateway, twilio):
    gateway = make_gateway("rotated").start()
    tenant = connected(gateway, twilio)
    message_id = message_of(received(tenant, customer_number(), unique("secret")))
    purge(tenant, message_id)
    auditor = gateway.create_token("auditor")["token"]
    old, before = log_key(gateway), call("GET", receipt_url(gateway, message_id), auditor).text
    new = gateway.run_ok("key", "rotate", "--data", gateway.data, "--log").strip()
    gateway.run_ok("key", "rotate", "--data", gateway.data, "--root")
    assert old != new == log_key(gateway)
    after = [call("GET", receipt_url(gateway, message_id), auditor).text, printed(gateway, message_id).stdout]
    assert gateway.stop() == 0
    after.append(printed(gateway, message_id).stdout)
    for text in after:
        assert verify_receipt.verify(text, new).message_id == message_id
        with pytest.raises(ValueError):
            verify_receipt.verify(text, old)
    assert verify_receipt.verify(before, old).message_id == message_id, "what was given out still holds"


def test_receipt_stays_that_of_the_first_purge(gateway, tenant, customer):
    event = received(tenant, customer, unique("secret"))
    auditor = gateway.create_token("auditor")["token"]

    def requested():
        answer = call("GET", receipt_url(gateway, message_of(event)), auditor)
        assert answer.status_code == 200, answer.text
        assert verify_receipt.verify(answer.text, log_key(gateway)).message_id == message_of(event)
        return json.loads(answer.text)["records"]["requested"]["digested"]

    purge(tenant, message_of(event))
    first = requested()
    erase(tenant, conversation_of(event))
    assert requested() == first
    assert gateway.admin("DELETE", f"/clients/{tenant.id}").status_code == 204
    assert requested() == first


# Who may ask


def test_receipts_are_for_auditors_and_operators(gateway, tenant, customer):
    message_id = message_of(received(tenant, customer, unique("secret")))
    purge(tenant, message_id)
    assert_receipts_need_a_token(gateway, tenant, message_id)
    url = receipt_url(gateway, message_id)
    for method in ("POST", "PUT", "DELETE"):
        assert_problem(call(method, url, gateway.create_token("auditor")["token"]), (404, 405))


def assert_receipts_need_a_token(gateway, tenant, message_id):
    url = receipt_url(gateway, message_id)
    assert_problem(call("GET", url), 401, code="unauthorized")
    assert_problem(call("GET", url, "wb_aud_" + "0" * 52), 401, code="unauthorized")
    assert_problem(call("GET", url, tenant.key), (401, 403))
    for token in (gateway.create_token("auditor")["token"], gateway.operator):
        assert call("GET", url, token).status_code == 200


def test_public_tiles_do_not_make_receipts_public(make_gateway, twilio):
    """`audit.public_tiles` is about the checkpoint and the tiles, which name nobody."""
    gateway = make_gateway("public", WAYBILL_AUDIT_PUBLIC_TILES="true").start()
    tenant = connected(gateway, twilio)
    message_id = message_of(received(tenant, customer_number(), unique("secret")))
    purge(tenant, message_id)
    assert call("GET", gateway.base_url + "/audit/v1/checkpoint").status_code == 200
    assert_receipts_need_a_token(gateway, tenant, message_id)
