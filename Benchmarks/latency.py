"""Inbound SMS to webhook: posts signed Twilio requests at a steady rate and notes when each webhook arrives.

Open loop: a request is due at its time whether earlier ones are answered or not, and its latency counts from then, so that
a pause of the gateway shows in every request it delayed. Standard library only.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import re
import time
import urllib.parse

ACCOUNT, TOKEN, NUMBER = "AC" + "0" * 32, "benchmark-auth-token", "+14155550100"
CONNECTIONS = 64
TEXT = re.compile(rb'"text":"n (\d+)')


class Receiver(asyncio.Protocol):
    """A client's endpoint: answers 200 to every POST and notes the time of its message."""

    arrived = {}

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = int(re.search(rb"(?i)content-length: (\d+)", self.buffer[:end]).group(1))
            if len(self.buffer) < end + 4 + length:
                return
            body, self.buffer = self.buffer[end + 4:end + 4 + length], self.buffer[end + 4 + length:]
            found = TEXT.search(body)
            if found:
                self.arrived.setdefault(int(found.group(1)), time.perf_counter())
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class Twilio(asyncio.Protocol):
    """One kept-alive connection of the provider, with at most one request on it."""

    def __init__(self, pool):
        self.pool, self.buffer, self.request = pool, b"", None

    def connection_made(self, transport):
        self.transport = transport
        self.pool.open += 1
        self.pool.idle.append(self)

    def connection_lost(self, error):
        """The gateway closes what was idle for long; a request that crossed with that is due again."""
        self.pool.open -= 1
        if self in self.pool.idle:
            self.pool.idle.remove(self)
        if self.request is not None:
            self.pool.again.append(self.request)

    def post(self, number, due, url, host, path):
        self.request = number, due, url, host, path
        sid = f"SM{number:032x}"
        form = {"MessageSid": sid, "SmsSid": sid, "AccountSid": ACCOUNT, "From": f"+1555{number % 5000:07d}", "To": NUMBER,
                "Body": f"n {number}", "NumMedia": "0", "NumSegments": "1", "SmsStatus": "received",
                "ApiVersion": "2010-04-01"}
        signed = url + "".join(name + form[name] for name in sorted(form))
        signature = base64.b64encode(hmac.new(TOKEN.encode(), signed.encode(), hashlib.sha1).digest()).decode()
        body = urllib.parse.urlencode(form)
        self.transport.write(
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"X-Twilio-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    def data_received(self, data):
        self.buffer += data
        if b"</Response>" in self.buffer or b"<Response/>" in self.buffer:
            assert self.buffer.startswith(b"HTTP/1.1 200"), self.buffer
            self.pool.answers.append(time.perf_counter() - self.request[1])
            self.buffer, self.request = b"", None
            self.pool.idle.append(self)


class Pool:
    """The provider's connections; what was closed is opened again."""

    def __init__(self, port):
        self.port, self.open, self.idle, self.again, self.answers = port, 0, [], [], []

    async def connect(self):
        await asyncio.get_running_loop().create_connection(lambda: Twilio(self), "127.0.0.1", self.port)

    async def post(self, *request):
        while True:
            while self.idle:
                connection = self.idle.pop()
                if not connection.transport.is_closing():
                    return connection.post(*request)
            if self.open < CONNECTIONS:
                await self.connect()
            else:
                await asyncio.sleep(0.0005)

    async def repeat(self):
        while self.again:
            await self.post(*self.again.pop())


def call(port, token, method, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, json.dumps(body), {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status in (200, 201), (answer.status, text)
    return json.loads(text)


def percentiles(name, seconds):
    values = sorted(second * 1000 for second in seconds)
    shown = ", ".join(f"p{p} {values[min(len(values) - 1, len(values) * p // 100)]:.2f} ms" for p in (50, 95, 99))
    print(f"{name}: {shown}, max {values[-1]:.2f} ms ({len(values)} of them)")


async def main():
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--token", required=True, help="operator token")
    options.add_argument("--public-url", required=True)
    options.add_argument("--rate", type=int, default=500)
    options.add_argument("--seconds", type=int, default=30)
    options = options.parse_args()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "127.0.0.1", 0)
    endpoint = server.sockets[0].getsockname()[1]
    client = call(options.port, options.token, "POST", "/admin/v1/clients",
                  {"name": "bench", "plan": "business", "addon": {"status": "active"}, "sms_monthly_quota": 1000})
    path = f"/admin/v1/clients/{client['client_id']}/channels/sms"
    call(options.port, options.token, "PUT", path, {"account_sid": ACCOUNT, "auth_token": TOKEN, "from_phone": NUMBER})
    call(options.port, client["api_key"], "PUT", "/v1/webhook", {"url": f"http://127.0.0.1:{endpoint}/", "enabled": True})
    path = f"/channels/twilio/{client['client_id']}/sms"
    due, pool = {}, Pool(options.port)
    for _ in range(CONNECTIONS):
        await pool.connect()
    warm = 2 * options.rate
    total = warm + options.rate * options.seconds
    start = time.perf_counter() + 0.1
    for number in range(total):
        due[number] = start + number / options.rate
        while (wait := due[number] - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        await pool.repeat()
        await pool.post(number, due[number], options.public_url + path, f"127.0.0.1:{options.port}", path)
    for _ in range(1000):
        if len(Receiver.arrived) >= total:
            break
        await pool.repeat()
        await asyncio.sleep(0.01)
    percentiles("POST to answer", pool.answers)
    percentiles("POST to webhook received", [Receiver.arrived[n] - due[n] for n in range(warm, total) if n in Receiver.arrived])
    missing = total - len(Receiver.arrived)
    print(f"webhooks missing: {missing}")
    raise SystemExit(1 if missing else 0)


asyncio.run(main())
