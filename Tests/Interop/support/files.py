"""Looking into a data directory from outside, without knowing its format."""

import shutil
import stat
from pathlib import Path

BLOCK_BYTES = 4096
ZEROS = bytes(BLOCK_BYTES)


def regular_files(directory):
    return [path for path in sorted(Path(directory).rglob("*")) if path.is_file() and not path.is_symlink()]


def find_bytes(directory, needles):
    """Which of `needles` (name to bytes) stand in which file, in the plain or as UTF-16."""
    found = []
    for path in regular_files(directory):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # replaced while we looked
        for name, needle in needles.items():
            wide = needle.decode().encode("utf-16-le")
            if needle in content or wide in content or needle.hex().encode() in content:
                found.append(f"{name} in {path.relative_to(directory)}")
    return found


def modes_of_sockets(directory):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path(directory).rglob("*") if path.is_socket()}


def copy_data(source, target):
    """A copy of a stopped gateway's data, without the socket it may have left."""
    shutil.copytree(source, target, ignore=lambda folder, names: [n for n in names if (Path(folder) / n).is_socket()])
    return Path(target)


def used_offsets(content):
    """The offsets of the bytes that are not zero, block by block: segments are zero-filled ahead of use."""
    for start in range(0, len(content), BLOCK_BYTES):
        block = content[start:start + BLOCK_BYTES]
        if block != ZEROS[: len(block)]:
            yield from (start + n for n, byte in enumerate(block) if byte)


def log_segment(data):
    """The log segment with the most in it.

    The contract names no files. A segment is known by "seg" in its name or its folder's; failing that, by size.
    """
    files = regular_files(data)
    named = [path for path in files if "seg" in "/".join(path.relative_to(data).parts).lower()]
    candidates = named or [path for path in files if path.stat().st_size >= 64 * 1024]
    assert candidates, f"no log segment among {[str(path) for path in files]}"
    return max(candidates, key=lambda path: sum(1 for _ in used_offsets(path.read_bytes())))


def flip_in_the_middle(path):
    """Flips one bit of the middle one of the bytes in use; its offset."""
    content = path.read_bytes()
    offsets = list(used_offsets(content))
    offset = offsets[len(offsets) // 2]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([content[offset] ^ 0x10]))
    return offset
