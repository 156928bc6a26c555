"""The log on disk is what docs/log-format.md says: read_log.py, written from that page alone, agrees with Waybill."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import pytest

from read_log import (
    BLOCK_HEAD, GROUP_HEADER, PAGE, RECORD_HEADER, SEALED_HEAD, MerkleTree, Violation, crc32c, frames_of, main,
    parse_pack, read_log, sha256)
from support.files import copy_data
from support.gateway import REPOSITORY, Gateway
from support.sealing import parse_sealed, seal
from support.tenant import Tenant, customer_number
from support.wait import wait_until

RUNS = 4
SCRIPT = Path(__file__).with_name("read_log.py")
CATALOGUE_ROW = re.compile(r"^\| (\d+) \| `([a-z_.]+)` \|", re.MULTILINE)


# Logs to read


class History(NamedTuple):
    """The data of a gateway that no longer runs. Segment n was begun by its n-th run."""

    gateway: Gateway
    data: Path

    def segment(self, number):
        return self.data / f"{number:020}.wal"

    def sealed(self, number):
        return self.segment(number).with_suffix(".sealed")

    def sealed_by_gateway(self, number):
        return self.gateway.data / self.sealed(number).name

    def numbers(self, suffix):
        return sorted(int(path.stem) for path in self.data.glob(f"*{suffix}"))

    def read(self):
        return read_log(self.data)

    def verified(self):
        """What `waybill verify` says of it, and its exit code."""
        result = self.gateway.verify("--json", data=self.data)
        return json.loads(result.stdout), result.returncode

    def replayed(self):
        """The lines of `waybill replay`, its exit code, and what it says when it fails."""
        result = self.gateway.run("replay", "--data", self.data)
        return [json.loads(line) for line in result.stdout.splitlines()], result.returncode, result.stderr

    def copy(self, target):
        return self._replace(data=copy_data(self.data, target))

    def copy_as_written(self, target, kept):
        """A copy with the segments in `kept`, and none sealed."""
        copy = self.copy(target)
        for path in copy.data.glob("*.sealed"):
            path.unlink()
        for path in kept.iterdir():
            shutil.copy(path, copy.data)
        return copy


@pytest.fixture(scope="module")
def histories(make_gateway, twilio, tmp_path_factory):
    """Two looks at one log: right after a kill in the third run, and after a fourth one that ended well.

    Segments are sealed while the gateway runs; second names keep the written ones for a look at those.
    """
    running = make_gateway("history").start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    history, kept = History(running, running.data), tmp_path_factory.mktemp("kept")

    def traffic(run):
        os.link(history.segment(run), kept / history.segment(run).name)
        # Nothing is under way yet, so the start is marked as durable before the first message comes.
        wait_until(lambda: durable_mark(history.segment(run).read_bytes()), 5, "a durable mark behind the start")
        customer = customer_number()
        for n in range(5):
            assert tenant.inbound(f"run {run}, message {n}", customer).status_code == 200
        accepted = tenant.accepted(f"answer of run {run}", customer)
        tenant.wait_for_status(accepted["message_id"], "sent")

    traffic(1)
    assert running.stop() == 0
    running.start()
    traffic(2)
    assert running.stop() == 0
    running.start()
    traffic(3)
    assert tenant.inbound("the last before the kill", customer_number()).status_code == 200
    running.kill()
    killed = history.copy_as_written(tmp_path_factory.mktemp("killed") / "data", kept)
    running.start()
    traffic(RUNS)
    wait_until_sealed(history)
    assert running.stop() == 0
    return killed, history.copy_as_written(tmp_path_factory.mktemp("history") / "data", kept)


def wait_until_sealed(history):
    """All segments but the newest, in the background of a gateway that runs."""
    newest = max(history.numbers(".wal"))
    wait_until(lambda: history.numbers(".wal") == [newest], 30, "no written segment but the newest")
    assert history.numbers(".sealed") == list(range(1, newest))


@pytest.fixture(scope="module")
def killed(histories):
    return histories[0]


@pytest.fixture(scope="module")
def history(histories):
    return histories[1]


@pytest.fixture(scope="module")
def scratch(history, tmp_path_factory):
    """A copy for tests that damage something and put it back."""
    return history.copy(tmp_path_factory.mktemp("scratch") / "data")


# Places in a segment


class Block(NamedTuple):
    offset: int
    frame_length: int
    end: int

    @property
    def group(self):
        return self.offset + BLOCK_HEAD.size

    @property
    def record(self):
        """The group's first record."""
        return self.group + GROUP_HEADER.size

    @property
    def frame_end(self):
        return self.group + self.frame_length


def blocks(content):
    """The blocks of a segment that is known to be well."""
    found, offset = [], PAGE
    while content[offset:offset + 4] == b"WBBK":
        (length,) = struct.unpack_from("<I", content, offset + 40)
        end = -(-(offset + BLOCK_HEAD.size + length) // PAGE) * PAGE
        found.append(Block(offset, length, end))
        offset = end
    return found


def durable_mark(content):
    return next((block for block in blocks(content) if block.frame_length == 0), None)


def sealed_group(content):
    """A group whose first record has a payload and a sealed section, and whose last page is not full."""
    for block in blocks(content):
        if block.frame_length and content[block.record + 7] and block.frame_end < block.end:
            return block
    raise AssertionError("no group with a sealed section")


def record_parts(content, record):
    """Where payload and sealed section begin, and where the latter ends."""
    *_, payload_length, sealed_length, _ = RECORD_HEADER.unpack_from(content, record)
    payload = record + RECORD_HEADER.size
    sealed = payload + payload_length
    return payload, sealed, sealed + sealed_length


def places(content):
    """One byte, by its offset, of everything that the format names."""
    block, mark = sealed_group(content), durable_mark(content)
    payload, sealed, sealed_end = record_parts(content, block.record)
    segment = {
        "magic": 0, "crc": 8, "version": 12, "number": 16, "base": 24, "nonce": 32, "size": 48, "durable_through": 56,
        "log_id": 64, "link": 80, "tree_size": 112, "subtree_count": 120, "flags": 124, "subtree": 128,
        "zeros": PAGE - 1,
    }
    head = {"magic": 0, "crc": 4, "nonce": 8, "durable_through": 24, "offset": 32, "length": 40, "zeros": 63}
    group = {
        "magic": 0, "crc": 4, "version": 8, "flags": 10, "length": 12, "first": 16, "last": 24, "body_crc": 32,
        "zeros": 36, "time": 40, "link": 48, "log_id": 80,
    }
    record = {
        "length": 0, "type": 4, "schema": 6, "flags": 7, "position": 8, "time": 16, "client": 24, "conversation": 32,
        "message": 40, "subject": 48, "payload_length": 56, "sealed_length": 60, "digest": 64,
    }
    found = {f"segment {name}": offset for name, offset in segment.items()}
    found |= {f"block {name}": block.offset + offset for name, offset in head.items()}
    found |= {f"mark {name}": mark.offset + offset for name, offset in head.items()}
    found |= {f"group {name}": block.group + offset for name, offset in group.items()}
    found |= {f"record {name}": block.record + offset for name, offset in record.items()}
    return found | {
        "payload": payload, "sealed head": sealed, "sealed commitment": sealed + 24, "box purpose": sealed + 56,
        "box length": sealed + 60, "box nonce": sealed + 64, "box ciphertext": sealed + 76,
        "sealed end": sealed_end - 1, "behind the mark": mark.end - 1, "behind the group": block.end - 1,
    }


@contextmanager
def changed(path, offset, replacement):
    """The file with other bytes at `offset`; afterwards as it was."""
    with path.open("r+b") as file:
        file.seek(offset)
        original = file.read(len(replacement))
        file.seek(offset)
        file.write(replacement)
        file.flush()
        try:
            yield
        finally:
            file.seek(offset)
            file.write(original)


def flipped(path, offset):
    with path.open("rb") as file:
        file.seek(offset)
        (byte,) = file.read(1)
    return changed(path, offset, bytes([byte ^ 0x40]))


# The parts of the reader that have an answer known from elsewhere


def test_crc_of_the_rfc():
    """RFC 3720, appendix B.4, and the usual check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


def merkle_root(entries):
    """RFC 6962, 2.1, word for word."""
    if not entries:
        return sha256(b"")
    if len(entries) == 1:
        return sha256(b"\0" + entries[0])
    k = 1 << ((len(entries) - 1).bit_length() - 1)
    return sha256(b"\1" + merkle_root(entries[:k]) + merkle_root(entries[k:]))


def test_tree_of_the_rfc():
    entries, tree = [bytes([n]) * 32 for n in range(70)], MerkleTree()
    for size, entry in enumerate(entries):
        assert tree.root == merkle_root(entries[:size])
        tree.append(entry)
        assert len(tree.frontier) == tree.size.bit_count()


# Agreement


def assert_agrees_with_verify(history):
    log, (verified, code) = history.read(), history.verified()
    assert code == 0, verified
    assert (log.size, log.segments, log.root.hex()) == (verified["records"], verified["segments"], verified["root"])
    assert log.last_position == log.size == len(log.records)
    return log


def names_of_types():
    catalogue = (REPOSITORY / "docs" / "events.md").read_text()
    return {int(number): name for number, name in CATALOGUE_ROW.findall(catalogue)}


def as_rfc3339(nanoseconds):
    """As replay prints a time: UTC, cut to milliseconds."""
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=nanoseconds // 1_000_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_agrees_with_verify(history):
    log = assert_agrees_with_verify(history)
    assert log.segments == RUNS, "every opening begins a segment"
    assert log.tail.reason == "zeros"


def test_agrees_with_verify_after_a_kill(killed, history):
    log = assert_agrees_with_verify(killed)
    assert log.segments == 3
    assert log.records == history.read().records[: log.size], "the next run changed nothing of it"


def test_agrees_with_replay(history):
    names, records = names_of_types(), history.read().records
    assert_same_as_replay(records, history, names)
    assert {"message.received", "send.accepted", "send.finished", "process.stopped"} <= {
        names[record.type] for record in records}


def assert_same_as_replay(records, history, names):
    lines, code, problem = history.replayed()
    assert code == 0, problem
    assert [(record.position, names[record.type], as_rfc3339(record.time)) for record in records] == [
        (line["position"], line["type"], line["time"]) for line in lines]
    for column in ("client", "conversation", "message"):
        ids = {(getattr(record, column), line[f"{column}_id"]) for record, line in zip(records, lines)
               if line[f"{column}_id"] and getattr(record, column)}
        positions, api_ids = ({pair[side] for pair in ids} for side in (0, 1))
        assert len(positions) == len(api_ids) == len(ids), f"{column}: one id for each position"


def test_reads_beside_a_running_gateway(gateway, tenant, customer):
    assert tenant.inbound("while running", customer).status_code == 200
    before = read_log(gateway.data)
    verified = json.loads(gateway.verify("--json").stdout)
    after = read_log(gateway.data)
    assert 0 < before.size <= verified["records"] <= after.size
    tree = MerkleTree()
    for record in after.records[: verified["records"]]:
        tree.append(record.digest)
    assert tree.root.hex() == verified["root"]


def test_a_segment_that_was_full(make_gateway, twilio):
    """Ballast fills the first segment; the second one was not begun by an opening and took nothing over."""
    running = make_gateway("full").start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    history, customer = History(running, running.data), customer_number()
    ballast = "x" * 400_000
    for _ in range(1000):
        assert tenant.inbound("heavy", customer, Padding=ballast).status_code == 200
        if history.segment(2).exists():
            break
    assert tenant.inbound("light", customer).status_code == 200
    running.kill()
    assert history.segment(2).read_bytes()[124] == 0
    assert assert_agrees_with_verify(history).segments == 2


def test_what_the_next_segment_took_over_is_not_read_twice(killed, history, tmp_path):
    """The state of a crash after the new segment has its name and before the old one is cut off."""
    copy = history.copy(tmp_path / "data")
    assert copy.segment(3).stat().st_size < killed.segment(3).stat().st_size
    copy.segment(3).write_bytes(killed.segment(3).read_bytes())
    log = assert_agrees_with_verify(copy)
    assert log.records == history.read().records


# The command


def run_script(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_command(history):
    log, result = history.read(), run_script(history.data)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"records: {log.size}", f"segments: {RUNS}", f"last position: {log.last_position}", f"root: {log.root.hex()}",
        f"end: {history.segment(RUNS).name}: offset {log.tail.offset}: zeros"]


def test_command_json(history):
    records, result = history.read().records, run_script(history.data, "--json")
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["position"], line["type"], line["digest"]) for line in lines] == [
        (record.position, record.type, record.digest.hex()) for record in records]
    assert set(lines[0]) == {
        "position", "time", "type", "client", "conversation", "message", "subject", "payload_length", "sealed_length",
        "digest"}


def test_command_names_file_and_offset(scratch):
    segment = scratch.segment(2)
    block = sealed_group(segment.read_bytes())
    with flipped(segment, block.record):
        result = run_script(scratch.data)
    assert result.returncode == 1
    assert result.stdout == ""
    assert segment.name in result.stderr and f"offset {block.offset}:" in result.stderr


def test_command_without_a_log(tmp_path):
    assert run_script(tmp_path).returncode == 1
    assert run_script(tmp_path / "nothing").returncode == 1


# Damage


@pytest.mark.parametrize("number", [2, RUNS], ids=["older", "newest"])
def test_every_flipped_byte_is_found(scratch, number):
    """One byte of every kind, in an older segment and where later blocks of the newest one prove it durable."""
    segment = scratch.segment(number)
    for name, offset in places(segment.read_bytes()).items():
        with flipped(segment, offset):
            with pytest.raises(Violation) as found:
                pytest.fail(f"{name} at {offset}: not found, {scratch.read().size} records read")
            verified, code = scratch.verified()
        assert found.value.file == segment.name, f"{name} at {offset}: {found.value}"
        assert found.value.offset <= offset < found.value.offset + 2 * PAGE, f"{name} at {offset}: {found.value}"
        assert code == 1 and not verified["ok"], f"{name} at {offset}: read_log says {found.value}, verify {verified}"
    assert scratch.read().size == scratch.verified()[0]["records"]


def test_bytes_behind_the_end_are_a_tail(scratch):
    log = scratch.read()
    segment = scratch.segment(RUNS)
    for offset in (log.tail.offset, log.tail.offset + 3 * PAGE, segment.stat().st_size - 1):
        with changed(segment, offset, b"!"):
            torn = scratch.read()
        assert (torn.root, torn.tail.offset) == (log.root, log.tail.offset)
        assert torn.tail.reason != "zeros"


def test_a_lost_last_group_is_a_tail_only_without_its_mark(scratch):
    log, segment = scratch.read(), scratch.segment(RUNS)
    last, mark = blocks(segment.read_bytes())[-2:]
    assert (bool(last.frame_length), mark.frame_length) == (True, 0)
    with flipped(segment, last.record):
        with pytest.raises(Violation, match="proves durable"):
            scratch.read()
        with changed(segment, mark.offset, bytes(PAGE)):
            torn = scratch.read()
    assert torn.size < log.size
    assert (torn.tail.offset, torn.tail.reason) == (last.offset, "CRC of the group body")
    with flipped(segment, mark.offset):
        assert scratch.read().root == log.root, "nothing is lost with a mark alone"


def test_a_missing_segment_is_found(history, tmp_path):
    copy = history.copy(tmp_path / "data")
    for number in (2, 1):
        copy.segment(number).unlink()
        with pytest.raises(Violation):
            copy.read()


GOLDEN = Path(__file__).parents[1] / "Golden"
# Sizes of segments of which the zeros at the end are left out, and how many records there are.
GOLDEN_LOGS = {
    "format-1": ({1: 32768, 2: 28672, 3: 1 << 20}, 16),
    "format-1-sealed": ({4: 1 << 20}, 23),
}


def restore_golden(name, target):
    sizes, _ = GOLDEN_LOGS[name]
    for path in [*(GOLDEN / name).glob("*.wal"), *(GOLDEN / name).glob("*.sealed")]:
        size = sizes.get(int(path.stem), 0)
        (target / path.name).write_bytes(path.read_bytes().ljust(size, b"\0"))
    return read_log(target)


@pytest.mark.parametrize("name", GOLDEN_LOGS)
def test_golden_files(tmp_path, name):
    """The root is the one that Tests/Golden/README.md names."""
    log = restore_golden(name, tmp_path)
    assert log.size == GOLDEN_LOGS[name][1]
    assert log.root.hex() in (GOLDEN / "README.md").read_text()


def test_golden_sealed_records_are_the_written_ones(tmp_path):
    logs = []
    for name in GOLDEN_LOGS:
        (tmp_path / name).mkdir()
        logs.append(restore_golden(name, tmp_path / name))
    assert logs[1].records[:16] == logs[0].records


# Forgery: the checksums are right, so that only the sense of the bytes can give it away.


def put(form, offset, value):
    def apply(content, block):
        struct.pack_into(form, content, block.offset + offset, value)

    return apply


def digested(forge):
    """The forgery with the entry digest that belongs to it."""
    def apply(content, block):
        forge(content, block)
        redigest(content, block.record)

    return apply


def redigest(content, record):
    payload, sealed, sealed_end = record_parts(content, record)
    covered = content[record:record + 64] + content[payload:sealed]
    if sealed < sealed_end:
        boxes = sealed + SEALED_HEAD.size
        covered += content[sealed:boxes] + sha256(content[boxes:sealed_end])
    content[record + 64:payload] = sha256(covered)


def put_time(content, block):
    for offset in (block.group + 40, block.record + 16):
        struct.pack_into("<Q", content, offset, 1)


def drop_sealed_section(content, block):
    content[block.record + 7] = 0


def put_sealed(form, offset, value):
    def apply(content, block):
        _, sealed, _ = record_parts(content, block.record)
        struct.pack_into(form, content, sealed + offset, value)

    return digested(apply)


def repeat_field_number(content, block):
    payload, _, _ = record_parts(content, block.record)
    second = payload + 2 + content[payload + 1]
    content[second] = content[payload]


def change_payload(content, block):
    payload, _, _ = record_parts(content, block.record)
    content[payload + 2] ^= 1


def change_ciphertext(content, block):
    _, sealed, _ = record_parts(content, block.record)
    content[sealed + 76] ^= 1


GROUP, RECORD = BLOCK_HEAD.size, BLOCK_HEAD.size + GROUP_HEADER.size
FORGERIES = {
    "block durable_through": (put("<Q", 24, 1 << 40), "durable through"),
    "block zeros": (put("<B", 44, 1), "behind the block head"),
    "group version": (put("<H", GROUP + 8, 2), "format version"),
    "group flags": (put("<H", GROUP + 10, 1), "flags"),
    "group first": (put("<Q", GROUP + 16, 1), "position 1 instead of"),
    "group last": (put("<Q", GROUP + 24, 1 << 40), "the next one owns"),
    "group zeros": (put("<I", GROUP + 36, 1), "behind the CRC of the group body"),
    "group time": (put("<Q", GROUP + 40, 1), "group's time"),
    "group link": (put("<Q", GROUP + 48, 1), "link"),
    "group log_id": (put("<Q", GROUP + 80, 1), "another log"),
    "record length": (put("<I", RECORD, 1 << 20), "a record of 1048576 bytes"),
    "record position": (digested(put("<Q", RECORD + 8, 1 << 40)), "position 1099511627776 instead of"),
    "record time": (digested(put_time), "not after the record before"),
    "record client": (put("<Q", RECORD + 24, 1 << 40), "names a later one"),
    "record type": (put("<H", RECORD + 4, 5), "entry digest"),
    "record digest": (put("<Q", RECORD + 64, 1), "entry digest"),
    "sealed flag": (drop_sealed_section, "flag of the sealed section"),
    "sealed class": (put_sealed("<B", 20, 9), "key class 9"),
    "sealed zeros": (put_sealed("<B", 21, 1), "behind the key class"),
    "box purpose": (put_sealed("<B", 56, 9), "purpose 9"),
    "box zeros": (put_sealed("<B", 57, 1), "behind the purpose"),
    "box length": (put_sealed("<I", 60, 1 << 20), "a box of 1048576 bytes"),
    "payload's order": (digested(repeat_field_number), "of the payload after field"),
    "payload": (change_payload, "entry digest"),
    "ciphertext": (change_ciphertext, "entry digest"),
}


def reseal(content, block):
    """Right checksums, from the inside out."""
    sums = [(block.record, block.frame_end, block.group + 32), (block.group + 8, block.record, block.group + 4),
            (block.offset + 8, block.group, block.offset + 4)]
    for start, end, target in sums:
        struct.pack_into("<I", content, target, crc32c(content[start:end]))


def reseal_header(content):
    struct.pack_into("<I", content, 8, crc32c(content[12:PAGE]))


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_group_is_found(scratch, name):
    forge, reason = FORGERIES[name]
    segment = scratch.segment(2)
    content = bytearray(segment.read_bytes())
    block = sealed_group(content)
    forge(content, block)
    reseal(content, block)
    with changed(segment, 0, content), pytest.raises(Violation, match=reason) as found:
        scratch.read()
    assert found.value.file == segment.name
    assert found.value.offset in (block.offset, block.record)


@pytest.mark.parametrize("field, offset, form, reason", [
    ("number", 16, "<Q", "says segment"),
    ("base", 24, "<Q", "a tree of"),
    ("durable_through", 56, "<Q", "before the base"),
    ("log_id", 64, "<Q", "another log"),
    ("link", 80, "<Q", "link"),
    ("tree_size", 112, "<Q", "a tree of"),
    ("subtree_count", 120, "<I", "subtree roots for"),
    ("subtree", 128, "<Q", "subtree roots differ"),
    ("flags", 124, "<I", "flags"),
    ("zeros", PAGE - 8, "<Q", "behind the subtree roots"),
])
def test_forged_header_is_found(scratch, field, offset, form, reason):
    segment = scratch.segment(3)
    page = bytearray(segment.read_bytes()[:PAGE])
    struct.pack_into(form, page, offset, 9)
    reseal_header(page)
    with changed(segment, 0, page), pytest.raises(Violation, match=reason) as found:
        scratch.read()
    assert (found.value.file, found.value.offset) == (segment.name, 0)


def test_rewritten_history_shows_in_the_next_header(scratch):
    """The last record of a segment, replaced with all its sums, is betrayed by the link, and then by the tree."""
    first, second = scratch.segment(1), scratch.segment(2)
    content, page = bytearray(first.read_bytes()), bytearray(second.read_bytes()[:PAGE])
    last = [block for block in blocks(content) if block.frame_length][-1]
    _, sealed, _ = record_parts(content, last.record)
    content[sealed - 1] ^= 1
    redigest(content, last.record)
    reseal(content, last)
    with changed(first, 0, content):
        with pytest.raises(Violation, match="link") as found:
            scratch.read()
        assert (found.value.file, found.value.offset) == (second.name, 0)
        page[80:112] = sha256(content[last.group:last.record])
        reseal_header(page)
        with changed(second, 0, page), pytest.raises(Violation, match="subtree roots") as found:
            scratch.read()
        assert (found.value.file, found.value.offset) == (second.name, 0)


# Sealed segments that Waybill did not write


def frames(content):
    """The group frames of a written segment that owns all it holds."""
    return [memoryview(content)[block.group:block.frame_end] for block in blocks(content) if block.frame_length]


def sealed_by_us(written, **options):
    content = written.read_bytes()
    return seal(content[:PAGE], frames(content), **options)


def replace_by_sealed(copy, number, sealed):
    copy.sealed(number).write_bytes(sealed.content)
    copy.segment(number).unlink()


@pytest.fixture(scope="module")
def resealed(history, tmp_path_factory):
    """The history with all segments but the newest sealed from the document alone, one of them without compression."""
    copy = history.copy(tmp_path_factory.mktemp("resealed") / "data")
    for number in range(1, RUNS):
        replace_by_sealed(copy, number, sealed_by_us(copy.segment(number), compressed=number != 2))
    return copy


def test_sealed_from_the_document(resealed, history):
    log = assert_agrees_with_verify(resealed)
    assert (log.records, log.segments) == (history.read().records, RUNS)
    assert_same_as_replay(log.records, resealed, names_of_types())


def test_a_sealed_segment_without_records(history, tmp_path):
    """A second segment that owns nothing, before those that were the second to last."""
    copy = history.copy(tmp_path / "data")
    for number in range(RUNS, 1, -1):
        copy.segment(number).rename(copy.segment(number + 1))
        page = bytearray(copy.segment(number + 1).read_bytes()[:PAGE])
        with copy.segment(number + 1).open("r+b") as file:
            file.write(renumbered(page, number + 1))
    empty = seal(renumbered(page, 2), [])
    assert (len(empty.content), empty.packs) == (2 * PAGE, [])
    copy.sealed(2).write_bytes(empty.content)
    log = assert_agrees_with_verify(copy)
    assert (log.records, log.segments) == (history.read().records, RUNS + 1)


def renumbered(page, number):
    struct.pack_into("<Q", page, 16, number)
    reseal_header(page)
    return page


def test_a_written_segment_counts_beside_a_sealed_one(history, tmp_path):
    """The state of a crash between the sealed file's name and the end of the original."""
    copy = history.copy(tmp_path / "data")
    copy.sealed(2).write_bytes(b"not yet part of the log")
    assert assert_agrees_with_verify(copy).records == history.read().records


def test_a_sealed_newest_segment_is_refused(history, tmp_path):
    copy = history.copy(tmp_path / "data")
    replace_by_sealed(copy, RUNS, sealed_by_us(copy.segment(RUNS)))
    with pytest.raises(Violation, match="newest segment is sealed") as found:
        copy.read()
    assert found.value.file == copy.sealed(RUNS).name
    verified, code = copy.verified()
    assert code == 1 and not verified["ok"], verified


def test_a_missing_sealed_segment_is_found(resealed, tmp_path):
    copy = resealed.copy(tmp_path / "data")
    copy.sealed(2).unlink()
    with pytest.raises(Violation, match="segment 2 should be here"):
        copy.read()
    assert copy.verified()[1] == 1


def test_without_the_module_for_packs(resealed, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    assert main([str(resealed.data)]) == 1
    assert "pip install lz4" in capsys.readouterr().err


def sealed_put(place, form, offset, value):
    """An edit at `offset` of a place: an attribute of the file, or one of its first pack's."""
    def apply(file):
        start = {"page": 0, "pack": file.packs[0].offset, "group": file.packs[0].envelopes}.get(place)
        file.put(form, (getattr(file, place) if start is None else start) + offset, value)

    return apply


def add_to(place, form, offset, value):
    """As `sealed_put`, with what is to be added."""
    def apply(file):
        start = {"pack": file.packs[0].offset}.get(place)
        target = (getattr(file, place) if start is None else start) + offset
        file.put(form, target, struct.unpack_from(form, file.content, target)[0] + value)

    return apply


def regrouped(forge):
    """The forgery with the checksum of the first group's header that belongs to it."""
    def apply(file):
        forge(file)
        group = file.packs[0].envelopes
        file.put("<I", group + 4, crc32c(file.content[group + 8:group + GROUP_HEADER.size]))

    return apply


def packs_in_reverse(file):
    """The first two packs in each other's place, with offsets, lines of the table and all sums of their own."""
    first, second, *_ = file.packs
    content = file.content
    parts = [content[second.offset:second.end], content[first.offset:first.end]]
    lines = [content[file.table + 24:file.table + 48], content[file.table:file.table + 24]]
    content[first.offset:second.end] = parts[0] + parts[1]
    content[file.table:file.table + 48] = lines[0] + lines[1]
    middle = first.offset + len(parts[0])
    for number, offset in enumerate((first.offset, middle)):
        file.put("<Q", offset + 8, offset)
        file.put("<Q", file.table + number * 24 + 16, offset)
    file.packs[:2] = parse_sealed(content).packs[:2]


def empty_pack(file):
    """The first pack says that it holds its positions, and holds no group."""
    pack = file.packs[0]
    file.put("<I", pack.offset + 40, 0)
    file.put("<I", pack.offset + 44, 0)
    file.put("<I", pack.offset + 48, pack.end - pack.envelopes)
    file.packs[0] = pack._replace(sealed=pack.envelopes)


def section_into_envelopes(file):
    """One byte of the sealed sections is said to be the last one of the envelopes."""
    for offset, change in ((40, 1), (44, 1), (48, -1)):
        add_to("pack", "<I", offset, change)(file)
    file.packs[0] = file.packs[0]._replace(sealed=file.packs[0].sealed + 1)


SEALED_FORGERIES = {
    "magic of a written segment": (sealed_put("page", "<8s", 0, b"WAYBSEG1"), "no segment header"),
    "header's size": (sealed_put("page", "<Q", 48, 1 << 20), "was made with"),
    "pack magic": (sealed_put("pack", "<4s", 0, b"WBBK"), "no pack"),
    "pack offset": (sealed_put("pack", "<Q", 8, 1), "says offset 1"),
    "pack first": (sealed_put("pack", "<Q", 16, 1), "a pack from position 1 instead of"),
    "pack last": (add_to("pack", "<Q", 24, 1), "the pack ends at position"),
    "pack time": (add_to("pack", "<Q", 32, 1), "pack's time"),
    "pack zeros": (sealed_put("pack", "<I", 60, 1), "behind the pack head"),
    "pack's stored length": (add_to("pack", "<I", 40, 1 << 24), "goes into the table"),
    "pack's length": (add_to("pack", "<I", 44, 1), "unpack|instead of"),
    "pack's impossible length": (sealed_put("pack", "<I", 44, 0xFFFFFFFF), "cannot be"),
    "pack's sealed length": (add_to("pack", "<I", 48, 1 << 24), "goes into the table"),
    "pack of nothing": (empty_pack, "sealed sections of no record"),
    "packs in reverse": (packs_in_reverse, "a pack from position"),
    "a section in the envelopes": (section_into_envelopes, "end too early"),
    "group magic": (sealed_put("group", "<4s", 0, b"WBPK"), "no group header"),
    "group zeros": (sealed_put("group", "<I", 36, 1), "CRC of the group header"),
    "group body's length": (regrouped(sealed_put("group", "<I", 12, 8)), "says 8 bytes of body"),
    "group body's excess length": (regrouped(sealed_put("group", "<I", 12, 1 << 31)), "a record of|end too early"),
    "group last": (regrouped(sealed_put("group", "<Q", 24, 1 << 40)), "the next one owns"),
    "group time": (regrouped(sealed_put("group", "<Q", 40, 1)), "pack's time"),
    "group link": (regrouped(sealed_put("group", "<Q", 48, 1)), "group's link"),
    "record length": (sealed_put("record", "<I", 0, 8), "a record of 8 bytes"),
    "record's excess length": (sealed_put("record", "<I", 0, 1 << 20), "a record of 1048576 bytes"),
    "record's payload length": (sealed_put("record", "<I", 56, 1 << 31), "envelopes end too early"),
    "record's sealed length": (sealed_put("record", "<I", 60, 1 << 31), "sealed sections end too early"),
    "record time": (sealed_put("record", "<Q", 16, 1), "CRC of the group body"),
    "table position": (sealed_put("table", "<Q", 0, 0), "table is not that of the packs"),
    "table time": (add_to("table", "<Q", 8, 1), "table is not that of the packs"),
    "table offset": (add_to("table", "<Q", 16, 1), "table is not that of the packs"),
    "behind the table": (sealed_put("table_end", "<B", 0, 1), "between the table and the footer"),
    "footer magic": (sealed_put("footer", "<8s", 0, b"WAYBEND2"), "no footer"),
    "footer's packs": (sealed_put("footer", "<I", 12, 1 << 30), "a table from offset"),
    "footer's table": (sealed_put("footer", "<Q", 16, 0), "a table from offset 0"),
    "footer's last position": (add_to("footer", "<Q", 24, 1), "last position"),
    "footer's last time": (add_to("footer", "<Q", 32, 1), "last time"),
    "footer zeros": (sealed_put("footer", "<B", 63, 1), "behind the footer"),
}


@pytest.mark.parametrize("name", SEALED_FORGERIES)
def test_forged_sealed_segment_is_found(history, resealed, name):
    """Checksums are right, so that only the sense can give it away. One kind of damage needs a compressed pack."""
    forge, reason = SEALED_FORGERIES[name]
    forged = sealed_by_us(history.segment(2), compressed=name in ("pack's length", "pack's impossible length"))
    forge(forged)
    forged.resum()
    with replaced(resealed.sealed(2), forged.content):
        with pytest.raises(Violation, match=reason) as found:
            resealed.read()
        assert found.value.file == resealed.sealed(2).name
        assert_verify_finds(resealed, resealed.sealed(2).name)


@contextmanager
def replaced(path, content):
    """The file with other content, maybe of another length; afterwards as it was."""
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(original)


def assert_verify_finds(history, file):
    """It ends by itself with 1 and names the file."""
    verified, code = history.verified()
    assert code == 1 and not verified["ok"], verified
    assert file in json.dumps(verified), verified


# Sealed segments of a gateway that ran


@pytest.fixture(scope="module")
def sealed_history(make_gateway, twilio):
    """Segments that were full, of small records and of large ones, and segments that ended with their run or a kill."""
    running = make_gateway("sealed", WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20)).start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    history, customer = History(running, running.data), customer_number()

    def receive_until(number, **extra):
        for n in range(1000):
            assert tenant.inbound(f"to fill a segment, {n}", customer, **extra).status_code == 200
            if history.segment(number).exists():
                return
        raise AssertionError(f"no segment {number}")

    receive_until(2)
    receive_until(4, Padding="x" * 200_000)
    for end in (running.stop, running.kill, running.stop):
        accepted = tenant.accepted("an answer", customer)
        tenant.wait_for_status(accepted["message_id"], "sent")
        end()
        running.start()
    wait_until_sealed(history)
    assert running.stop() == 0
    return history


@pytest.fixture(scope="module")
def sealed_records(sealed_history):
    return sealed_history.read().records


@pytest.fixture(scope="module")
def sealed_scratch(sealed_history, tmp_path_factory):
    return sealed_history.copy(tmp_path_factory.mktemp("sealed_scratch") / "data")


@pytest.mark.parametrize("number", range(1, RUNS))
def test_groups_are_put_together_again_byte_for_byte(history, number):
    """The segment as it was written, and what the gateway made of it."""
    written = history.segment(number).read_bytes()
    content = history.sealed_by_gateway(number).read_bytes()
    places, data = parse_sealed(content), memoryview(content)
    packs = [parse_pack(data[:places.table], pack.offset) for pack in places.packs]
    assert [bytes(frame) for pack in packs for frame in frames_of(pack)] == [bytes(frame) for frame in frames(written)]
    page = bytearray(written[:PAGE])
    page[:8] = b"WAYBSLD1"
    struct.pack_into("<Q", page, 48, len(content))
    reseal_header(page)
    assert content[:PAGE] == page


def test_a_sealed_log(sealed_history, sealed_records):
    log = assert_agrees_with_verify(sealed_history)
    assert log.segments >= 7
    assert sealed_history.numbers(".wal") == [log.segments]
    assert_same_as_replay(sealed_records, sealed_history, names_of_types())
    files = [parse_sealed(sealed_history.sealed(n).read_bytes()) for n in range(1, log.segments)]
    assert len(files[0].packs) > 1, "the tests of damage need more than one"
    assert len(files[0].content) < 1 << 19, "small records take less than half of their space"


def test_sealed_log_beside_a_running_gateway(make_gateway, twilio):
    """Segments begin and are sealed while they are read."""
    running = make_gateway("beside", WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20)).start()
    tenant = Tenant(running, twilio.account())
    assert tenant.connect_sms().status_code == 200
    history, customer, size = History(running, running.data), customer_number(), 0
    for n in range(12):
        assert tenant.inbound("heavy", customer, Padding="x" * 400_000).status_code == 200
        log = history.read()
        assert log.size > size
        size = log.size
    wait_until_sealed(history)
    assert history.read().segments > 3
    assert running.stop() == 0


def flip(place):
    """One bit, at a place of the file."""
    def apply(file):
        file.content[place(file)] ^= 0x40

    return apply


def swap_packs(file):
    """The first two, as they are."""
    first, second, *_ = file.packs
    content = file.content
    content[first.offset:second.end] = content[second.offset:second.end] + content[first.offset:first.end]


def cut(length):
    def apply(file):
        del file.content[-length:]

    return apply


PACK_FIELDS = {
    "magic": 0, "crc": 4, "offset": 8, "first": 16, "last": 24, "time": 32, "stored_length": 40, "length": 44,
    "sealed_length": 48, "stored_crc": 52, "sealed_crc": 56, "zeros": 60,
}
FOOTER_FIELDS = {
    "magic": 0, "crc": 8, "packs": 12, "table": 16, "last": 24, "time": 32, "table_crc": 40, "zeros": 63,
}
PAGE_FIELDS = {
    "magic": 0, "crc": 8, "version": 12, "number": 16, "base": 24, "nonce": 32, "size": 48, "durable_through": 56,
    "log_id": 64, "link": 80, "tree_size": 112, "subtree_count": 120, "flags": 124, "zeros": PAGE - 1,
}
SEALED_DAMAGE = {
    **{f"header {name}": flip(lambda file, at=at: at) for name, at in PAGE_FIELDS.items()},
    **{f"pack {name}": flip(lambda file, at=at: file.packs[1].offset + at) for name, at in PACK_FIELDS.items()},
    "first envelopes": flip(lambda file: file.packs[1].envelopes),
    "last envelopes": flip(lambda file: file.packs[1].sealed - 1),
    "first sealed section": flip(lambda file: file.packs[1].sealed),
    "last sealed section": flip(lambda file: file.packs[1].end - 1),
    "table first": flip(lambda file: file.table),
    "table time": flip(lambda file: file.table + 8),
    "table offset": flip(lambda file: file.table + 24 + 16),
    "first zero": flip(lambda file: file.table_end),
    "last zero": flip(lambda file: file.footer - 1),
    **{f"footer {name}": flip(lambda file, at=at: file.footer + at) for name, at in FOOTER_FIELDS.items()},
    "packs swapped": swap_packs,
    "a page less": cut(PAGE),
    "a byte less": cut(1),
    "only the header page": lambda file: file.content.__delitem__(slice(PAGE, None)),
    "half a header page": lambda file: file.content.__delitem__(slice(PAGE // 2, None)),
    "nothing": lambda file: file.content.clear(),
    "a page more": lambda file: file.content.extend(bytes(PAGE)),
    "zeros from the packs on": lambda file: file.content.__setitem__(
        slice(PAGE, None), bytes(len(file.content) - PAGE)),
}


@pytest.mark.parametrize("name", SEALED_DAMAGE)
def test_damaged_sealed_segment_is_found(sealed_scratch, name):
    path = sealed_scratch.sealed(1)
    damaged = parse_sealed(path.read_bytes())
    SEALED_DAMAGE[name](damaged)
    assert damaged.content != path.read_bytes()
    with replaced(path, damaged.content):
        assert_damage_is_found(sealed_scratch, path.name)


def test_a_sealed_segment_in_the_place_of_another(sealed_scratch):
    for number, other in ((1, 2), (2, 1)):
        path = sealed_scratch.sealed(number)
        with replaced(path, sealed_scratch.sealed(other).read_bytes()):
            assert_damage_is_found(sealed_scratch, path.name)


def assert_damage_is_found(history, file):
    """By read_log and verify; and replay shows what is whole, in order, and ends by itself."""
    with pytest.raises(Violation) as found:
        history.read()
    assert found.value.file == file
    assert_verify_finds(history, file)
    lines, code, problem = history.replayed()
    assert code in (0, 1), problem
    positions = [line["position"] for line in lines]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("number", [1, RUNS], ids=["alone", "first of several"])
def test_replay_without_the_first_record(history, tmp_path, number):
    """The first record holds the key of all ids: without it there are none, and everything else is shown."""
    copy, names = history.copy(tmp_path / "data"), names_of_types()
    for path in copy.data.glob("*.wal"):
        if int(path.stem) > number:
            path.unlink()
    newest = copy.segment(number)
    # It was cut when the next one followed.
    os.truncate(newest, struct.unpack_from("<Q", newest.read_bytes(), 48)[0])
    (copy.data / "checkpoint").unlink()
    records = copy.read().records
    segment = copy.segment(1)
    first = blocks(segment.read_bytes())[0]
    with flipped(segment, first.record):
        lines, code, problem = copy.replayed()
        filtered = copy.gateway.run("replay", "--data", copy.data, "--client", "cl_" + 26 * "a")
    damaged = [line["position"] for line in lines if line.get("damaged")]
    lines = [line for line in lines if not line.get("damaged")]
    lost = next(n for n, line in enumerate(records) if line.position == lines[0]["position"])
    assert damaged == list(range(1, lost + 1)), "each is shown in its place"
    assert 1 <= lost < len(records) / 2
    assert [(record.position, names[record.type], as_rfc3339(record.time)) for record in records[lost:]] == [
        (line["position"], line["type"], line["time"]) for line in lines]
    assert {line[f"{name}_id"] for line in lines for name in ("client", "conversation", "message")} == {None}
    assert code == 1
    assert "ids are shown as null" in problem and f"from 1 to {lost}" in problem
    assert filtered.returncode == 1 and filtered.stdout == "" and "--client" in filtered.stderr


@pytest.mark.parametrize("place", ["envelopes", "sealed", "offset"])
def test_replay_goes_on_behind_a_damaged_pack(sealed_scratch, sealed_records, place):
    path = sealed_scratch.sealed(1)
    damaged = parse_sealed(path.read_bytes())
    pack = damaged.packs[-1]
    (first,) = struct.unpack_from("<Q", damaged.content, pack.offset + 16)
    assert 1 < first < len(sealed_records)
    damaged.content[getattr(pack, place)] ^= 1
    with replaced(path, damaged.content):
        lines, code, problem = sealed_scratch.replayed()
    (last,) = struct.unpack_from("<Q", damaged.content, pack.offset + 24)
    assert [line["position"] for line in lines] == list(range(1, len(sealed_records) + 1)), problem
    lost = [line["position"] for line in lines if line.get("damaged")]
    assert all(first <= position <= last for position in lost)
    if place == "sealed":
        assert len(lost) == 1, "of one body only"
    if place == "offset":
        assert lost == [], "what lies around records costs none of them"
    assert code == (1 if lost else 0)
    assert not lost or path.name in problem, problem
