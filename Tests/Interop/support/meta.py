"""Meta's side of Messenger, Instagram and WhatsApp: a client's account, and signed requests to the gateway."""

import hmac
import itertools
import json

from support.http import call
from support.wait import wait_until

SECRET = "app_secret_for_tests"
VERIFY_TOKEN = "verify-token-for-tests"
PATH = "/channels/meta"
# Nothing here may reach the real Meta; port 9 answers nobody.
SETTINGS = {
    "WAYBILL_META_APP_SECRETS": SECRET,
    "WAYBILL_META_VERIFY_TOKEN": VERIFY_TOKEN,
    "WAYBILL_PROVIDERS_GRAPH_BASE_URL": "http://127.0.0.1:9",
    "WAYBILL_PROVIDERS_INSTAGRAM_BASE_URL": "http://127.0.0.1:9",
}
OBJECTS = {"facebook": "page", "instagram": "instagram", "whatsapp": "whatsapp_business_account"}
# Longer than a double can tell apart, as Meta's are.
_accounts = itertools.count(17841400000000001)


# JSON as it may stand on the wire


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def spaced(value):
    return json.dumps(value, ensure_ascii=False, indent=3, separators=(" ,", " : ")).encode()


def escaped(value):
    """As Meta writes it: ASCII only, and slashes behind a backslash."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


# Requests


def signature(body, secret=SECRET, algorithm="sha256"):
    return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"


def other_digit(signed, index):
    """The same signature but for one hexadecimal digit."""
    name, digits = signed.split("=")
    changed = f"{(int(digits[index], 16) + 1) % 16:x}"
    return f"{name}={digits[:index]}{changed}{digits[index + 1:]}"


def post(gateway, body, signed=None, headers=None, **kwargs):
    """Posts bytes as Meta does; `signed` replaces the right signature, and an empty one leaves the header out."""
    headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua"} | (headers or {})
    value = signature(body) if signed is None else signed
    if value:
        headers["X-Hub-Signature-256"] = value
    return call("POST", gateway.base_url + PATH, headers=headers, data=body, **kwargs)


class Account:
    """A page, an Instagram account or a WhatsApp number of one client."""

    def __init__(self, tenant, platform, number=None):
        self.tenant = tenant
        self.gateway = tenant.gateway
        self.platform = platform
        self.id = str(number or next(_accounts))
        self.waba = "9" + self.id

    @property
    def _path(self):
        return f"/clients/{self.tenant.id}/channels/{self.platform}"

    def connect(self):
        fields = {
            "facebook": {"page_id": self.id},
            "instagram": {"ig_account_id": self.id, "login": "facebook"},
            "whatsapp": {"waba_id": self.waba, "phone_number_id": self.id},
        }[self.platform]
        return self.gateway.admin("PUT", self._path, fields | {"access_token": f"token-{self.id}"})

    def disconnect(self):
        return self.gateway.admin("DELETE", self._path)

    # Bodies

    def entry(self, *items):
        """Items of this account: of `messaging`, or messages of one `value`."""
        if self.platform != "whatsapp":
            return {"id": self.id, "time": 1790000000500, "messaging": list(items)}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": self.id},
            "messages": list(items),
        }
        return {"id": self.waba, "changes": [{"field": "messages", "value": value}]}

    def body(self, *items):
        return envelope(self.platform, self.entry(*items))

    def text(self, mid, text, sender="19995550000", **more):
        """A customer's message, as an item."""
        if self.platform == "whatsapp":
            return {"from": sender, "id": mid, "timestamp": "1790000000", "type": "text", "text": {"body": text}} | more
        return self._item(sender, message={"mid": mid, "text": text} | more)

    def reaction(self, mid, emoji, sender="19995550000"):
        if self.platform == "whatsapp":
            part = {"message_id": mid, "emoji": emoji}
            return {"from": sender, "id": f"{mid}.reaction", "timestamp": "1790000001", "type": "reaction",
                    "reaction": part}
        return self._item(sender, reaction={"mid": mid, "action": "react", "reaction": "other", "emoji": emoji})

    def edit(self, mid, text, number, sender="19995550000"):
        """Of Messenger and Instagram."""
        return self._item(sender, message_edit={"mid": mid, "text": text, "num_edit": number})

    def unsend(self, mid, sender="19995550000"):
        """Of Instagram."""
        return self._item(sender, message={"mid": mid, "is_deleted": True})

    def _item(self, sender, **event):
        return {"sender": {"id": sender}, "recipient": {"id": self.id}, "timestamp": 1790000000001} | event

    # Requests

    def post(self, *items, **kwargs):
        return post(self.gateway, compact(self.body(*items)), **kwargs)

    def post_text(self, mid, text, **more):
        answer = self.post(self.text(mid, text, **more))
        assert answer.status_code == 200, answer.text
        return answer

    def wait_for_events(self, count, seconds=10):
        return wait_until(
            lambda: events if len(events := self.tenant.events()) >= count else None, seconds, f"{count} events")

    def wait_for_texts(self, count, seconds=10):
        """The texts of the messages that the client was told of, in order."""
        self.wait_for_events(count, seconds)
        return self.texts()

    def texts(self):
        return [one["data"]["message"].get("text") for one in self.tenant.events()]


def envelope(platform, *entries):
    return {"object": OBJECTS[platform], "entry": list(entries)}
