"""Opens the bodies of a Waybill log without any of Waybill's code, from docs/keys.md and docs/log-format.md alone.

    python3 read_keys.py DIR [--root FILE]

Whoever doubts that a purge destroyed something has a second opinion: this reader opens whatever the root key, the key
state and the log still open. It needs `pip install cryptography`, and `lz4` where segments are sealed.
"""

import argparse
import hashlib
import json
import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import read_log as log_format
from read_log import BOX_HEAD, PAGE, RECORD_HEADER, SEALED_HEAD, Malformed, MissingModule, Violation, crc32c, require

ROOT_BLOCK_BYTES = 4096
ROOT_BLOCKS = 2
ROOT_LINE = re.compile(r"(waybill root key (\d+) ([0-9a-f]{64}) )([0-9a-f]{8})\n")
SLOT_BYTES = 65_536
SLOTS = 3
SLOT_HEAD = struct.Struct("<8sIIQQ")
SLOT_MAGIC = b"WAYBKEY2"
PAGE_MAGIC = b"waybill key page v1"
FIRST_PAGE = SLOTS * SLOT_BYTES
ROOT_ROW = struct.Struct("<QII32s")
INDEX_ROW = struct.Struct("<IB3sQII32s")
EPOCHS_PER_PAGE = 256
SEED, EPOCH_PAGE = range(2)
DESTROYED, LIVING, INNER = range(3)
CLIENT_BITS, CLASS_BITS, LEAF_BITS = 64, 4, 32
LEAF_DEPTH = CLIENT_BITS + CLASS_BITS + LEAF_BITS
NONCE_BYTES, TAG_BYTES = 12, 16
REFERENCE_BYTES = 24
CLASSES = {1: "message", 2: "message in purge mode", 3: "secret", 4: "conversation"}
PURPOSES = {1: "content", 2: "provider_bytes", 3: "rendering", 4: "response_excerpt", 5: "identifiers"}


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def open_box(box, key, authenticated):
    """The plaintext, or None when key, place or any bit is wrong."""
    if len(box) < NONCE_BYTES + TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(bytes(box[:NONCE_BYTES]), bytes(box[NONCE_BYTES:]), authenticated)
    except InvalidTag:
        return None


def rows(form, plaintext):
    require(len(plaintext) % form.size == 0, f"{len(plaintext)} bytes are no rows of {form.size}")
    return form.iter_unpack(plaintext)


# From a node to a box


class Reference(NamedTuple):
    """Which key sealed a section."""

    client: int
    leaf: int
    epoch: int
    key_class: int

    @property
    def path(self):
        return ((self.client << CLASS_BITS) + self.key_class << LEAF_BITS) + self.leaf


def child(node, branch):
    return sha256(b"waybill ggm v1", bytes([branch]), node)


def commitment(leaf_key):
    return sha256(b"waybill key commitment v1", leaf_key)


def subkey(leaf_key, purpose, position):
    return sha256(b"waybill subkey v1", leaf_key, struct.pack("<BQ", purpose, position))


class Tree:
    """What is left of an epoch: living nodes by depth and the branches that lead to them."""

    def __init__(self, nodes):
        self.nodes = nodes

    @staticmethod
    def whole(seed):
        return Tree({(0, 0): seed})

    @staticmethod
    def parse(plaintext):
        require(len(plaintext) >= 4, "an epoch page without its number of marks")
        (count,) = struct.unpack_from("<I", plaintext)
        start = 4 + (count + 3) // 4
        require(start <= len(plaintext), f"an epoch page ends within its {count} marks")
        packed = plaintext[4:start]
        marks = iter([packed[number // 4] >> number % 4 * 2 & 3 for number in range(count)])
        require(count % 4 == 0 or packed[-1] >> count % 4 * 2 == 0, "bits behind the last mark")
        places, waiting = [], [(0, 0)]
        while waiting:
            depth, branches = waiting.pop()
            mark = next(marks, None)
            require(mark in (DESTROYED, LIVING, INNER), f"mark {mark} in an epoch page")
            if mark == LIVING:
                places.append((depth, branches))
            elif mark == INNER:
                require(depth < LEAF_DEPTH, "an inner node where leaves are")
                waiting += [(depth + 1, branches * 2 + 1), (depth + 1, branches * 2)]
        require(next(marks, None) is None, "marks behind the last node")
        keys = [plaintext[offset:offset + 32] for offset in range(start, len(plaintext), 32)]
        require(len(plaintext) == start + 32 * len(places), f"{len(keys)} keys for {len(places)} living nodes")
        return Tree(dict(zip(places, keys)))

    def leaf_key(self, path):
        """None when it is destroyed."""
        for depth in range(LEAF_DEPTH + 1):
            node = self.nodes.get((depth, path >> LEAF_DEPTH - depth))
            if node is not None:
                for level in range(depth, LEAF_DEPTH):
                    node = child(node, path >> LEAF_DEPTH - 1 - level & 1)
                return node
        return None


# The root key file and the file of pages


def read_root_keys(path):
    """Generation to key, of the one or two that are in the file."""
    content = Path(path).read_bytes()
    if len(content) != ROOT_BLOCKS * ROOT_BLOCK_BYTES:
        raise Violation(path, 0, f"a root key file of {len(content)} bytes")
    blocks = [content[start:start + ROOT_BLOCK_BYTES] for start in range(0, len(content), ROOT_BLOCK_BYTES)]
    return dict(found for found in map(_root_key, blocks) if found is not None)


def _root_key(block):
    line = ROOT_LINE.fullmatch(block.rstrip(b"\0").decode("latin-1"))
    if line is None:
        return None
    checked, generation, key, check = line.groups()
    return (int(generation), bytes.fromhex(key)) if sha256(checked.encode()).hex()[:8] == check else None


def read_pages_files(directory):
    """The contents of all files of pages: one, or two after a crash."""
    found = [path for path in Path(directory).glob("keys-*") if re.fullmatch("keys-[1-9][0-9]*", path.name)]
    return [PagesFile(int(path.name.removeprefix("keys-")), path.read_bytes()) for path in found]


class PagesFile(bytes):
    """The content of a file of pages, with the number in its name."""

    def __new__(cls, number, content):
        self = super().__new__(cls, content)
        self.number = number
        return self


class Slot(NamedTuple):
    sequence: int
    generation: int
    box: bytes
    file: int

    @property
    def authenticated(self):
        return SLOT_MAGIC + struct.pack("<QQQ", self.generation, self.sequence, self.file)


def parse_slots(content):
    """The slots that are not void."""
    slots = []
    for start in range(0, FIRST_PAGE, SLOT_BYTES):
        slot = content[start:start + SLOT_BYTES]
        if len(slot) < SLOT_HEAD.size:
            continue
        magic, crc, length, generation, sequence = SLOT_HEAD.unpack_from(slot)
        end = SLOT_HEAD.size + length
        if magic == SLOT_MAGIC and end <= len(slot) and crc == crc32c(slot[12:end]):
            slots.append(Slot(sequence, generation, slot[SLOT_HEAD.size:end], content.number))
    return slots


def open_page(content, offset, length, key):
    require(FIRST_PAGE <= offset and offset + length <= len(content), f"a page at offset {offset} of {length} bytes")
    plaintext = open_box(content[offset:offset + length], key, PAGE_MAGIC)
    require(plaintext is not None, f"the page at offset {offset} does not open")
    return plaintext


class Keys(NamedTuple):
    """One state of the keys, opened from the root page down."""

    sequence: int
    generation: int
    trees: dict  # of each epoch, what is left
    pages: dict  # of each page in use, its offset and length to its key

    def leaf_key(self, reference):
        """None when it is destroyed."""
        tree = self.trees.get(reference.epoch)
        return None if tree is None else tree.leaf_key(reference.path)


def opened_states(contents, root_keys):
    """Every state that opens, the one that holds first."""
    found = sorted(((slot, content) for content in contents for slot in parse_slots(content)), reverse=True)
    for slot, content in found:
        key = root_keys.get(slot.generation)
        root_page = key and open_box(slot.box, key, slot.authenticated)
        if root_page is not None:
            yield Keys(slot.sequence, slot.generation, *_open_below(content, root_page))


def _open_below(content, root_page):
    """Trees and pages."""
    trees, pages, newest, is_last = {}, {}, 0, False
    for offset, length, zeros, key in rows(ROOT_ROW, root_page):
        pages[offset, length] = key
        index_page = list(rows(INDEX_ROW, open_page(content, offset, length, key)))
        require(zeros == 0 and not is_last and 0 < len(index_page) <= EPOCHS_PER_PAGE, "the rows of the index pages")
        is_last = len(index_page) < EPOCHS_PER_PAGE
        for epoch, kind, zeros, offset, length, more_zeros, secret in index_page:
            require(epoch > newest and kind in (SEED, EPOCH_PAGE), f"epoch {epoch} of kind {kind}")
            require(not any(zeros) and more_zeros == 0, f"bytes behind the fields of epoch {epoch}")
            require(kind == EPOCH_PAGE or offset == length == 0, f"a page for epoch {epoch}, which has none")
            newest = epoch
            if kind == SEED:
                trees[epoch] = Tree.whole(secret)
            elif kind == EPOCH_PAGE:
                pages[offset, length] = secret
                trees[epoch] = Tree.parse(open_page(content, offset, length, secret))
    return trees, pages


def read_keys(directory, root):
    """The state that holds."""
    for keys in opened_states(read_pages_files(directory), read_root_keys(root)):
        return keys
    raise Violation(directory, 0, f"no state of the keys opens under a root key in {root}")


# The log


class SealedRecord(NamedTuple):
    position: int
    type: int
    client: int
    conversation: int
    message: int
    reference: Reference
    head: bytes  # what is authenticated of the section's head
    commitment: bytes
    boxes: list  # pairs of purpose and box


def sealed_records(directory):
    """The records that have a sealed section. The log is checked on the way."""
    directory, log = Path(directory), log_format.read_log(directory)
    headers = []
    for number in range(1, log.segments + 1):
        with log_format.open_segment(directory, number) as file:
            headers.append(log_format.read_segment_header(file, number))
    ends = [header.base for header in headers[1:]] + [log.last_position + 1]
    for number, end in enumerate(ends, 1):
        with log_format.open_segment(directory, number) as file:
            header = log_format.read_segment_header(file, number)
            file.seek(0)
            data = memoryview(file.read())
        for frame in _frames(header, data):
            for record, content in _records(log_format.parse_group(frame).body):
                # A segment may also hold what the next one took over, or what was discarded.
                if record.sealed_length and header.base <= record.position < end:
                    yield parse_sealed(record, content)


def _frames(header, data):
    """The group frames of a segment that is known to be well, up to its tail."""
    offset = PAGE
    if header.sealed:
        packs = data[:log_format.parse_footer(data).table]
        while offset < len(packs):
            pack = log_format.parse_pack(packs, offset)
            yield from log_format.frames_of(pack)
            offset = pack.end
        return
    while offset < len(data):
        try:
            block = log_format.parse_block(data, offset, header.nonce)
        except Malformed:
            return
        if block.frame is not None:
            yield block.frame
        offset = block.end


def _records(body):
    offset = 0
    while offset < len(body):
        content = log_format.record_bytes(body, offset)
        yield log_format.parse_record(content), bytes(content)
        offset += len(content)


def parse_sealed(record, content):
    start = RECORD_HEADER.size + record.payload_length
    section = content[start:start + record.sealed_length]
    client, leaf, epoch, key_class, _, committed = SEALED_HEAD.unpack_from(section)
    boxes, offset = [], SEALED_HEAD.size
    while offset < len(section):
        purpose, _, length = BOX_HEAD.unpack_from(section, offset)
        offset += BOX_HEAD.size
        boxes.append((purpose, section[offset:offset + length]))
        offset += length
    return SealedRecord(record.position, record.type, record.client, record.conversation, record.message,
                        Reference(client, leaf, epoch, key_class), section[:REFERENCE_BYTES], committed, boxes)


class Body(NamedTuple):
    record: SealedRecord
    parts: dict  # name of the purpose to plaintext; None when the key is destroyed


def open_record(record, leaf_key):
    """The plaintexts under the key that the record names."""
    require(commitment(leaf_key) == record.commitment, f"position {record.position}: not the key it commits to")
    parts = {}
    for purpose, box in record.boxes:
        place = record.head + struct.pack("<BQ", purpose, record.position)
        plaintext = open_box(box, subkey(leaf_key, purpose, record.position), place)
        require(plaintext is not None, f"position {record.position}: the {PURPOSES[purpose]} does not open")
        parts[PURPOSES[purpose]] = plaintext
    return parts


def open_bodies(directory, *states):
    """Every sealed record of the log, opened where one of the states still has its key."""
    for record in sealed_records(directory):
        found = (state.leaf_key(record.reference) for state in states)
        leaf_key = next((key for key in found if key is not None), None)
        yield Body(record, None if leaf_key is None else open_record(record, leaf_key))


# The command


def as_json(body):
    record = body.record
    parts = body.parts and {name: plaintext.decode(errors="replace") for name, plaintext in body.parts.items()}
    return json.dumps({
        "position": record.position, "type": record.type, "client": record.client, "message": record.message,
        "conversation": record.conversation, "class": CLASSES[record.reference.key_class], "body": parts,
    })


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Open the bodies of a Waybill log by docs/keys.md alone.")
    parser.add_argument("directory", type=Path, metavar="DATA", help="the data directory")
    parser.add_argument("--root", type=Path, metavar="FILE", help="the root key file; default root.key in DATA")
    options = parser.parse_args(arguments)
    try:
        keys = read_keys(options.directory, options.root or options.directory / "root.key")
        for body in open_bodies(options.directory, keys):
            print(as_json(body))
    except (Malformed, Violation, MissingModule, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
