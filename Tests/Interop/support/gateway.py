"""The `waybill` process: started, stopped, killed and started again on one data directory, and its command line."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from support.http import call
from support.wait import wait_until

START_SECONDS = 30
STOP_SECONDS = 30
COMMAND_SECONDS = 60
REPOSITORY = Path(__file__).resolve().parents[3]

# Deliberately not the address the gateway listens on: providers sign the public URL, as behind a proxy.
PUBLIC_URL = "https://waybill.example.test"


def binary():
    return Path(os.environ.get("WAYBILL_BIN") or REPOSITORY / ".build" / "release" / "waybill").resolve()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(settings):
    """The caller's environment without its WAYBILL_* names (an unknown one is an error, WAYBILL_BIN included).

    A setting of None removes the name altogether.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")} | settings
    return {name: value for name, value in kept.items() if value is not None}


class Gateway:
    """`settings` override the development defaults; a value of None leaves a default out."""

    def __init__(self, directory, twilio=None, **settings):
        self.directory = Path(directory)
        self.data = self.directory / "data"
        self.log = self.directory / "process.log"
        self.port = free_port()
        self.twilio = twilio
        self.settings = {
            "WAYBILL_PUBLIC_URL": PUBLIC_URL,
            "WAYBILL_WEBHOOKS_ALLOW_HTTP": "true",
            "WAYBILL_WEBHOOKS_ALLOW_CIDRS": "127.0.0.0/8",
            # Where no fake Twilio is given, nothing may reach the real one.
            "WAYBILL_PROVIDERS_TWILIO_BASE_URL": twilio.base_url if twilio else "http://127.0.0.1:9",
        } | settings
        self.process = None
        self._operator = None

    # The process

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def public_url(self):
        return self.settings["WAYBILL_PUBLIC_URL"]

    def local(self, public_url):
        """The address on this machine of a public URL the gateway gave out."""
        assert public_url.startswith(self.public_url + "/"), f"not under the public URL: {public_url}"
        return self.base_url + public_url[len(self.public_url):]

    def spawn(self, *arguments, port=None):
        """Starts `serve` without waiting for anything."""
        command = [binary(), "serve", "--data", self.data, "--listen", f"127.0.0.1:{port or self.port}", *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.directory, env=clean_environment(self.settings),
            )

    def start(self, *arguments):
        assert self.process is None, "already running"
        self.process = self.spawn(*arguments)
        try:
            wait_until(self._is_ready, START_SECONDS, f"/readyz of {self.base_url}")
        except BaseException:
            self.kill()
            raise
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}:\n{self.log_tail()}")
        try:
            return call("GET", self.base_url + "/readyz", timeout=2).status_code == 200
        except OSError:
            return False

    def stop(self):
        """SIGTERM; the exit code. The drain may last as long as a webhook attempt (15 s)."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"serve did not end within {STOP_SECONDS} s of SIGTERM:\n{self.log_tail()}") from None

    def kill(self):
        """SIGKILL, as a crash of the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def log_tail(self, characters=3000):
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""

    # The command line

    def run(self, *arguments, timeout=COMMAND_SECONDS, settings=None):
        """`waybill …`, to its end."""
        return subprocess.run(
            [binary(), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, cwd=self.directory, env=clean_environment(self.settings if settings is None else settings),
        )

    def run_ok(self, *arguments, **kwargs):
        result = self.run(*arguments, **kwargs)
        assert result.returncode == 0, f"waybill {' '.join(map(str, arguments))}: {result.returncode}\n{result.stderr}"
        return result.stdout

    def replay(self, *arguments):
        """The history as `waybill replay` prints it."""
        output = self.run_ok("replay", "--data", self.data, *arguments)
        return [json.loads(line) for line in output.splitlines() if line.strip()]

    def verify(self, *arguments, data=None):
        return self.run("verify", "--data", data or self.data, *arguments)

    def create_token(self, role="operator"):
        return json.loads(self.run_ok("token", "create", "--data", self.data, "--role", role, "--json"))

    # Operator API

    @property
    def operator(self):
        if self._operator is None:
            self._operator = self.create_token()["token"]
        return self._operator

    def admin(self, method, path, body=None):
        return call(method, f"{self.base_url}/admin/v1{path}", self.operator, json=body)
