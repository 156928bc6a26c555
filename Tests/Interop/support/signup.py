"""Meta's side of WhatsApp's Embedded Signup: codes that are good once, subscriptions, and numbers with their PINs.

Wire format: Meta's "Onboarding business customers as a Tech Provider or Tech Partner". A call that Meta would refuse is
refused here too. What is asked beyond that, as messages, is `support.graph`'s.
"""

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support.graph import BARE_500, DROP, HANG, VERSION, Account, FakeGraph, error, strict_object

APP_ID = "236484624622562"
STEPS = ("exchange", "subscribe", "register")
# How codes begin: with what a URL has to escape.
ESCAPED = "AQB/+=&"


@dataclass
class Asked:
    """One call: header names in lower case, and each field of the query as often as it came."""

    step: str
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes
    at: float
    failure: Exception = None

    @property
    def json(self):
        return json.loads(self.body, object_pairs_hook=strict_object)


@dataclass
class Signup:
    """A customer who has gone through Meta's dialog, and the number that came of it.

    `scripts` by step, one entry a call; after their end Meta does what it is asked. `pin` is the number's, once it has one.
    """

    account: Account
    code: str
    scripts: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    pin: str = None
    status: str = "PENDING"
    platform_type: str = "NOT_APPLICABLE"
    is_used: bool = False

    @property
    def waba(self):
        return "2" + self.account.id

    def form(self, **more):
        """What an operator enters."""
        return {"code": self.code, "waba_id": self.waba, "phone_number_id": self.account.id} | more

    def renew(self):
        """The customer goes through the dialog again."""
        self.code = new_code()
        self.is_used = False

    @property
    def steps(self):
        return [one.step for one in list(self.asked)]

    def asked_for(self, step):
        return [one for one in list(self.asked) if one.step == step]

    @property
    def secrets(self):
        """What must not be found anywhere, in a form that is the same in a URL."""
        return [self.code.removeprefix(ESCAPED), self.account.token]


def new_code():
    return ESCAPED + secrets.token_urlsafe(200)


class SignupGraph(FakeGraph):
    """graph.facebook.com, with one app's dialog."""

    def __init__(self, app_secret, port=0):
        self.app_secret = app_secret
        self._signups = []
        super().__init__(port)

    def signup(self, **settings):
        made = Signup(self.account("whatsapp"), new_code(), **settings)
        self._signups.append(made)
        return made

    def handle(self, handler, body):
        parts = urlsplit(handler.path)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        step, signup = self._place(handler.command, parts.path.strip("/").split("/"), query)
        if step is None:
            return super().handle(handler, body)
        if signup is None:
            return self._error(handler, 400, 100, None, "Invalid verification code format.")
        headers = {name.lower(): value for name, value in handler.headers.items()}
        made = Asked(step, handler.command, parts.path, query, headers, body, time.monotonic())
        with self.lock:
            signup.asked.append(made)
            script = signup.scripts.get(step)
            then = script.pop(0) if script else "accept"
        self._play(handler, signup, made, then)

    def _place(self, method, path, query):
        """Which step this is, and whose; no step for what is not of a signup."""
        if path[0] != VERSION:
            return None, None
        if (method, path[1:]) == ("GET", ["oauth", "access_token"]):
            return "exchange", self._whose(lambda one: [one.code] == query.get("code"))
        if method == "POST" and len(path) == 3 and path[2] == "subscribed_apps":
            return "subscribe", self._whose(lambda one: one.waba == path[1])
        if method == "POST" and len(path) == 3 and path[2] == "register":
            return "register", self._whose(lambda one: one.account.id == path[1])
        if method == "GET" and len(path) == 2:
            return "number", self._whose(lambda one: one.account.id == path[1])
        return None, None

    def _whose(self, wanted):
        return next((one for one in list(self._signups) if wanted(one)), None)

    def _play(self, handler, signup, made, then):
        if then[0] == "before":
            self._run(then[1], made)
            return self._play(handler, signup, made, then[2])
        if then[0] == "error":
            return self._error(handler, *then[1:])
        # However the answer ends, what was asked for may have been done.
        refusal = getattr(self, "_" + made.step)(signup, made)
        if then == HANG:
            return self.hang(handler)
        if then == DROP:
            return self.drop(handler)
        if then == BARE_500:
            return self.answer(handler, 500, b"Internal Server Error", "text/plain")
        if then[0] == "raw":
            return self.answer(handler, *then[1:])
        if isinstance(refusal, tuple):
            return self._error(handler, *refusal[1:])
        self.answer(handler, 200, json.dumps(refusal).encode())

    # What Meta does; an error, or the answer

    def _exchange(self, signup, made):
        wanted = {"client_id": [APP_ID], "client_secret": [self.app_secret], "code": [signup.code]}
        if made.query != wanted or made.body or "authorization" in made.headers:
            return error(400, 101, message="Error validating application.")
        if signup.is_used:
            return error(400, 100, 36009, "This authorization code has been used.")
        signup.is_used = True
        return {"access_token": signup.account.token, "token_type": "bearer"}

    def _subscribe(self, signup, made):
        if not self._is_signed(signup, made) or made.body or made.query:
            return error(400, 100, message="Invalid parameter")
        return {"success": True}

    def _register(self, signup, made):
        media_type = made.headers.get("content-type", "").partition(";")[0]
        if not self._is_signed(signup, made) or made.query or media_type != "application/json":
            return error(400, 100, message="Invalid parameter")
        body = made.json
        if set(body) != {"messaging_product", "pin"} or body["messaging_product"] != "whatsapp":
            return error(400, 100, message="Invalid parameter")
        if not isinstance(body["pin"], str) or not re.fullmatch("[0-9]{6}", body["pin"]):
            return error(400, 100, message="Invalid parameter")
        if signup.pin is not None and signup.pin != body["pin"]:
            return error(400, 133005, message="Two step verification PIN Mismatch")
        signup.pin, signup.status, signup.platform_type = body["pin"], "CONNECTED", "CLOUD_API"
        return {"success": True}

    def _number(self, signup, made):
        if not self._is_signed(signup, made):
            return error(400, 100, message="Invalid parameter")
        known = {"status": signup.status, "platform_type": signup.platform_type}
        wanted = made.query.get("fields", [""])[0].split(",")
        return {name: known[name] for name in wanted if name in known} | {"id": signup.account.id}

    def _is_signed(self, signup, made):
        return made.headers.get("authorization") == f"Bearer {signup.account.token}"
