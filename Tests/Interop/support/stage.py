"""A client with one connected channel, to which payloads of the corpus are delivered, and what it is told of them."""

import base64
import json
import uuid
from urllib.parse import parse_qsl, quote, urlencode

from support import meta
from support.fake_twilio import inbound_pairs
from support.fake_twilio import signature as twilio_signature
from support.http import call
from support.tenant import Tenant
from support.wait import wait_until

PLATFORMS = {"messenger": "facebook", "instagram": "instagram", "whatsapp": "whatsapp", "twilio": "sms"}


class Stage:
    """After each payload comes a message of another customer: whatever the payload led to precedes it."""

    def __init__(self, tenant, places):
        self.tenant = tenant
        self._places = places
        self._seen = {}
        self._markers = set()

    def filled(self, value):
        """The value with {account} and the like replaced."""
        text = json.dumps(value)
        for name, replacement in self._places.items():
            text = text.replace("{%s}" % name, replacement)
        return json.loads(text)

    def deliver(self, body):
        answer = self.post(body)
        assert answer.status_code == 200, f"{answer.status_code}: {answer.text[:300]}"
        self.look()

    def look(self):
        """Waits for a marker, and keeps every event as it was when it was new."""
        marker = f"marker-{uuid.uuid4().hex}"
        answer = self.post_marker(marker)
        assert answer.status_code == 200, f"the marker: {answer.status_code}: {answer.text[:300]}"

        def arrived():
            for event in self._page(after=max(self._seen, default=0)):
                self._seen[event["sequence"]] = event
                if event.get("data", {}).get("message", {}).get("platform_message_id") == marker:
                    return event["sequence"]

        self._markers.add(wait_until(arrived, 20, "the marker"))

    def _page(self, after=0):
        """No case comes to a second page."""
        return self.tenant.read(f"/v1/events?after={after}&limit=200")["data"]

    def events(self):
        """What the client was told, without the markers: as it was first seen, with `purged` as it is now."""
        now = self._page()
        assert [event["sequence"] for event in now] == list(range(1, len(now) + 1))
        return [self._event(event) for event in now if event["sequence"] not in self._markers]

    def _event(self, now):
        seen = self._seen[now["sequence"]]
        assert (now["id"], now["type"]) == (seen["id"], seen["type"])
        if now.get("purged", False):
            assert "data" not in now, "a purged event still has its content"
        else:
            assert now == seen, "an event changed"
        return {name: seen[name] for name in ("type", "data") if name in seen} | {"purged": now.get("purged", False)}


class MetaStage(Stage):
    def __init__(self, gateway, platform):
        tenant = Tenant(gateway, None)
        self.account = meta.Account(tenant, platform)
        answer = self.account.connect()
        assert answer.status_code == 200, answer.text
        super().__init__(tenant, {"account": self.account.id, "waba": self.account.waba})

    def post(self, body):
        return meta.post(self.tenant.gateway, body)

    def post_wrong(self, body, index):
        """With one digit of the signature changed."""
        return meta.post(self.tenant.gateway, body, meta.other_digit(meta.signature(body), index % 64))

    def post_marker(self, marker):
        return self.account.post(self.account.text(marker, "marker"))

    plain = staticmethod(meta.compact)
    otherwise = staticmethod(meta.spaced)
    escaped = staticmethod(meta.escaped)

    @staticmethod
    def with_unknown(payload):
        """Members of a later version in every object, before and after those that we know."""
        if isinstance(payload, list):
            return [MetaStage.with_unknown(one) for one in payload]
        if not isinstance(payload, dict):
            return payload
        known = {name: MetaStage.with_unknown(value) for name, value in payload.items()}
        later = {"x_id": "decoy", "x_list": [1.5e300, None, {"id": "decoy", "mid": "decoy"}]}
        return {"x_text": "from a later version"} | known | {"x_later": later, "x_null": None}


class TwilioStage(Stage):
    def __init__(self, gateway, twilio):
        tenant = Tenant(gateway, twilio.account())
        answer = tenant.connect_sms()
        assert answer.status_code == 200, answer.text
        places = {"account": tenant.phone, "sid": tenant.account.sid, "twilio": twilio.base_url}
        super().__init__(tenant, places)
        self._url = gateway.public_url + tenant.inbound_path

    def post(self, body, signed=None):
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
        right = twilio_signature(self.tenant.account.auth_token, self._url, pairs)
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
                   "X-Twilio-Signature": signed(right) if signed else right}
        return call("POST", self.tenant.gateway.local(self._url), headers=headers, data=body)

    def post_wrong(self, body, index):
        def changed(right):
            raw = bytearray(base64.b64decode(right))
            raw[index % len(raw)] ^= 1
            return base64.b64encode(raw).decode()

        return self.post(body, changed)

    def post_marker(self, marker):
        account = self.tenant.account
        return self.tenant.post_inbound(inbound_pairs(account.sid, "+19995550000", self.tenant.phone, "marker", marker))

    @staticmethod
    def plain(payload):
        return urlencode(payload, doseq=True).encode()

    @staticmethod
    def otherwise(payload):
        """Other order, and spaces written in the other way."""
        return urlencode(list(reversed(payload.items())), doseq=True, quote_via=quote).encode()

    @staticmethod
    def escaped(payload):
        """Every byte of every value escaped."""
        pairs = parse_qsl(TwilioStage.plain(payload).decode(), keep_blank_values=True)
        return "&".join(f"{quote(name)}={_percent(value)}" for name, value in pairs).encode()

    @staticmethod
    def with_unknown(payload):
        return {"AnEarlyOne": "of a later version"} | payload | {"XLater": ["two", "one"], "XEmpty": "", "x[y]": "z"}


def _percent(value):
    return "".join(f"%{byte:02X}" for byte in value.encode())


def make_stage(channel, gateway, twilio):
    return TwilioStage(gateway, twilio) if channel == "twilio" else MetaStage(gateway, PLATFORMS[channel])
