"""A PKCS #11 token in a directory: SoftHSM on one side, OpenSC's pkcs11-tool looking in from the other."""

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
OBJECT = re.compile(r"^Secret Key Object; (?P<type>.+)$(?P<lines>(?:\n^ {2}.+$)+)", re.MULTILINE)


class SoftToken:
    """`environment` is what a process needs to find it."""

    def __init__(self, directory, label="waybill"):
        missing = [name for name in ("softhsm2-util", "pkcs11-tool") if shutil.which(name) is None]
        assert not missing, f"{missing} missing: install the packages softhsm2 and opensc (scripts/test does)"
        self.directory, self.label = Path(directory), label
        # Long enough to be found in nothing by chance.
        self.pin = uuid.uuid4().hex
        self.pin_file = self.directory / "pin"
        self.environment = {"SOFTHSM2_CONF": str(self.directory / "softhsm2.conf")}
        (self.directory / "tokens").mkdir()
        (self.directory / "softhsm2.conf").write_text(
            f"directories.tokendir = {self.directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.write_pin(self.pin)
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", self.pin, "--pin", self.pin)

    def write_pin(self, pin, mode=0o600):
        self.pin_file.write_text(pin + "\n")
        self.pin_file.chmod(mode)

    def uri(self, token=None, label="waybill-root", module=MODULE, pin=None):
        """The `--key-root` of the keys with this label."""
        source = f"pin-source=file:{self.pin_file}" if pin is None else f"pin-value={pin}"
        return f"pkcs11:token={token or self.label};object={label}?module-path={module}&{source}"

    def keys(self, label="waybill-root"):
        """Generation to what pkcs11-tool says of the key."""
        listing = self._run(
            "pkcs11-tool", "--module", MODULE, "--token-label", self.label, "--login", "--pin", self.pin,
            "--list-objects", "--type", "secrkey")
        found = {}
        for one in OBJECT.finditer(listing):
            said = dict(line.strip().split(":", 1) for line in one["lines"].strip().splitlines())
            said = {name: value.strip() for name, value in said.items()} | {"type": one["type"]}
            if said.get("label") == label:
                assert len(said["ID"]) == 16, said
                found[int(said["ID"], 16)] = said
        return found

    def _run(self, *command):
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            env=os.environ | self.environment)
        assert result.returncode == 0, f"{command[0]}: {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout
