"""A wall clock that a test moves under a running process; its other clocks stay as they are."""

import shutil
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def _compiler():
    swift = shutil.which("swift")
    # Swift brings one.
    beside = [str(Path(swift).resolve().parent / "clang")] if swift else []
    for name in ["clang", *beside, "cc", "gcc"]:
        if shutil.which(name):
            return name
    raise AssertionError("no C compiler: install clang or gcc, or put Swift's into PATH")


class WallClock:
    """`seconds` is how far the process's wall clock is from the machine's."""

    def __init__(self, directory):
        self._library = Path(directory) / "wall_clock.so"
        self._shift = Path(directory) / "wall_clock"
        subprocess.run([_compiler(), "-shared", "-fPIC", "-O2", "-o", self._library, SOURCE], check=True)
        self._shift.write_bytes(bytes(8))
        self.seconds = 0

    @property
    def settings(self):
        """What the environment of the process needs."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_FILE": str(self._shift)}

    def move(self, seconds):
        self.seconds += seconds
        # In place, for the file is mapped.
        with self._shift.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", self.seconds))

    @property
    def now(self):
        return time.time() + self.seconds
