"""Writes sealed segments from docs/log-format.md alone, so that the tests have some that Waybill did not write."""

import struct
from typing import NamedTuple

import lz4.block

from read_log import (
    FOOTER, GROUP_HEADER, PACK_HEAD, PAGE, RECORD_HEADER, SEGMENT_HEADER, TABLE_LINE, crc32c, parse_group)


class Span(NamedTuple):
    """Where a pack lies."""

    offset: int
    sealed: int  # its sealed sections
    end: int

    @property
    def envelopes(self):
        return self.offset + PACK_HEAD.size


class SealedFile(NamedTuple):
    content: bytearray
    packs: list
    table: int
    table_end: int

    @property
    def footer(self):
        return len(self.content) - FOOTER.size

    @property
    def record(self):
        """The first one of the first pack, if that is not compressed."""
        return self.packs[0].envelopes + GROUP_HEADER.size

    def put(self, form, offset, value):
        struct.pack_into(form, self.content, offset, value)

    def resum(self):
        """Makes every checksum right for what is there."""
        def put_crc(target, start, end):
            self.put("<I", target, crc32c(self.content[start:end]))

        for pack in self.packs:
            put_crc(pack.offset + 52, pack.envelopes, pack.sealed)
            put_crc(pack.offset + 56, pack.sealed, pack.end)
            put_crc(pack.offset + 4, pack.offset + 8, pack.envelopes)
        put_crc(self.footer + 40, self.table, self.table_end)
        put_crc(self.footer + 8, self.footer + 12, len(self.content))
        put_crc(8, 12, PAGE)
        return self


def parse_sealed(content):
    """The places of a sealed file that is known to be well."""
    content = bytearray(content)
    _, _, count, table, *_ = FOOTER.unpack_from(content, len(content) - FOOTER.size)
    packs, offset = [], PAGE
    for _ in range(count):
        _, _, _, _, _, _, stored, _, sections, *_ = PACK_HEAD.unpack_from(content, offset)
        sealed = offset + PACK_HEAD.size + stored
        packs.append(Span(offset, sealed, sealed + sections))
        offset = sealed + sections
    return SealedFile(content, packs, table, table + count * TABLE_LINE.size)


def seal(page, frames, groups_per_pack=2, compressed=True):
    """The sealed file of a segment with this header page and these group frames."""
    base, groups = SEGMENT_HEADER.unpack_from(page)[4], [parse_group(frame) for frame in frames]
    content, table, time = bytearray(page), bytearray(), 0
    for start in range(0, len(groups), groups_per_pack):
        members = slice(start, start + groups_per_pack)
        first = groups[start]
        table += TABLE_LINE.pack(first.first, first.time, len(content))
        content += _pack(len(content), frames[members], groups[members], compressed)
    last = groups[-1].last if groups else base - 1
    for frame, group in zip(frames[-1:], groups[-1:]):
        time = struct.unpack_from("<Q", _records(frame)[-1], 16)[0]
    table_offset, count = len(content), len(table) // TABLE_LINE.size
    content += table
    content += bytes(-(len(content) + FOOTER.size) % PAGE)
    content += FOOTER.pack(b"WAYBEND1", 0, count, table_offset, last, time, 0, bytes(20))
    content[:8] = b"WAYBSLD1"
    struct.pack_into("<Q", content, 48, len(content))
    return parse_sealed(content).resum()


def _pack(offset, frames, groups, compressed):
    envelopes, sections = bytearray(), bytearray()
    for frame in frames:
        envelopes += frame[:GROUP_HEADER.size]
        for record in _records(frame):
            *_, payload_length, sealed_length, _ = RECORD_HEADER.unpack_from(record)
            payload_end = RECORD_HEADER.size + payload_length
            envelopes += record[:payload_end]
            sections += record[payload_end:payload_end + sealed_length]
    stored = lz4.block.compress(bytes(envelopes), store_size=False) if compressed else bytes(envelopes)
    head = PACK_HEAD.pack(b"WBPK", 0, offset, groups[0].first, groups[-1].last, groups[0].time, len(stored),
                          len(envelopes), len(sections), 0, 0, 0)
    return head + stored + sections


def _records(frame):
    records, offset = [], GROUP_HEADER.size
    while offset < len(frame):
        (length,) = struct.unpack_from("<I", frame, offset)
        records.append(frame[offset:offset + length])
        offset += length
    return records
