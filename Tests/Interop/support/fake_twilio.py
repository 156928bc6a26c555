"""Twilio's side of SMS: the Messages resource with its failures, and signed requests to the gateway."""

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, urlencode, urlsplit

from twilio.request_validator import RequestValidator

from support.http import LoopbackServer, call
from support.wait import wait_until

HANG = "hang"
DROP = "drop"
BARE_500 = "bare 500"


def slow(seconds):
    """Accept the message, but only after `seconds`."""
    return ("slow", seconds)


def error(status, code, message="refused", headers=None):
    """Twilio's own error envelope."""
    return ("error", status, code, message, headers or {})


TOO_MANY_REQUESTS = error(429, 20429, "Too Many Requests", {"Retry-After": "1"})


@dataclass
class Call:
    """One POST to Messages.json. `form` maps a name to its list of values; `problem` is what Twilio would object to."""

    account_sid: str
    form: dict
    at: float
    problem: str
    sid: str = None
    answered: bool = False

    def __getitem__(self, name):
        values = self.form[name]
        assert len(values) == 1, f"{name} given {len(values)} times"
        return values[0]


@dataclass
class Account:
    """`script` is consumed one step a call; after its end every message is accepted."""

    sid: str
    auth_token: str
    script: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    delay_seconds: float = 0

    def calls_with(self, text):
        return [one for one in list(self.calls) if one.form.get("Body") == [text]]

    def wait_for_call(self, text, seconds=10):
        return wait_until(lambda: self.calls_with(text), seconds, f"a Twilio call with {text!r}")[-1]


class FakeTwilio(LoopbackServer):
    def __init__(self, port=0):
        self._accounts = {}
        self._media = {}
        self.foreign_requests = []
        super().__init__(port)

    def account(self):
        account = Account("AC" + uuid.uuid4().hex, uuid.uuid4().hex)
        self._accounts[account.sid] = account
        return account

    def adopt(self, account):
        """Makes an account known that was made before this server existed."""
        self._accounts[account.sid] = account

    def add_media(self, account, content, media_type):
        """The address of an inbound attachment, guarded by the account's credentials like Twilio's own."""
        path = f"/2010-04-01/Accounts/{account.sid}/Messages/MM{uuid.uuid4().hex}/Media/ME{uuid.uuid4().hex}"
        self._media[path] = (content, media_type)
        return self.base_url + path

    def handle(self, handler, body):
        url = urlsplit(handler.path)
        parts = url.path.strip("/").split("/")
        account = self._accounts.get(parts[2]) if len(parts) > 2 else None
        if account is not None and url.path in self._media and handler.command == "GET":
            if not self._is_authentic(handler, account):
                return self._error(handler, 401, 20003, "Authenticate")
            content, media_type = self._media[url.path]
            return self.answer(handler, 200, content, media_type)
        is_messages = len(parts) == 4 and parts[:2] == ["2010-04-01", "Accounts"] and parts[3] == "Messages.json"
        if account is None or not is_messages:
            self.foreign_requests.append((handler.command, handler.path))
            return self._error(handler, 404, 20404, "not found")
        if handler.command == "GET":
            return self._list(handler, account, parse_qs(url.query))
        call_made = Call(
            account.sid,
            parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True),
            time.monotonic(),
            self._problem(handler, account),
        )
        with self.lock:
            account.calls.append(call_made)
            step = account.script.pop(0) if account.script else "accept"
        self._perform(handler, account, call_made, step)

    def _perform(self, handler, account, call_made, step):
        if call_made.problem:
            return self._error(handler, 401 if "Basic" in call_made.problem else 400, 20003, call_made.problem)
        if step == HANG:
            return self.hang(handler)
        if step == DROP:
            return self.drop(handler)
        if step == BARE_500:
            return self.answer(handler, 500, b"Internal Server Error", "text/plain")
        if step[0] == "error":
            return self._error(handler, *step[1:])
        message = self._accept(account, call_made)
        self.stopping.wait(step[1] if step[0] == "slow" else account.delay_seconds)
        call_made.answered = True
        self.answer(handler, 201, json.dumps(message).encode())

    def _is_authentic(self, handler, account):
        expected = base64.b64encode(f"{account.sid}:{account.auth_token}".encode()).decode()
        return handler.headers.get("Authorization") == f"Basic {expected}"

    def _problem(self, handler, account):
        if not self._is_authentic(handler, account):
            return f"Basic authentication is wrong: {handler.headers.get('Authorization')}"
        media_type = handler.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/x-www-form-urlencoded":
            return f"not form-encoded: {media_type}"
        return ""

    def _accept(self, account, call_made):
        form = {name: values[0] for name, values in call_made.form.items()}
        is_mms = "MediaUrl" in form
        call_made.sid = ("MM" if is_mms else "SM") + uuid.uuid4().hex
        by_service = "MessagingServiceSid" in form
        now = formatdate(usegmt=False)
        uri = f"/2010-04-01/Accounts/{account.sid}/Messages/{call_made.sid}"
        return {
            "sid": call_made.sid,
            "account_sid": account.sid,
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "from": form.get("From"),
            "to": form.get("To"),
            "body": form.get("Body", ""),
            "status": "accepted" if by_service else "queued",
            "direction": "outbound-api",
            "num_segments": "0" if by_service else "1",
            "num_media": str(len(call_made.form.get("MediaUrl", []))),
            "price": None,
            "price_unit": "USD",
            "error_code": None,
            "error_message": None,
            "api_version": "2010-04-01",
            "date_created": now,
            "date_updated": now,
            "date_sent": None,
            "uri": uri + ".json",
            "subresource_uris": {"media": uri + "/Media.json"},
        }

    def _list(self, handler, account, query):
        """Looking messages up is how an unknown outcome may be reconciled; only accepted ones are found."""
        wanted = query.get("To", [None])[0]
        found = [
            {"sid": one.sid, "to": one["To"], "body": one.form.get("Body", [""])[0], "status": "sent",
             "direction": "outbound-api", "date_created": formatdate(usegmt=False)}
            for one in list(account.calls)
            if one.sid and wanted in (None, one["To"])
        ]
        self.answer(handler, 200, json.dumps({"messages": found, "next_page_uri": None}).encode())

    def _error(self, handler, status, code, message, headers=None):
        body = {"code": code, "message": message, "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status}
        self.answer(handler, status, json.dumps(body).encode(), headers=headers)


class FormValues(dict):
    """A form with repeated names, in the shape twilio's validator knows from web frameworks."""

    def __init__(self, pairs):
        super().__init__()
        for name, value in pairs:
            self.setdefault(name, []).append(value)

    def getall(self, name):
        return self[name]


def signature(auth_token, url, pairs, algorithm=None):
    return RequestValidator(auth_token).compute_signature(url, FormValues(pairs), algorithm)


def post_signed(local_url, signed_url, auth_token, pairs, signature_header=None, timeout=40):
    """Posts a form as Twilio does. `signed_url` is the public one, `local_url` where the gateway listens."""
    pairs = list(pairs.items()) if isinstance(pairs, dict) else list(pairs)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
        "User-Agent": "TwilioProxy/1.1",
        "I-Twilio-Idempotency-Token": str(uuid.uuid4()),
    }
    value = signature(auth_token, signed_url, pairs) if signature_header is None else signature_header
    if value:
        headers["X-Twilio-Signature"] = value
    return call("POST", local_url, headers=headers, data=urlencode(pairs).encode(), timeout=timeout)


def inbound_pairs(account_sid, from_, to, text, sid=None, **extra):
    """The form of an inbound SMS, blank geographic fields included. `None` leaves a parameter out."""
    sid = sid or "SM" + uuid.uuid4().hex
    form = {
        "ToCountry": "US", "ToState": "CA", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "", "FromZip": "",
        "SmsSid": sid, "FromState": "", "SmsStatus": "received", "FromCity": "", "Body": text, "FromCountry": "US",
        "To": to, "ToZip": "", "NumSegments": "1", "MessageSid": sid, "AccountSid": account_sid, "From": from_,
        "ApiVersion": "2010-04-01",
    }
    form.update(extra)
    return [(name, value) for name, value in form.items() if value is not None]


def status_pairs(call_made, status, sid=None, **extra):
    """The form of a status callback for a call that was made."""
    sid = sid or call_made.sid or "SM" + uuid.uuid4().hex
    form = {
        "MessageSid": sid, "SmsSid": sid, "AccountSid": call_made.account_sid, "ApiVersion": "2010-04-01",
        "From": call_made.form.get("From", [""])[0], "To": call_made["To"],
        "MessageStatus": status, "SmsStatus": status,
    }
    form.update(extra)
    return list(form.items())
