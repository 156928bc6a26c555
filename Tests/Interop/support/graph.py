"""Meta's side of Messenger, Instagram and WhatsApp: the `messages` edge of the Graph API with its failures, and the
items of signed webhooks.

Wire format: `reference/channels.md`, B to E. A call that Meta would refuse is refused here too, and says why in `problem`.
"""

import hashlib
import hmac
import itertools
import json
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from support.http import LoopbackServer, call
from support.wait import wait_until

VERSION = "v25.0"
HANG = "hang"
DROP = "drop"
# The answer's head and half of its body, then the end of the connection.
CUT = "cut"
BARE_500 = "bare 500"
_numbers = itertools.count(1)


# Steps of a script


def error(status, code, subcode=None, message="refused", headers=None, **extra):
    """Meta's own error envelope. `extra` are its optional members, as `is_transient`."""
    return ("error", status, code, subcode, message, headers or {}, extra)


def raw(status, body, media_type="application/json", headers=None):
    """An answer that is given as it stands."""
    return ("raw", status, body if isinstance(body, bytes) else body.encode(), media_type, headers or {})


def before(action, then="accept"):
    """Does `action(call)` before the answer leaves: what Meta's webhooks may do."""
    return ("before", action, then)


# What arrives


@dataclass
class Call:
    """One POST to `…/messages`: header names in lower case, the body as it came, and the id that the answer gives it."""

    path: str
    headers: dict
    body: bytes
    at: float
    id: str
    problem: str = ""
    failure: Exception = None
    answered: bool = False

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def our_id(self):
        """Under what the gateway will know the message again; sender actions have none."""
        return self.json.get("biz_opaque_callback_data") or self.json.get("message", {}).get("metadata")

    @property
    def text(self):
        content = self.json.get("text") or self.json.get("message") or {}
        return content.get("body") or content.get("text")

    def member(self, name):
        """The bytes of a member's value as they stand, at the first place where the name does."""
        text = self.body.decode()
        mark = f'"{name}":'
        start = text.index(mark) + len(mark)
        _, end = json.JSONDecoder().raw_decode(text, start)
        return text[start:end].encode()


class Duplicate(ValueError):
    pass


def strict_object(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Duplicate("a member stands twice")
    return members


def problem_of(platform, call_made):
    """What Meta would object to; empty when nothing."""
    media_type = call_made.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        return f"not JSON: {media_type}"
    try:
        body = json.loads(call_made.body, object_pairs_hook=strict_object)
    except ValueError as failure:
        return f"not JSON: {failure}"
    check = whatsapp_problem if platform == "whatsapp" else direct_problem
    try:
        return check(body, platform) or ""
    except (KeyError, TypeError, AttributeError) as failure:
        return f"{type(failure).__name__}: {failure} in {body}"


def stray(found, *allowed):
    names = set(found) - set(allowed)
    return f"unexpected {', '.join(sorted(names))}" if names else ""


def direct_problem(body, platform):
    if list(body["recipient"]) != ["id"] or not body["recipient"]["id"]:
        return f"recipient: {body['recipient']}"
    if "sender_action" in body:
        return action_problem(body)
    problem = stray(body, "recipient", "messaging_type", "tag", "message", "reply_to", "notification_type")
    if problem:
        return problem
    kind, tag = body["messaging_type"], body.get("tag")
    if (kind, tag) not in [("RESPONSE", None), ("UPDATE", None), ("MESSAGE_TAG", "HUMAN_AGENT")]:
        return f"messaging_type {kind}, tag {tag}"
    if "reply_to" in body and (list(body["reply_to"]) != ["mid"] or not body["reply_to"]["mid"]):
        return f"reply_to: {body['reply_to']}"
    return direct_message_problem(body["message"], platform)


def direct_message_problem(message, platform):
    problem = stray(message, "text", "attachment", "metadata")
    if problem or ("text" in message) == ("attachment" in message):
        return problem or "text or attachment"
    if len(message.get("metadata", "")) > 1000:
        return "metadata too long"
    if "text" in message:
        size = len(message["text"].encode()) if platform == "instagram" else len(message["text"])
        return "" if 0 < size <= (1000 if platform == "instagram" else 2000) else f"text of {size}"
    attachment = message["attachment"]
    if attachment["type"] not in ("image", "audio", "video", "file"):
        return f"attachment {attachment['type']}"
    return stray(attachment, "type", "payload") or stray(attachment["payload"], "url", "is_reusable")


def action_problem(body):
    action, payload = body["sender_action"], body.get("payload")
    problem = stray(body, "recipient", "sender_action", "payload")
    if problem:
        return problem
    wanted = {"react": {"message_id", "reaction"}, "unreact": {"message_id"}}.get(action, set())
    if action not in ("typing_on", "typing_off", "mark_seen", "react", "unreact") or set(payload or {}) != wanted:
        return f"{action} with {payload}"
    return "" if all((payload or {}).values()) else f"empty in {payload}"


def whatsapp_problem(body, platform):
    if body["messaging_product"] != "whatsapp":
        return "messaging_product"
    if "status" in body:
        problem = stray(body, "messaging_product", "status", "message_id", "typing_indicator")
        return problem or ("" if body["status"] == "read" and body["message_id"] else "status")
    kind = body["type"]
    problem = stray(body, "messaging_product", "recipient_type", "to", "recipient", "type", kind, "context",
                    "biz_opaque_callback_data")
    if problem:
        return problem
    if ("to" in body) == ("recipient" in body):
        return "to or recipient"
    if "to" in body and not body["to"].removeprefix("+").isdigit():
        return f"to {body['to']}"
    if "recipient" in body and body["recipient"][2] != ".":
        return f"recipient {body['recipient']}"
    if "context" in body and (list(body["context"]) != ["message_id"] or not body["context"]["message_id"]):
        return f"context {body['context']}"
    return whatsapp_content_problem(kind, body[kind])


def whatsapp_content_problem(kind, content):
    if kind == "text":
        return stray(content, "body", "preview_url") or ("" if 0 < len(content["body"]) <= 4096 else "text's length")
    if kind == "template":
        problem = stray(content, "name", "language", "components") or stray(content["language"], "code", "policy")
        return problem or ("" if content["name"] and content["language"]["code"] else "name and language")
    if kind == "reaction":
        problem = stray(content, "message_id", "emoji")
        return problem or ("" if content["message_id"] and "emoji" in content else f"reaction {content}")
    options = {"image": ["caption"], "video": ["caption"], "document": ["caption", "filename"], "audio": [], "sticker": []}
    problem = stray(content, "link", *options[kind])
    return problem or ("" if content["link"] and len(content.get("caption", "")) <= 1024 else f"{kind} {content}")


# Who is written to


@dataclass(frozen=True)
class Customer:
    """`id` is a PSID or IGSID; on WhatsApp a person has a `wa_id`, a business-scoped `user_id`, or both."""

    id: str = ""
    wa_id: str = ""
    user_id: str = ""

    @property
    def any_id(self):
        return self.id or self.user_id or self.wa_id

    @property
    def phone(self):
        return "+" + self.wa_id


def person():
    """A person on Messenger or Instagram."""
    return Customer(id=f"{9_100_000_000_000_000 + next(_numbers)}")


def phone_person():
    return Customer(wa_id=f"1650{6_000_000 + next(_numbers)}")


def username_person():
    """A person on WhatsApp whose number the business does not get."""
    return Customer(user_id=f"US.{13_491_208_655_302_740_000 + next(_numbers)}")


def new_customer(platform):
    return phone_person() if platform == "whatsapp" else person()


# An account at Meta


@dataclass
class Account:
    """A page, a professional account or a number, with its token.

    `scripts` by text come first, then `script`, one step a call; after their end every call is accepted.
    """

    platform: str
    id: str
    token: str
    login: str = None
    script: list = field(default_factory=list)
    scripts: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    old_tokens: list = field(default_factory=list)

    @property
    def credentials(self):
        """What an operator enters to connect it."""
        if self.platform == "facebook":
            return {"page_id": self.id, "access_token": self.token}
        if self.platform == "instagram":
            return {"ig_account_id": self.id, "access_token": self.token, "login": self.login}
        return {"waba_id": "2" + self.id, "phone_number_id": self.id, "access_token": self.token}

    def renew(self):
        """The token is replaced: the old one is refused from here on."""
        self.old_tokens.append(self.token)
        self.token = new_token()

    def calls_with(self, text):
        return [one for one in list(self.calls) if one.text == text]

    def calls_of(self, message_id):
        return [one for one in list(self.calls) if one.our_id == message_id]

    def wait_for_call(self, text, seconds=10):
        return wait_until(lambda: self.calls_with(text), seconds, f"a call of Graph with {text!r}")[-1]

    def new_message_id(self):
        if self.platform == "whatsapp":
            return "wamid.HBgL" + secrets.token_urlsafe(42) + "=="
        return ("m_" if self.platform == "facebook" else "aWdfZAG1faXRlbToxOklH") + secrets.token_urlsafe(90)

    # Items of webhooks: one is an element of `messaging`, or of WhatsApp's `changes`

    def message(self, customer, text, mid=None, **extra):
        """A customer's text."""
        mid = mid or self.new_message_id()
        if self.platform != "whatsapp":
            return self._item(customer, message={"mid": mid, "text": text} | extra)
        message = {"id": mid, "timestamp": str(int(time.time())), "type": "text", "text": {"body": text}} | extra
        contact = {"profile": {"name": "Ana"}}
        if customer.wa_id:
            message["from"] = contact["wa_id"] = customer.wa_id
        if customer.user_id:
            message["from_user_id"] = contact["user_id"] = customer.user_id
        return self._value(contacts=[contact], messages=[message])

    def echo(self, customer, text, mid, metadata=None, app_id=1_517_776_481_860_111):
        """What the business sent: by this app, when `metadata` says so, or by its own."""
        if self.platform == "whatsapp":
            message = {"from": "15550783881", "to": customer.wa_id, "id": mid, "timestamp": str(int(time.time())),
                       "type": "text", "text": {"body": text}}
            return self._value("smb_message_echoes", message_echoes=[message])
        message = {"mid": mid, "is_echo": True, "app_id": app_id, "text": text}
        if metadata is not None:
            message["metadata"] = metadata
        item = self._item(customer, message=message)
        return item | {"sender": item["recipient"], "recipient": item["sender"]}

    def in_the_app(self, customer, **event):
        """What the business does in the WhatsApp Business app with a message of its own."""
        message = {"from": "15550783881", "to": customer.wa_id, "id": self.new_message_id(),
                   "timestamp": str(int(time.time()))}
        return self._value("smb_message_echoes", message_echoes=[message | event])

    def delivery(self, customer, watermark=None, mids=None):
        delivery = {"watermark": watermark or milliseconds()}
        return self._item(customer, delivery=delivery if mids is None else {"mids": mids} | delivery)

    def read(self, customer, watermark=None, mid=None):
        """Messenger tells until when, Instagram which one."""
        return self._item(customer, read={"mid": mid} if mid else {"watermark": watermark or milliseconds()})

    def reaction(self, customer, mid, emoji="\u2764\ufe0f"):
        if self.platform == "whatsapp":
            item = self.message(customer, "", type="reaction", reaction={"message_id": mid, "emoji": emoji})
            del item["value"]["messages"][0]["text"]
            return item
        return self._item(customer, reaction={"mid": mid, "action": "react", "reaction": "love", "emoji": emoji})

    def status(self, mid, status, customer=None, our_id=None, code=None):
        """WhatsApp's report about a sent message."""
        report = {"id": mid, "status": status, "timestamp": str(int(time.time()))}
        if customer is not None and customer.wa_id:
            report["recipient_id"] = customer.wa_id
        if customer is not None and customer.user_id:
            report["recipient_user_id"] = customer.user_id
        if our_id is not None:
            report["biz_opaque_callback_data"] = our_id
        if code is not None:
            report["errors"] = [{"code": code, "title": "refused", "message": "refused", "error_data": {"details": "no"}}]
        else:
            report["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"}
        return self._value(statuses=[report])

    def _item(self, customer, **event):
        return {"sender": {"id": customer.id}, "recipient": {"id": self.id}, "timestamp": milliseconds()} | event

    def _value(self, name="messages", **content):
        metadata = {"display_phone_number": "15550783881", "phone_number_id": self.id}
        return {"field": name, "value": {"messaging_product": "whatsapp", "metadata": metadata} | content}

    def envelope(self, *items):
        """One request with all of them."""
        name = {"facebook": "page", "instagram": "instagram", "whatsapp": "whatsapp_business_account"}[self.platform]
        if self.platform == "whatsapp":
            return {"object": name, "entry": [{"id": "2" + self.id, "changes": list(items)}]}
        return {"object": name, "entry": [{"id": self.id, "time": milliseconds(), "messaging": list(items)}]}


def milliseconds():
    return time.time_ns() // 1_000_000


def new_token():
    return "EAAG" + secrets.token_hex(40)


# Webhooks


def escaped(payload):
    """Meta's own form: ASCII with lower-case escapes, and slashes escaped."""
    return json.dumps(payload, separators=(",", ":")).replace("/", "\\/").encode()


def signature(secret, body, algorithm=hashlib.sha256):
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def post_webhook(base_url, secret, payload, timeout=40):
    """Posts to the gateway as Meta does."""
    body = escaped(payload)
    headers = {
        "Content-Type": "application/json", "User-Agent": "facebookexternalua",
        "X-Hub-Signature": "sha1=" + signature(secret, body, hashlib.sha1),
        "X-Hub-Signature-256": "sha256=" + signature(secret, body),
    }
    return call("POST", base_url + "/channels/meta", headers=headers, data=body, timeout=timeout)


# The server


class FakeGraph(LoopbackServer):
    """One host: graph.facebook.com, or graph.instagram.com for accounts that were connected by Instagram Login."""

    def __init__(self, port=0):
        self._accounts = []
        self.foreign_requests = []
        super().__init__(port)

    def account(self, platform, login=None):
        if platform == "instagram":
            login = login or "facebook"
        account = Account(platform, f"{17_841_400_000_000_000 + next(_numbers)}", new_token(), login)
        self._accounts.append(account)
        return account

    def handle(self, handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        account = self._find(handler, token)
        if account is None:
            self.foreign_requests.append((handler.command, handler.path))
            return self._error(handler, 404, 100, 33, "Unsupported post request. Object does not exist")
        made = Call(handler.path, headers, body, time.monotonic(), account.new_message_id())
        made.problem = problem_of(account.platform, made)
        with self.lock:
            account.calls.append(made)
            step = self._next_step(account, made)
        if token != account.token:
            return self._error(handler, 401, 190, 463, "Error validating access token: Session has expired")
        if made.problem:
            return self._error(handler, 400, 100, None, made.problem)
        self._perform(handler, account, made, step)

    def _find(self, handler, token):
        parts = urlsplit(handler.path).path.strip("/").split("/")
        if handler.command != "POST" or len(parts) != 3 or (parts[0], parts[2]) != (VERSION, "messages"):
            return None
        # `me` is whose token it is. WhatsApp has no `me`.
        for one in list(self._accounts):
            if parts[1] == one.id or (parts[1] == "me" and one.platform != "whatsapp"):
                if token in [one.token, *one.old_tokens] or parts[1] == one.id:
                    return one
        return None

    def _next_step(self, account, made):
        script = account.scripts.get(made.text) if not made.problem else None
        script = script or account.script
        return script.pop(0) if script else "accept"

    def _perform(self, handler, account, made, step):
        if step == HANG:
            return self.hang(handler)
        if step == DROP:
            return self.drop(handler)
        if step == CUT:
            return self._cut(handler, account, made)
        if step == BARE_500:
            return self.answer(handler, 500, b"Internal Server Error", "text/plain")
        if step[0] == "raw":
            return self.answer(handler, *step[1:])
        if step[0] == "error":
            return self._error(handler, *step[1:])
        if step[0] == "before":
            self._run(step[1], made)
            return self._perform(handler, account, made, step[2])
        made.answered = True
        self.answer(handler, 200, self.acceptance(account, made), headers={"facebook-api-version": VERSION})

    def _run(self, action, made):
        try:
            action(made)
        except Exception as failure:  # the test looks at it: this thread's own end would be silent
            made.failure = failure

    def _cut(self, handler, account, made):
        body = self.acceptance(account, made)
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        handler.wfile.write(b"Content-Length: %d\r\n\r\n" % len(body) + body[: len(body) // 2])

    def acceptance(self, account, made):
        body = made.json
        if account.platform != "whatsapp":
            answer = {"recipient_id": body["recipient"]["id"]}
            if "sender_action" not in body:
                answer["message_id"] = made.id
            elif body["sender_action"] == "react" and account.platform == "facebook":
                # The message that the reaction is to.
                answer["message_id"] = body["payload"]["message_id"]
            return json.dumps(answer).encode()
        if "status" in body:
            return b'{"success":true}'
        recipient = body.get("to") or body["recipient"]
        message = {"id": made.id} | ({"message_status": "accepted"} if body["type"] == "template" else {})
        contact = {"input": recipient} | ({"wa_id": recipient.removeprefix("+")} if "to" in body else {"user_id": recipient})
        return json.dumps({"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}).encode()

    def _error(self, handler, status, code, subcode, message, headers=None, extra=None):
        found = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}
        if subcode is not None:
            found["error_subcode"] = subcode
        body = {"error": found | (extra or {}) | {"fbtrace_id": "A" + secrets.token_urlsafe(16)}}
        self.answer(handler, status, json.dumps(body).encode(), headers=headers)
