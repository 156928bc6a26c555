"""Makes a golden data directory: a history with everything that the build at hand writes, and what was true of it then.

    cd Tests/Interop && PYTHONPATH=. WAYBILL_BIN=… python ../Golden/capture.py ../Golden/NAME

Beside NAME it writes NAME-restored, the same history restored from a backup whose end was lost, and NAME-salvaged, what was saved of
that after a record was damaged. `README.md` says what is in the folders. Nothing of it protects anybody: all keys, tokens and texts were made for it.
"""

import gzip
import hashlib
import json
import re
import sys
import tempfile
import time
import uuid
from pathlib import Path

from support import gateway as gateway_module
from support.fake_twilio import DROP, HANG, FakeTwilio, error, inbound_pairs, post_signed
from support.gateway import Gateway
from support.graph import FakeGraph, new_customer, phone_person, Customer
from support.meta_tenant import APP_SECRET, MetaTenant
from support.receiver import Receiver
from support.tenant import Tenant, customer_number
from support.wait import wait_until
from test_salvage import flip, place_of

SETTINGS = {
    "WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20),
    # A key that was told to be good for seven days would be of no use to a later test.
    "WAYBILL_IDEMPOTENCY_RETENTION": "36500d",
    "WAYBILL_META_APP_SECRETS": APP_SECRET,
    "WAYBILL_META_VERIFY_TOKEN": "golden",
    "WAYBILL_MEDIA_ALLOW_CIDRS": "127.0.0.0/8",
    "WAYBILL_LOG_ORIGIN": "golden.waybill.example",
}
# As providers write them, by what they are: two forms of one mobile number each, and a landline.
WHATSAPP_NUMBERS = {
    "brazil mobile without 9": "551187654321", "brazil mobile with 9": "5521976543210", "brazil landline": "551133221705",
    "mexico with 1": "5215512345678", "argentina with 9": "5491123456789",
}


class Story:
    def __init__(self, directory):
        self.twilio, self.graph, self.receiver = FakeTwilio(), FakeGraph(), Receiver()
        self.gateway = Gateway(directory, self.twilio, **SETTINGS | {
            "WAYBILL_PROVIDERS_GRAPH_BASE_URL": self.graph.base_url,
            "WAYBILL_PROVIDERS_INSTAGRAM_BASE_URL": self.graph.base_url})
        self.gateway.start()
        self.facts = {"clients": {}, "sends": [], "opted_out": [], "opted_in": [], "erased": [], "purged": [], "media": [],
                      "dead_letters": [], "reads": {}, "whatsapp_numbers": WHATSAPP_NUMBERS}
        self.facts["operator_token"] = self.gateway.operator
        self.facts["auditor_token"] = self.gateway.create_token("auditor")["token"]

    def close(self):
        self.gateway.kill()
        for server in (self.twilio, self.graph, self.receiver):
            server.close()

    # Clients

    def client(self, name, **settings):
        tenant = MetaTenant(self.gateway, name=name, **settings)
        tenant.account = self.twilio.account()
        assert tenant.connect_sms().status_code == 200
        endpoint = self.receiver.endpoint()
        tenant.subscribe(endpoint, events=["*"], retry_schedule=[1])
        self.facts["clients"][name] = {"id": tenant.id, "key": tenant.key, "phone": tenant.phone,
                                       "account_sid": tenant.account.sid, "auth_token": tenant.account.auth_token}
        return tenant, endpoint

    def newest(self, tenant):
        conversation = tenant.all("/v1/conversations")[0]["id"]
        return conversation, tenant.all(f"/v1/conversations/{conversation}/messages")[0]["id"]

    def sent(self, tenant, text, to, status="sent", **fields):
        key = f"golden-{uuid.uuid4().hex}"
        answer = tenant.accepted(text, to, key=key, **fields)
        tenant.wait_for_status(answer["message_id"], status)
        self.facts["sends"].append({"client": tenant.id, "key": key, "request": {"to_phone": to, "text": text} | fields,
                                    "answer": answer})
        return answer["message_id"]

    # Chapters

    def sms(self):
        tenant, endpoint = self.client("over SMS")
        self.first, self.endpoint = tenant, endpoint
        customer = customer_number()
        assert tenant.inbound("Hello, é ☕", customer).status_code == 200
        message = self.sent(tenant, "Good morning", customer, metadata={"order": "4711"})
        call = tenant.account.wait_for_call("Good morning")
        assert tenant.report_status(call, "delivered").status_code in (200, 204)
        tenant.wait_for_status(message, "delivered")
        self.files(tenant)
        self.consent(tenant)
        self.ends_of_sends(tenant)
        self.purges(tenant)

    def files(self, tenant):
        content = bytes(range(256)) * 80
        for url, kind in ((self.twilio.add_media(tenant.account, content, "image/png"), "image/png"),
                          ("ftp://files.example.test/gone", "image/png")):
            extra = {"NumMedia": "1", "MediaUrl0": url, "MediaContentType0": kind}
            assert tenant.inbound("A picture", customer_number(), **extra).status_code == 200
            _, message = self.newest(tenant)
            item = wait_until(lambda: next((one for one in tenant.message(message)["media"] if one["status"] != "pending"),
                                           None), 20, "the file")
            if item["status"] == "fetched":
                self.facts["media"].append({"client": tenant.id, "url": item["url"],
                                            "sha256": hashlib.sha256(content).hexdigest()})

    def consent(self, tenant):
        stays, returns = customer_number(), customer_number()
        for text, who in (("Hi", stays), ("STOP", stays), ("Hi", returns), ("STOP", returns), ("START", returns)):
            assert tenant.inbound(text, who).status_code == 200
        assert tenant.send("refused", stays).status_code == 410
        self.facts["opted_out"].append({"client": tenant.id, "to_phone": stays})
        self.facts["opted_in"].append({"client": tenant.id, "to_phone": returns})

    def ends_of_sends(self, tenant):
        tenant.account.script = [error(400, 21211)]
        self.sent(tenant, "to nobody", customer_number(), "failed")
        tenant.account.script = [DROP]
        self.sent(tenant, "who knows", customer_number(), "outcome_unknown")
        tenant.account.script = [error(429, 20429, headers={"Retry-After": "1"})]
        self.sent(tenant, "a little later", customer_number())
        customer = customer_number()
        tenant.account.script = [HANG]
        first = tenant.accepted("hangs", customer)["message_id"]
        tenant.wait_for_status(first, "sending")
        canceled = tenant.accepted("is canceled", customer)["message_id"]
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        expired = tenant.accepted("expires", customer, expires_at=soon)["message_id"]
        assert tenant.post(f"/v1/messages/{canceled}/cancel").status_code == 200
        time.sleep(2)
        # What hung is unknown after a crash, and what waited behind it is settled by the next process.
        self.gateway.kill()
        self.gateway.start()
        tenant.wait_for_status(first, "outcome_unknown")
        tenant.wait_for_status(expired, "failed")
        tenant.account.script = [error(401, 20003)]
        waits = tenant.accepted("waits for a new token", customer_number())["message_id"]
        wait_until(lambda: "channel.paused" in {line["type"] for line in self.gateway.replay("--type", "channel.paused")}, 10,
                   "the pause")
        assert tenant.connect_sms().status_code == 200
        tenant.wait_for_status(waits, "sent")

    def purges(self, tenant):
        customer = customer_number()
        assert tenant.inbound("To be purged", customer).status_code == 200
        _, message = self.newest(tenant)
        assert tenant.post(f"/v1/messages/{message}/purge").json()["purged"] is True
        self.facts["purged"].append({"client": tenant.id, "message": message})
        customer = customer_number()
        assert tenant.inbound("To be erased", customer).status_code == 200
        conversation, _ = self.newest(tenant)
        self.sent(tenant, "Erased, too", customer)
        assert tenant.post(f"/v1/conversations/{conversation}/erase").status_code in (200, 202)
        wait_until(lambda: tenant.read(f"/v1/conversations/{conversation}")["status"] == "erased", 10, "the erasure")
        self.facts["sends"].pop()
        self.facts["erased"].append({"client": tenant.id, "conversation": conversation})

    def meta(self):
        tenant, _ = self.client("over Meta")
        later = []
        for platform in ("facebook", "instagram", "whatsapp"):
            account = self.graph.account(platform)
            tenant.connect(account)
            line = tenant.line(account)
            message, made = line.sent()
            if platform != "instagram":
                line.report_delivered(made)
            line.report_read(made)
            tenant.wait_for_status(message, "read")
            line.hook(account.reaction(line.customer, line.inbound_mid))
            line.hook(account.echo(line.customer, "from the app", account.new_message_id()))
            line.hook(self.unknown(account, line))
            # Last, for what is purged has no content any more that a line could be found by.
            later.append((account, line))
        for account, line in later:
            self.later(account, line)
        self.people(tenant, account)

    def unknown(self, account, line):
        if account.platform == "whatsapp":
            return account.message(line.customer, "", type="ephemeral_of_tomorrow", tomorrow={"a": 1})
        return account._item(line.customer, tomorrow={"a": 1})

    def later(self, account, line):
        """Edits and withdrawals, and one that comes before its message and stays parked."""
        customer, known, lost = line.customer, account.new_message_id(), account.new_message_id()
        line.hook(account.message(customer, "Befour", known))
        for mid in (known, lost):
            if account.platform == "whatsapp":
                edit = {"original_message_id": mid, "message": {"type": "text", "text": {"body": "Before"}}}
                line.hook(account.message(customer, "", account.new_message_id(), type="edit", edit=edit))
            else:
                line.hook(account._item(customer, message_edit={"mid": mid, "text": "Before", "num_edit": 1}))
        gone = account.new_message_id()
        line.hook(account.message(customer, "Taken back", gone))
        if account.platform == "whatsapp":
            revoke = {"original_message_id": gone}
            line.hook(account.message(customer, "", account.new_message_id(), type="revoke", revoke=revoke))
        else:
            line.hook(account._item(customer, message={"mid": gone, "is_deleted": True}))

    def people(self, tenant, account):
        """Who is who, and how they came."""
        for name, number in WHATSAPP_NUMBERS.items():
            tenant.hook(account, account.message(Customer(wa_id=number), f"I am {name}", account.new_message_id()))
        both = Customer(wa_id=phone_person().wa_id, user_id="CO.13491208655302741918")
        tenant.hook(account, account.message(Customer(wa_id=both.wa_id), "By number", account.new_message_id()))
        tenant.hook(account, account.message(both, "By both", account.new_message_id()))
        tenant.hook(account, account.message(Customer(user_id=both.user_id), "By id", account.new_message_id()))
        referral = {"source_url": "https://example.test/ad", "source_type": "ad", "source_id": "120208", "headline": "An ad",
                    "body": "Buy", "media_type": "image", "image_url": "https://example.test/i.png", "ctwa_clid": "click"}
        tenant.hook(account, account.message(new_customer("whatsapp"), "From an ad", account.new_message_id(),
                                             referral=referral))
        stopped = Customer(wa_id="5511976543219")
        tenant.hook(account, account.message(stopped, "Hello", account.new_message_id()))
        tenant.hook(account, account.message(stopped, "STOP", account.new_message_id()))
        self.facts["whatsapp_stopped"] = stopped.wa_id

    def identities(self):
        """Two conversations that become one, and a number that changes."""
        tenant, _ = self.client("two that are one")
        account = self.graph.account("whatsapp")
        tenant.connect(account)
        number, scoped = phone_person(), Customer(user_id="CO.13491208655302740000")
        for customer in (number, scoped, Customer(wa_id=number.wa_id, user_id=scoped.user_id)):
            tenant.hook(account, account.message(customer, "It is me", account.new_message_id()))
        moved, new = phone_person(), phone_person()
        tenant.hook(account, account.message(moved, "I move", account.new_message_id()))
        item = account.message(moved, "", type="system", system={
            "body": "User Ana changed", "type": "user_changed_number", "wa_id": new.wa_id})
        del item["value"]["messages"][0]["text"], item["value"]["contacts"]
        tenant.hook(account, item)
        for number in ("5531976543219", "553176543219"):
            tenant.hook(account, account.message(Customer(wa_id=number), "One mobile, two forms", account.new_message_id()))
        customer = customer_number()
        assert tenant.inbound("To the one number", customer).status_code == 200
        tenant.phone = self.facts["clients"]["two that are one"]["phone"] = customer_number()
        assert tenant.connect_sms().status_code == 200
        assert tenant.inbound("To the other", customer).status_code == 200

    def held(self):
        """In Inbound Body Purge, an event that nobody takes is held, and goes out when the add-on is back."""
        tenant, endpoint = self.client("held for a while")
        assert tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}}).status_code == 200
        path = f"/clients/{tenant.id}"
        assert self.gateway.admin("PATCH", path, {"addon": {"status": "none"}}).status_code == 200
        assert tenant.inbound("Held", customer_number()).status_code == 200
        assert self.gateway.admin("PATCH", path, {"addon": {"status": "active"}}).status_code == 200
        wait_until(lambda: endpoint.requests, 10, "the held event")

    def deliveries(self):
        tenant, endpoint = self.client("failing endpoint")
        endpoint.script = [500] * 8
        for number in range(4):
            assert tenant.inbound(f"Not taken {number}", customer_number()).status_code == 200
        letters = [one["id"] for one in tenant.wait_for_dead_letters(4)]
        assert tenant.post(f"/v1/dead-letters/{letters[0]}/replay").status_code == 202
        assert tenant.delete(f"/v1/dead-letters/{letters[1]}").status_code in (200, 204)
        self.facts["dead_letters"] += [{"client": tenant.id, "id": one} for one in letters[2:]]
        endpoint.script = [410]
        assert tenant.inbound("Gone", customer_number()).status_code == 200
        wait_until(lambda: tenant.read("/v1/webhook")["state"] == "disabled", 10, "the endpoint to be disabled")
        tenant.subscribe(endpoint, events=["*"], retry_schedule=[1])
        assert tenant.post("/v1/webhook/test").status_code == 200
        assert tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}, "time_zone": "Europe/Berlin",
                                                          "ai": {"prompt": "Be kind"}}).status_code == 200
        assert tenant.inbound("Purged by itself", customer_number()).status_code == 200
        _, message = self.newest(tenant)
        wait_until(lambda: tenant.message(message)["purged"], 10, "the purge")
        self.facts["purged"].append({"client": tenant.id, "message": message})

    def accounts(self):
        tenant = self.first
        conversation = tenant.all("/v1/conversations?status=open")[0]["id"]
        change = {"ticket_ref": "T-1", "status": "closed"}
        assert tenant.call("PATCH", f"/v1/conversations/{conversation}", json=change).status_code == 200
        assert tenant.post("/v1/webhook/secret/rotate", {"overlap_seconds": 60}).status_code == 200
        tenant.key = self.facts["clients"]["over SMS"]["key"] = tenant.post(
            "/v1/api-key/rotate", {"overlap_seconds": 60}).json()["api_key"]
        gone, _ = self.client("deleted")
        assert gone.inbound("Deleted", customer_number()).status_code == 200
        assert self.gateway.admin("PATCH", f"/clients/{gone.id}", {"name": "renamed"}).status_code == 200
        assert self.gateway.admin("DELETE", f"/clients/{gone.id}/channels/sms").status_code in (200, 204)
        assert self.gateway.admin("DELETE", f"/clients/{gone.id}").status_code in (200, 202, 204)
        token = self.gateway.create_token("auditor")
        self.gateway.run_ok("token", "revoke", "--data", self.gateway.data, token["id"])

    def bulk(self):
        """Enough for packs of several groups; every start has sealed what was before it."""
        text = "All work and no play makes a long segment. " * 35
        for number in range(40):
            assert self.first.inbound(f"{number} {text}", "+16505550000").status_code == 200
        wait_until(lambda: list(self.gateway.data.glob("*.sealed")), 30, "a sealed segment")

    def keys(self):
        data = self.gateway.data
        self.gateway.run_ok("key", "rotate", "--data", data, "--root")
        self.facts["checkpoint"] = self.checkpoint()
        self.gateway.run_ok("key", "rotate", "--data", data, "--log")
        self.facts["checkpoint_after_rotation"] = self.checkpoint()

    def checkpoint(self):
        data = self.gateway.data
        return wait_until(lambda: self.gateway.run("checkpoint", "--data", data).stdout or None, 30, "a checkpoint")

    def discarded_tail(self):
        """A crash in the middle of a write: what was never acknowledged follows the last group."""
        self.gateway.kill()
        newest = max(self.gateway.data.glob("*.wal"))
        content = newest.read_bytes()
        end = (len(content.rstrip(b"\0")) + 4095) // 4096 * 4096
        with newest.open("r+b") as file:
            file.seek(end)
            file.write(content[4096:4096 + 600])
        self.gateway.start()

    # The end

    def settle(self):
        """Nothing may be left to do: what is due later would be done by whoever opens the files years later."""
        for tenant in self.tenants():
            wait_until(lambda: not [one for one in tenant.all("/v1/deliveries")
                                    if one["state"] in ("scheduled", "in_flight")], 40, "the deliveries")

    def inbound_again(self, text):
        """For the first client, whatever process serves it now."""
        self.first.gateway = self.gateway
        return self.first.inbound(text, customer_number())

    def tenants(self):
        for name, client in self.facts["clients"].items():
            if name != "deleted":
                yield Tenant.known(self.gateway, client["id"], client["key"])

    def reads(self):
        """What the API answers."""
        found = {}
        for tenant in self.tenants():
            paths = ["/v1/webhook", "/v1/settings", "/v1/usage"]
            lists = ["/v1/conversations", "/v1/deliveries", "/v1/dead-letters"]
            entries = {path: tenant.all(path) for path in lists}
            for conversation in entries["/v1/conversations"]:
                if conversation["status"] != "erased":
                    path = f"/v1/conversations/{conversation['id']}/messages"
                    entries[path] = tenant.all(path)
            entries["/v1/events"] = tenant.events()
            found[tenant.id] = {"objects": {path: tenant.read(path) for path in paths}, "lists": entries}
        return found


def store(data, target, facts, gateway):
    """The files without the zeros at their ends, and what is true of them."""
    target.mkdir(parents=True)
    sizes = {}
    for path in sorted(data.rglob("*")):
        name = str(path.relative_to(data))
        if path.is_file() and name not in ("lock", "status") and path.suffix != ".tmp":
            content = path.read_bytes()
            sizes[name] = len(content)
            place = target / "data" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.rstrip(b"\0"))
    facts["files"] = sizes
    facts["verify"] = json.loads(gateway.run_ok("verify", "--data", data, "--json"))
    lines = gateway.run_ok("replay", "--data", data, "--bodies")
    facts["records"] = len(lines.splitlines())
    pack(target / "reads.json.gz", json.dumps(facts.pop("reads"), sort_keys=True).encode())
    (target / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    pack(target / "replay.jsonl.gz", lines.encode())


def pack(path, content):
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def salvage(story, source, directory):
    """The history of `source` without the event that is damaged here, served once under its new name."""
    path, _, end = place_of(source.data, "event.published", 1)
    flip(path, end - 1)
    salvaged = Gateway(directory, story.twilio, **source.settings)
    directory.mkdir()
    salvaged.run_ok("salvage", "--data", source.data, "--to", salvaged.data)
    salvaged._operator = source.operator
    salvaged.start()
    story.gateway = salvaged
    story.settle()
    story.facts["reads"] = story.reads()
    # Checkpoints of before are those of a log that was given up.
    story.facts["checkpoint"] = story.facts["checkpoint_after_rotation"] = story.checkpoint()
    assert salvaged.stop() == 0
    return salvaged


def main():
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        story = Story(Path(temporary))
        try:
            for chapter in (story.sms, story.meta, story.identities, story.held, story.deliveries, story.accounts, story.bulk, story.keys,
                            story.discarded_tail, story.settle):
                print(chapter.__name__, flush=True)
                chapter()
            gateway, backup = story.gateway, Path(temporary) / "backup"
            gateway.run_ok("backup", "--data", gateway.data, "--to", backup, "--backup-key", Path(temporary) / "backup.key",
                           "--horizon", "1")
            assert story.inbound_again("After the backup").status_code == 200
            story.settle()
            story.facts["reads"] = story.reads()
            gateway.kill()
            store(gateway.data, target, story.facts, gateway)
            restored = Gateway(Path(temporary) / "restored", story.twilio, **gateway.settings)
            restored.directory.mkdir()
            restored.run_ok("restore", "--from", backup, "--data", restored.data, "--backup-key",
                            Path(temporary) / "backup.key", "--accept-loss")
            restored._operator = gateway.operator
            restored.start()
            story.gateway = restored
            for number in range(3):
                assert story.inbound_again(f"After the restore {number}").status_code == 200
            story.settle()
            story.facts["reads"] = story.reads()
            assert restored.stop() == 0
            store(restored.data, target.with_name(target.name + "-restored"), story.facts, restored)
            salvaged = salvage(story, restored, Path(temporary) / "salvaged")
            store(salvaged.data, target.with_name(target.name + "-salvaged"), story.facts, salvaged)
            types = {json.loads(line)["type"] for line in gzip.decompress(
                (target.with_name(target.name + "-salvaged") / "replay.jsonl.gz").read_bytes()).splitlines()}
            schema = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", gateway.run_ok("schema")))
            print("not written:", sorted(schema - types))
        finally:
            story.close()


if __name__ == "__main__":
    print(gateway_module.binary())
    main()
