"""A client that does what clients do, at a steady rate, while something happens beside it: how long each thing took, and a ledger
of what it was told.
"""

import http.client
import json
import ssl
import threading
import time
import uuid
from collections import Counter
from urllib.parse import urlencode

from support.fake_twilio import inbound_pairs, signature
from support.tenant import SETTLED
from support.wait import wait_until

ANSWER_SECONDS = 60
ARRIVAL_SECONDS = 60
WAYS = ("inbound", "send", "read")


class Kept:
    """One connection, opened again when it was closed; asks again until there is an answer that is none of haste."""

    def __init__(self, gateway, tls=False):
        self.gateway, self.port, self.tls = gateway, gateway.port, tls
        self.connection = None
        self.hurdles = Counter()

    def ask(self, method, path, headers, body=None):
        """The answer's status and body. What is asked must be fit to be asked twice."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                status, answer = self._once(method, path, headers, body)
                if status not in (429, 503):
                    return status, answer
                self.hurdles[status] += 1
            except (OSError, http.client.HTTPException) as failure:
                self.close()
                self.hurdles["cut"] += 1
                status = repr(failure)
            # None while a test kills it and starts it again.
            process = self.gateway.process
            assert process is None or process.poll() is None, f"the process ended\n{self.gateway.log_tail()}"
            assert time.monotonic() < deadline, f"{method} {path}: no answer within {ANSWER_SECONDS} s, last {status}"
            time.sleep(0.01)

    def _once(self, method, path, headers, body):
        if self.connection is None:
            if self.tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=15, context=context)
            else:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Neighbour:
    """Inbound SMS to its webhook, sends to the provider's call, and reads of one conversation's page, each `rate` times a second.

    Each has its time, whether the one before has ended or not, and its latency counts from then: a pause of the gateway shows in
    everything that it delayed.
    """

    def __init__(self, tenant, endpoint, rate=10, tls=False):
        self.tenant, self.endpoint, self.rate = tenant, endpoint, rate
        self._kept = {way: Kept(tenant.gateway, tls) for way in WAYS}
        self._over = threading.Event()
        self._threads, self._failures = [], []
        # The ledger: texts of what was acknowledged, with the time it was due.
        self.inbound, self.sends, self.reads = {}, {}, []
        self.message_ids = {}
        self._number = 0

    # Running

    def start(self):
        # New connections each time: whether there is room for one is part of what is tested.
        for kept in self._kept.values():
            kept.close()
        self._over.clear()
        self.started = time.monotonic()
        self._threads = [threading.Thread(target=self._repeat, args=(way,), daemon=True) for way in WAYS]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 30)
            assert not thread.is_alive(), "a request did not end"
        failures, self._failures = self._failures, []
        assert not failures, "\n".join(map(str, failures))

    def _repeat(self, way):
        once, due = getattr(self, f"_{way}"), time.monotonic()
        try:
            # What was asked once is asked until it is answered, also when the time is over.
            while not self._over.wait(max(0, due - time.monotonic())):
                once(due, self._kept[way])
                due += 1 / self.rate
        except Exception as failure:
            self._failures.append(failure)

    def _inbound(self, due, kept):
        text = f"in {uuid.uuid4().hex}"
        self._number += 1
        pairs = inbound_pairs(self.tenant.account.sid, f"+1628555{self._number % 50:04d}", self.tenant.phone, text)
        path = self.tenant.inbound_path
        signed = signature(self.tenant.account.auth_token, self.tenant.gateway.public_url + path, pairs)
        status, answer = kept.ask("POST", path, {
            "Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signed}, urlencode(pairs).encode())
        assert status == 200, f"{status} {answer!r}"
        self.inbound[text] = due

    def _send(self, due, kept):
        text = f"out {uuid.uuid4().hex}"
        status, answer = kept.ask("POST", "/v1/send", self._headers() | {"Idempotency-Key": text}, json.dumps(
            {"to_phone": f"+1628556{len(self.sends) % 50:04d}", "text": text}).encode())
        assert status == 202, f"{status} {answer!r}"
        self.sends[text] = due
        self.message_ids[text] = json.loads(answer)["message_id"]

    def _read(self, due, kept):
        status, answer = kept.ask("GET", "/v1/settings", self._headers())
        assert status == 200, f"{status} {answer!r}"
        self.reads.append(time.monotonic() - due)

    def _headers(self):
        return {"Authorization": f"Bearer {self.tenant.key}", "Content-Type": "application/json"}

    # What came of it

    def measure(self, seconds):
        """Seconds of each way's samples within the time, whose ends are waited for."""
        reads = len(self.reads)
        before = [kept.hurdles.copy() for kept in self._kept.values()]
        self.start()
        time.sleep(seconds)
        self.stop()
        arrived = wait_until(lambda: self._arrived(self.inbound), ARRIVAL_SECONDS, "every webhook")
        called = wait_until(lambda: self._called(self.sends), ARRIVAL_SECONDS, "every provider call")
        hurdles = sum((kept.hurdles - old for kept, old in zip(self._kept.values(), before)), Counter())
        return Figures({
            "inbound": [arrived[text] - due for text, due in self.inbound.items() if due >= self.started],
            "send": [called[text] - due for text, due in self.sends.items() if due >= self.started],
            "read": self.reads[reads:],
        }, hurdles)

    def _arrived(self, wanted):
        """When each text came to the webhook first; None while one is missing."""
        if len(self.endpoint.requests) < len(wanted):
            return None
        found = {}
        for request in list(self.endpoint.requests):
            found.setdefault(request.event["data"].get("message", {}).get("text"), request.at)
        return found if wanted.keys() <= found.keys() else None

    def _called(self, wanted):
        found = {}
        for one in list(self.tenant.account.calls):
            found.setdefault(one["Body"], one.at)
        return found if wanted.keys() <= found.keys() else None

    def purge_one(self):
        """Of a send that has left: its body and its key go, which needs files that are opened for it."""
        text = next(reversed(self.message_ids))
        message_id = self.message_ids[text]
        status, answer = self._kept["read"].ask("POST", f"/v1/messages/{message_id}/purge", self._headers(), b"{}")
        assert status in (200, 202), f"{status} {answer!r}"

        def purged():
            status, answer = self._kept["read"].ask("GET", f"/v1/messages/{message_id}", self._headers())
            return status == 200 and json.loads(answer)["purged"]

        wait_until(purged, ARRIVAL_SECONDS, "the purge")

    def check_nothing_lost(self, seconds=ARRIVAL_SECONDS):
        """Each acknowledged message came to the webhook. No send was made twice; one that was made not at all says that it is not
        known (a call was under way when the process was killed)."""
        wait_until(lambda: self._arrived(self.inbound), seconds, "every webhook")
        calls = Counter(one["Body"] for one in self.tenant.account.calls)
        for text in self.sends.keys() - calls.keys():
            message = self.tenant.wait_for_status(self.message_ids[text], *SETTLED, seconds=seconds)
            calls = Counter(one["Body"] for one in self.tenant.account.calls)
            assert calls[text] or message["status"] == "outcome_unknown", message
        twice = [text for text, count in calls.items() if count > 1]
        assert not twice, f"{len(twice)} sends were made more than once"


class Figures:
    def __init__(self, samples, hurdles=None):
        self.samples = {way: sorted(samples[way]) for way in WAYS}
        self.hurdles = hurdles or Counter()

    def at(self, way, percent):
        values = self.samples[way]
        return values[min(len(values) - 1, len(values) * percent // 100)] if values else float("inf")

    def worse(self, other):
        """Of two measurements the larger, way by way, at the 99th percentile."""
        return Figures({way: max(self, other, key=lambda one: one.at(way, 99)).samples[way] for way in WAYS})

    def as_json(self):
        return {way: {f"p{p}_ms": round(1000 * self.at(way, p), 2) for p in (50, 99)} for way in WAYS} | {
            "samples": min(len(values) for values in self.samples.values()),
            "hurdles": {str(what): count for what, count in self.hurdles.items()}}


class MemoryWatch:
    """The most anonymous memory that the gateway's processes had (`RssAnon`), looked at ten times a second."""

    def __init__(self, gateway):
        self.gateway, self.most = gateway, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)

    def _watch(self):
        while not self._over.wait(0.1):
            process = self.gateway.process
            if process is not None:
                self.most = max(self.most, anonymous_bytes(process.pid))


def anonymous_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon:")), 0)
    except OSError:
        return 0
