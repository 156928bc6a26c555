"""One client of the gateway with its key, its SMS number and what it does in most tests."""

import itertools
import uuid

from support.fake_twilio import inbound_pairs, post_signed, status_pairs
from support.http import call
from support.wait import wait_until

# Statuses after which nothing more happens without the provider saying so.
SETTLED = {"outcome_unknown", "sent", "failed", "delivered", "read", "canceled"}
_numbers = itertools.count(1)


def customer_number():
    """A number no other test uses: opt-outs and conversations stay apart."""
    return f"+1650555{next(_numbers):04d}"


class Tenant:
    def __init__(self, gateway, account, **settings):
        self.gateway = gateway
        self.account = account
        self.phone = f"+1415555{next(_numbers):04d}"
        body = {
            "name": "Interop", "plan": "professional", "addon": {"status": "active"},
            "sms_monthly_quota": 1000, "time_zone": "UTC",
        } | settings
        created = gateway.admin("POST", "/clients", body)
        assert created.status_code == 201, created.text
        self.creation = created.json()
        self.id = self.creation["client_id"]
        self.key = self.creation["api_key"]
        self.secret = self.creation["webhook_secret"]

    @classmethod
    def known(cls, gateway, client_id, key):
        """A client that is there already."""
        tenant = cls.__new__(cls)
        tenant.gateway, tenant.id, tenant.key = gateway, client_id, key
        return tenant

    # Setting up

    def connect_sms(self, **replaced):
        body = {"account_sid": self.account.sid, "auth_token": self.account.auth_token, "from_phone": self.phone}
        body = {name: value for name, value in (body | replaced).items() if value is not None}
        return self.gateway.admin("PUT", f"/clients/{self.id}/channels/sms", body)

    def subscribe(self, endpoint, **settings):
        """Webhooks to `endpoint`, with short retries so that a failing test ends soon."""
        body = {"url": endpoint.url, "enabled": True, "retry_schedule": [1, 1]} | settings
        answer = self.put("/v1/webhook", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # Client API

    def call(self, method, path, **kwargs):
        return call(method, self.gateway.base_url + path, kwargs.pop("token", self.key), **kwargs)

    def get(self, path, **kwargs):
        return self.call("GET", path, **kwargs)

    def put(self, path, body):
        return self.call("PUT", path, json=body)

    def post(self, path, body=None, **kwargs):
        return self.call("POST", path, json={} if body is None else body, **kwargs)

    def delete(self, path):
        return self.call("DELETE", path)

    def read(self, path):
        answer = self.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def all(self, path):
        """Every entry of a list, page by page."""
        entries, cursor = [], None
        for _ in range(100):
            joined = f"{path}{'&' if '?' in path else '?'}limit=200"
            page = self.read(joined if cursor is None else f"{joined}&cursor={cursor}")
            entries += page["data"]
            cursor = page["next_cursor"]
            if not cursor:
                return entries
        raise AssertionError(f"{path} does not end")

    def send(self, text, to, key=None, prefer=None, **fields):
        headers = {}
        if key is not None:
            headers["Idempotency-Key"] = key
        if prefer is not None:
            headers["Prefer"] = prefer
        return self.post("/v1/send", {"to_phone": to, "text": text} | fields, headers=headers)

    def accepted(self, text, to, **kwargs):
        """Sends, and asserts the 202."""
        answer = self.send(text, to, **kwargs)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def message(self, message_id):
        return self.read(f"/v1/messages/{message_id}")

    def wait_for_status(self, message_id, *statuses, seconds=10):
        def reached():
            message = self.message(message_id)
            return message if message["status"] in statuses else None

        return wait_until(reached, seconds, f"{message_id} to be {' or '.join(statuses)}")

    def events(self, after=0):
        """Everything by pull. Assumed: `after` is exclusive, and a page says by its fullness whether more follows."""
        events = []
        for _ in range(1000):
            page = self.read(f"/v1/events?after={after}&limit=200")["data"]
            if not page:
                return events
            events += page
            after = page[-1]["sequence"]
        raise AssertionError("events do not end")

    def deliveries_of(self, event_id):
        return [one for one in self.all("/v1/deliveries") if one["event_id"] == event_id]

    def wait_for_delivery(self, event_id, state, seconds=10):
        def reached():
            for one in self.deliveries_of(event_id):
                if one["state"] == state:
                    return self.read(f"/v1/deliveries/{one['id']}")

        return wait_until(reached, seconds, f"a delivery of {event_id} to be {state}")

    def wait_for_dead_letters(self, count, seconds=15):
        def reached():
            letters = self.all("/v1/dead-letters")
            return letters if len(letters) >= count else None

        return wait_until(reached, seconds, f"{count} dead letters")

    # Twilio's requests

    @property
    def inbound_path(self):
        return f"/channels/twilio/{self.id}/sms"

    def inbound(self, text, from_, sid=None, **extra):
        """Posts a customer's SMS, signed; the answer."""
        return self.post_inbound(inbound_pairs(self.account.sid, from_, self.phone, text, sid, **extra))

    def post_inbound(self, pairs, **kwargs):
        url = self.gateway.public_url + self.inbound_path
        return post_signed(self.gateway.base_url + self.inbound_path, url, self.account.auth_token, pairs, **kwargs)

    def report_status(self, call_made, status, sid=None, **extra):
        """Twilio's status callback for a call that was made, to the URL that call carried."""
        url = call_made["StatusCallback"]
        pairs = status_pairs(call_made, status, sid, **extra)
        return post_signed(self.gateway.local(url), url, self.account.auth_token, pairs)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex}"
