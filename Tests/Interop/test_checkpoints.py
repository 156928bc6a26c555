"""Checkpoints, proofs and verification against them, with a verifier and a reader that are not Waybill's."""

import json
import shutil
import struct

import pytest
from read_log import MerkleTree, crc32c, read_log, sha256
from support.files import copy_data
from support.http import call
from support.tenant import Tenant, customer_number
from test_log_format import PAGE, blocks, flipped, reseal, reseal_header, record_parts, redigest
from tlog import Proof, VerifierKey, open_note, parse_checkpoint, root_from_inclusion


@pytest.fixture(scope="module")
def stopped(make_gateway, twilio):
    """A gateway with some history that was stopped in order, twice."""
    # Some tests change or remove written segments.
    gateway = make_gateway("checkpoints", WAYBILL_LOG_SEALING="false")
    for run in range(2):
        gateway.start()
        if run == 0:
            tenant = Tenant(gateway, twilio.account())
            assert tenant.connect_sms().status_code == 200
        for n in range(8):
            assert tenant.inbound(f"message {run}.{n}", customer_number()).status_code == 200
        assert gateway.stop() == 0
    return gateway


@pytest.fixture(scope="module")
def key(stopped):
    return VerifierKey.parse(stopped.run_ok("checkpoint", "--data", stopped.data, "--vkey"))


def checkpoint_of(gateway, key):
    note = gateway.run_ok("checkpoint", "--data", gateway.data)
    return note, parse_checkpoint(open_note(note, key))


def test_checkpoint_is_the_whole_log(stopped, key):
    """Signed after the last record, it names the size and root that another reader computes."""
    _, checkpoint = checkpoint_of(stopped, key)
    log = read_log(stopped.data)
    list(log.records)
    assert (checkpoint.size, checkpoint.root) == (log.size, log.root)
    assert checkpoint.origin == key.name
    assert log.last_position == checkpoint.size


def test_every_record_is_proven(stopped, key):
    note, checkpoint = checkpoint_of(stopped, key)
    digests = [record.digest for record in read_log(stopped.data).records]
    for position in (1, 2, 7, len(digests) // 2, len(digests) - 1, len(digests)):
        proof = Proof.parse(stopped.run_ok("prove", "--data", stopped.data, "--position", position))
        assert proof.note == note
        assert proof.index == position - 1
        assert root_from_inclusion(digests[position - 1], proof.index, checkpoint.size, proof.hashes) == checkpoint.root
        with pytest.raises(ValueError):
            root_from_inclusion(digests[position - 1], proof.index, checkpoint.size, proof.hashes[:-1])


@pytest.mark.parametrize("position", ["0", "100000"])
def test_no_proof_beyond_the_checkpoint(stopped, position):
    result = stopped.run("prove", "--data", stopped.data, "--position", position)
    assert (result.returncode, result.stdout) == (1, "")
    assert "covers positions" in result.stderr


def test_history_names_the_key(stopped, key):
    named = [line["data"]["verifier_key_after"] for line in stopped.replay("--type", "key.log_rotated")]
    assert [VerifierKey.parse(one) for one in named] == [key], "one key, also after a restart"


def test_auditors_see_a_fresh_checkpoint(gateway, tenant, customer):
    key = VerifierKey.parse(gateway.run_ok("checkpoint", "--data", gateway.data, "--vkey"))
    auditor = gateway.create_token("auditor")["token"]
    url = gateway.base_url + "/audit/v1/checkpoint"
    before = parse_checkpoint(open_note(call("GET", url, auditor).text, key))
    assert tenant.inbound("one more", customer).status_code == 200
    answer = call("GET", url, auditor)
    after = parse_checkpoint(open_note(answer.text, key))
    assert after.size > before.size
    assert answer.headers["Waybill-Position"] == str(after.size)
    assert call("GET", url).status_code == 401
    assert call("GET", url, tenant.key).status_code == 403


# Tampering


def rewrite_first_message(data):
    """Flips one ciphertext bit early in segment 1 and makes every digest, checksum, link and subtree root after it anew."""
    names = sorted(data.glob("*.wal"))
    tree, link, changed = MerkleTree(), bytes(32), False
    for path in names:
        content = bytearray(path.read_bytes())
        content[80:112] = link
        roots = b"".join(tree.frontier)
        content[128:128 + len(roots)] = roots
        reseal_header(content)
        for block in [block for block in blocks(content) if block.frame_length]:
            record = block.record
            while record < block.frame_end:
                length, = struct.unpack_from("<I", content, record)
                _, sealed, sealed_end = record_parts(content, record)
                if not changed and sealed < sealed_end:
                    content[sealed_end - 1] ^= 1
                    changed = True
                redigest(content, record)
                tree.append(bytes(content[record + 64:record + 96]))
                record += length
            content[block.group + 48:block.group + 80] = link
            reseal(content, block)
            link = sha256(content[block.group:block.record])
        path.write_bytes(content)
    assert changed
    return tree


def test_rewritten_history_is_found_by_an_earlier_checkpoint(stopped, key, tmp_path):
    data = copy_data(stopped.data, tmp_path / "data")
    kept = tmp_path / "kept"
    kept.write_text((data / "checkpoint").read_text())
    vkey = stopped.run_ok("checkpoint", "--data", stopped.data, "--vkey").strip()
    arguments = ("--checkpoint", kept, "--vkey", vkey)
    assert stopped.verify(*arguments, data=data).returncode == 0

    rewrite_first_message(data)
    (data / "checkpoint").unlink()
    forged = stopped.verify(data=data)
    assert forged.returncode == 0, f"the forgery is meant to be perfect: {forged.stdout}"
    found = stopped.verify(*arguments, data=data)
    assert found.returncode == 1
    assert "rewritten" in found.stdout


def test_cut_history_is_found(stopped, tmp_path):
    """The newest segment taken away leaves a log that is right in itself."""
    data = copy_data(stopped.data, tmp_path / "data")
    newest = sorted(data.glob("*.wal"))[-1]
    newest.unlink()
    result = stopped.verify(data=data)
    assert result.returncode == 1
    assert "ends before the checkpoint" in result.stdout


@pytest.mark.parametrize("change", [
    lambda note: note.replace("\n", "\n1", 1), lambda note: note[:-20] + "A" + note[-19:], lambda note: "nonsense",
])
def test_forged_checkpoint_is_refused(stopped, tmp_path, change):
    kept = tmp_path / "kept"
    kept.write_text(change((stopped.data / "checkpoint").read_text()))
    assert stopped.verify("--checkpoint", kept).returncode == 1


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(300)], ids=["empty", "nonsense", "zeros"])
def test_damaged_stored_checkpoint_is_a_finding_among_others(stopped, key, tmp_path, content):
    """It is named, and what else there is to find is found all the same."""
    data = copy_data(stopped.data, tmp_path / "data")
    kept = tmp_path / "kept"
    shutil.copy(data / "checkpoint", kept)
    (data / "checkpoint").write_bytes(content)
    alone = stopped.verify("--json", "--checkpoint", kept, data=data)
    report = json.loads(alone.stdout)
    assert alone.returncode == 1 and not report["ok"]
    assert [str(data / "checkpoint") in finding["problem"] for finding in report["findings"]] == [True]
    assert report["records"] == read_log(data).size

    segment = data / "00000000000000000001.wal"
    block = next(block for block in blocks(segment.read_bytes()) if block.frame_length)
    with flipped(segment, block.record):
        both = stopped.verify(data=data)
    assert both.returncode == 1
    assert segment.name in both.stdout and str(data / "checkpoint") in both.stdout


def test_checkpoint_of_another_log_is_refused(stopped, make_gateway, tmp_path):
    other = make_gateway("other").start()
    assert other.stop() == 0
    result = stopped.verify("--checkpoint", other.data / "checkpoint")
    assert result.returncode == 1
    assert "not signed by" in result.stdout + result.stderr


# The key of its time


def verified(gateway, *arguments):
    result = gateway.verify("--json", *arguments)
    return result.returncode, json.loads(result.stdout)


@pytest.mark.parametrize("way", ["rotate", "restore", "both"])
def test_a_checkpoint_is_judged_by_the_key_of_its_time(make_gateway, tmp_path, way):
    gateway = make_gateway("times", WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20)).start()
    assert gateway.stop() == 0
    kept = []

    def keep(of):
        path = tmp_path / f"kept-{len(kept)}"
        path.write_text(of.run_ok("checkpoint", "--data", of.data))
        kept.append((path, of.run_ok("checkpoint", "--data", of.data, "--vkey").strip()))

    keep(gateway)
    if way != "restore":
        gateway.run_ok("key", "rotate", "--data", gateway.data, "--log")
        keep(gateway)
    if way != "rotate":
        gateway.run_ok("backup", "--data", gateway.data, "--to", tmp_path / "backup", "--backup-key", tmp_path / "key",
                       "--horizon=1")
        gateway.start()
        assert gateway.stop() == 0
        beyond = tmp_path / "beyond"
        beyond.write_text(gateway.run_ok("checkpoint", "--data", gateway.data))
        new = make_gateway("restored", WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20))
        new.run_ok("restore", "--from", tmp_path / "backup", "--data", new.data)
        new.start()
        assert new.stop() == 0
        code, report = verified(new, "--checkpoint", beyond, "--vkey", kept[-1][1])
        assert (code, report["state"]) == (1, "unproven")
        assert ["abandoned" in finding["problem"] for finding in report["findings"]] == [True]
        gateway = new
        keep(gateway)
    for path, vkey in kept:
        assert verified(gateway, "--checkpoint", path, "--vkey", vkey)[0] == 0
        assert verified(gateway, "--checkpoint", path)[0] == 0
    code, report = verified(gateway, "--checkpoint", kept[0][0], "--vkey", kept[-1][1])
    assert (code, report["state"]) == (1, "unproven"), "that key did not sign this one"


def test_a_key_that_the_history_does_not_name(stopped, make_gateway, tmp_path):
    other = make_gateway("stranger").start()
    assert other.stop() == 0
    vkey = other.run_ok("checkpoint", "--data", other.data, "--vkey").strip()
    result = stopped.verify("--vkey", vkey)
    assert result.returncode == 1
    assert "is not a key that this history signed with" in result.stdout
    assert "damaged" not in result.stdout
    assert verified(stopped)[1]["state"] == "ok"


def test_wrong_use(stopped, tmp_path):
    assert stopped.verify("--checkpoint", tmp_path / "missing").returncode == 1
    assert stopped.verify("--checkpoint", stopped.data / "checkpoint", "--vkey", "nonsense").returncode == 2
    assert stopped.run("prove", "--data", tmp_path, "--position", "1").returncode == 1
