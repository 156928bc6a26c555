"""Looks for what was purged in everything a gateway leaves: files, process log, and the memory of the live process.

A needle is sought in every form in which software on the way might hold it. Plaintext consists of random fragments of
letters and digits, which stand unchanged in UTF-8, JSON, percent-encoding and the literals of LZ4, and each of which is
found for itself where a buffer was overwritten in part. Keys are sought by halves for the same reason.
"""

import base64
import os
import secrets
import signal
import struct
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import read_keys
from read_keys import LEAF_DEPTH, child, commitment, subkey
from read_log import Malformed, Violation
from support.files import regular_files

PAGE_BYTES = 4096
PRESENT_OR_SWAPPED = 3 << 62
CONTEXT_BYTES = 48
ARENA_BYTES = 64 << 20
# Buffers of what has just ended may take this long to be used again, or to be let go of.
SETTLE_SECONDS = 3


# Needles


class Needle(NamedTuple):
    kind: str
    form: str
    pattern: bytes


def fragment():
    """Longer than what Swift keeps inside a string's own 16 bytes."""
    return secrets.token_hex(12)


def plaintext():
    """A text with what JSON, URLs and forms escape, between fragments that nothing escapes."""
    parts = [fragment() for _ in range(4)]
    return f'{parts[0]} "ü" {parts[1]} \\/ {parts[2]}\n+%26 {parts[3]}', parts


def file_text(size):
    """A file of lines, each with the same fragments: whichever piece of it is left, some of them are in it."""
    parts = [fragment() for _ in range(4)]
    line = " ".join(parts)
    lines = "".join(f"{line} line {number}\n" for number in range(size // len(line) + 1))
    return lines.encode()[:size], parts


def text_needles(kind, fragments):
    needles = []
    for one in fragments:
        plain = one.encode()
        needles += [Needle(kind, "plain", plain), Needle(kind, "UTF-16", one.encode("utf-16-le")),
                    Needle(kind, "hex", plain.hex().encode())]
        needles += [Needle(kind, f"base64 at {shift}", base64_inside(plain, shift)) for shift in range(3)]
    return needles


def base64_inside(content, shift):
    """The digits that stand for `content` alone when it begins `shift` bytes into a group of three."""
    digits = base64.b64encode(bytes(shift) + content)
    return digits[-(-shift * 8 // 6):(shift + len(content)) * 8 // 6]


def key_needles(kind, key):
    """Both halves, as bytes and as the words that SHA-256 computes with."""
    needles = []
    for name, half in (("first half", key[:16]), ("second half", key[16:])):
        words = struct.pack("<4I", *struct.unpack(">4I", half))
        needles += [Needle(kind, name, half), Needle(kind, f"{name} in words", words)]
    return needles


def written_key_needles(kind, key):
    """Of a key that also stands in a file as text."""
    digits = [Needle(kind, "hex", half.hex().encode()) for half in (key[:16], key[16:])]
    return key_needles(kind, key) + digits + [Needle(kind, "base64", base64_inside(key, shift)) for shift in range(3)]


# Keys, as another program derives them


class KeyHistory:
    """The states of the keys at several moments, taken from copies: what a purge destroys is known only before it."""

    def __init__(self, data, root):
        self.data, self.root = Path(data), Path(root)
        self.states, self.root_keys = [], {}

    def note(self):
        self.root_keys |= read_keys.read_root_keys(self.root)
        self.states.append(self.present())

    def present(self):
        """What holds now; a change under way may tear a first look."""
        for _ in range(20):
            try:
                return read_keys.read_keys(self.data, self.root)
            except (Malformed, Violation):
                time.sleep(0.05)
        return read_keys.read_keys(self.data, self.root)

    def nodes(self, reference):
        """The nodes from the highest known one down to the leaf, with their depths."""
        for state in self.states:
            tree = state.trees.get(reference.epoch)
            found = path_nodes(tree, reference.path) if tree else []
            if found:
                return found
        raise AssertionError(f"no state was noted while {reference} was alive")

    def destroyed_needles(self, records):
        """Of the leaf of every record all nodes above it, its subkeys, and the old keys that sealed the state."""
        needles, references = [], {record.reference for record in records}
        for reference in references:
            nodes = self.nodes(reference)
            leaf = nodes[-1][1]
            for depth, node in nodes[:-1]:
                needles += key_needles(f"node at depth {depth}", node)
            needles += key_needles("leaf key", leaf)
            for record in (one for one in records if one.reference == reference):
                assert record.commitment == commitment(leaf), "the key that is looked for is not the message's"
                needles += subkey_needles(record, leaf)
        return dict.fromkeys(needles + self.old_needles())

    def old_needles(self):
        present, needles = self.present(), []
        kept = set(read_keys.read_root_keys(self.root).values())
        for generation, key in self.root_keys.items():
            if key not in kept:
                needles += written_key_needles(f"root key of generation {generation}", key)
        pages = {key for state in self.states for key in state.pages.values()} - set(present.pages.values())
        for key in pages:
            needles += key_needles("key of an old page", key)
        return needles

    def living_needles(self, epoch):
        """What is left of an epoch that was punctured: keys that the process holds and the scanner must find."""
        tree = self.present().trees.get(epoch)
        nodes = [] if tree is None else list(tree.nodes.values())
        return [needle for node in nodes for needle in key_needles("living node", node)]


def path_nodes(tree, path):
    for depth in range(LEAF_DEPTH + 1):
        node = tree.nodes.get((depth, path >> LEAF_DEPTH - depth))
        if node is not None:
            found = [(depth, node)]
            for level in range(depth, LEAF_DEPTH):
                node = child(node, path >> LEAF_DEPTH - 1 - level & 1)
                found.append((level + 1, node))
            return found
    return []


def subkey_needles(record, leaf):
    return [needle for purpose, _ in record.boxes
            for needle in key_needles("subkey", subkey(leaf, purpose, record.position))]


# Hits


class Hit(NamedTuple):
    needle: Needle
    source: str
    offset: int
    before: bytes
    after: bytes

    def __str__(self):
        return (f"{self.needle.kind} ({self.needle.form}) in {self.source} at {self.offset:#x}: "
                f"{readable(self.before)} [{readable(self.needle.pattern)}] {readable(self.after)}")


def readable(content):
    return "".join(chr(byte) if 32 <= byte < 127 else "·" if byte == 0 else f"\\{byte:02x}" for byte in content)


def search(source, base, content, needles):
    for needle in needles:
        at = content.find(needle.pattern)
        while at >= 0:
            end = at + len(needle.pattern)
            before = content[max(0, at - CONTEXT_BYTES):at]
            yield Hit(needle, source, base + at, before, content[end:end + CONTEXT_BYTES])
            at = content.find(needle.pattern, end)


def search_files(needles, *places):
    """Every byte of every file below the places, which may be files themselves, and their names."""
    hits = []
    for place in map(Path, places):
        for path in [place] if place.is_file() else regular_files(place):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # replaced while we looked
            hits += search(str(path), 0, content, needles)
            hits += search(f"the name of {path}", 0, os.fsencode(path.name), needles)
    return hits


# Memory


class Mapping(NamedTuple):
    start: int
    end: int
    writable: bool
    path: str


def mappings(pid):
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, permissions, _, _, _, *path = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in place.split("-"))
        if permissions[0] == "r":
            yield Mapping(start, end, permissions[1] == "w", path[0] if path else "")


def stack_pointers(pid):
    """Of the threads that wait in the kernel: the last but one field of what they are waiting in."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (task / "syscall").read_text().split()
        except OSError:
            continue
        if len(fields) >= 3:
            found.append(int(fields[-2], 16))
    return found


def describe(mapping, pointers):
    """What the mapping is for, as far as its place tells."""
    if mapping.path:
        return mapping.path
    if any(mapping.start <= pointer < mapping.end for pointer in pointers):
        return "stack of a thread"
    if mapping.start % ARENA_BYTES == 0:
        return "arena of malloc"
    return f"anonymous memory of {mapping.end - mapping.start} bytes"


def present_runs(pagemap, mapping):
    """The stretches of a mapping that have content: pages in RAM or swapped out."""
    count = (mapping.end - mapping.start) // PAGE_BYTES
    entries = os.pread(pagemap, count * 8, mapping.start // PAGE_BYTES * 8)
    begun = None
    for number, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
        here = mapping.start + number * PAGE_BYTES
        if entry & PRESENT_OR_SWAPPED:
            begun = here if begun is None else begun
        elif begun is not None:
            yield begun, here
            begun = None
    if begun is not None:
        yield begun, mapping.start + len(entries) // 8 * PAGE_BYTES


@contextmanager
def opened(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def frozen(pid):
    """Nothing moves while we look."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def search_memory(needles, pid, own):
    """All that the process can read, but for code and constants of files that are not below `own`."""
    hits = []
    pointers = stack_pointers(pid)
    with frozen(pid), opened(f"/proc/{pid}/mem") as memory, opened(f"/proc/{pid}/pagemap") as pagemap:
        for mapping in mappings(pid):
            if not mapping.writable and mapping.path and not mapping.path.startswith(str(own)):
                continue
            source = describe(mapping, pointers)
            for start, end in present_runs(pagemap, mapping):
                try:
                    content = os.pread(memory, end - start, start)
                except OSError:
                    continue  # of the kernel's own pages, like [vvar]
                hits += search(source, start, content, needles)
    return hits


def settled(look, *arguments, seconds=SETTLE_SECONDS):
    """What is still found when everything has had its time."""
    deadline = time.monotonic() + seconds
    while True:
        hits = look(*arguments)
        if not hits or time.monotonic() >= deadline:
            return hits
        time.sleep(0.2)


def summary(hits, examples=2):
    """How many of what is where, and some of them in full."""
    def family(hit):
        kind = "node" if hit.needle.kind.startswith("node at depth") else hit.needle.kind
        return kind, hit.needle.form, hit.source

    counted = Counter(map(family, hits))
    lines = [f"{len(hits)} found"]
    for (kind, form, source), count in sorted(counted.items()):
        lines.append(f"{count:4} × {kind} ({form}) in {source}")
        shown = [hit for hit in hits if family(hit) == (kind, form, source)][:examples]
        lines += [f"       {hit}" for hit in shown]
    return "\n".join(lines)
