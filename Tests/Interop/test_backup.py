"""Backups and restores through the binary, and what a backup gives away, by a reader that shares no code with it."""

import copy
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

import read_backup
import read_keys
import verify_receipt
from read_backup import ARCHIVE, CHUNKS, MAC, MANIFEST, open_archive, open_backup, read_backup_key, time_of
from read_log import Malformed
from support.fake_twilio import slow
from support.files import copy_data, find_bytes, flip_in_the_middle, regular_files, used_offsets
from support.gateway import binary, clean_environment
from support.http import call
from support.problems import assert_problem
from support.strace import KILLED, Fault
from support.tenant import SETTLED, customer_number, unique
from support.wait import holds_for, wait_until
from test_keys import bodies_of, content, plaintexts, purge
from test_purge import conversation_of, erase, message_of, pulled, received, seen, sent
from test_receipts import connected, log_key, printed
from tlog import VerifierKey, open_note, parse_checkpoint, sha256

HORIZON_DAYS = 30
WAYS = ["alone", "beside"]  # without a gateway, and with one that runs
GONE = {"purged", "erased"}  # before the backups
ENDED = {"delivered", "dead", "discarded", "purged"}
# What a start or a refused restore may write: who has the directory.
OF_THE_PROCESS = {"lock", "status"}
OF_THE_NEW_EPOCH = ["of a known customer", "of a new customer"]
KILLS = 8
# A restore is killed before each of these calls, at these positions of a thread, up to the last one that it comes to.
CALLS = ["write", "pwrite64", "fsync", "fdatasync", "rename", "renameat2", "unlink"]
POSITIONS = [1, 2, 3, 5, 8, 13]


# What the tests do


def small(make_gateway, name="new"):
    """With segments that are copied in no time."""
    return make_gateway(name, WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20))


def backup(gateway, target, key, *arguments, days=HORIZON_DAYS):
    return gateway.run("backup", "--data", gateway.data, "--to", target, "--backup-key", key, f"--horizon={days}",
                       *arguments)


def backed_up(gateway, target, key, **options):
    """What is said of a backup that worked."""
    result = backup(gateway, target, key, "--json", **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def restore(gateway, source, *arguments):
    return gateway.run("restore", "--from", source, "--data", gateway.data, *arguments)


def restored(gateway, source, *arguments):
    """What is said of a restore that worked."""
    result = restore(gateway, source, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def contents(data):
    return {path.relative_to(data): path.name in OF_THE_PROCESS or sha256(path.read_bytes())
            for path in regular_files(data)}


def durable(data):
    """Without what means nothing to the next process."""
    return {path: digest for path, digest in contents(data).items()
            if path.suffix != ".tmp" and path.name not in OF_THE_PROCESS}


def refused(gateway, source, *arguments):
    """What is said of a restore that must change nothing; where there was nothing, nothing may be there."""
    before = contents(gateway.data)
    result = restore(gateway, source, *arguments)
    assert (result.returncode, result.stdout) == (1, ""), f"{result.returncode}: {result.stdout}{result.stderr}"
    assert result.stderr.strip() and "Fatal" not in result.stderr
    assert contents(gateway.data) == before
    return result.stderr


def moved(tenant, gateway):
    """The same client, who knows no other address."""
    other = copy.copy(tenant)
    other.gateway = gateway
    return other


def everything(tenant):
    """What a client sees, byte for byte."""
    conversations = [one["id"] for one in tenant.all("/v1/conversations")]
    lists = [f"/v1/conversations/{one}/messages" for one in conversations] + ["/v1/webhook", "/v1/settings"]
    lists += [f"/v1/deliveries/{one['id']}" for one in tenant.all("/v1/deliveries")]
    messages = [one["id"] for path in lists[:len(conversations)] for one in tenant.all(path)]
    return seen(tenant, conversations, messages) | {path: tenant.get(path).content for path in lists}


def assert_verifies(gateway, *arguments):
    result = gateway.verify("--invariants", *arguments)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def assert_works(tenant):
    """Messages come and go, and purges are carried out."""
    text = unique("works")
    event = received(tenant, customer_number(), text)
    assert tenant.message(message_of(event))["text"] == text
    purge(tenant, message_of(event))
    sent(tenant, customer_number(), text)
    assert len(tenant.account.calls_with(text)) == 1


def signed(gateway):
    """A fresh checkpoint."""
    return call("GET", gateway.base_url + "/audit/v1/checkpoint", gateway.operator).text


class Scene(NamedTuple):
    """A gateway that still runs, and two backups of all that its client was shown."""

    gateway: object
    tenant: object
    endpoint: object
    key: Path
    backups: dict  # directories, by the way they were made
    reports: dict
    copied: Path  # the data directory as it was between the backups
    shown: dict
    texts: dict
    positions: dict
    customers: dict
    repeated: object  # the answer to the send whose key is its text
    note: str
    vkey: str

    @property
    def secret(self):
        return read_backup_key(self.key)

    def note_of_later(self):
        """A checkpoint of a history that goes beyond the backups."""
        assert self.tenant.inbound("after the backup", customer_number()).status_code == 200
        note = signed(self.gateway)
        assert parse_checkpoint(note).size > max(report["position"] for report in self.reports.values())
        return note


@pytest.fixture(scope="module")
def scene(make_gateway, twilio, receiver, tmp_path_factory):
    gateway, directory = small(make_gateway, "old").start(), tmp_path_factory.mktemp("copies")
    tenant, endpoint = connected(gateway, twilio), receiver.endpoint()
    tenant.subscribe(endpoint, retry_schedule=[1])
    names = ["delivered", "purged", "erased", "dead", "later", "sent"]
    texts, customers = {name: unique(name) for name in names}, {name: customer_number() for name in names}
    customers["later"] = customers["delivered"]
    events = {name: received(tenant, customers[name], texts[name]) for name in names[:3]}
    endpoint.wait_for(3)
    endpoint.default = 500
    events["dead"] = received(tenant, customers["dead"], texts["dead"])
    tenant.wait_for_dead_letters(1)
    endpoint.default = 200
    received(tenant, customers["purged"], "STOP")
    purge(tenant, message_of(events["purged"]))
    erase(tenant, conversation_of(events["erased"]))
    assert gateway.stop() == 0
    # A new epoch of keys.
    gateway.start()
    events["later"] = received(tenant, customers["later"], texts["later"], sid=texts["later"])
    repeated, _ = sent(tenant, customers["sent"], texts["sent"], key=texts["sent"])
    wait_until(lambda: "message.status" in str(pulled(tenant)), 5, "the event of the status")
    wait_until(lambda: all(one["state"] in ENDED for one in tenant.all("/v1/deliveries")), 10, "every delivery to end")
    ids = {name: message_of(event) for name, event in events.items()} | {"sent": repeated["message_id"]}
    positions = {name: tenant.message(one)["position"] for name, one in ids.items()}
    shown = everything(tenant)
    key, backups, reports = directory / "backup.key", {way: directory / way for way in WAYS}, {}
    backups["alone"].mkdir()
    assert gateway.stop() == 0
    note = gateway.run_ok("checkpoint", "--data", gateway.data)
    reports["alone"] = backed_up(gateway, backups["alone"], key)
    copied = copy_data(gateway.data, directory / "copied")
    gateway.start()
    reports["beside"] = backed_up(gateway, backups["beside"], key)
    yield Scene(gateway, tenant, endpoint, key, backups, reports, copied, shown, texts, positions, customers, repeated,
                note, log_key(gateway))
    assert gateway.stop() == 0, gateway.log_tail()


# What a backup is


@pytest.mark.parametrize("way", WAYS)
def test_manifest(scene, way):
    manifest, trees = open_backup(scene.backups[way], scene.secret)
    report, created = scene.reports[way], time_of(manifest["created_at"])
    assert (report["position"], report["horizon"]) == (manifest["position"], manifest["horizon"])
    assert report["key_created"] == (way == "alone")
    assert manifest["backup_key_file"] == str(scene.key)
    assert stat.S_IMODE(scene.key.stat().st_mode) == 0o600
    assert manifest["key_epoch"] == max(trees) >= 2
    assert manifest["position"] >= parse_checkpoint(scene.note).size
    assert parse_checkpoint(scene.note).origin == f"waybill/{manifest['log_id']}"
    assert timedelta(0) <= datetime.now(UTC) - created < timedelta(minutes=10)
    assert timedelta(HORIZON_DAYS) <= time_of(manifest["horizon"]) - created <= timedelta(HORIZON_DAYS + 1)
    horizons = [line["data"]["horizon"] for line in scene.gateway.replay("--type", "log.backed_up")]
    assert time_of(manifest["horizon"]) in map(time_of, horizons)


@pytest.mark.parametrize("way", WAYS)
def test_backup_opens_with_its_key_alone(scene, way):
    opened = open_backup(scene.backups[way], scene.secret)
    bodies = bodies_of(scene.backups[way], opened)
    for name, position in scene.positions.items():
        if name in GONE:
            assert opened.leaf_key(bodies[position].record.reference) is None
        else:
            assert content(bodies[position])["text"] == scene.texts[name]
    assert not any(scene.texts[name].encode() in plaintexts(bodies) for name in GONE)
    command = [sys.executable, "-B", read_backup.__file__, scene.backups[way]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert [json.loads(line)["position"] for line in result.stdout.splitlines()] == list(bodies)


@pytest.mark.parametrize("way", WAYS)
def test_backup_alone_gives_nothing_away(scene, way):
    data, tenant = scene.gateway.data, scene.tenant
    needles = scene.texts | {
        "the API key": tenant.key, "the token": tenant.account.auth_token, "the backup key": scene.secret.hex(),
        "the signing key": (data / "log.key").read_text()[:64]}
    needles |= {f"root key {n}": key.hex() for n, key in read_keys.read_root_keys(data / "root.key").items()}
    assert find_bytes(scene.backups[way], {name: text.encode() for name, text in needles.items()}) == []
    held = [path.read_bytes() for path in regular_files(scene.backups[way])]
    raw = [scene.secret, *read_keys.read_root_keys(data / "root.key").values()]
    assert not any(key in one for key in raw for one in held)


# What is no backup


def forged(scene, target, files=(), is_signed=True, **fields):
    """A copy of a backup in which some files are other ones, or are missing, under a manifest that says so."""
    source, files = scene.backups["beside"], dict(files)
    shutil.copytree(source, target, copy_function=os.link)
    if is_signed:
        written = (source / MANIFEST).read_bytes()
        manifest = json.loads(written) | fields
        for one in manifest["files"]:
            if files.get(one["name"]) is not None:
                one |= {"size": len(files[one["name"]]), "sha256": sha256(files[one["name"]]).hex()}
        anew = json.dumps(manifest).encode()
        macs = [read_backup.mac(content, scene.secret).encode() for content in (written, anew)]
        files = {MANIFEST: anew, MAC: (source / MAC).read_bytes().replace(*macs)} | files
    for name, changed in files.items():
        (target / name).unlink()
        if changed is not None:
            (target / name).write_bytes(changed)
    return target


def flipped(content, offset):
    return content[:offset] + bytes([content[offset] ^ 0x01]) + content[offset + 1:]


def bytes_of_the_archive(whole):
    """The first bytes and the last ones of every field, of every chunk."""
    content, offsets, start = whole[ARCHIVE], [0, 7, 8, 23], CHUNKS
    for chunk in read_backup.chunks(content):
        offsets += [start, start + 1, start + 3, start + 4, start + 15, start + 16, start + len(chunk) // 2]
        offsets += [start + len(chunk) - 1]
        start += len(chunk)
    return [{ARCHIVE: flipped(content, offset)} for offset in offsets]


def chunks_of_the_archive(whole):
    """Cut off, left out, moved, repeated."""
    head, chunks = whole[ARCHIVE][:CHUNKS], list(read_backup.chunks(whole[ARCHIVE]))
    every = range(len(chunks))
    assert len(chunks) > 2
    others = [chunks[:n] for n in every] + [chunks[:n] + chunks[n + 1:] for n in every]
    others += [chunks[:n] + [chunks[n + 1], chunks[n]] + chunks[n + 2:] for n in every[:-1]]
    others += [chunks[:n] + [chunks[n]] + chunks[n:] for n in every]
    cut = [{ARCHIVE: whole[ARCHIVE][:length]} for length in (0, 8, CHUNKS - 1, CHUNKS + 3, len(whole[ARCHIVE]) - 1)]
    return cut + [{ARCHIVE: head + b"".join(one)} for one in others] + [{ARCHIVE: whole[ARCHIVE] + b"\0"}]


def bytes_of_segments(whole):
    found = []
    for name in sorted(set(whole) - {ARCHIVE, MANIFEST, MAC}):
        offsets = list(used_offsets(whole[name]))
        places = (0, offsets[len(offsets) // 2], len(whole[name]) - 1)
        found += [{name: flipped(whole[name], offset)} for offset in places]
    return found


def every_nth(name, step):
    return lambda whole: [{name: flipped(whole[name], offset)} for offset in range(0, len(whole[name]), step)]


# By name: what is changed, and whether the manifest is made anew, so that it takes more than digests to see it.
DAMAGE = {
    "keys": (bytes_of_the_archive, True),
    "chunks of keys": (chunks_of_the_archive, True),
    "keys under the old manifest": (lambda whole: bytes_of_the_archive(whole)[::9] + [{ARCHIVE: b""}], False),
    "segments": (bytes_of_segments, False),
    "manifest": (every_nth(MANIFEST, 97), False),
    "mac": (every_nth(MAC, 21), False),
    "a missing file": (lambda whole: [{name: None} for name in whole], False),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_backup_is_refused(scene, make_gateway, tmp_path, damage):
    whole = {path.name: path.read_bytes() for path in scene.backups["beside"].iterdir()}
    make, is_signed = DAMAGE[damage]
    target = small(make_gateway)
    for number, files in enumerate(make(whole)):
        refused(target, forged(scene, tmp_path / str(number), files, is_signed), "--backup-key", scene.key)


def test_the_other_reader_finds_every_changed_byte_of_the_keys(scene):
    content = (scene.backups["beside"] / ARCHIVE).read_bytes()
    for offset in range(len(content)):
        with pytest.raises(Malformed):
            open_archive(flipped(content, offset), scene.secret)


def test_backup_past_its_horizon_is_refused(scene, make_gateway, tmp_path):
    created = json.loads((scene.backups["beside"] / MANIFEST).read_bytes())["created_at"]
    assert "horizon" in refused(small(make_gateway), forged(scene, tmp_path / "late", horizon=created))


def test_backup_key_must_be_the_one_and_private(scene, make_gateway, tmp_path):
    target, source, copied = small(make_gateway), scene.backups["beside"], tmp_path / "other.key"
    elsewhere = forged(scene, tmp_path / "elsewhere", backup_key_file=str(copied))
    assert str(copied) in refused(target, elsewhere), "it is not there"
    genuine = scene.key.read_text()
    for mode, text in ((0o600, "00" * 32), (0o600, genuine[:-3]), (0o600, ""), (0o644, genuine)):
        copied.write_text(text)
        copied.chmod(mode)
        refused(target, elsewhere)
        refused(target, source, "--backup-key", copied)
        if text != "00" * 32:
            result = backup(scene.gateway, tmp_path / "to", copied)
            assert result.returncode == 1 and result.stderr.strip()
            assert not (tmp_path / "to" / MANIFEST).exists()
            assert (copied.read_text(), stat.S_IMODE(copied.stat().st_mode)) == (text, mode)
    copied.chmod(0o600)
    # So a manifest that was made anew is one, and what other tests change in such a backup is why it is refused.
    assert restored(target, elsewhere)["mode"] == "log"


@pytest.mark.parametrize("days", ["0", "-1", "x", ""])
def test_bad_horizon(scene, tmp_path, days):
    result = backup(scene.gateway, tmp_path / "to", tmp_path / "key", days=days)
    assert (result.returncode, result.stdout) == (2, "") and result.stderr.strip()
    assert list(tmp_path.iterdir()) == []


def test_backup_goes_into_no_directory_with_something_in_it(scene, tmp_path):
    for target in (scene.backups["alone"], tmp_path):
        (tmp_path / "something").touch()
        before = contents(target)
        result = backup(scene.gateway, target, scene.key)
        assert (result.returncode, result.stdout) == (1, "") and str(target) in result.stderr
        assert contents(target) == before


def test_backup_of_a_wrong_directory_makes_nothing(scene, tmp_path):
    result = scene.gateway.run("backup", "--data", tmp_path / "typo", "--to", tmp_path / "backup",
                               "--backup-key", tmp_path / "key", "--horizon=1")
    assert (result.returncode, result.stdout) == (1, "") and "typo" in result.stderr
    assert list(tmp_path.iterdir()) == []


# History and keys


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_restored(scene, make_gateway, way, tmp_path):
    new, source = small(make_gateway), scene.backups[way]
    position = scene.reports[way]["position"]
    root = {"alone": new.data / "root.key", "beside": new.directory / "elsewhere.key"}[way]
    elsewhere = ["--key-root", root] if way == "beside" else []
    report = restored(new, source, *elsewhere)
    manifest = json.loads((source / MANIFEST).read_bytes())
    assert (report["mode"], report["bodies_lost"]) == ("log", 0)
    assert report["log_id"] not in (None, manifest["log_id"])
    assert stat.S_IMODE(root.stat().st_mode) == 0o600
    assert elsewhere == [] or not (new.data / "root.key").exists()

    new.start(*elsewhere)
    new._operator = scene.gateway.operator if way == "beside" else None
    assert new.admin("GET", f"/clients/{scene.tenant.id}").status_code == 200
    there = moved(scene.tenant, new)
    assert everything(there) == scene.shown
    repeat = there.send(scene.texts["sent"], scene.customers["sent"], key=scene.texts["sent"])
    assert (repeat.status_code, repeat.json()) == (202, scene.repeated)
    assert repeat.headers.get("Idempotency-Replayed") == "true"
    assert there.inbound(scene.texts["later"], scene.customers["later"], sid=scene.texts["later"]).status_code == 200
    assert_problem(there.send("are you sure", scene.customers["purged"]), 410, code="recipient_opted_out")
    assert everything(there) == scene.shown, "nothing of it was new"
    (letter,) = there.all("/v1/dead-letters")
    before = len(scene.endpoint.requests)
    assert there.post(f"/v1/dead-letters/{letter['id']}/replay").status_code == 202
    assert scene.endpoint.wait_for(before + 1)[before].headers["webhook-id"] == letter["event_id"]
    assert_works(there)
    assert len(there.account.calls_with(scene.texts["sent"])) == 1

    found = bodies_of(new.data, read_keys.read_keys(new.data, root))
    opened = bodies_of(source, open_backup(source, scene.secret))
    assert {at: body for at, body in found.items() if at <= position} == opened, "no more and no less than the backup"
    assert_is_a_new_log(scene, new, position, report["log_id"], tmp_path)
    assert new.stop() == 0
    assert_is_a_new_log(scene, new, position, report["log_id"], tmp_path)


def assert_is_a_new_log(scene, new, position, log_id, tmp_path):
    """It has an identity of its own, and the history of the old one."""
    old, later = tmp_path / "note", tmp_path / "later"
    old.write_text(scene.note)
    later.write_text(scene.note_of_later())
    assert_verifies(new)
    assert_verifies(new, "--checkpoint", old)
    assert new.verify("--checkpoint", later).returncode == 1
    before, key = (VerifierKey.parse(text) for text in (scene.vkey, log_key(new)))
    assert key.name == f"waybill/{log_id}" != before.name and key.public != before.public
    if new.process is not None:
        checkpoint = parse_checkpoint(open_note(signed(new), key))
        assert checkpoint.origin == key.name and checkpoint.size > position
    (line,) = new.replay("--type", "log.restored")
    assert line["position"] > line["data"]["backup_position"] == position
    assert not line["data"].get("loss_accepted")


@pytest.mark.parametrize("is_longer", [False, True])
def test_checkpoint_that_is_left_of_the_old_log(scene, make_gateway, is_longer):
    new, source = small(make_gateway), scene.backups["beside"]
    new.data.mkdir(mode=0o700)
    (new.data / "checkpoint").write_text(scene.note_of_later() if is_longer else scene.note)
    if is_longer:
        assert "--accept-loss" in refused(new, source)
    restored(new, source, *["--accept-loss"] * is_longer)
    assert everything(moved(scene.tenant, new.start())) == scene.shown
    (line,) = new.replay("--type", "log.restored")
    assert line["data"].get("loss_accepted", False) == is_longer
    assert new.stop() == 0


@pytest.mark.parametrize("there", [
    "another log", "a shorter log", "a root key", "a root key elsewhere", "keys that open", "a file of somebody"])
def test_directory_that_is_not_to_be_restored(scene, make_gateway, there):
    new, arguments = small(make_gateway), []
    if there == "another log":
        assert new.start().stop() == 0
    elif there in ("a shorter log", "keys that open"):
        copy_data(scene.copied, new.data)
    elif there == "a root key elsewhere":
        arguments = ["--key-root", shutil.copy(scene.copied / "root.key", new.directory / "elsewhere.key")]
    else:
        new.data.mkdir(mode=0o700)
        shutil.copy(scene.copied / "root.key", new.data / ("root.key" if there == "a root key" else "notes.txt"))
    if there.endswith("log"):
        lose_keys(new.data)
    for accepted in ([], ["--accept-loss"]):
        refused(new, scene.backups["beside"], *arguments, *accepted)


def test_gateway_goes_on_after_all_that(scene):
    assert restore(scene.gateway, scene.backups["beside"], "--accept-loss").returncode == 1
    assert_works(scene.tenant)
    assert_verifies(scene.gateway)


# What must stay apart


@pytest.mark.parametrize("way", ["in it", "..", "a link", "a link to its parent", "a link and .."])
def test_backup_key_in_the_backup_is_refused(scene, tmp_path, way):
    """Who finds the backup would find what opens it."""
    target, folder = tmp_path / "to", tmp_path / "folder"
    for path in (target, folder):
        path.mkdir()
    (tmp_path / "link").symlink_to(target)
    (folder / "parent").symlink_to(tmp_path)
    key = {"in it": f"{target}/key", "..": f"{folder}/../to/key", "a link": f"{tmp_path}/link/key",
           "a link to its parent": f"{folder}/parent/to/key", "a link and ..": f"{tmp_path}/link/../link/key"}[way]
    # Neither of them is a backup's, whatever leads there.
    for to in (target, f"{tmp_path}/link", f"{folder}/parent/to"):
        result = backup(scene.gateway, to, key)
        assert (result.returncode, result.stdout) == (1, "") and "apart" in result.stderr, result.stderr
        assert list(target.iterdir()) == []


@pytest.mark.parametrize("way", ["in it", "..", "a link"])
def test_backup_key_that_comes_with_the_backup_is_refused(scene, make_gateway, tmp_path, way):
    source, folder = tmp_path / "source", tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(source)
    named = {"in it": f"{source}/key", "..": f"{folder}/../source/key", "a link": f"{tmp_path}/link/key"}[way]
    forged(scene, source, backup_key_file=named)
    shutil.copy(scene.key, source / "key")
    assert "inside itself" in refused(small(make_gateway), source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused for being root")
def test_root_leaves_no_files_among_those_of_another_user(scene, make_gateway, tmp_path):
    new = small(make_gateway)
    copy_data(scene.copied, new.data)
    lose_keys(new.data, ["root.key"])
    os.chown(new.data / "lock", 4711, 4711)
    for said in (refused(new, scene.backups["alone"]), backup(new, tmp_path / "to", tmp_path / "key").stderr):
        assert "4711" in said and "sudo" in said
    assert list(tmp_path.iterdir()) == []
    os.chown(new.data / "lock", 0, 0)
    restored(new, scene.backups["alone"])


# One at a time


def test_restore_beside_a_gateway_names_it(scene):
    """G6: a data directory has one writer, and a second one is told who it is."""
    result = restore(scene.gateway, scene.backups["beside"], "--accept-loss")
    assert result.returncode == 1 and str(scene.gateway.process.pid) in result.stderr, result.stderr


def slowly(gateway, seconds, *arguments):
    """A command that is as slow as a disk that takes so long for each sync."""
    delay = f"inject=fsync,fdatasync:delay_exit={int(seconds * 1e6)}"
    with gateway.log.open("ab") as log:
        return subprocess.Popen(["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync,fdatasync", "-e", delay,
                                 binary(), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                cwd=gateway.directory, env=clean_environment(gateway.settings))


def traced(process):
    """The pid of what strace runs."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_second_restore_into_one_directory_is_refused(scene, make_gateway):
    new = small(make_gateway)
    first = slowly(new, 0.2, "restore", "--from", scene.backups["alone"], "--data", new.data)
    try:
        wait_until(lambda: (new.data / "restoring").exists() or first.poll() is not None, 60, "a restore under way")
        pid = traced(first)
        result = restore(new, scene.backups["beside"])
        assert result.returncode == 1 and str(pid) in result.stderr, result.stderr
        assert first.wait(120) == 0, new.log_tail()
    finally:
        first.kill()
        first.wait()
    (line,) = new.replay("--type", "log.restored")
    assert line["data"]["backup_position"] == scene.reports["alone"]["position"]
    assert_verifies(new)


# Keys alone


class Lost(NamedTuple):
    """Data directories whose keys shall be lost, of a log that went on after its backup."""

    backup: Path
    epoch: int
    tenant: object
    vkey: str
    data: dict
    shown: dict
    ids: dict
    stranger: str  # a customer of the new epoch


@pytest.fixture(scope="module")
def lost(make_gateway, twilio, tmp_path_factory):
    gateway, directory = small(make_gateway, "old").start(), tmp_path_factory.mktemp("lost")
    tenant, customer, data, shown = connected(gateway, twilio), customer_number(), {}, {}
    stranger = customer_number()
    events = {name: received(tenant, customer, unique(name)) for name in ("purged before", "purged after", "kept")}
    purge(tenant, message_of(events["purged before"]))
    backed_up(gateway, directory / "backup", directory / "backup.key")
    purge(tenant, message_of(events["purged after"]))
    for name in ("nothing new", "new epoch"):
        if name == "new epoch":
            gateway.start()
            events["received after"] = received(tenant, customer_number(), unique("received after"))
            for one, phone in zip(OF_THE_NEW_EPOCH, (customer, stranger)):
                events[one] = received(tenant, phone, unique("new epoch"))
        shown[name] = everything(tenant)
        assert gateway.stop() == 0
        data[name] = copy_data(gateway.data, directory / name)
    epoch = json.loads((directory / "backup" / MANIFEST).read_bytes())["key_epoch"]
    return Lost(directory / "backup", epoch, tenant, log_key(gateway), data, shown,
                {name: message_of(event) for name, event in events.items()}, stranger)


def lose_keys(data, files=("root.key", "keys-*")):
    for path in [path for name in files for path in data.glob(name)]:
        path.unlink()


def all_bodies(data):
    return bodies_of(data, read_keys.read_keys(data, data / "root.key"))


@pytest.mark.parametrize("files", [["root.key"], ["root.key", "keys-*"]], ids=" ".join)
def test_keys_of_all_that_is_there(lost, make_gateway, files):
    new = small(make_gateway)
    before = all_bodies(copy_data(lost.data["nothing new"], new.data))
    lose_keys(new.data, files)
    report = restored(new, lost.backup)
    assert (report["mode"], report["log_id"], report["bodies_lost"]) == ("keys", None, 0)
    assert all_bodies(new.data) == before
    new.start()
    there = moved(lost.tenant, new)
    assert everything(there) == lost.shown["nothing new"]
    names = ["purged before", "purged after", "kept"]
    assert [there.message(lost.ids[name])["purged"] for name in names] == [True, True, False]
    assert_works(there)
    assert new.stop() == 0
    assert_verifies(new)
    assert log_key(new) == lost.vkey, "it is the same log"


def test_keys_of_a_newer_epoch_are_lost(lost, make_gateway):
    new = small(make_gateway)
    before = all_bodies(copy_data(lost.data["new epoch"], new.data))
    gone = {at: body.record.reference for at, body in before.items() if body.record.reference.epoch > lost.epoch}
    lose_keys(new.data)
    said = refused(new, lost.backup)
    report = restored(new, lost.backup, "--accept-loss")
    assert (report["mode"], report["log_id"]) == ("keys", None)
    assert report["bodies_lost"] in (len(gone), len(set(gone.values())))
    assert str(report["bodies_lost"]) in said and "--accept-loss" in said

    left = {at: body._replace(parts=None) if at in gone else body for at, body in before.items()}
    assert all_bodies(new.data) == left
    new.start()
    there = moved(lost.tenant, new)
    shown = everything(there)
    for name, message_id in lost.ids.items():
        if name in (*OF_THE_NEW_EPOCH, "received after"):
            message = there.message(message_id)
            assert (message["purged"], message["text"]) == (True, None)
        else:
            path = f"/v1/messages/{message_id}"
            assert shown[path] == lost.shown["new epoch"][path]
    assert_works(there)
    text = unique("once more")
    event = received(there, lost.stranger, text)
    assert there.message(message_of(event))["text"] == text, "of a customer whose identifiers were lost"
    assert new.stop() == 0
    assert_verifies(new)
    # The reader finds a leaf that was issued twice: it would not be what both records commit to.
    assert text.encode() in plaintexts(all_bodies(new.data))


def test_log_that_is_shorter_than_its_checkpoint(lost, make_gateway):
    """What is missing was signed for somebody: whatever comes in its place is another log."""
    new = small(make_gateway)
    copy_data(lost.data["nothing new"], new.data)
    shutil.copy(lost.data["new epoch"] / "checkpoint", new.data / "checkpoint")
    signed_size = parse_checkpoint((new.data / "checkpoint").read_text()).size
    lose_keys(new.data)
    said = refused(new, lost.backup)
    assert "--accept-loss" in said and str(signed_size) in said
    report = restored(new, lost.backup, "--accept-loss")
    assert report["mode"] == "keys" and report["log_id"] is not None
    new.start()
    assert [moved(lost.tenant, new).message(lost.ids[name])["purged"] for name in ("purged after", "kept")] == [True, False]
    assert new.stop() == 0
    assert_verifies(new)
    assert VerifierKey.parse(log_key(new)).name == f"waybill/{report['log_id']}" != VerifierKey.parse(lost.vkey).name


def test_ended_secrets_are_not_lost(make_gateway, twilio, receiver, tmp_path):
    """What another secret has replaced is destroyed, and nobody misses it."""
    gateway, new = small(make_gateway, "old").start(), small(make_gateway)
    tenant = connected(gateway, twilio)
    backed_up(gateway, tmp_path / "backup", tmp_path / "key")
    for _ in range(3):
        tenant.subscribe(receiver.endpoint())
        assert tenant.connect_sms().status_code == 200
    # Two endpoints, and three numbers with the one of before.
    wait_until(lambda: "waybill_purges_total 5" in call("GET", gateway.base_url + "/metrics").text, 10, "five purges")
    assert gateway.stop() == 0
    before = all_bodies(copy_data(gateway.data, new.data))
    epoch = json.loads((tmp_path / "backup" / MANIFEST).read_bytes())["key_epoch"]
    alive = [body for body in before.values() if body.record.reference.epoch > epoch and body.parts is not None]
    assert 0 < len(alive) < sum(body.record.reference.epoch > epoch for body in before.values())
    lose_keys(new.data)
    assert f"{len(alive)} bodies" in refused(new, tmp_path / "backup")
    assert restored(new, tmp_path / "backup", "--accept-loss")["bodies_lost"] == len(alive)


@pytest.mark.parametrize("file", ["older", "newest"])
def test_damaged_log_gets_no_keys(lost, make_gateway, file):
    """What cannot be read may be a purge. So there is no key, and the command says what to do."""
    new = small(make_gateway)
    copy_data(lost.data["new epoch"], new.data)
    segments = sorted(path for path in new.data.iterdir() if path.suffix in (".wal", ".sealed"))
    flip_in_the_middle(segments[0 if file == "older" else -1])
    lose_keys(new.data)
    for accepted in ([], ["--accept-loss"]):
        result = restore(new, lost.backup, *accepted)
        assert (result.returncode, result.stdout) == (1, "") and "verify" in result.stderr, result.stderr
        assert not (new.data / "root.key").exists() and not (new.data / "restoring").exists()


@pytest.mark.parametrize("whose", ["nobody's", "its own", "another log's"])
def test_key_that_signs_checkpoints_elsewhere(scene, make_gateway, tmp_path, whose):
    path = tmp_path / "signing.key"
    new = small(make_gateway)
    new.settings["WAYBILL_LOG_KEY"] = str(path)
    if whose != "nobody's":
        path.write_text("ab" * 32 + "\n" if whose == "another log's" else (scene.gateway.data / "log.key").read_text())
        path.chmod(0o600)
    if whose == "another log's":
        assert str(path) in refused(new, scene.backups["beside"])
        path.unlink()
    told = restore(new, scene.backups["beside"])
    assert told.returncode == 0 and str(path) in told.stdout
    assert ("as before" in told.stdout) == (whose == "its own")
    assert new.start().stop() == 0
    before, after = (VerifierKey.parse(text) for text in (scene.vkey, log_key(new)))
    assert after.name != before.name and (after.public == before.public) == (whose == "its own")


# Sends and deliveries under way


def test_what_was_queued_is_not_sent_twice(make_gateway, twilio, receiver, customer, tmp_path):
    old, new = small(make_gateway, "old").start(), small(make_gateway)
    tenant, endpoint = connected(old, twilio), receiver.endpoint(default=500)
    tenant.subscribe(endpoint, retry_schedule=[2] * 6)
    event = received(tenant, customer, "due again")
    endpoint.wait_for(1)
    tenant.account.script = [slow(3)]
    sends = [tenant.accepted("under way", customer)["message_id"]]
    tenant.account.wait_for_call("under way")
    sends.append(tenant.accepted("queued", customer)["message_id"])
    backed_up(old, tmp_path / "backup", tmp_path / "key")
    assert tenant.message(sends[1])["status"] == "queued", "as it was in the backup"
    endpoint.default = 200
    for message_id in sends:
        tenant.wait_for_status(message_id, "sent")
    tenant.wait_for_delivery(event["id"], "delivered")
    assert old.stop() == 0

    def delivered():
        return [request.body for request in list(endpoint.requests) if request.headers["webhook-id"] == event["id"]]

    before = delivered()
    restored(new, tmp_path / "backup")
    there = moved(tenant, new.start())
    for message_id in sends:
        assert there.wait_for_status(message_id, *SETTLED)["status"] == "outcome_unknown"
    there.wait_for_delivery(event["id"], "delivered")
    assert len(delivered()) == len(before) + 1 and len(set(delivered())) == 1
    holds_for(lambda: [one["Body"] for one in tenant.account.calls] == ["under way", "queued"], 2, "no second call")
    assert there.report_status(tenant.account.calls[1], "delivered").status_code in (200, 204)
    there.wait_for_status(sends[1], "delivered")
    sent(there, customer, "the next one")
    assert new.stop() == 0
    assert_verifies(new)


# Ids


def spoken(tenant):
    """Position of each message → ids of its event and of itself. Some open a conversation, so positions are odd and even."""
    known, ids = customer_number(), {}
    for number in range(12):
        event = received(tenant, customer_number() if number % 4 == 3 else known, unique("spoken"))
        message = tenant.message(message_of(event))
        ids[message["position"]] = {event["id"], message["id"]}
    return ids


def test_no_id_is_given_out_twice(make_gateway, twilio, tmp_path):
    """Receivers know an event by its id: what came under one they know would be dropped as a repeat."""
    old, new = small(make_gateway, "old").start(), small(make_gateway)
    tenant = connected(old, twilio)
    before = message_of(received(tenant, customer_number(), "before"))
    backed_up(old, tmp_path / "backup", tmp_path / "key")
    lost = spoken(tenant)
    behind = pulled(tenant)[-1]["sequence"]
    assert old.stop() == 0
    restored(new, tmp_path / "backup")
    there = moved(tenant, new.start())
    assert_problem(there.get(f"/v1/events?after={behind}"), 400, "invalid_request")
    found = spoken(there)
    assert lost.keys() & found.keys(), "no position came twice"
    assert set.union(*lost.values()).isdisjoint(set.union(*found.values()))
    assert there.message(before)["text"] == "before"
    gone = {one for ids in lost.values() for one in ids if one.startswith("msg_")}
    assert {there.get(f"/v1/messages/{one}").status_code for one in gone} == {404}
    assert new.stop() == 0
    replayed = {one["message_id"] for one in new.replay() if one["type"] == "message.received"}
    assert replayed == {before} | {one for ids in found.values() for one in ids if one.startswith("msg_")}


# Interrupted restores


class Interrupted(NamedTuple):
    """Restores that are killed, and then begun anew."""

    scene: Scene
    make_gateway: object
    mode: str

    @property
    def source(self):
        return self.scene.backups["alone"]

    def begin(self, *command):
        """The gateway of a directory to restore into, what is in there, and the running restore."""
        new = small(self.make_gateway)
        if self.mode == "keys":
            lose_keys(copy_data(self.scene.copied, new.data))
        before = durable(new.data)
        arguments = ["restore", "--from", self.source, "--data", new.data]
        with new.log.open("ab") as log:
            return new, before, subprocess.Popen([*command, binary(), *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                                 stderr=log, cwd=new.directory, env=clean_environment(new.settings))

    def finish(self, new, before):
        """Nothing was written, or what was is not served, or it is complete. Whether it was not served."""
        nothing = durable(new.data) == before
        half = not nothing and not comes_up(new)
        if nothing or half:
            result = restore(new, self.source, "--json")
            if result.returncode == 1 and "there is a root key" in result.stderr:
                # Killed in the moment in which the key was made: it cannot be told from anybody's, so it is left to a person.
                (new.data / "root.key").unlink()
                result = restore(new, self.source, "--json")
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["mode"] == self.mode
            new.start()
        bodies, text = {line["position"]: str(line["body"]) for line in new.replay("--bodies")}, unique("works")
        for name, position in self.scene.positions.items():
            assert (self.scene.texts[name] in bodies.get(position, "")) == (name not in GONE), name
        there = moved(self.scene.tenant, new)
        assert there.message(message_of(received(there, customer_number(), text)))["text"] == text
        new.kill()
        return half


@pytest.fixture(params=["log", "keys"])
def interrupted(request, scene, make_gateway):
    return Interrupted(scene, make_gateway, request.param)


def comes_up(gateway):
    gateway.log.unlink()
    try:
        gateway.start()
    except AssertionError as error:
        assert "serve ended with 1" in str(error) and "restore" in gateway.log_tail(), error
        return False
    return True


def test_restore_that_is_killed_some_time(interrupted):
    seconds = None
    for number in range(KILLS + 1):
        started = time.monotonic()
        new, before, process = interrupted.begin()
        try:
            # The first one comes to its end, and says how long that takes.
            process.wait(60 if seconds is None else seconds * number / KILLS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        seconds = seconds or time.monotonic() - started
        interrupted.finish(new, before)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_restore_that_is_killed_before_a_call(interrupted):
    half = []
    for name in CALLS:
        for at in POSITIONS:
            fault = Fault(name, "KILL", at)
            new, before, process = interrupted.begin("strace", "-f", "-qq", "-o", os.devnull, *fault.options)
            code = process.wait(60)
            assert code in (0, KILLED), new.log_tail()
            half += [fault] if interrupted.finish(new, before) else []
            if code == 0:
                break
    assert half, "no kill left half a restore"


def killed_in_the_middle(scene, new):
    """A restore of the backup "alone", killed while it copies."""
    for at in range(2, 20):
        fault = Fault("pwrite64", "KILL", at)
        command = ["strace", "-f", "-qq", "-o", os.devnull, *fault.options, binary(), "restore", "--from",
                   scene.backups["alone"], "--data", new.data]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=new.directory, timeout=60,
                                env=clean_environment(new.settings))
        assert result.returncode == KILLED, "it came to its end"
        if any(path.suffix == ".wal" for path in new.data.iterdir()):
            return
    raise AssertionError("no kill left half a restore")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_another_backup_after_a_restore_that_was_killed(scene, make_gateway):
    new = small(make_gateway)
    killed_in_the_middle(scene, new)
    restored(new, scene.backups["beside"])
    (line,) = new.replay("--type", "log.restored")
    assert line["data"]["backup_position"] == scene.reports["beside"]["position"]
    there = moved(scene.tenant, new.start())
    assert everything(there) == scene.shown
    assert new.stop() == 0
    assert_verifies(new)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
def test_what_an_interrupted_restore_did_not_make_is_left_alone(scene, make_gateway):
    new = small(make_gateway)
    killed_in_the_middle(scene, new)
    mine = new.data / "notes.txt"
    mine.write_text("not a restore's")
    for way in WAYS:
        assert "notes.txt" in refused(new, scene.backups[way])
    assert mine.read_text() == "not a restore's"
    mine.unlink()
    # As when its medium was put in: the root key of the log that was lost.
    shutil.copy(scene.copied / "root.key", new.data / "root.key")
    before = (new.data / "root.key").read_bytes()
    assert "root key" in refused(new, scene.backups["alone"])
    assert (new.data / "root.key").read_bytes() == before
    (new.data / "root.key").unlink()
    restored(new, scene.backups["alone"])


# Backups that fail


def nothing_left(target):
    return not target.exists() or list(target.iterdir()) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
@pytest.mark.parametrize(("name", "kind"), [
    ("pwrite64", "ENOSPC"), ("fdatasync", "EIO"), ("fsync", "EIO"), ("rename", "EIO"), ("ftruncate", "EIO")])
def test_backup_that_fails_leaves_nothing_behind(scene, make_gateway, tmp_path, name, kind):
    gateway, failed = small(make_gateway), 0
    copy_data(scene.copied, gateway.data)
    for at in range(1, 30):
        target = tmp_path / str(at)
        command = ["strace", "-f", "-qq", "-o", os.devnull, *Fault(name, kind, at).options, binary(), "backup", "--data",
                   gateway.data, "--to", target, "--backup-key", scene.key, "--horizon=1"]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=gateway.directory,
                                timeout=60, env=clean_environment(gateway.settings))
        if result.returncode == 0:
            open_backup(target, scene.secret)
            if at > 8:
                break
        else:
            failed += 1
            assert result.returncode == 1 and result.stderr.strip() and nothing_left(target), (at, result.stderr)
    assert failed, "nothing failed"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is missing")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_backup_that_is_interrupted_leaves_nothing_behind(scene, make_gateway, tmp_path, number):
    gateway, target = small(make_gateway), tmp_path / "to"
    copy_data(scene.copied, gateway.data)
    process = slowly(gateway, 0.3, "backup", "--data", gateway.data, "--to", target, "--backup-key", scene.key,
                     "--horizon=1")
    try:
        wait_until(lambda: (target / ARCHIVE).exists() or process.poll() is not None, 120, "the keys of a backup")
        os.kill(traced(process), number)
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    assert "interrupted" in gateway.log_tail() and nothing_left(target)
    backed_up(gateway, target, scene.key)


def test_backup_that_was_never_finished_is_recognised(scene, tmp_path):
    target = tmp_path / "to"
    shutil.copytree(scene.backups["alone"], target)
    (target / MANIFEST).unlink()
    result = backup(scene.gateway, target, scene.key)
    assert result.returncode == 1 and "never finished" in result.stderr
    assert restore(scene.gateway, target).returncode == 1


# Media


def media_file(directory, position, number=0):
    return directory / "media" / str(position // 4096) / f"{position}-{number}"


def test_media_come_back_except_of_what_is_purged(make_gateway, twilio, tmp_path):
    """Sealed files: neither backup nor restore knows what is in them."""
    old, new = small(make_gateway, "old").start(), small(make_gateway)
    tenant = connected(old, twilio)
    ids = [message_of(received(tenant, customer_number(), unique("with a file"))) for _ in range(5)]
    places = [tenant.message(one)["position"] for one in ids]
    purge(tenant, ids[0])
    assert old.stop() == 0
    wanted = {}
    for place in places:
        for number in range(2):
            path = media_file(old.data, place, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            wanted[place, number] = os.urandom(1000 + place + number)
            path.write_bytes(wanted[place, number])
    half = media_file(old.data, places[1], 2)
    half.with_name(half.name + ".part").write_bytes(b"half a file")
    told = backed_up(old, tmp_path / "backup", tmp_path / "key")
    assert told["media_files"] == len(wanted) and told["media_bytes"] == sum(map(len, wanted.values()))
    open_backup(tmp_path / "backup", read_backup_key(tmp_path / "key"))
    assert [path for path in regular_files(tmp_path / "backup") if path.suffix == ".part"] == []

    restored(new, tmp_path / "backup")
    found = {path.relative_to(new.data): path.read_bytes() for path in regular_files(new.data / "media")}
    kept = {media_file(new.data, *one).relative_to(new.data): content for one, content in wanted.items()
            if one[0] != places[0]}
    assert found == kept

    # A history that purges more than the backup knows of, whose keys were lost.
    other = small(make_gateway)
    copy_data(old.data, other.data)
    moved(tenant, other.start())
    purge(moved(tenant, other), ids[1])
    assert other.stop() == 0
    shutil.copytree(old.data / "media", other.data / "media", dirs_exist_ok=True)
    lose_keys(other.data)
    restored(other, tmp_path / "backup")
    for place in places[:2]:
        assert not any(media_file(other.data, place, number).exists() for number in range(3))
    for place in places[2:]:
        assert media_file(other.data, place).read_bytes() == wanted[place, 0]


def test_backup_without_all_its_media_is_refused(make_gateway, twilio, tmp_path):
    old, new, source = small(make_gateway, "old").start(), small(make_gateway), tmp_path / "backup"
    tenant = connected(old, twilio)
    place = tenant.message(message_of(received(tenant, customer_number(), "with a file")))["position"]
    assert old.stop() == 0
    path = media_file(old.data, place)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"sealed")
    backed_up(old, source, tmp_path / "key")
    for change in (lambda copied: copied.write_bytes(b"cut"), lambda copied: copied.unlink()):
        change(media_file(source, place))
        assert "media" in refused(new, source)
        with pytest.raises(Malformed):
            open_backup(source, read_backup_key(tmp_path / "key"))


# Under load


class Traffic:
    """Messages come, and one of four is purged; what was acknowledged is noted after its answer."""

    def __init__(self, tenant):
        self.tenant, self.over, self.failures = tenant, threading.Event(), []
        self.acknowledged, self.purged = [], []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        customer, after = customer_number(), 0
        try:
            while not self.over.is_set():
                text = unique("under load") + "x" * 1000
                assert self.tenant.inbound(text, customer).status_code == 200
                self.acknowledged.append(text)
                if len(self.acknowledged) % 4 == 0:
                    event = self.tenant.read(f"/v1/events?after={after}&limit=200")["data"][-1]
                    after = event["sequence"]
                    purge(self.tenant, message_of(event))
                    self.purged.append(event["data"]["message"]["text"])
        except Exception as failure:
            self.failures.append(failure)

    def wait_for(self, more):
        enough = len(self.acknowledged) + more
        wait_until(lambda: len(self.acknowledged) >= enough or self.failures, 30, "traffic")
        assert self.failures == []

    def join(self):
        self.over.set()
        self.thread.join(30)
        assert not self.thread.is_alive() and self.failures == []


def test_backups_while_traffic_flows(make_gateway, twilio, tmp_path):
    old = small(make_gateway, "old").start()
    traffic, key, told = Traffic(connected(old, twilio)), tmp_path / "key", []
    try:
        for number in range(5):
            traffic.wait_for(40)
            told.append((tmp_path / str(number), list(traffic.acknowledged), set(traffic.purged)))
            backed_up(old, told[-1][0], key)
    finally:
        traffic.join()
    assert old.stop() == 0
    for directory, acknowledged, purged in told:
        opened = open_backup(directory, read_backup_key(key))
        archived = plaintexts(bodies_of(directory, opened))
        new = small(make_gateway)
        assert restored(new, directory)["bodies_lost"] == 0
        assert_verifies(new)
        shown = new.run_ok("replay", "--data", new.data, "--bodies")
        for text in acknowledged:
            if text in purged:
                assert text.encode() not in archived and text not in shown
            elif text not in traffic.purged:
                assert text.encode() in archived and text in shown


# Receipts


def test_receipts_name_the_latest_horizon(make_gateway, twilio, tmp_path):
    old, new, key = small(make_gateway, "old").start(), small(make_gateway), tmp_path / "key"
    tenant, horizons = connected(old, twilio), [None]
    ids = [message_of(received(tenant, customer_number(), unique("secret"))) for _ in range(4)]
    purge(tenant, ids[0])
    for message_id, days in zip(ids[1:], (30, 10, 90)):
        result = backup(old, tmp_path / str(days), key, days=days)
        assert result.returncode == 0, result.stderr
        assert (str(key) in result.stdout + result.stderr) == (days == 30), "a key that is made is told of"
        horizons.append(json.loads((tmp_path / str(days) / MANIFEST).read_bytes())["horizon"])
        purge(tenant, message_id)
    assert old.stop() == 0
    for message_id, until in zip(ids, [horizons[0], horizons[1], horizons[1], horizons[3]]):
        assert_holds_until(old, message_id, until)

    restored(new, tmp_path / "90")
    there = moved(tenant, new.start())
    assert [there.message(one)["purged"] for one in ids] == [True, True, True, False]
    purge(there, ids[3])
    assert new.stop() == 0
    assert_holds_until(new, ids[3], horizons[3])


def assert_holds_until(gateway, message_id, until):
    result = printed(gateway, message_id)
    assert result.returncode == 0, result.stderr
    assert verify_receipt.verify(result.stdout, log_key(gateway)).message_id == message_id
    told = json.loads(result.stdout)["backups_until"]
    assert (told and time_of(told)) == (until and time_of(until))


def test_a_backup_opens_nothing_that_comes_later(make_gateway, twilio, customer, tmp_path):
    gateway = small(make_gateway).start()
    tenant = connected(gateway, twilio)
    before = received(tenant, customer, unique("before"))
    backed_up(gateway, tmp_path / "backup", tmp_path / "key")
    later = received(tenant, customer, unique("later"))
    positions = [tenant.message(message_of(event))["position"] for event in (before, later)]
    assert gateway.stop() == 0
    manifest, trees = open_backup(tmp_path / "backup", bytes.fromhex((tmp_path / "key").read_text().strip()))
    epochs = [all_bodies(gateway.data)[at].record.reference.epoch for at in positions]
    assert epochs[0] in trees and epochs[1] not in trees
    assert epochs[1] > manifest["key_epoch"]
