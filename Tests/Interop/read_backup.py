"""Opens a Waybill backup without any of Waybill's code, from docs/backup.md, docs/keys.md and docs/log-format.md alone.

    python3 read_backup.py BACKUP [--backup-key FILE]

Whoever wants to know what a backup gives away has a second opinion: this reader checks manifest, files and history,
and shows every body that the backup key opens. It needs no root key, but `pip install cryptography`, and `lz4` where
segments are sealed.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import struct
import sys
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import read_log as log_format
from read_keys import Keys, Tree, as_json, open_bodies, open_box, sha256
from read_log import Malformed, MissingModule, Violation, place, require

FORMAT = "waybill-backup/1"
MANIFEST, MAC, ARCHIVE, MEDIA = "backup.json", "backup.mac", "keys.backup", "media"
MEDIA_FILE = re.compile(r"(\d+)/(\d+)-\d+")
POSITIONS_PER_DIRECTORY = 4096
SEGMENT = re.compile(r"[0-9]{20}\.(wal|sealed)")
KEY_FILE = re.compile(r"([0-9a-f]{64})\n?")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ARCHIVE_MAGIC, SALT_BYTES = b"WAYBKBK1", 16
CHUNKS = len(ARCHIVE_MAGIC) + SALT_BYTES
CHUNK_HEAD = struct.Struct("<IB3s")
SEED, WHAT_IS_LEFT = range(2)
SEED_BYTES = 32


class Backup(NamedTuple):
    manifest: dict
    trees: dict  # of each epoch, what was left

    leaf_key = Keys.leaf_key


def read_backup_key(path):
    found = KEY_FILE.fullmatch(Path(path).read_text())
    require(found, f"{path} holds no backup key")
    return bytes.fromhex(found[1])


def key_id(key):
    return sha256(b"waybill backup key id v1", key)[:8].hex()


def mac(content, key):
    return hmac.new(sha256(b"waybill backup manifest v1", key), content, hashlib.sha256).hexdigest()


# The manifest


def read_manifest(directory, key):
    """The manifest, if the one who wrote it had the key."""
    content = (directory / MANIFEST).read_bytes()
    with place(MANIFEST, 0):
        written = (directory / MAC).read_text().removesuffix("\n")
        require(hmac.compare_digest(written.encode(), mac(content, key).encode()), "not the manifest under this key")
        manifest = json.loads(content)
        check_manifest(manifest, key)
    return manifest


def check_manifest(manifest, key):
    require(manifest["format"] == FORMAT, f"format {manifest['format']}")
    require(manifest["backup_key_id"] == key_id(key), "the id of another backup key")
    require(re.fullmatch("[0-9a-f]{32}", manifest["log_id"]), "a log id of 32 digits")
    require(len(base64.b64decode(manifest["root"], validate=True)) == 32, "a root of 32 bytes")
    require(time_of(manifest["created_at"]) < time_of(manifest["horizon"]), "a horizon after the backup")
    for name in ("position", "key_epoch"):
        require(type(manifest[name]) is int and manifest[name] > 0, f"{name} {manifest[name]}")
    require(isinstance(manifest["backup_key_file"], str), "the path of the backup key")


def time_of(text):
    require(RFC_3339.fullmatch(text), f"{text} is no time")
    return datetime.fromisoformat(text)


def check_files(directory, manifest):
    """Every file but the manifest and its MAC is named there, and is what it was."""
    named = {one["name"]: (one["size"], one["sha256"]) for one in manifest["files"]}
    require(len(named) == len(manifest["files"]), "a file twice in the manifest")
    others = sorted(named.keys() ^ ({path.name for path in directory.iterdir()} - {MANIFEST, MAC, MEDIA}))
    require(not others, f"only in the manifest, or only in the directory: {others}")
    require(all(SEGMENT.fullmatch(name) for name in named.keys() - {ARCHIVE}), "a file that is no segment")
    for name, (size, digest) in named.items():
        content = (directory / name).read_bytes()
        with place(name, 0):
            require((len(content), sha256(content).hex()) == (size, digest), "not what the manifest says")


def check_media(directory, manifest):
    """Sealed files of messages up to the backup's position, as many as the manifest counts."""
    told, found = manifest.get("media", {"files": 0, "bytes": 0}), []
    for path in (directory / MEDIA).rglob("*"):
        if path.is_dir():
            continue
        name = path.relative_to(directory / MEDIA).as_posix()
        parts = MEDIA_FILE.fullmatch(name)
        require(parts, f"{name} is no media file")
        require(int(parts[2]) // POSITIONS_PER_DIRECTORY == int(parts[1]), f"{name} in another directory than its own")
        require(int(parts[2]) <= manifest["position"], f"{name} of a message behind the backup")
        found.append(path.stat().st_size)
    require((len(found), sum(found)) == (told["files"], told["bytes"]), f"{len(found)} media files, {sum(found)} bytes")


def check_history(directory, manifest):
    """The segments are a log of their own, which ends where the manifest says."""
    log = log_format.read_log(directory)
    require(log.last_position == log.size == manifest["position"], f"the last record is {log.last_position}")
    require(log.root == base64.b64decode(manifest["root"]), "the root of another history")
    with log_format.open_segment(directory, 1) as file:
        log_id = log_format.read_segment_header(file, 1).log_id
    require(log_id.hex() == manifest["log_id"], "another log")


# The keys


def chunks(content):
    """The chunks of `keys.backup` as they lie there, each with its length in front."""
    offset = CHUNKS
    while offset < len(content):
        require(offset + 4 <= len(content), f"half a length at offset {offset}")
        (length,) = struct.unpack_from("<I", content, offset)
        require(offset + 4 + length <= len(content), f"the chunk at offset {offset} is cut off")
        yield content[offset:offset + 4 + length]
        offset += 4 + length


def open_archive(content, key):
    """Epochs and what was left of each: a tree that is whole where nothing was destroyed."""
    require(content[:len(ARCHIVE_MAGIC)] == ARCHIVE_MAGIC and len(content) >= CHUNKS, "not an archive of keys")
    box_key = sha256(b"waybill key archive v1", key, content[len(ARCHIVE_MAGIC):CHUNKS])
    boxes, trees = [chunk[4:] for chunk in chunks(content)], {}
    require(boxes, "an archive without its last chunk")
    for number, box in enumerate(boxes):
        is_last = number == len(boxes) - 1
        plaintext = open_box(box, box_key, ARCHIVE_MAGIC + struct.pack("<QB", number, is_last))
        require(plaintext is not None, f"chunk {number} does not open")
        require(is_last == (plaintext == b""), f"chunk {number} of {len(boxes)} has {len(plaintext)} bytes")
        if not is_last:
            epoch, tree = parse_chunk(plaintext)
            require(epoch > max(trees, default=0), f"epoch {epoch} does not ascend")
            trees[epoch] = tree
    return trees


def parse_chunk(plaintext):
    require(len(plaintext) >= CHUNK_HEAD.size, "a chunk without its head")
    epoch, kind, zeros = CHUNK_HEAD.unpack_from(plaintext)
    left = plaintext[CHUNK_HEAD.size:]
    require(not any(zeros) and kind in (SEED, WHAT_IS_LEFT), f"epoch {epoch} of kind {kind}")
    if kind == WHAT_IS_LEFT:
        return epoch, Tree.parse(left)
    require(len(left) == SEED_BYTES, f"a seed of {len(left)} bytes")
    return epoch, Tree.whole(left)


def open_backup(directory, key):
    """The backup, when everything about it is right. `read_keys.open_bodies` takes it as a state of the keys."""
    directory = Path(directory)
    manifest = read_manifest(directory, key)
    check_files(directory, manifest)
    check_media(directory, manifest)
    check_history(directory, manifest)
    with place(ARCHIVE, 0):
        trees = open_archive((directory / ARCHIVE).read_bytes(), key)
        require(max(trees, default=0) <= manifest["key_epoch"], "an epoch newer than the newest one")
    return Backup(manifest, trees)


# The command


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Open the bodies of a Waybill backup by docs/backup.md alone.")
    parser.add_argument("directory", type=Path, metavar="BACKUP", help="the directory of the backup")
    parser.add_argument("--backup-key", type=Path, metavar="FILE", help="default: what the manifest names")
    options = parser.parse_args(arguments)
    try:
        manifest = json.loads((options.directory / MANIFEST).read_bytes())
        backup = open_backup(options.directory, read_backup_key(options.backup_key or manifest["backup_key_file"]))
        for body in open_bodies(options.directory, backup):
            print(as_json(body))
    except (Malformed, Violation, MissingModule, OSError, ValueError, LookupError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
