"""Checks the receipt of a purged message without any of Waybill's code, from docs/keys.md and docs/events.md alone.

    python3 verify_receipt.py RECEIPT [--vkey KEY] [--position N] [--id-key HEX]

RECEIPT is a file, or - for standard input. Python's standard library and `cryptography` are all it takes.

Give KEY, the verifier key of the log, from where you keep it: without it the receipt is checked under the key that it
brings along, and then shows only that it agrees with itself. N is the `position` of the message, which the API tells
its client; the id key, in the record at position 1, says that the receipt's `message_id` is that position.
"""

import argparse
import base64
import json
import re
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from read_log import SEALED_HEAD, Malformed, check_payload, read_leb128, require, sha256
from tlog import VerifierKey, open_note, parse_checkpoint, root_from_inclusion

FORMAT = "waybill-purge-receipt/1"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LIMITS = [
    "It shows that this key was replaced in the key state and that the root key was replaced after it. Nobody who "
    "reads it can see that the old root key exists nowhere any more.",
    "Copies that others made are not reached: the client's backend, the provider, the customer's device.",
    "Backups of the key state made before the purge can open the body until their horizon.",
    "An old copy of the data directory opens only together with the root key of that time. A medium that keeps what "
    "was overwritten (flash, copy-on-write and journaling file systems) may keep that key; hold the root in a token.",
]

# A record up to its payload; the entry digest that follows in the log is what the proof is about.
HEADER = struct.Struct("<IHBBQQQQQQII")
FLAG_SEALED = 1
MESSAGE_CLASSES = (1, 2)
TYPES = {34: "client.deleted", 70: "conversation.erase_requested", 96: "message.received", 128: "send.accepted",
         192: "purge.requested", 193: "purge.completed"}
MESSAGE_KIND, ID_PREFIX, ID_ALPHABET = 3, "msg_", "0123456789abcdefghjkmnpqrstvwxyz"

# By type of the original: its payload's keyed hashes, which outlive the body.
HASHES = {"message.received": {"duplicate_key": 3}, "send.accepted": {"key": 3, "fingerprint": 4}}
# By type of the request: the list of purge.completed that must name its subject, and the column with the subject.
SUBJECTS = {"purge.requested": (1, "message"), "conversation.erase_requested": (4, "conversation"),
            "client.deleted": (5, "client")}
GENERATION_BEFORE, GENERATION_AFTER = 2, 3


class Record(NamedTuple):
    """What a receipt shows of one record, proven to be in the log."""

    type: str
    position: int
    client: int
    conversation: int
    message: int
    fields: dict
    head: bytes  # of the sealed section; empty without one


class Verified(NamedTuple):
    """What the receipt shows: the key that was destroyed, and where it is on record."""

    message_id: str
    position: int
    requested: int
    completed: int
    key_commitment: str
    size: int  # of the log under the checkpoint


def verify(receipt, vkey=None, position=None, id_key=None):
    """What the receipt (a JSON text) shows; ValueError when it does not hold.

    `vkey` is the verifier key that the caller trusts, `position` that of the message he means, `id_key` 32 bytes.
    """
    try:
        return _verify(_parse(receipt), vkey, position, id_key)
    except (Malformed, AssertionError, struct.error) as error:
        raise ValueError(f"the receipt does not hold: {error}") from None
    except (AttributeError, LookupError, OverflowError, TypeError) as error:
        raise ValueError(f"the receipt has another shape: {error!r}") from None


def _verify(receipt, vkey, position, id_key):
    require(receipt["format"] == FORMAT, "not a receipt of this format")
    require(receipt["limits"] == LIMITS, "the limits are not those of this format")
    checkpoint = _checkpoint(receipt, vkey)
    evidence = receipt["records"]
    original, requested, completed = (
        _record(evidence[name], checkpoint) for name in ("original", "requested", "completed"))
    require(original.position < requested.position < completed.position, "the records are not in this order")
    _check_key(receipt, original)
    _check_hashes(receipt, original)
    _check_backups(receipt)
    _check_purge(original, requested, completed)
    _check_generations(receipt["root_key_generation"], completed)
    require(position in (None, original.position), f"the message is at position {original.position}")
    _check_id(receipt["message_id"], original.position, id_key)
    return Verified(receipt["message_id"], original.position, requested.position, completed.position,
                    receipt["key_commitment"], checkpoint.size)


# Values


def _parse(text):
    receipt = json.loads(text, object_pairs_hook=_members)
    require(isinstance(receipt, dict), "not a JSON object")
    return receipt


def _members(pairs):
    members = dict(pairs)
    require(len(members) == len(pairs), "a member twice")
    return members


def _integer(value):
    # True and 1.0 equal 1.
    require(type(value) is int and value >= 0, f"{value!r} is no whole number")
    return value


def _hex(value, size):
    require(isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value), f"not {size} bytes: {value!r}")
    return bytes.fromhex(value)


def _base64(value):
    """Standard Base64, which writes the same bytes in one way only."""
    decoded = base64.b64decode(value, validate=True)
    require(base64.b64encode(decoded).decode() == value, "Base64 with bits behind its end")
    return decoded


# The log


def _checkpoint(receipt, vkey):
    own = receipt["verifier_key"]
    require(vkey is None or own == vkey.strip(), "the verifier key is another one")
    key, note = VerifierKey.parse(own), receipt["checkpoint"]
    _base64(own.split("+", 2)[2])
    text = open_note(note, key)
    for line in note[len(text) + 1:].splitlines():
        _base64(line.split(" ")[2])
    checkpoint = parse_checkpoint(text)
    require(checkpoint.origin == key.name, "the checkpoint is of another log")
    return checkpoint


def _record(shown, checkpoint):
    """One record of a receipt: it is what it is said to be, and the checkpoint covers it."""
    digested, boxes = _base64(shown["digested"]), shown["boxes_sha256"]
    (_, number, _, flags, position, time, client, conversation, message, _, payload_length,
     sealed_length) = HEADER.unpack_from(digested)
    head_length = SEALED_HEAD.size if sealed_length else 0
    require(len(digested) == HEADER.size + payload_length + head_length, "the record has another length")
    require(bool(sealed_length) == bool(flags & FLAG_SEALED) == (boxes is not None), "sealed section")
    entry = sha256(digested + (_hex(boxes, 32) if sealed_length else b""))
    require(_hex(shown["entry"], 32) == entry, "the entry is not the record's")
    require(_hex(shown["leaf"], 32) == sha256(b"\0" + entry), "the leaf is not the entry's")
    require(_integer(shown["position"]) == position, "the record is at another position")
    require(shown["type"] == TYPES.get(number), "the record has another type")
    require(shown["time"] == _time(time), "the record has another time")
    proof = [_hex(one, 32) for one in shown["proof"]]
    require(root_from_inclusion(entry, position - 1, checkpoint.size, proof) == checkpoint.root,
            f"position {position} is not in the log of the checkpoint")
    payload = digested[HEADER.size:HEADER.size + payload_length]
    return Record(shown["type"], position, client, conversation, message, _fields(payload),
                  digested[HEADER.size + payload_length:])


def _time(nanoseconds):
    seconds, rest = divmod(nanoseconds, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 10**6:03}Z"


def _fields(payload):
    check_payload(payload)
    fields, offset = {}, 0
    while offset < len(payload):
        number, offset = read_leb128(payload, offset)
        length, offset = read_leb128(payload, offset)
        fields[number] = payload[offset:offset + length]
        offset += length
    return fields


def _number(value):
    number, end = read_leb128(value, 0) if value else (0, 0)
    require(end == len(value), "bytes behind a number")
    return number


def _positions(value):
    positions, offset = [], 0
    while offset < len(value):
        length, offset = read_leb128(value, offset)
        require(length <= len(value) - offset, "a list that ends within an element")
        positions.append(_number(value[offset:offset + length]))
        offset += length
    return positions


# The purge


def _check_key(receipt, original):
    require(original.type in HASHES, "the original is no message")
    client, leaf, epoch, key_class, zeros, commitment = SEALED_HEAD.unpack(original.head)
    require(key_class in MESSAGE_CLASSES and not any(zeros), "the key is not that of a message")
    shown = {name: _integer(value) for name, value in receipt["key"].items()}
    require(shown == {"epoch": epoch, "client": client, "class": key_class, "leaf": leaf}, "the key is another one")
    require(client == original.client, "the key belongs to another client")
    require(_hex(receipt["key_commitment"], 32) == commitment, "the commitment is to another key")


def _check_hashes(receipt, original):
    expected = [{"field": name, "hash": original.fields[number].hex()}
                for name, number in HASHES[original.type].items() if any(original.fields.get(number, b""))]
    require(receipt["surviving_hashes"] == expected, "the hashes are not the original's")


def _check_backups(receipt):
    """Nothing in a receipt proves it; who wants to know reads the log. So it is only of the right form."""
    until = receipt["backups_until"]
    require(until is None or (isinstance(until, str) and TIME.fullmatch(until)), "backups_until is neither null nor a time")


def _check_purge(original, requested, completed):
    require(requested.type in SUBJECTS, "the request is none of a purge")
    require(completed.type == "purge.completed", "the completion is none of a purge")
    number, column = SUBJECTS[requested.type]
    require(requested.client == original.client, "the request is another client's")
    subject = original.position if column == "message" else getattr(original, column)
    require(getattr(requested, column) == subject > 0, f"the request is about another {column}")
    require(subject in _positions(completed.fields.get(number, b"")), f"the completion does not name the {column}")


def _check_generations(shown, completed):
    before, after = _integer(shown["before"]), _integer(shown["after"])
    require(before < after, "the root key was not replaced")
    require(before == _number(completed.fields.get(GENERATION_BEFORE, b"")), "the generation before is another one")
    require(after == _number(completed.fields.get(GENERATION_AFTER, b"")), "the generation after is another one")


def _check_id(message_id, position, id_key):
    """An id is one AES-256 block over position (8), kind (1), tag (4) and zeros (3), in Base32. The tag is the log's branch."""
    require(re.fullmatch(f"{ID_PREFIX}[{ID_ALPHABET}]{{26}}", message_id), "not the id of a message")
    if id_key is None:
        return
    number = 0
    for symbol in message_id.removeprefix(ID_PREFIX):
        number = number << 5 | ID_ALPHABET.index(symbol)
    require(number & 3 == 0, "not the id of a message")
    decryptor = Cipher(algorithms.AES256(id_key), modes.ECB()).decryptor()
    block = decryptor.update((number >> 2).to_bytes(16, "big"))
    own = struct.unpack_from("<QB", block) == (position, MESSAGE_KIND) and not any(block[13:])
    require(own, "the id is another message's")


def main():
    parser = argparse.ArgumentParser(description="Check the receipt of a purged message by docs/keys.md alone.")
    parser.add_argument("receipt", help="file, or - for standard input")
    parser.add_argument("--vkey", help="the verifier key of the log, from where you keep it")
    parser.add_argument("--position", type=int, help="where the message is, as the API told its client")
    parser.add_argument("--id-key", type=bytes.fromhex, help="id_key of log.created, 64 hexadecimal digits")
    arguments = parser.parse_args()
    try:
        text = sys.stdin.read() if arguments.receipt == "-" else Path(arguments.receipt).read_text()
        shown = verify(text, arguments.vkey, arguments.position, arguments.id_key)
    except (OSError, ValueError) as error:
        sys.exit(f"{arguments.receipt}: {error}")
    print(f"{shown.message_id} at position {shown.position}: its key {shown.key_commitment} is destroyed, asked for at "
          f"{shown.requested}, done at {shown.completed}, in a log of {shown.size} records.")
    if arguments.vkey is None:
        print("The verifier key is the receipt's own: compare it with the one you keep.", file=sys.stderr)


if __name__ == "__main__":
    main()
