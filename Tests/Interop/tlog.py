"""Transparency-log formats, checked without Waybill's code: signed notes, checkpoints, inclusion proofs.

Written from C2SP signed-note, tlog-checkpoint and tlog-proof, and RFC 9162 section 2.1.3.2.
"""

import base64
import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes


class VerifierKey(NamedTuple):
    name: str
    key_id: bytes
    public: bytes

    @classmethod
    def parse(cls, text):
        name, key_id, typed = text.strip().split("+", 2)
        typed = base64.b64decode(typed, validate=True)
        assert typed[0] == 1, "not an Ed25519 key"
        assert len(typed) == 33
        expected = hashlib.sha256(name.encode() + b"\n" + typed).digest()[:4]
        assert key_id == expected.hex(), "the key id is not the key's"
        return cls(name, expected, typed[1:])


def open_note(note, key):
    """The text of a signed note that carries a valid signature by `key`; ValueError otherwise."""
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not note.endswith("\n"):
        raise ValueError("not a signed note")
    text += "\n"
    for line in signatures.splitlines():
        dash, name, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if dash != "—":
            raise ValueError(f"not a signature line: {line}")
        if (name, blob[:4]) != (key.name, key.key_id):
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(blob[4:], text.encode())
            return text
        except InvalidSignature:
            raise ValueError("the signature is wrong") from None
    raise ValueError("no signature by this key")


def parse_checkpoint(text):
    origin, size, root = text.split("\n")[:3]
    assert str(int(size)) == size
    root = base64.b64decode(root, validate=True)
    assert len(root) == 32
    return Checkpoint(origin, int(size), root)


class Proof(NamedTuple):
    index: int
    hashes: list
    note: str

    @classmethod
    def parse(cls, text):
        head, _, note = text.partition("\n\n")
        first, index, *hashes = head.split("\n")
        assert first == "c2sp.org/tlog-proof@v1"
        assert index.startswith("index ")
        return cls(int(index[6:]), [base64.b64decode(one, validate=True) for one in hashes], note)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_from_inclusion(entry, index, size, hashes):
    """The root that a proof leads to; ValueError when it cannot be one for this index and size."""
    if not 0 <= index < size:
        raise ValueError("no such entry")
    node, last = sha256(b"\0", entry), size - 1
    for sibling in hashes:
        if last == 0:
            raise ValueError("the proof is too long")
        if index & 1 or index == last:
            node = sha256(b"\1", sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return node
