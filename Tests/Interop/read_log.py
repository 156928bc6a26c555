"""Reads and checks a Waybill log without any of Waybill's code, from docs/log-format.md alone.

    python3 read_log.py DIR [--json]

The point is independence: whoever doubts `waybill verify` has a second opinion that fits on a few screens and needs
nothing but Python's standard library, and `pip install lz4` where segments are sealed. It works on a stopped log and
beside a running gateway.
"""

import argparse
import hashlib
import json
import re
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
SEGMENT_HEADER = struct.Struct("<8sIIQQ16sQQ16s32sQII")
BLOCK_HEAD = struct.Struct("<4sI16sQQI20s")
GROUP_HEADER = struct.Struct("<4sIHHIQQI4sQ32s16s")
RECORD_HEADER = struct.Struct("<IHBBQQQQQQII32s")
SEALED_HEAD = struct.Struct("<QQIB3s32s")
BOX_HEAD = struct.Struct("<B3sI")
PACK_HEAD = struct.Struct("<4sIQQQQIIIIII")
TABLE_LINE = struct.Struct("<QQQ")
FOOTER = struct.Struct("<8sIIQQQI20s")

FORMAT_VERSION = 1
FLAG_OPENED = 1  # of a segment: begun by opening the log
FLAG_SEALED = 1  # of a record: a sealed section follows the payload
LONGEST_RECORD = 524_288
SHORTEST_BOX = 12 + 16  # nonce and tag around no plaintext
KEY_CLASSES = range(1, 5)
PURPOSES = range(1, 6)
NO_LINK = bytes(32)
WRITTEN, SEALED = ".wal", ".sealed"
MAGIC = {WRITTEN: b"WAYBSEG1", SEALED: b"WAYBSLD1"}
LZ4_LONGEST = 0x7E000000  # bytes that one LZ4 block can hold
LZ4_RATIO = 255  # to which no byte of an LZ4 block can add more


class Violation(Exception):
    """The log is not what the format promises, at one place of one file."""

    def __init__(self, file, offset, reason):
        super().__init__(f"{file}: offset {offset}: {reason}")
        self.file = file
        self.offset = offset
        self.reason = reason


class Malformed(Exception):
    """Bytes that contradict the format. Parsers know the reason; only the reader knows where they stand."""


class NoBlock(Malformed):
    """No valid block lies here: zeros, a torn write, or damage. What is proven durable decides which of them it is."""


class MissingModule(Exception):
    """The log may be well, but this Python lacks what is needed to read it."""


def require(condition, reason):
    if not condition:
        raise Malformed(reason)


@contextmanager
def place(file, offset):
    """What is malformed in here stands at `offset` of `file`."""
    try:
        yield
    except Malformed as malformed:
        raise Violation(file, offset, str(malformed)) from None


# Checksums


def _crc_tables():
    """Table n advances a byte over n more zero bytes, so that eight bytes go through in one step."""
    first = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        first.append(value)
    tables = [first]
    for _ in range(7):
        tables.append([first[value & 255] ^ (value >> 8) for value in tables[-1]])
    return tables


CRC_TABLES = _crc_tables()


def crc32c(data):
    t0, t1, t2, t3, t4, t5, t6, t7 = CRC_TABLES
    crc = 0xFFFFFFFF
    whole = len(data) & ~7
    for word, a, b, c, d in struct.iter_unpack("<I4B", data[:whole]):
        word ^= crc
        crc = (t7[word & 255] ^ t6[word >> 8 & 255] ^ t5[word >> 16 & 255] ^ t4[word >> 24]
               ^ t3[a] ^ t2[b] ^ t1[c] ^ t0[d])
    for byte in data[whole:]:
        crc = t0[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def sha256(data):
    return hashlib.sha256(data).digest()


def is_zero(data):
    return bytes(data).count(0) == len(data)


# Merkle tree


class MerkleTree:
    """RFC 6962's tree, grown entry by entry. It keeps only the roots of its complete subtrees, largest first."""

    def __init__(self):
        self.size = 0
        self.frontier = []

    def append(self, entry):
        node = sha256(b"\0" + entry)
        # Every bit that carries when one is added to the size stands for two subtrees that become one.
        carries = self.size
        while carries & 1:
            node = sha256(b"\1" + self.frontier.pop() + node)
            carries >>= 1
        self.frontier.append(node)
        self.size += 1

    @property
    def root(self):
        if not self.frontier:
            return sha256(b"")
        *larger, root = self.frontier
        for subtree in reversed(larger):
            root = sha256(b"\1" + subtree + root)
        return root


# Structures


class SegmentHeader(NamedTuple):
    path: Path
    base: int
    nonce: bytes
    size: int
    durable_through: int
    log_id: bytes
    link: bytes
    subtrees: list
    opened: bool

    @property
    def sealed(self):
        return self.path.suffix == SEALED


class Block(NamedTuple):
    durable_through: int
    end: int
    frame: memoryview  # None for a durable mark


class Group(NamedTuple):
    first: int
    last: int
    time: int
    link: bytes
    log_id: bytes
    own_link: bytes  # the one that the next group must carry
    body: memoryview


class Pack(NamedTuple):
    first: int
    last: int
    time: int
    envelopes_length: int
    envelopes_crc: int
    sealed_crc: int
    envelopes: memoryview  # as stored
    sealed: memoryview
    end: int


class Footer(NamedTuple):
    packs: int
    table: int
    last: int
    time: int
    table_crc: int


class Record(NamedTuple):
    position: int
    time: int
    type: int
    schema: int
    client: int
    conversation: int
    message: int
    subject: int
    payload_length: int
    sealed_length: int
    digest: bytes


def parse_segment_header(page, path, number):
    require(len(page) == PAGE, f"the header page has only {len(page)} bytes")
    (magic, crc, version, own_number, base, nonce, size, durable_through, log_id, link, entries, subtree_count,
     flags) = SEGMENT_HEADER.unpack_from(page)
    require(magic == MAGIC[path.suffix], "no segment header")
    require(crc == crc32c(page[12:]), "CRC of the segment header")
    require(version == FORMAT_VERSION, f"format version {version} of the segment")
    require(own_number == number, f"the header says segment {own_number}")
    require(flags in (0, FLAG_OPENED), f"flags {flags:#x} of the segment")
    require(base >= 1, "positions begin at 1")
    require(size >= PAGE, f"made with {size} bytes, less than its header")
    require(durable_through >= base - 1, f"durable through {durable_through} is before the base {base}")
    require(entries == base - 1, f"a tree of {entries} entries before position {base}")
    require(subtree_count == entries.bit_count(), f"{subtree_count} subtree roots for {entries} entries")
    end = SEGMENT_HEADER.size + 32 * subtree_count
    require(is_zero(page[end:]), "bytes behind the subtree roots")
    subtrees = [page[start:start + 32] for start in range(SEGMENT_HEADER.size, end, 32)]
    return SegmentHeader(path, base, nonce, size, durable_through, log_id, link, subtrees, flags == FLAG_OPENED)


def parse_block_head(data, offset, nonce):
    """The durable position and the length of the frame, for a block that proves itself to belong here."""
    head = data[offset:offset + BLOCK_HEAD.size]
    magic, crc, own_nonce, durable_through, own_offset, length, rest = BLOCK_HEAD.unpack(head)
    if magic != b"WBBK":
        raise NoBlock("no block head")
    if crc != crc32c(head[8:]):
        raise NoBlock("CRC of the block head")
    if own_nonce != nonce:
        raise NoBlock("nonce of another segment in the block head")
    if own_offset != offset:
        raise NoBlock(f"the block head says offset {own_offset}")
    require(is_zero(rest), "bytes behind the block head's fields")
    return durable_through, length


def parse_block(data, offset, nonce):
    if len(data) - offset < PAGE:
        raise NoBlock(f"only {len(data) - offset} bytes of a page")
    if is_zero(data[offset:offset + PAGE]):
        raise NoBlock("zeros")
    durable_through, length = parse_block_head(data, offset, nonce)
    start = offset + BLOCK_HEAD.size
    frame_end = start + length
    end = -(-frame_end // PAGE) * PAGE
    require(end <= len(data), f"a group frame of {length} bytes goes beyond the file's end")
    if not is_zero(data[frame_end:end]):
        raise NoBlock("bytes between the block and the next boundary")
    frame = data[start:frame_end] if length else None
    if frame is not None:
        check_frame_sums(frame)
    return Block(durable_through, end, frame)


def check_frame_sums(frame):
    """The sums decide whether a group was written to its end. Its sense is judged afterwards."""
    require(len(frame) > GROUP_HEADER.size, f"a group frame of {len(frame)} bytes")
    header = frame[:GROUP_HEADER.size]
    magic, crc, _, _, _, _, _, body_crc, *_ = GROUP_HEADER.unpack(header)
    if magic != b"WBG1":
        raise NoBlock("no group header")
    if crc != crc32c(header[8:]):
        raise NoBlock("CRC of the group header")
    if body_crc != crc32c(frame[GROUP_HEADER.size:]):
        raise NoBlock("CRC of the group body")


def parse_group(frame):
    header, body = frame[:GROUP_HEADER.size], frame[GROUP_HEADER.size:]
    _, _, version, flags, length, first, last, _, zeros, time, link, log_id = GROUP_HEADER.unpack(header)
    require(version == FORMAT_VERSION, f"format version {version} of the group")
    require(flags == 0, f"flags {flags:#x} of the group")
    require(is_zero(zeros), "bytes behind the CRC of the group body")
    require(length == len(body), f"the group says {length} bytes of body, the frame has {len(body)}")
    require(first <= last, f"a group from position {first} to {last}")
    return Group(first, last, time, link, log_id, sha256(header), body)


def record_bytes(body, offset):
    """The bytes of the record at `offset`, as long as it says it is."""
    require(len(body) - offset >= RECORD_HEADER.size, "a group body that ends within a record")
    (length,) = struct.unpack_from("<I", body, offset)
    require(RECORD_HEADER.size <= length <= LONGEST_RECORD and length % 8 == 0, f"a record of {length} bytes")
    require(length <= len(body) - offset, f"a record of {length} bytes goes beyond the group body")
    return body[offset:offset + length]


def parse_record(data):
    (length, type_number, schema, flags, position, time, client, conversation, message, subject, payload_length,
     sealed_length, digest) = RECORD_HEADER.unpack_from(data)
    payload_end = RECORD_HEADER.size + payload_length
    sealed_end = payload_end + sealed_length
    require(length == (sealed_end + 7) & ~7, f"{length} bytes for {payload_length} and {sealed_length} of content")
    require(is_zero(data[sealed_end:]), "bytes behind the record's content")
    require(flags in (0, FLAG_SEALED), f"flags {flags:#x} of the record")
    require(bool(flags) == bool(sealed_length), "the flag of the sealed section contradicts its length")
    require(max(client, conversation, message, subject) <= position, "the record names a later one")
    check_payload(data[RECORD_HEADER.size:payload_end])
    if sealed_length:
        check_sealed_section(data[payload_end:sealed_end])
    require(digest == entry_digest(data, payload_end, sealed_end), "entry digest")
    return Record(position, time, type_number, schema, client, conversation, message, subject, payload_length,
                  sealed_length, digest)


def entry_digest(data, payload_end, sealed_end):
    """Commits to the boxes by their digest only, so that they may be dropped one day without breaking a proof."""
    digest = hashlib.sha256(data[:64])
    digest.update(data[RECORD_HEADER.size:payload_end])
    if sealed_end > payload_end:
        boxes = payload_end + SEALED_HEAD.size
        digest.update(data[payload_end:boxes])
        digest.update(sha256(data[boxes:sealed_end]))
    return digest.digest()


def check_payload(payload):
    """Fields that fill the payload exactly, in the order of their numbers (events.md)."""
    offset, before = 0, 0
    while offset < len(payload):
        number, offset = read_leb128(payload, offset)
        length, offset = read_leb128(payload, offset)
        require(number > before, f"field {number} of the payload after field {before}")
        require(length <= len(payload) - offset, f"field {number} goes beyond the payload")
        offset, before = offset + length, number


def read_leb128(data, offset):
    value = 0
    for shift in range(0, 64, 7):
        require(offset < len(data), "a number goes beyond the payload")
        byte = data[offset]
        offset += 1
        value |= (byte & 127) << shift
        if byte < 128:
            require(value < 1 << 64, "a number of more than 64 bits in the payload")
            return value, offset
    raise Malformed("a number of more than 64 bits in the payload")


def check_sealed_section(sealed):
    require(len(sealed) >= SEALED_HEAD.size, f"a sealed section of {len(sealed)} bytes")
    _, _, _, key_class, zeros, _ = SEALED_HEAD.unpack_from(sealed)
    require(key_class in KEY_CLASSES, f"key class {key_class}")
    require(is_zero(zeros), "bytes behind the key class")
    offset = SEALED_HEAD.size
    while offset < len(sealed):
        require(len(sealed) - offset >= BOX_HEAD.size, "the sealed section ends within the head of a box")
        purpose, zeros, length = BOX_HEAD.unpack_from(sealed, offset)
        offset += BOX_HEAD.size
        require(purpose in PURPOSES, f"purpose {purpose} of a box")
        require(is_zero(zeros), "bytes behind the purpose of a box")
        require(SHORTEST_BOX <= length <= len(sealed) - offset, f"a box of {length} bytes")
        offset += length


# Sealed segments


def parse_footer(data):
    magic, crc, packs, table, last, time, table_crc, zeros = FOOTER.unpack(data[-FOOTER.size:])
    require(magic == b"WAYBEND1", "no footer")
    require(crc == crc32c(data[12 - FOOTER.size:]), "CRC of the footer")
    require(is_zero(zeros), "bytes behind the footer's fields")
    end = table + packs * TABLE_LINE.size
    require(PAGE <= table and end <= len(data) - FOOTER.size, f"a table from offset {table} to {end}")
    return Footer(packs, table, last, time, table_crc)


def parse_table(data, footer):
    """A tuple for each pack: its first position, the time of its first record, its offset."""
    end = footer.table + footer.packs * TABLE_LINE.size
    table = data[footer.table:end]
    require(footer.table_crc == crc32c(table), "CRC of the table")
    require(is_zero(data[end:-FOOTER.size]), "bytes between the table and the footer")
    return list(TABLE_LINE.iter_unpack(table))


def parse_pack(data, offset):
    """The pack at `offset` of what lies before the table."""
    require(len(data) - offset >= PACK_HEAD.size, "the packs end within the head of one")
    head = data[offset:offset + PACK_HEAD.size]
    (magic, crc, own_offset, first, last, time, stored_length, envelopes_length, sealed_length, envelopes_crc,
     sealed_crc, zeros) = PACK_HEAD.unpack(head)
    require(magic == b"WBPK", "no pack")
    require(crc == crc32c(head[8:]), "CRC of the pack head")
    require(own_offset == offset, f"the pack head says offset {own_offset}")
    require(zeros == 0, "bytes behind the pack head's fields")
    require(first <= last, f"a pack from position {first} to {last}")
    start = offset + PACK_HEAD.size
    middle = start + stored_length
    end = middle + sealed_length
    require(end <= len(data), f"a pack of {end - offset} bytes goes into the table")
    return Pack(first, last, time, envelopes_length, envelopes_crc, sealed_crc, data[start:middle], data[middle:end],
                end)


def unpacked_envelopes(pack):
    if len(pack.envelopes) == pack.envelopes_length:
        return pack.envelopes
    try:
        from lz4.block import LZ4BlockError, decompress
    except ImportError:
        raise MissingModule("the log has compressed packs, which need `pip install lz4`") from None
    length = pack.envelopes_length
    possible = length <= min(LZ4_LONGEST, LZ4_RATIO * len(pack.envelopes))
    require(possible, f"{len(pack.envelopes)} bytes cannot be {length} bytes of envelopes")
    try:
        envelopes = memoryview(decompress(pack.envelopes, uncompressed_size=length))
    except LZ4BlockError as error:
        raise Malformed(f"the envelopes do not unpack: {error}") from None
    require(len(envelopes) == length, f"{len(envelopes)} bytes of envelopes instead of {length}")
    return envelopes


class _Stream:
    """Bytes that are taken from the front, piece by piece."""

    def __init__(self, data, name):
        self.data = data
        self.name = name

    def __bool__(self):
        return len(self.data) > 0

    def take(self, length):
        require(length <= len(self.data), f"the pack's {self.name} end too early")
        piece, self.data = self.data[:length], self.data[length:]
        return piece


def frames_of(pack):
    """The frames of a pack's groups, put together again."""
    require(pack.envelopes_crc == crc32c(pack.envelopes), "CRC of the pack's envelopes")
    require(pack.sealed_crc == crc32c(pack.sealed), "CRC of the pack's sealed sections")
    envelopes, sealed = _Stream(unpacked_envelopes(pack), "envelopes"), _Stream(pack.sealed, "sealed sections")
    while envelopes:
        frame = bytearray(envelopes.take(GROUP_HEADER.size))
        _, _, _, _, body_length, *_ = GROUP_HEADER.unpack(frame)
        while len(frame) < GROUP_HEADER.size + body_length:
            frame += joined_record(envelopes, sealed)
        yield memoryview(frame)
    require(not sealed, "sealed sections of no record in the pack")


def joined_record(envelopes, sealed):
    header = envelopes.take(RECORD_HEADER.size)
    length, *_, payload_length, sealed_length, _ = RECORD_HEADER.unpack(header)
    content = b"".join((header, envelopes.take(payload_length), sealed.take(sealed_length)))
    require(len(content) <= length <= LONGEST_RECORD, f"a record of {length} bytes for {len(content)}")
    return content.ljust(length, b"\0")


# The log


@dataclass
class Tail:
    """Where the log ends in its newest segment, and what lies there instead of a block."""

    file: str
    offset: int
    reason: str


@dataclass
class Log:
    segments: int = 0
    records: list = field(default_factory=list)
    tree: MerkleTree = field(default_factory=MerkleTree)
    tail: Tail = None

    @property
    def root(self):
        return self.tree.root

    @property
    def size(self):
        return self.tree.size

    @property
    def frontier(self):
        return list(self.tree.frontier)

    @property
    def last_position(self):
        return self.records[-1].position if self.records else 0

    @property
    def last_time(self):
        return self.records[-1].time if self.records else 0


def read_log(directory):
    """The whole log of a data directory, checked; or a `Violation`."""
    directory = Path(directory)
    count, newest = open_newest(directory)
    with newest:
        # All headers before any record: how much of its content a segment owns is said by the next one's header.
        headers = []
        for number in range(1, count):
            with open_segment(directory, number) as file:
                headers.append(read_segment_header(file, number))
        headers.append(read_segment_header(newest, count))
        reader = _Reader(headers[0].log_id)
        for number, following in enumerate(headers[1:], 1):
            with open_segment(directory, number) as file:
                reader.read_segment(file, number, following)
        reader.read_segment(newest, count, None)
    return reader.log


def open_newest(directory):
    """The newest segment's number and file. A running gateway may seal it later; the open file stays as it is."""
    count = count_segments(directory)
    while True:
        file = open_segment(directory, count)
        if Path(file.name).suffix == WRITTEN:
            return count, file
        file.close()
        # It may have got a successor, and be sealed, since it was looked for.
        before, count = count, count_segments(directory)
        if count == before:
            raise Violation(Path(file.name).name, 0, "the newest segment is sealed: those after it are lost")


def count_segments(directory):
    """The number of the newest one. That all the others are there shows when they are opened."""
    numbers = []
    for path in directory.glob("*"):
        if path.suffix in MAGIC:
            if not re.fullmatch("[0-9]{20}", path.stem):
                raise Violation(path.name, 0, "no number of a segment")
            numbers.append(int(path.stem))
    if not numbers:
        raise Violation(directory, 0, "no segment in this directory")
    return max(numbers)


def open_segment(directory, number):
    """Of both files of a number the written one is the segment. It is removed only when the sealed one is there."""
    name = f"{number:020}"
    for suffix in (WRITTEN, SEALED):
        try:
            return (directory / (name + suffix)).open("rb")
        except FileNotFoundError:
            continue
    raise Violation(name + WRITTEN, 0, f"segment {number} should be here")


def read_segment_header(file, number):
    path = Path(file.name)
    file.seek(0)
    with place(path.name, 0):
        return parse_segment_header(file.read(PAGE), path, number)


class _Reader:
    """What the records so far demand of the next ones."""

    def __init__(self, log_id):
        self.log = Log()
        self.log_id = log_id
        self.link = NO_LINK

    @property
    def next_position(self):
        return self.log.last_position + 1

    def read_segment(self, file, number, following):
        header = read_segment_header(file, number)
        file.seek(0)
        data = memoryview(file.read())
        with place(header.path.name, 0):
            self.check_start(header, len(data), following is None)
        self.log.segments += 1
        if header.sealed:
            self.read_sealed(header, data, following)
        else:
            self.read_written(header, data, following)

    def check_start(self, header, size, newest):
        require(header.log_id == self.log_id, "the segment belongs to another log")
        require(header.base == self.next_position, f"base {header.base} instead of {self.next_position}")
        require(header.link == self.link, "the segment's link is not the digest of the group header before it")
        require(header.subtrees == self.log.frontier, "subtree roots differ from those of the records before")
        # A written segment is cut off only behind its last block, and only once a later one exists.
        exact = newest or header.sealed
        fits = size == header.size if exact else size <= header.size
        require(fits, f"the file has {size} bytes and was made with {header.size}")

    def read_written(self, header, data, following):
        offset, reason = self.read_blocks(header, data, following)
        if following is None:
            self.judge_tail(header, data, offset, reason)
        else:
            self.judge_end(header, data, offset, reason, following)

    def read_blocks(self, header, data, following):
        """Goes through what the segment owns. The result is where that ends, and what lies there instead."""
        offset, durable_through = PAGE, 0
        while offset < len(data):
            try:
                block = parse_block(data, offset, header.nonce)
                group = parse_group(block.frame) if block.frame is not None else None
                if group is not None and following is not None and group.first >= following.base:
                    return offset, f"a group from position {group.first}, which the next segment owns"
                if group is not None:
                    self.check_group(group, following)
                self.check_durable_through(block, durable_through)
            except NoBlock as damage:
                return offset, str(damage)
            except Malformed as malformed:
                raise Violation(header.path.name, offset, str(malformed)) from None
            if group is not None:
                body_offset = offset + BLOCK_HEAD.size + GROUP_HEADER.size
                self.read_records(group, header, lambda inside: body_offset + inside)
            offset, durable_through = block.end, block.durable_through
        return offset, "the end of the file"

    def check_durable_through(self, block, before):
        """Nothing is known durable before it is written, and nothing that is known is forgotten."""
        known, written = block.durable_through, self.log.last_position
        require(known <= written, f"durable through {known}, written only to {written}")
        require(known >= before, f"durable through {known} after {before}")

    def check_group(self, group, following):
        require(group.log_id == self.log_id, "the group belongs to another log")
        require(group.first == self.next_position, f"position {group.first} instead of {self.next_position}")
        require(group.link == self.link, "the group's link is not the digest of the group header before it")
        owned = following is None or group.last < following.base
        require(owned, f"position {group.last} in a group of this segment, but the next one owns it")

    def read_records(self, group, header, located):
        """`located` says where in the file an offset of the group's body lies."""
        file, offset = header.path.name, 0
        for position in range(group.first, group.last + 1):
            with place(file, located(offset)):
                data = record_bytes(group.body, offset)
                record = parse_record(data)
                require(record.position == position, f"position {record.position} instead of {position}")
                require(record.time > self.log.last_time, "a time that is not after the record before")
                require(offset or record.time == group.time, "the group's time is not that of its first record")
            self.log.records.append(record)
            self.log.tree.append(record.digest)
            offset += len(data)
        with place(file, located(offset)):
            require(offset == len(group.body), "bytes behind the group's last record")
        self.link = group.own_link

    def read_sealed(self, header, data, following):
        """Nothing here can be a torn write, or belong to another segment."""
        file = header.path.name
        with place(file, 0):
            require(len(data) % PAGE == 0 and len(data) > PAGE, f"a sealed segment of {len(data)} bytes")
        footer_offset = len(data) - FOOTER.size
        with place(file, footer_offset):
            footer = parse_footer(data)
        with place(file, footer.table):
            table = parse_table(data, footer)
        offset, lines = PAGE, []
        while offset < footer.table:
            with place(file, offset):
                pack = parse_pack(data[:footer.table], offset)
                self.read_pack(pack, header, offset, following)
            lines.append((pack.first, pack.time, offset))
            offset = pack.end
        with place(file, footer.table):
            require(table == lines, "the table is not that of the packs")
        with place(file, footer_offset):
            require(footer.last == self.log.last_position, f"last position {footer.last} in the footer")
            require(footer.time == (self.log.last_time if lines else 0), f"last time {footer.time} in the footer")
        self.check_complete(file, footer.table, "the end of the packs", following)

    def read_pack(self, pack, header, offset, following):
        require(pack.first == self.next_position, f"a pack from position {pack.first} instead of {self.next_position}")
        for frame in frames_of(pack):
            check_frame_sums(frame)
            group = parse_group(frame)
            self.check_group(group, following)
            first = group.first == pack.first
            require(not first or group.time == pack.time, "the pack's time is not that of its first record")
            self.read_records(group, header, lambda _: offset)
        last = self.log.last_position
        require(pack.last == last, f"the pack ends at position {last} instead of {pack.last}")

    def judge_tail(self, header, data, offset, reason):
        """The log may end here, unless something on the disk knows that it was longer."""
        proven, proof = max(proofs(header, data, offset))
        if proven > self.log.last_position:
            raise Violation(header.path.name, offset, f"{reason}; positions {self.next_position} to {proven} are "
                            f"missing, which the head at offset {proof} proves durable")
        if reason == "zeros" and not is_zero(data[offset:]):
            reason = "zeros, then bytes that nothing proves durable"
        self.log.tail = Tail(header.path.name, offset, reason)

    def judge_end(self, header, data, offset, reason, following):
        """The next segment proves everything before its base, so nothing of that can be a torn tail."""
        file = header.path.name
        self.check_complete(file, offset, reason, following)
        if len(data) < header.size:
            if offset != len(data):
                raise Violation(file, offset, f"{reason}; a segment that was cut off has only blocks of its own")
        elif not following.opened and not is_zero(data[offset:]):
            raise Violation(file, offset, f"{reason}; only zeros may follow, as the next segment took nothing over")

    def check_complete(self, file, offset, reason, following):
        if self.next_position != following.base:
            raise Violation(file, offset, f"{reason}; positions {self.next_position} to {following.base - 1} are "
                            "missing, which the next segment proves durable")


def proofs(header, data, offset):
    """Pairs of a position known durable and the offset of the head that says so, of the header and from `offset` on."""
    yield header.durable_through, 0
    for start in range(offset, len(data) - BLOCK_HEAD.size + 1, PAGE):
        if data[start:start + 4] == b"WBBK":
            try:
                durable_through, _ = parse_block_head(data, start, header.nonce)
            except Malformed:
                continue
            yield durable_through, start


# The command


def as_json(record):
    return json.dumps({
        "position": record.position, "time": record.time, "type": record.type, "client": record.client,
        "conversation": record.conversation, "message": record.message, "subject": record.subject,
        "payload_length": record.payload_length, "sealed_length": record.sealed_length, "digest": record.digest.hex(),
    })


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Read and check a Waybill log by docs/log-format.md alone.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="the data directory")
    parser.add_argument("--json", action="store_true", help="print one JSON line for each record")
    options = parser.parse_args(arguments)
    try:
        log = read_log(options.directory)
    except (Violation, MissingModule, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        for record in log.records:
            print(as_json(record))
    else:
        print(f"records: {log.size}\nsegments: {log.segments}\nlast position: {log.last_position}\n"
              f"root: {log.root.hex()}\nend: {log.tail.file}: offset {log.tail.offset}: {log.tail.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
