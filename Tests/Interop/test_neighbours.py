"""A hostile neighbour hurts nobody else: while each attack of `support/attacks.py` runs, another client's inbound messages come
to its webhook, its sends to the provider, and its reads are answered; nothing acknowledged is lost, the process lives, and its
anonymous memory stays bounded.

In the plain run each attack lasts a second, and no time is asserted: that would test the machine. With `-m long` latencies are
compared with those of the same minute without the attack, and all attacks run together for `WAYBILL_ATTACK_SECONDS`, through
kills.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass, field

import pytest

from support.attacks import MIB, Assault
from support.gateway import Gateway, binary, clean_environment
from support.neighbour import WAYS, Kept, MemoryWatch, Neighbour, anonymous_bytes
from support.tenant import Tenant
from support.wait import wait_until

MEMORY = 400 * MIB
# The buckets are wide, so that it is the sharing among clients which is tested, and not only the bucket of the attacker.
LIMITS = {"WAYBILL_LIMITS_SENDS_PER_SECOND": "100", "WAYBILL_LIMITS_READS_PER_SECOND": "1000"}

SHORT_SECONDS, SHORT_RATE = 0.8, 10
LONG_SECONDS, LONG_RATE = 10, 20
# What is compared: three times what it takes alone, and at least this. The attackers and the measured client use the same two
# cores as the gateway and are written in Python: a wait for the processor is not the gateway's.
TIMES_ALONE, FLOOR_SECONDS = 3, 0.05
# Lists are still read from their beginning; until they cost no more than their page, attacks that read long ones have this.
SCAN_SECONDS = 1.0

MIXED_SECONDS = float(os.environ.get("WAYBILL_ATTACK_SECONDS", 1800))
MIXED_KILLS = 5


@dataclass(frozen=True)
class Sizes:
    """What the attackers' clients have: conversations, dead letters, and a page of 200 long texts."""

    conversations: int
    dead_letters: int
    text_bytes: int


SHORT = Sizes(300, 200, 30_000)
LONG = Sizes(50_000, 5_000, 120_000)


@dataclass(frozen=True)
class Case:
    """`short` replaces the attack's defaults in the plain run. `on` says which gateway is attacked."""

    attack: str
    short: dict = field(default_factory=dict)
    on: str = "open"
    scans: bool = False


CASES = [
    # The usual limit of descriptors: more strangers than it, also in the plain run.
    Case("IdleStrangers", on="cramped"),
    Case("HeaderDrip", {"workers": 100, "drip_seconds": 0.1}, on="cramped"),
    Case("BodyDrip", {"workers": 100, "drip_seconds": 0.1}),
    Case("HalfBodies", {"workers": 250}),
    Case("SlowReaders", {"workers": 20}),
    Case("BigBodies", {"workers": 160, "rate": 1000, "hold_seconds": 1.0}),
    Case("RefusedBodies"),
    Case("MalformedChunks"),
    Case("AbortedUploads"),
    Case("WrongSignatures"),
    Case("Unauthorized"),
    Case("ListsAtOnce", scans=True),
    Case("PipelinedReads", {"workers": 2}, scans=True),
    Case("BigPages", {"workers": 20}),
    Case("Filters", scans=True),
    Case("DryRuns", scans=True),
    Case("IdleLongPolls", {"workers": 500}),
    Case("AbandonedLongPolls"),
    Case("SmsFlood"),
    Case("HalfHandshakes", {"workers": 100}, on="tls"),
    Case("StreamResets", on="tls"),
]
# All at once: fewer of each, since one process makes them all.
MIXED = [
    ("IdleStrangers", {"workers": 300}), ("HeaderDrip", {"workers": 50}), ("BodyDrip", {"workers": 50}),
    ("HalfBodies", {"workers": 40}), ("SlowReaders", {"workers": 10}), ("BigBodies", {"workers": 40, "rate": 10}),
    ("RefusedBodies", {"workers": 1}), ("MalformedChunks", {"rate": 20}), ("AbortedUploads", {"rate": 20}),
    ("WrongSignatures", {"rate": 50}), ("Unauthorized", {"rate": 100}), ("ListsAtOnce", {"workers": 20, "rate": 20}),
    ("PipelinedReads", {"workers": 1, "depth": 50}), ("BigPages", {"workers": 10, "rate": 10}),
    ("Filters", {"workers": 4, "rate": 20}), ("DryRuns", {"workers": 2, "rate": 20}), ("IdleLongPolls", {"workers": 300}),
    ("AbandonedLongPolls", {"rate": 50}), ("SmsFlood", {"rate": 50}),
]


class Cramped(Gateway):
    """With the limit of descriptors that most machines have; a process can raise it only to there."""

    descriptors = 1024

    def spawn(self, *arguments, port=None):
        command = [binary(), "serve", "--data", self.data, "--listen", f"127.0.0.1:{port or self.port}", *arguments]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                ["sh", "-c", f'ulimit -n {self.descriptors}; exec "$@"', "sh", *map(str, command)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, cwd=self.directory, env=clean_environment(self.settings))


class Secure(Gateway):
    """Serves HTTPS between `secure` and `plain`; clients are set up, and looked at in the end, without."""

    is_secure = False

    def secure(self):
        assert self.stop() == 0, self.log_tail()
        certificate, key = self.directory / "certificate.pem", self.directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
             "/CN=waybill.example.test", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        self.settings |= {"WAYBILL_TLS_CERTIFICATE": str(certificate), "WAYBILL_TLS_KEY": str(key)}
        self.is_secure = True
        self.start()

    def plain(self):
        assert self.stop() == 0, self.log_tail()
        for name in ("WAYBILL_TLS_CERTIFICATE", "WAYBILL_TLS_KEY"):
            self.settings.pop(name)
        self.is_secure = False
        self.start()

    def _is_ready(self):
        if not self.is_secure:
            return super()._is_ready()
        assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{self.log_tail()}"
        kept = Kept(self, tls=True)
        try:
            return kept._once("GET", "/readyz", {}, None)[0] == 200
        except OSError:
            return False
        finally:
            kept.close()


class Scene:
    """One gateway, its good neighbour, and the clients of the attackers with what they have."""

    def __init__(self, running, twilio, receiver, sizes, rate):
        self.gateway, self.twilio = running.start(), twilio
        tenant, endpoint = self._tenant(plan="business"), receiver.endpoint()
        # Enough for what kills interrupt: no delivery of the neighbour ends as a dead letter.
        tenant.subscribe(endpoint, retry_schedule=[1] * 10)
        self.neighbour = Neighbour(tenant, endpoint, rate)
        self.crowd, self.dead, self.heavy = self._tenant(), self._tenant(), self._tenant()
        self.sizes = sizes
        self._seed()

    def _tenant(self, **settings):
        tenant = Tenant(self.gateway, self.twilio.account(), sms_monthly_quota=100_000, **settings)
        answer = tenant.connect_sms()
        assert answer.status_code == 200, answer.text
        return tenant

    def _seed(self):
        # Port 9 answers nobody, and one attempt is all: each is a dead letter at once.
        answer = self.dead.put("/v1/webhook", {"url": "http://127.0.0.1:9/", "enabled": True, "retry_schedule": []})
        assert answer.status_code == 200, answer.text
        assault = Assault(
            self.target,
            ("Seed", {"tenant": "crowd", "count": self.sizes.conversations, "people": self.sizes.conversations}),
            ("Seed", {"tenant": "dead", "count": self.sizes.dead_letters, "people": 1000}),
            ("Seed", {"tenant": "heavy", "count": 200, "size": self.sizes.text_bytes}))
        assault.start().finish(600)
        wait_until(lambda: self.dead_letters() == self.sizes.dead_letters, 300, "the dead letters")
        conversation = self.heavy.read("/v1/conversations")["data"][0]["id"]
        self.page = f"/v1/conversations/{conversation}/messages?limit=200"

    page = None

    @property
    def target(self):
        def known(tenant):
            account = tenant.account
            return {"id": tenant.id, "key": tenant.key, "sid": account.sid, "auth_token": account.auth_token,
                    "phone": tenant.phone}

        return {
            "port": self.gateway.port, "public_url": self.gateway.public_url, "crowd": known(self.crowd),
            "dead": known(self.dead), "heavy": known(self.heavy) | {"page": self.page}}

    def dead_letters(self):
        answer = self.dead.post("/v1/dead-letters/replay", {"dry_run": True})
        return answer.json()["matched"] if answer.status_code in (200, 202) else None

    def ensure_alive(self):
        """Each case has a gateway, though one before may have ended it."""
        process = self.gateway.process
        if process is not None and process.poll() is not None:
            self.gateway.process = None
        elif process is not None and anonymous_bytes(process.pid) > MEMORY // 2:
            # What an attack took is kept for the next use of it, and would count again.
            self.gateway.kill()
        if self.gateway.process is None:
            self.gateway.start()

    def attacked(self, plan, seconds):
        """What the neighbour had of it, and the most memory."""
        with MemoryWatch(self.gateway) as memory, Assault(self.target, plan) as assault:
            figures = self.neighbour.measure(seconds)
            self.neighbour.purge_one()
            assert self.gateway.process.poll() is None, f"the process ended\n{self.gateway.log_tail()}"
            counts = assault.stop()
        print(json.dumps({"attack": plan[0], "did": counts[plan[0]], "neighbour": figures.as_json(), "anonymous_mib":
                          memory.most // MIB}))
        assert memory.most < MEMORY, f"{memory.most // MIB} MiB of anonymous memory"
        return figures, memory.most

    def end(self):
        """Nothing acknowledged is lost, and the history keeps what is promised of it."""
        self.ensure_alive()
        if isinstance(self.gateway, Secure):
            self.gateway.plain()
        self.neighbour.check_nothing_lost()
        assert self.gateway.stop() == 0, self.gateway.log_tail()
        result = self.gateway.run("verify", "--data", self.gateway.data, "--invariants", timeout=900)
        assert result.returncode == 0, f"{result.stdout[-3000:]}\n{result.stderr[-3000:]}"


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory, twilio, receiver):
    """Scenes by the kind of their gateway, made when they are first asked for."""
    kinds = {"open": Gateway, "cramped": Cramped, "tls": Secure}
    gateways, scenes = [], {}

    def make(on, sizes, rate):
        if (on, sizes) not in scenes:
            running = kinds[on](tmp_path_factory.mktemp(on), twilio, **LIMITS)
            gateways.append(running)
            # The long lists are on the open one, where they are read.
            scene = Scene(running, twilio, receiver, sizes if on == "open" else SHORT, rate)
            if on == "tls":
                running.secure()
                scene.neighbour = Neighbour(scene.neighbour.tenant, scene.neighbour.endpoint, rate, tls=True)
            scenes[on, sizes] = scene
        scenes[on, sizes].ensure_alive()
        return scenes[on, sizes]

    make.scenes = scenes
    yield make
    for one in gateways:
        one.kill()


@pytest.fixture(scope="module")
def table():
    """Printed in the end, for Benchmarks/RESULTS.md."""
    rows = []
    yield rows
    if rows:
        titles = ["attack"] + [f"{way}: p50/p99 alone → attacked (ms)" for way in WAYS] + ["RssAnon (MiB)"]
        for row in [titles, ["---"] * len(titles)] + rows:
            print("| " + " | ".join(row) + " |")


def pair(figures, way):
    return f"{1000 * figures.at(way, 50):.1f}/{1000 * figures.at(way, 99):.1f}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack)
def test_others_are_served_and_memory_holds(make_scene, case):
    scene = make_scene(case.on, SHORT, SHORT_RATE)
    figures, _ = scene.attacked((case.attack, case.short), SHORT_SECONDS)
    assert all(figures.samples[way] for way in WAYS), "nothing was measured"


def test_nothing_acknowledged_was_lost(make_scene):
    """After all attacks above."""
    for scene in make_scene.scenes.values():
        scene.end()


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.attack)
def test_neighbours_latency_under_an_attack(make_scene, table, case):
    scene = make_scene(case.on, LONG, LONG_RATE)
    # A process of its own for each attack: memory that one before took is kept for the next use of it.
    assert scene.gateway.stop() == 0, scene.gateway.log_tail()
    scene.gateway.start()
    before = scene.neighbour.measure(LONG_SECONDS)
    attacked, memory = scene.attacked((case.attack, {}), LONG_SECONDS)
    # Before and after, and the slower of the two: a machine that has become busy meanwhile has not done so by the attack.
    alone = scene.neighbour.measure(LONG_SECONDS).worse(before)
    table.append([case.attack] + [f"{pair(alone, way)} → {pair(attacked, way)}" for way in WAYS] + [str(memory // MIB)])
    floor = SCAN_SECONDS if case.scans else FLOOR_SECONDS
    slow = {way: (alone.at(way, 99), attacked.at(way, 99)) for way in WAYS
            if attacked.at(way, 99) > max(TIMES_ALONE * alone.at(way, 99), floor)}
    assert not slow, f"p99 alone and under the attack, in seconds: {slow}"


@pytest.mark.long
def test_nothing_acknowledged_was_lost_in_the_long_run(make_scene):
    for scene in make_scene.scenes.values():
        scene.end()


@pytest.mark.long
def test_all_attacks_together(tmp_path_factory, twilio, receiver):
    """Through kills; then everything that was acknowledged comes to its end, and the history is whole."""
    running = Gateway(tmp_path_factory.mktemp("mixed"), twilio, **LIMITS)
    try:
        scene = Scene(running, twilio, receiver, Sizes(2_000, 500, 120_000), rate=5)
        with MemoryWatch(running) as memory, Assault(scene.target, *MIXED) as assault:
            scene.neighbour.start()
            for kills_left in reversed(range(MIXED_KILLS + 1)):
                alive_until(running, time.monotonic() + MIXED_SECONDS / (MIXED_KILLS + 1))
                if kills_left:
                    running.kill()
                    running.start()
            # Answered while the attacks go on.
            scene.neighbour.stop()
            counts = assault.stop()
        drained = time.monotonic()
        scene.neighbour.check_nothing_lost(seconds=300)
        # Floods are messages too: as many events as were acknowledged, at least.
        acknowledged = scene.sizes.conversations + counts["SmsFlood"].get("acknowledged", 0)
        assert scene.crowd.read(f"/v1/events?after={acknowledged - 1}&limit=1")["data"], "fewer events than acknowledged messages"
        assert scene.dead_letters() == scene.sizes.dead_letters
        print(json.dumps({
            "seconds": MIXED_SECONDS, "kills": MIXED_KILLS, "inbound": len(scene.neighbour.inbound),
            "sends": len(scene.neighbour.sends), "reads": len(scene.neighbour.reads), "flood": acknowledged,
            "drained_seconds": round(time.monotonic() - drained, 1), "anonymous_mib": memory.most // MIB, "attacks": counts}))
        scene.end()
        assert memory.most < MEMORY, f"{memory.most // MIB} MiB of anonymous memory"
    finally:
        running.kill()


def alive_until(running, deadline):
    while time.monotonic() < deadline:
        assert running.process.poll() is None, f"the process ended with {running.process.returncode}\n{running.log_tail()}"
        time.sleep(0.2)
