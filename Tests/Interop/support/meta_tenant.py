"""A client that is connected to Meta, and its conversation with one customer."""

from dataclasses import dataclass

from support.graph import Account, Customer, new_customer, post_webhook
from support.tenant import Tenant, unique
from support.wait import wait_until

APP_SECRET = "app-secret-of-the-tests"
SIGNS = ("reaction", "typing")


class MetaTenant(Tenant):
    def __init__(self, gateway, **settings):
        super().__init__(gateway, None, **settings)

    def connect(self, account):
        """Connects, or enters a new token."""
        answer = self.gateway.admin("PUT", f"/clients/{self.id}/channels/{account.platform}", account.credentials)
        assert answer.status_code == 200, answer.text

    def hook(self, account, *items):
        """Meta's webhook with these items."""
        answer = post_webhook(self.gateway.base_url, APP_SECRET, account.envelope(*items))
        assert answer.status_code == 200, answer.text

    def inbound_of(self, mid):
        """The event of a customer's message."""
        def found():
            for event in self.events():
                if event.get("data", {}).get("message", {}).get("platform_message_id") == mid:
                    return event["data"]

        return wait_until(found, 5, f"the event of {mid}")

    def line(self, account, customer=None):
        """A conversation that the customer has opened."""
        return self.lines(account, [customer or new_customer(account.platform)])[0]

    def lines(self, account, customers):
        mids = [account.new_message_id() for _ in customers]
        self.hook(account, *(account.message(one, "Hi", mid) for one, mid in zip(customers, mids)))
        return [
            Line(self, account, one, data["conversation"]["id"], data["message"]["id"], mid)
            for one, mid in zip(customers, mids) for data in [self.inbound_of(mid)]
        ]

    def statuses_told(self, message_id):
        """The messages of all status events about one, first to last."""
        told = [event["data"]["message"] for event in self.events() if event["type"] == "message.status"]
        return [message for message in told if message["id"] == message_id]


@dataclass
class Line:
    """`inbound` is our id of the customer's first message, `inbound_mid` Meta's."""

    tenant: MetaTenant
    account: Account
    customer: Customer
    conversation: str
    inbound: str
    inbound_mid: str

    def send(self, key=None, prefer=None, **content):
        headers = {name: value for name, value in (("Idempotency-Key", key), ("Prefer", prefer)) if value is not None}
        return self.tenant.post("/v1/send", {"conversation_id": self.conversation} | content, headers=headers)

    def accepted(self, **content):
        """Sends, and asserts the 202; our id of the message."""
        answer = self.send(**content)
        assert answer.status_code == 202, answer.text
        assert answer.json()["platform"] == self.account.platform
        return answer.json()["message_id"]

    def sent(self, **content):
        """A message that Graph has accepted: our id, and the one call."""
        before = len(self.account.calls)
        message_id = self.accepted(**content or {"text": unique("text")})
        message = self.wait_for(message_id, "sent", "failed")
        calls = self.account.calls[before:]
        assert [one.problem for one in calls] == [""], (message, calls)
        assert message["status"] == "sent", message
        assert calls[0].our_id == message_id or set(content) & set(SIGNS), calls[0].body
        return message_id, calls[0]

    def wait_for(self, message_id, *statuses, seconds=10):
        return self.tenant.wait_for_status(message_id, *statuses, seconds=seconds)

    def status(self, message_id):
        return self.tenant.message(message_id)["status"]

    def history(self, message_id):
        return [step["status"] for step in self.tenant.message(message_id)["status_history"]]

    def hook(self, *items):
        self.tenant.hook(self.account, *items)

    def write(self, text="Hi again"):
        """Another message of the customer: our id and Meta's."""
        mid = self.account.new_message_id()
        self.hook(self.account.message(self.customer, text, mid))
        return self.tenant.inbound_of(mid)["message"]["id"], mid

    def messages(self):
        """The conversation, oldest first."""
        return self.tenant.all(f"/v1/conversations/{self.conversation}/messages")[::-1]

    def outbound(self):
        return [message for message in self.messages() if message["direction"] == "outbound"]

    # Reports by whichever means the platform has

    def report_delivered(self, made):
        if self.account.platform == "whatsapp":
            return self.hook(self.account.status(made.id, "delivered", self.customer, made.our_id))
        assert self.account.platform == "facebook", "Instagram has no delivery events"
        self.hook(self.account.delivery(self.customer, mids=[made.id]))

    def report_read(self, made):
        if self.account.platform == "whatsapp":
            return self.hook(self.account.status(made.id, "read", self.customer, made.our_id))
        self.hook(self.account.read(self.customer, mid=made.id if self.account.platform == "instagram" else None))
