"""Where providers have customers' files: the Graph's media endpoint, Twilio's media behind a redirect, a CDN. And a client
who is sent such files.

A path of a host has steps, one a request; the last one stays. Every request is kept with all its headers.
"""

import base64
import hashlib
import http.client
import itertools
import json
import secrets
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from support import meta
from support.fake_twilio import Account as TwilioAccount
from support.http import LoopbackServer
from support.tenant import Tenant, customer_number, unique
from support.wait import wait_until

INLINE_BYTES = 64 << 10
# Of the shortest limit, so that a test can go beyond it.
STICKER_BYTES = 2 << 20
PIECE_BYTES = 64 << 10
# The hosts of Meta's that get a token, besides the one that is configured, are none that a test can play.
_numbers = itertools.count(1_000_000_000_000_001)


def settings(graph, twilio, **more):
    """Of a gateway that fetches from loopback, and in Inbound Body Purge puts only small files into webhooks."""
    return meta.SETTINGS | {
        "WAYBILL_PROVIDERS_GRAPH_BASE_URL": graph.base_url,
        "WAYBILL_PROVIDERS_TWILIO_BASE_URL": twilio.base_url,
        "WAYBILL_MEDIA_ALLOW_CIDRS": "127.0.0.0/8",
        "WAYBILL_PURGE_INLINE_MEDIA_BYTES": str(INLINE_BYTES),
    } | more


def content_of(size):
    """Bytes that are like no others, and that nothing makes shorter."""
    return secrets.token_bytes(size)


# Hosts


@dataclass
class Asked:
    """One request; header names in lower case. `sent` counts bytes of the answer's body that left, where a step counts them."""

    method: str
    path: str
    query: dict
    headers: dict
    at: float
    sent: int = 0

    @property
    def authorization(self):
        return self.headers.get("authorization")


class Host(LoopbackServer):
    def __init__(self, port=0):
        self._steps = {}
        self.requests = []
        self.unexpected = []
        super().__init__(port)

    def place(self, *steps, path=None):
        """A URL with these steps."""
        path = path or f"/files/{uuid.uuid4().hex}"
        self._steps[path] = list(steps)
        return self.base_url + path

    def asked(self, url):
        """The requests at a URL or a path of this host."""
        path = urlsplit(url).path
        return [one for one in list(self.requests) if one.path == path]

    def wait_for(self, url, count=1, seconds=10):
        wait_until(lambda: len(self.asked(url)) >= count, seconds, f"{count} requests at {url}")
        return self.asked(url)

    def handle(self, handler, body):
        url = urlsplit(handler.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        one = Asked(handler.command, url.path, parse_qs(url.query), headers, time.monotonic())
        with self.lock:
            self.requests.append(one)
            steps = self._steps.get(url.path)
            step = None if not steps else steps.pop(0) if len(steps) > 1 else steps[0]
        if step is None:
            self.unexpected.append(handler.path)
            return self.answer(handler, 404)
        try:
            step(self, handler, one)
        except OSError:
            handler.close_connection = True

    def saw(self, secret):
        """Where a secret came along, in whatever form a request may hold it."""
        forms = [secret, base64.b64encode(secret.encode()).decode().rstrip("=")]
        return [one for one in list(self.requests) if any(form in json.dumps([one.path, one.query, one.headers])
                                                          for form in forms)]


# Steps


def ok(content, media_type="image/jpeg", **headers):
    def step(host, handler, asked):
        host.answer(handler, 200, content, media_type, {name.replace("_", "-"): one for name, one in headers.items()})

    return step


def status(code, body=b"refused", **headers):
    def step(host, handler, asked):
        host.answer(handler, code, body, "text/plain", {name.replace("_", "-"): one for name, one in headers.items()})

    return step


def redirect(url, code=307):
    return status(code, b"", Location=url)


def guarded(authorization, step):
    """As at Meta and Twilio: without the right credentials, or from a nameless client, it is refused."""
    def guard(host, handler, asked):
        is_right = asked.authorization == authorization and asked.headers.get("user-agent")
        (step if is_right else status(401))(host, handler, asked)

    return guard


def hang(host, handler, asked):
    host.hang(handler)


def drop(host, handler, asked):
    host.drop(handler)


def _head(handler, content_type, length):
    """The head of an answer whose body is written piece by piece; without a length it is chunked."""
    handler.close_connection = True
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{size}\r\n\r\n".encode())


def _chunk(handler, asked, content):
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))
    asked.sent += len(content)


def cut(content, media_type="image/jpeg"):
    """Its length and its first half, then the end of the connection."""
    def step(host, handler, asked):
        _head(handler, media_type, len(content))
        handler.wfile.write(content[: len(content) // 2])

    return step


def chunked(content, media_type="image/jpeg"):
    def step(host, handler, asked):
        _head(handler, media_type, None)
        for start in range(0, len(content), PIECE_BYTES):
            _chunk(handler, asked, content[start:start + PIECE_BYTES])
        handler.wfile.write(b"0\r\n\r\n")

    return step


def flood(size, media_type="image/jpeg", has_length=False):
    """More than anybody should read."""
    def step(host, handler, asked):
        _head(handler, media_type, size if has_length else None)
        while asked.sent < size and not host.stopping.is_set():
            piece = b"Z" * min(PIECE_BYTES, size - asked.sent)
            if has_length:
                handler.wfile.write(piece)
                asked.sent += len(piece)
            else:
                _chunk(handler, asked, piece)
        if not has_length:
            handler.wfile.write(b"0\r\n\r\n")

    return step


def trickle(content, pieces, pause, media_type="image/jpeg"):
    def step(host, handler, asked):
        _head(handler, media_type, len(content))
        size = -(-len(content) // pieces)
        for start in range(0, len(content), size):
            if host.stopping.wait(pause):
                return
            handler.wfile.write(content[start:start + size])

    return step


class Held:
    """A file of which the first half comes, and the rest when a test says so."""

    def __init__(self, content, media_type="image/jpeg"):
        self.content, self.media_type = content, media_type
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self, host, handler, asked):
        half = len(self.content) // 2
        _head(handler, self.media_type, len(self.content))
        handler.wfile.write(self.content[:half])
        self.begun.set()
        deadline = time.monotonic() + 60
        while not self.released.wait(0.05) and not host.stopping.is_set() and time.monotonic() < deadline:
            pass
        handler.wfile.write(self.content[half:])


# What the hosts are


def sha256_base64(content):
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def sha256_hex(content):
    return hashlib.sha256(content).hexdigest()


class Graph(Host):
    """WhatsApp's media endpoint; it asks for the token, and so do the URLs that it gives out."""

    def file(self, account, *answers, media_id=None):
        """The id of a file. `answers` are what the media endpoint says, one a request."""
        media_id = media_id or str(next(_numbers))
        self.place(*(guarded(bearer(account), one) for one in answers), path=endpoint_of(media_id))
        return media_id

    def simple(self, account, content, media_type="image/jpeg"):
        return self.file(account, self.described(account, content, media_type))

    def described(self, account, content, media_type="image/jpeg", **replaced):
        """The endpoint's answer about this content. `url` may name another place; None leaves a member out."""
        url = replaced.pop("url", None) or self.place(guarded(bearer(account), ok(content, media_type)))
        answer = {
            "messaging_product": "whatsapp", "url": url, "mime_type": media_type, "sha256": sha256_hex(content),
            "file_size": len(content), "id": "0",
        } | replaced
        answer = {name: value for name, value in answer.items() if value is not None}

        def step(host, handler, asked):
            host.answer(handler, 200, json.dumps(answer).replace("/", "\\/").encode())

        return step


def bearer(account):
    return f"Bearer {token_of(account)}"


def token_of(account):
    """As `meta.Account` connects."""
    return f"token-{account.id}"


def endpoint_of(media_id):
    return f"/v25.0/{media_id}"


def no_such_media(host, handler, asked):
    error = {"message": "Unsupported get request. Object with ID does not exist", "type": "GraphMethodException",
             "code": 100, "error_subcode": 33, "fbtrace_id": "AbC"}
    host.answer(handler, 400, json.dumps({"error": error}).encode())


class TwilioMedia(Host):
    def file(self, account, *steps):
        """A `MediaUrl`, as guarded as Twilio's own."""
        path = f"/2010-04-01/Accounts/{account.sid}/Messages/MM{uuid.uuid4().hex}/Media/ME{uuid.uuid4().hex}"
        return self.place(*(guarded(basic(account), step) for step in steps), path=path)


def basic(account):
    return "Basic " + base64.b64encode(f"{account.sid}:{account.auth_token}".encode()).decode()


class Trap:
    """Nobody may connect to it."""

    def __init__(self, address="127.0.0.1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.connections = 0
        self._socket = socket.socket(family)
        self._socket.bind((address, 0))
        self._socket.listen(16)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()
        self._thread.join(5)


# Who is sent files


class File(NamedTuple):
    """As a webhook tells it: `place` is a media id on WhatsApp, else a URL; `more` are further members of WhatsApp's object."""

    kind: str
    place: str
    mime_type: str = "image/jpeg"
    more: dict = {}


@dataclass
class Party:
    """One client with an account on one platform, an endpoint and a customer."""

    gateway: object
    platform: str
    endpoint: object
    tenant: Tenant = None
    account: object = None
    sender: str = field(default_factory=lambda: customer_number())
    webhook: dict = field(default_factory=dict)

    def __post_init__(self):
        twilio = TwilioAccount("AC" + uuid.uuid4().hex, uuid.uuid4().hex)
        self.tenant = Tenant(self.gateway, twilio)
        if self.endpoint is not None:
            self.tenant.subscribe(self.endpoint, **self.webhook)
        if self.platform == "sms":
            self.account = twilio
            answer = self.tenant.connect_sms()
        else:
            self.account = meta.Account(self.tenant, self.platform)
            answer = self.account.connect()
        assert answer.status_code == 200, answer.text

    # The customer

    def says(self, *files, sender=None, text="", mid=None):
        """The provider's id of the message."""
        sender = sender or self.sender
        mid = mid or ("MM" + uuid.uuid4().hex if self.platform == "sms" else unique("mid"))
        answer = self._post(mid, sender, text, files)
        assert answer.status_code == 200, answer.text
        return mid

    def _post(self, mid, sender, text, files):
        if self.platform == "sms":
            extra = {"NumMedia": str(len(files))}
            for number, one in enumerate(files):
                extra |= {f"MediaUrl{number}": one.place, f"MediaContentType{number}": one.mime_type}
            return self.tenant.inbound(text, sender, sid=mid, **extra)
        if self.platform == "whatsapp" and files:
            (one,) = files
            part = {"mime_type": one.mime_type, "id": one.place} | one.more
            item = self.account.text(mid, "", sender.removeprefix("+")) | {"type": one.kind, one.kind: part}
            del item["text"]
            return self.account.post(item)
        attachments = [{"type": one.kind, "payload": {"url": one.place}} for one in files]
        more = {"attachments": attachments} if attachments else {}
        return self.account.post(self.account.text(mid, text or None, sender.removeprefix("+"), **more))

    # What the client sees

    def received(self, mid, seconds=12):
        """The webhook of a message as it came; there must be one."""
        def found():
            return self.webhooks_of(mid)

        # Several tests say that a file does not hold its webhook back, and give less than the time that a file may.
        return wait_until(found, seconds, f"the webhook of {mid}", exactly=True)[0]

    def webhooks_of(self, mid):
        return [one for one in list(self.endpoint.requests)
                if one.event.get("data", {}).get("message", {}).get("platform_message_id") == mid]

    def told(self, mid, seconds=12):
        """The media of a message's webhook."""
        return self.received(mid, seconds).event["data"]["message"]["media"]

    def told_of(self, message_id):
        """The media of every webhook about a message of ours."""
        messages = [one.event.get("data", {}).get("message", {}) for one in self.endpoint.requests]
        return [item for message in messages if message.get("id") == message_id for item in message["media"]]

    def newest(self, sender=None):
        """The customer's newest message, whether there is an event of it already or not."""
        sender = sender or self.sender
        name, value = ("phone", sender.replace("+", "%2B")) if self.platform == "sms" else (
            "platform_user_id", sender.removeprefix("+"))
        conversation = self.tenant.read(f"/v1/conversations?{name}={value}")["data"][0]
        return self.tenant.read(f"/v1/conversations/{conversation['id']}/messages")["data"][0]

    def media(self, message_id):
        return self.tenant.message(message_id)["media"]

    def settled(self, message_id, seconds=8):
        """Its media, once none that can be had is pending."""
        def all_known():
            items = self.media(message_id)
            return items if all(item["status"] != "pending" for item in items if item.get("url")) else None

        return wait_until(all_known, seconds, f"the media of {message_id}")

    def pulled(self):
        return self.tenant.read("/v1/events?after=0&limit=200")["data"]

    def get(self, item, method="GET", **headers):
        return self.tenant.call(method, f"/v1/media/{item['id']}", headers=headers)

    def purging(self):
        """Puts the client into Inbound Body Purge."""
        change = {"inbound_body_purge": {self.platform: True}}
        answer = self.tenant.call("PATCH", "/v1/settings", json=change)
        assert answer.status_code == 200, answer.text
        return self

    def wait_for_purge(self, message_id, seconds=8):
        wait_until(lambda: self.tenant.message(message_id)["purged"], seconds, f"{message_id} to be purged")


def code_of(item):
    """Of a file that failed. The design leaves open whether it stands alone or in an object."""
    error = item["error"]
    return error if isinstance(error, str) else error["code"]


# What lies in the data directory


def stored(gateway):
    """All files below DATA/media, by their path in it."""
    root = gateway.data / "media"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() or path.is_symlink()}


def path_of(party, message_id, index=0):
    """Where the file lies, below DATA/media."""
    position = party.tenant.message(message_id)["position"]
    return f"{position // 4096}/{position}-{index}"


class Download(NamedTuple):
    status: int
    headers: dict
    body: bytes
    # Whether as much came as was announced.
    is_whole: bool


def download(party, item, method="GET", **headers):
    """Without a library that hides how an answer ended."""
    connection = http.client.HTTPConnection("127.0.0.1", party.gateway.port, timeout=20)
    try:
        connection.request(method, item["url"], headers={"Authorization": f"Bearer {party.tenant.key}"} | headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return Download(answer.status, named, answer.read(), True)
        except http.client.IncompleteRead as failure:
            return Download(answer.status, named, failure.partial, False)
        except OSError:
            return Download(answer.status, named, b"", False)
    except (http.client.HTTPException, OSError):
        return Download(0, {}, b"", False)
    finally:
        connection.close()
