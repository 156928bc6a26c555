"""Attacks on a gateway: many connections of a few addresses of this machine, each attack a small class with bounds of its own.

They run in a process of their own (`Assault` starts it), with a lower priority than the gateway and its tests: an attacker of the
real world brings a machine of its own, this one takes time from the two that are measured. The process ends with its input, so
that nothing goes on when the tests die.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback
import urllib.parse
import uuid
from collections import Counter
from pathlib import Path

START_SECONDS, STOP_SECONDS = 3, 20
MIB = 1024 * 1024
# Of a body, so that little of it waits in this process.
PIECE = b" " * (MIB // 4)
# Eight, so that a limit for each address leaves them more than a thousand connections.
STRANGERS = [f"127.0.0.{number}" for number in range(2, 10)]
# Linux: the port is chosen with the destination, so that the same one serves several addresses.
BIND_ADDRESS_NO_PORT = 24


class Assault:
    """A process with some attacks. A plan is the name of an attack, or (name, {what replaces its defaults})."""

    def __init__(self, target, *plans):
        plans = [plan if isinstance(plan, tuple) else (plan, {}) for plan in plans]
        self._order = json.dumps({"target": target, "plans": plans}).encode() + b"\n"
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.attacks"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1])
        self.process.stdin.write(self._order)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"started\n", "the attackers did not start"
        return self

    def stop(self):
        """What came of it: {attack: {what: how often}}."""
        return self._ended(STOP_SECONDS)

    def finish(self, seconds):
        """For an attack that comes to an end by itself."""
        try:
            self.process.wait(seconds)
        finally:
            counts = self._ended(STOP_SECONDS)
        return counts

    def _ended(self, seconds):
        process, self.process = self.process, None
        try:
            return json.loads(process.communicate(timeout=seconds)[0])
        finally:
            process.kill()
            process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None:
            self.stop()


# Inside the process


class Closed(Exception):
    """The gateway ended the connection, or said that it would."""


class Pace:
    """At most so many turns a second, whoever takes them; turns that were missed are not made up for."""

    def __init__(self, per_second):
        self.gap, self.due = 1 / per_second, 0

    async def turn(self):
        now = time.monotonic()
        self.due = max(self.due + self.gap, now)
        await asyncio.sleep(self.due - now)


class Wire:
    def __init__(self, reader, writer, counts):
        self.reader, self.writer, self.counts = reader, writer, counts

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def wait_for_close(self):
        """Reads whatever comes until the gateway closes."""
        while await self.reader.read(MIB):
            pass
        raise Closed

    async def answer(self):
        """Reads one answer; its status. What it held is thrown away."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        status = head[9:12].decode()
        self.counts[status] += 1
        fields = dict(line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            while (size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)) > 0:
                await self._skip(size + 2)
            await self.reader.readuntil(b"\r\n")
        else:
            await self._skip(int(fields.get(b"content-length", b"0")))
        if b"close" in fields.get(b"connection", b""):
            raise Closed
        if status in ("429", "503"):
            # Less than they were asked to wait: nobody expects manners of them. Without any, they would only measure themselves.
            await asyncio.sleep(0.1)
        return status

    async def _skip(self, size):
        while size > 0:
            data = await self.reader.read(min(size, MIB))
            if not data:
                raise Closed
            size -= len(data)

    def reset(self):
        """Ends the connection with RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def request(method, path, body=b"", token=None, length=None, **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: waybill.example.test"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Attack:
    """`workers` connections, each opened again when it was cut. `rate` bounds the requests of all of them in a second."""

    workers = 1
    rate = 1000
    addresses = STRANGERS
    receive_buffer = None
    # How often what is dripped drips. What a real attacker does every 5 s happens faster here, and stays a drip.
    drip_seconds = 0.5
    tls = None
    reconnect_seconds = 0.1

    def __init__(self, target, replaced):
        for name, value in replaced.items():
            assert hasattr(self, name), f"{type(self).__name__} has no {name}"
            setattr(self, name, value)
        self.target = target
        self.counts = Counter()
        self.pace = Pace(self.rate)
        # Beyond what the listener's queue takes, the kernel lets callers believe that they are connected.
        self.opening = Pace(800)

    @property
    def is_complete(self):
        """Whether as many connections as it has were there once."""
        return self.counts["connections"] >= self.workers

    async def run(self):
        await asyncio.gather(*(self._endless(number) for number in range(self.workers)))

    async def _endless(self, number):
        address = self.addresses[number % len(self.addresses)]
        while True:
            wire = None
            await self.opening.turn()
            try:
                wire = await self.connect(address)
                self.counts["connections"] += 1
                await self.use(wire, number)
            except (OSError, EOFError, Closed, asyncio.LimitOverrunError, ssl.SSLError):
                self.counts["cut"] += 1
                await asyncio.sleep(self.reconnect_seconds)
            finally:
                if wire is not None:
                    wire.writer.transport.abort()

    async def connect(self, address):
        raw = socket.socket()
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
            if self.receive_buffer is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            raw.bind((address, 0))
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.target["port"])), 10)
            named = {"server_hostname": "waybill.example.test"} if self.tls else {}
            reader, writer = await asyncio.open_connection(sock=raw, ssl=self.tls, limit=self.receive_buffer or 65536, **named)
        except BaseException:
            raw.close()
            raise
        return Wire(reader, writer, self.counts)

    async def use(self, wire, number):
        """The attack on one connection, until it is cut."""
        raise NotImplementedError

    # What several attacks ask

    def sms_path(self, tenant="crowd"):
        return f"/channels/twilio/{self.target[tenant]['id']}/sms"

    def signed_sms(self, text, sender, tenant="crowd"):
        account = self.target[tenant]
        sid = "SM" + uuid.uuid4().hex
        form = {"MessageSid": sid, "SmsSid": sid, "AccountSid": account["sid"], "From": sender, "To": account["phone"],
                "Body": text, "NumMedia": "0", "NumSegments": "1", "SmsStatus": "received", "ApiVersion": "2010-04-01"}
        path = self.sms_path(tenant)
        signed = self.target["public_url"] + path + "".join(name + form[name] for name in sorted(form))
        value = base64.b64encode(hmac.new(account["auth_token"].encode(), signed.encode(), hashlib.sha1).digest()).decode()
        return request("POST", path, urllib.parse.urlencode(form).encode(), X_Twilio_Signature=value,
                       Content_Type="application/x-www-form-urlencoded")


class IdleStrangers(Attack):
    """More than the usual limit of descriptors, and not a byte from any."""

    workers = 1100
    reconnect_seconds = 0.5

    async def use(self, wire, number):
        await wire.wait_for_close()


class HeaderDrip(Attack):
    workers = 200
    # With the address of those who are measured: they must be told apart by what they do.
    addresses = ["127.0.0.1"]

    async def use(self, wire, number):
        await wire.send(b"GET /healthz HTTP/1.1\r\nHost: waybill.example.test\r\nX-Drip: ")
        await self.drip(wire)

    async def drip(self, wire):
        closed = asyncio.ensure_future(wire.wait_for_close())
        try:
            while not closed.done():
                await wire.send(b"a")
                await asyncio.wait([closed], timeout=self.drip_seconds)
            await closed
        finally:
            closed.cancel()


class BodyDrip(HeaderDrip):
    addresses = STRANGERS

    async def use(self, wire, number):
        await wire.send(request("POST", self.sms_path(), length=100_000, X_Twilio_Signature="c2lnbmF0dXJl",
                                Content_Type="application/x-www-form-urlencoded"))
        await self.drip(wire)


class HalfBodies(Attack):
    """Half of the longest body that a provider may send, and then nothing."""

    workers = 300

    async def use(self, wire, number):
        await wire.send(request("POST", "/channels/meta", length=4 * MIB, X_Hub_Signature_256="sha256=" + "0" * 64,
                                Content_Type="application/json"))
        for _ in range(8):
            await wire.send(PIECE)
        await wire.wait_for_close()


class SlowReaders(Attack):
    """A large answer read a few bytes at a time."""

    workers = 40
    receive_buffer = 4096

    async def use(self, wire, number):
        await wire.send(request("GET", self.target["heavy"]["page"], token=self.target["heavy"]["key"]))
        while await wire.reader.read(256):
            await asyncio.sleep(self.drip_seconds)
        raise Closed


class BigBodies(Attack):
    """The longest bodies at once, without a signature that is right; the last byte comes late, so that all are held together."""

    workers = 300
    rate = 200
    hold_seconds = 2.0

    async def use(self, wire, number):
        await self.pace.turn()
        if number % 4:
            path, kind, size = "/channels/meta", "application/json", 4 * MIB
        else:
            path, kind, size = self.sms_path(), "application/x-www-form-urlencoded", MIB
        await wire.send(request("POST", path, length=size, X_Hub_Signature_256="sha256=" + "0" * 64,
                                X_Twilio_Signature="c2lnbmF0dXJl", Content_Type=kind))
        for _ in range(size // len(PIECE) - 1):
            await wire.send(PIECE)
        await wire.send(PIECE[:-1])
        await asyncio.sleep(self.hold_seconds)
        await wire.send(b" ")
        await wire.answer()


class RefusedBodies(Attack):
    """Two GiB that nobody asked for, sent on after the refusal."""

    workers = 4

    async def use(self, wire, number):
        await wire.send(request("POST", "/v1/send", length=2048 * MIB, token="wb_live_nobody",
                                Content_Type="application/json"))
        while True:
            await wire.send(PIECE)
            # Read, so that an end of the connection is seen as soon as it is there.
            if wire.reader.at_eof():
                raise Closed


class MalformedChunks(Attack):
    workers = 8
    rate = 300
    bad = [
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: nothing\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ]

    async def use(self, wire, number):
        await self.pace.turn()
        end = self.bad[self.counts["connections"] % len(self.bad)]
        await wire.send(b"POST /channels/meta HTTP/1.1\r\nHost: waybill.example.test\r\n" + end)
        # Some are not wrong until more has come.
        await asyncio.wait_for(wire.answer(), 0.3)


class AbortedUploads(Attack):
    workers = 8
    rate = 300
    reconnect_seconds = 0

    async def use(self, wire, number):
        await self.pace.turn()
        await wire.send(request("POST", self.sms_path(), length=50_000, X_Twilio_Signature="c2lnbmF0dXJl",
                                Content_Type="application/x-www-form-urlencoded") + bytes(10_000))
        await asyncio.sleep(0.002)
        wire.reset()
        raise Closed


class WrongSignatures(Attack):
    workers = 8
    rate = 500
    addresses = ["127.0.0.1"]

    async def use(self, wire, number):
        while True:
            await self.pace.turn()
            await wire.send(request("POST", self.sms_path(), b"MessageSid=SM0&Body=forged", X_Twilio_Signature="c2lnbmF0dXJl",
                                    Content_Type="application/x-www-form-urlencoded"))
            await wire.answer()


class Unauthorized(Attack):
    workers = 16
    addresses = ["127.0.0.1"]

    async def use(self, wire, number):
        for count in itertools.count():
            await self.pace.turn()
            await wire.send(request("GET", "/v1/conversations", token=f"wb_live_{number:08x}{count:024x}"))
            await wire.answer()


class Reads(Attack):
    """A client that asks again as soon as it has its answer."""

    tenant = "crowd"
    path = "/v1/conversations?limit=200"

    async def use(self, wire, number):
        while True:
            await self.pace.turn()
            await wire.send(self.asked())
            await wire.answer()

    def asked(self):
        return request("GET", self.path, token=self.target[self.tenant]["key"])


class ListsAtOnce(Reads):
    workers = 100


class PipelinedReads(Reads):
    workers = 4
    depth = 200

    async def use(self, wire, number):
        while True:
            wire.writer.write(self.asked() * self.depth)
            for _ in range(self.depth):
                await wire.answer()


class BigPages(Reads):
    workers = 40
    tenant = "heavy"

    def asked(self):
        return request("GET", self.target["heavy"]["page"], token=self.target["heavy"]["key"])


class Filters(Reads):
    """Nobody has this number: every conversation is looked at."""

    workers = 10
    path = "/v1/conversations?phone=%2B19998887777"


class DryRuns(Reads):
    workers = 6

    def asked(self):
        return request("POST", "/v1/dead-letters/replay", b'{"dry_run":true}', token=self.target["dead"]["key"],
                       Content_Type="application/json")


class IdleLongPolls(Reads):
    """For the events of a client that gets none any more."""

    workers = 1000
    tenant = "heavy"
    path = "/v1/events?after=200&wait=20"


class AbandonedLongPolls(IdleLongPolls):
    """Asked, and not waited for."""

    workers = 64
    rate = 400
    reconnect_seconds = 0

    async def use(self, wire, number):
        await self.pace.turn()
        await wire.send(self.asked())
        await asyncio.sleep(0.05)
        raise Closed


class SmsFlood(Attack):
    """Everything about them is right; there are only too many."""

    workers = 16
    rate = 300

    async def use(self, wire, number):
        for count in itertools.count():
            await self.pace.turn()
            await wire.send(self.signed_sms(f"flood {count}", f"+1628{number:03d}{count % 100:04d}"))
            if await wire.answer() == "200":
                self.counts["acknowledged"] += 1


class HalfHandshakes(Attack):
    """The first bytes of a TLS record."""

    workers = 300

    async def use(self, wire, number):
        await wire.send(b"\x16\x03\x01\x02\x00\x01")
        await wire.wait_for_close()


class StreamResets(Attack):
    """HTTP/2 streams opened and reset at once ("rapid reset")."""

    workers = 4
    rate = 20
    streams = 100

    def __init__(self, target, replaced):
        super().__init__(target, replaced)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE
        self.tls.set_alpn_protocols(["h2"])

    async def use(self, wire, number):
        await wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        closed = asyncio.ensure_future(wire.wait_for_close())
        # Literal fields without indexing: `:path`, `:authority`; `:method: GET` and `:scheme: https` are in the static table.
        path, host = b"/v1/conversations", b"waybill.example.test"
        block = b"\x82\x87\x04" + bytes([len(path)]) + path + b"\x01" + bytes([len(host)]) + host
        try:
            for first in itertools.count(1, 2 * self.streams):
                await self.pace.turn()
                if closed.done() or first > 2**30:
                    raise Closed
                await wire.send(b"".join(
                    frame(1, 5, stream, block) + frame(3, 0, stream, struct.pack(">I", 8))
                    for stream in range(first, first + 2 * self.streams, 2)))
                self.counts["streams"] += self.streams
        finally:
            closed.cancel()


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Seed(Attack):
    """No attack: so many messages, and it is over. `people` is how many write them, `size` how long a text is."""

    workers = 32
    rate = 100_000
    addresses = ["127.0.0.1"]
    tenant, count, people, size = "crowd", 0, 1, 10

    def __init__(self, target, replaced):
        super().__init__(target, replaced)
        self.numbers = iter(range(self.count))
        self.again = []

    async def run(self):
        running = [asyncio.ensure_future(self._endless(number)) for number in range(self.workers)]
        while self.counts["200"] < self.count:
            await asyncio.sleep(0.01)
        for one in running:
            one.cancel()

    async def use(self, wire, number):
        while (at := self.again.pop() if self.again else next(self.numbers, None)) is not None:
            try:
                await wire.send(self.signed_sms(f"{at} ".ljust(self.size, "x"), f"+1707{at % self.people:07d}", self.tenant))
                status = await wire.answer()
            except BaseException:
                self.again.append(at)
                raise
            if status != "200":
                self.again.append(at)
        await asyncio.sleep(0.1)


ATTACKS = {one.__name__: one for one in (
    IdleStrangers, HeaderDrip, BodyDrip, HalfBodies, SlowReaders, BigBodies, RefusedBodies, MalformedChunks, AbortedUploads,
    WrongSignatures, Unauthorized, ListsAtOnce, PipelinedReads, BigPages, Filters, DryRuns, IdleLongPolls, AbandonedLongPolls,
    SmsFlood, HalfHandshakes, StreamResets, Seed)}


async def _main(order):
    attacks = [ATTACKS[name](order["target"], replaced) for name, replaced in order["plans"]]
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.buffer.read)
    over = asyncio.gather(*(attack.run() for attack in attacks))
    # What matters is what happens while all of them are connected; one that lets only some in is not waited for.
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not all(attack.is_complete for attack in attacks) and not over.done():
        await asyncio.sleep(0.01)
    print("started", flush=True)
    done, _ = await asyncio.wait([ended, over], return_when=asyncio.FIRST_COMPLETED)
    if over in done:
        # An attack that ended by a fault of its own is a fault of the tests.
        over.result()
    return {type(attack).__name__: attack.counts for attack in attacks}


async def _run(order):
    try:
        print(json.dumps(await _main(order)), flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # Thousands of connections are closed by the kernel faster than one by one.
    os._exit(0)


if __name__ == "__main__":
    os.nice(10)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_run(json.loads(sys.stdin.buffer.readline())))
