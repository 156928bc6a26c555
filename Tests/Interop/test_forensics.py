"""After a purge nothing of a body, and no key that could open it, is left: not in files, not in the live process.

Each way that a message can take through the gateway is a line of `WAYS`. A new way of bodies gets a line there.
"""

import hashlib
import itertools
import os
import re
import signal
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

import read_keys
from support import meta
from support.fake_twilio import error
from support.forensics import (
    KeyHistory, Needle, file_text, fragment, plaintext, search_files, search_memory, settled, summary, text_needles)
from support.http import LoopbackServer
from support.media import Graph, Held as HeldFile, bearer, guarded, ok, sha256_base64, sha256_hex, stored
from support.tenant import SETTLED, Tenant, customer_number
from support.wait import wait_until
from test_purge import Held, LONG_TEXT, erase, purge

_numbers = itertools.count(1)
# Many times what is sealed, read or written at once.
FILE_BYTES = 300_000


class Answering(LoopbackServer):
    """An endpoint whose answers are unlike all others: their start is kept under the message's key."""

    def __init__(self):
        self.status, self.requests, self.said = 200, 0, fragment()
        self.largest = 0
        super().__init__()

    def handle(self, handler, body):
        self.requests += 1
        self.largest = max(self.largest, len(body))
        self.answer(handler, self.status, b'{"said":"%s"}' % self.said.encode())

    @property
    def url(self):
        return f"{self.base_url}/hook"


class Scene:
    """One gateway, one message, and what must be gone at the end."""

    def __init__(self, make_gateway, twilio, **environment):
        self.files, self.twilio = Graph(), twilio
        self.gateway = make_gateway(
            f"forensics-{next(_numbers)}", **meta.SETTINGS | environment | {
                "WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20), "WAYBILL_MEDIA_ALLOW_CIDRS": "127.0.0.0/8",
                "WAYBILL_PROVIDERS_GRAPH_BASE_URL": self.files.base_url})
        for name in ("media", "temporary"):
            (self.gateway.directory / name).mkdir()
        self.root = self.gateway.directory / "media" / "root.key"
        self.gateway.settings["TMPDIR"] = str(self.gateway.directory / "temporary")
        self.start()
        self.tenant, self.neighbour = (Tenant(self.gateway, twilio.account()) for _ in range(2))
        for one in (self.tenant, self.neighbour):
            assert one.connect_sms().status_code == 200
        self.endpoint, self.held = Answering(), Held()
        self.customer, self.sid = customer_number(), "SM" + uuid.uuid4().hex
        self.text, self.fragments = plaintext()
        self.gone = {"text": self.fragments, "answer of the endpoint": [self.endpoint.said]}
        # Needles of the same kinds, in forms that are not those of a text.
        self.raw = []
        self.subjects = []
        self.keys = KeyHistory(self.gateway.data, self.root)
        self.keys.note()

    def start(self):
        self.gateway.start("--key-root", self.root)

    def close(self):
        self.gateway.kill()
        self.endpoint.close()
        self.held.close()
        self.files.close()

    # What ways are made of

    def subscribe(self, status=200, **settings):
        self.endpoint.status = status
        self.tenant.subscribe(self.endpoint, **settings)

    def receive(self):
        """The id of the message, the newest one of the client. Its provider id is as secret as its text."""
        self.gone["provider id"] = [self.sid[2:]]
        assert self.tenant.inbound(self.text, self.customer, sid=self.sid).status_code == 200
        conversation = self.tenant.all("/v1/conversations")[0]["id"]
        return self.tenant.all(f"/v1/conversations/{conversation}/messages")[0]["id"]

    def meta(self, platform):
        """An account of Meta's, and a provider id that is as secret as the text."""
        account = meta.Account(self.tenant, platform)
        assert account.connect().status_code == 200
        self.gone["provider id"] = [fragment()]
        return account, f"mid.{self.gone['provider id'][0]}"

    def told(self, account, *items):
        """As Meta writes it."""
        assert meta.post(self.gateway, meta.escaped(account.body(*items))).status_code == 200

    def file(self):
        """A customer's file. By its digest it could be told again later, and by its place it could be had again."""
        content, self.gone["file"] = file_text(FILE_BYTES)
        self.gone |= {"digest of the file": [sha256_hex(content), sha256_base64(content)], "place of the file": [fragment()]}
        self.raw.append(Needle("digest of the file", "raw", hashlib.sha256(content).digest()))
        return content

    def whatsapp_file(self, account, mid, *steps):
        """The id of a message with a document. `steps` are those of its place, in case it is not simply there."""
        content = steps[0].content if steps else self.file()
        self.gone |= {"name of the file": [fragment()], "caption": [fragment()]}
        steps = [guarded(bearer(account), step) for step in steps or (ok(content, "text/plain"),)]
        answer = self.files.described(account, content, "text/plain", url=self.files.place(*steps))
        media_id = self.files.file(account, answer, media_id=self.gone["place of the file"][0])
        part = {"id": media_id, "mime_type": "text/plain", "sha256": sha256_base64(content),
                "filename": f"{self.gone['name of the file'][0]}.txt", "caption": self.gone["caption"][0]}
        item = account.text(mid, self.text) | {"type": "document", "document": part}
        del item["text"]
        self.told(account, item)
        return self.newest()

    def read_files(self, message_id):
        """As a client does, in whole and in part."""
        def fetched():
            media = self.tenant.message(message_id)["media"]
            return media if all(item["status"] == "fetched" for item in media) else None

        for item in wait_until(fetched, 10, "the files"):
            whole = self.tenant.get(item["url"])
            assert whole.status_code == 200 and self.gone["file"][0] in whole.text
            part = self.tenant.get(item["url"], headers={"Range": f"bytes=1000-{FILE_BYTES // 2}"})
            assert part.status_code == 206
        assert stored(self.gateway), "it lies on disk"

    def newest(self):
        conversation = self.tenant.all("/v1/conversations")[0]["id"]
        return self.tenant.all(f"/v1/conversations/{conversation}/messages")[0]["id"]

    def another_text(self, kind):
        text, self.gone[kind] = plaintext()
        return text

    def send(self, **fields):
        """The answer to a send with a key and metadata, which are sealed with the text."""
        self.gone |= {"metadata": [fragment()], "idempotency key": [fragment()]}
        return self.tenant.accepted(self.text, self.customer, key=self.gone["idempotency key"][0],
                                    metadata={"order": self.gone["metadata"][0]}, **fields)

    def attempts(self, count):
        wait_until(lambda: self.tenant.all("/v1/deliveries") and self.recorded() >= count, 10, f"{count} attempts")

    def recorded(self):
        deliveries = [self.tenant.read(f"/v1/deliveries/{one['id']}") for one in self.tenant.all("/v1/deliveries")]
        return sum(len([one for one in each["attempts"] if one["error"] or one["status"]]) for each in deliveries)

    def shown_by_command_line(self):
        data = self.gateway.data
        return self.gateway.run_ok("replay", "--data", data, "--key-root", self.root, "--bodies")

    def purge(self, message_id):
        self.keys.note()
        purge(self.tenant, message_id)
        self.subjects.append(message_id)

    def expect_purge(self, message_id):
        wait_until(lambda: self.tenant.message(message_id)["purged"], 10, "the purge")
        self.subjects.append(message_id)

    def tells_registers(self):
        log = self.gateway.log.read_text(errors="replace")
        return "Backtracing" in log or "Registers:" in log

    # What is looked for

    def positions(self):
        """Of the subjects: the record each of them began with, by what a completed purge calls it."""
        kinds = {"message.received": ("messages", "message_id"), "send.accepted": ("messages", "message_id"),
                 "conversation.opened": ("conversations", "conversation_id"),
                 "client.created": ("clients", "client_id")}
        found = {}
        for line in self.gateway.replay():
            kind, name = kinds.get(line["type"], (None, None))
            if kind and line[name] in self.subjects:
                found[line["position"]] = kind
        assert len(found) == len(self.subjects), f"{self.subjects} are not all on record"
        return found

    def wait_for_completion(self):
        """The keys are gone when that is on record; for ways on which nobody waits for an answer."""
        def completed():
            lines = self.gateway.replay("--type", "purge.completed")
            return {(kind, position) for line in lines for kind in ("messages", "conversations", "clients")
                    for position in line["data"].get(kind, ())}

        # An erased conversation or a deleted client speaks for its messages.
        wanted = {(kind, position) for position, kind in self.positions().items()}
        largest = {kind for kind, _ in wanted} - {"messages"}
        wanted = {one for one in wanted if not largest or one[0] in largest}
        wait_until(lambda: wanted <= completed(), 10, f"the purge of {wanted}")

    def records(self):
        """The sealed records under the keys of the purged subjects."""
        positions = self.positions()
        clients = {position for position, kind in positions.items() if kind == "clients"}
        records = list(read_keys.sealed_records(self.gateway.data))
        chosen = {one.reference for one in records if one.position in positions or one.reference.client in clients}
        return [one for one in records if one.reference in chosen]

    def examine(self):
        self.wait_for_completion()
        records = self.records()
        texts = [needle for kind, fragments in self.gone.items() for needle in text_needles(kind, fragments)] + self.raw
        keys = list(self.keys.destroyed_needles(records))
        process, own = self.gateway.process.pid, self.gateway.directory
        places = (self.gateway.data, self.root.parent, own / "temporary", self.gateway.log)
        controls = Controls(self, records[-1].reference.epoch)
        try:
            on_disk = settled(search_files, texts + keys, *places)
            in_memory = settled(look_into_memory, texts + keys, process, own)
            # Only now: what is planted must not be in the way of what is looked for.
            missed = controls.plant().missed(places)
        finally:
            controls.remove()
        kinds = set(self.gone)
        return Findings(on_disk, [hit for hit in in_memory if hit.needle.kind in kinds],
                        [hit for hit in in_memory if hit.needle.kind not in kinds], missed)


def look_into_memory(needles, process, own):
    """Whoever may not look must not report that there was nothing."""
    try:
        return search_memory(needles, process, own)
    except PermissionError:
        pytest.skip("needs root: the gateway keeps its memory from other processes of the same user")


class Findings(NamedTuple):
    on_disk: list
    plaintext: list
    keys: list
    missed_controls: list


class Controls:
    """What the same scanner must find, or its silence about the rest means nothing."""

    def __init__(self, scene, epoch):
        self.scene = scene
        self.living = scene.keys.living_needles(epoch)
        self.text, self.fragments = plaintext()
        self.planted = []

    def plant(self):
        """In every place that is searched, each form once; in memory the body of a webhook that is on its way."""
        gateway = self.scene.gateway
        forms = text_needles("planted", [fragment()])
        for folder in (gateway.data, self.scene.root.parent, gateway.directory / "temporary"):
            for number, needle in enumerate(forms):
                self.planted.append((folder / f"planted-{number}", needle))
                (folder / f"planted-{number}").write_bytes(b"x" * 5000 + needle.pattern + b"y" * 5000)
        self.in_log = Needle("planted", "log", fragment().encode())
        with gateway.log.open("ab") as log:
            log.write(self.in_log.pattern + b"\n")
        self.scene.neighbour.subscribe(self.scene.held, retry_schedule=[])
        assert self.scene.neighbour.inbound(self.text, customer_number()).status_code == 200
        wait_until(lambda: self.scene.held.requests, 10, "the attempt that stays")
        return self

    def missed(self, places):
        needles = [needle for _, needle in self.planted] + [self.in_log]
        found = {(hit.source, hit.needle) for hit in search_files(needles, *places)}
        wanted = [(str(path), needle) for path, needle in self.planted]
        wanted.append((str(self.scene.gateway.log), self.in_log))
        return [one for one in wanted if one not in found] + self.missed_in_memory()

    def missed_in_memory(self):
        gateway = self.scene.gateway
        path = Needle("path of the data directory", "plain", str(gateway.data).encode())
        texts = [needle for needle in text_needles("on its way", self.fragments) if needle.form == "plain"]
        hits = look_into_memory([path] + texts + self.living, gateway.process.pid, gateway.directory)
        found = {hit.needle for hit in hits}
        missed = [needle for needle in [path] + texts if needle not in found]
        halves = [needle for needle in self.living if not needle.form.endswith("words")]
        return missed + [needle for needle in halves if needle not in found]

    def remove(self):
        self.scene.held.release(200)
        for path, _ in self.planted:
            path.unlink(missing_ok=True)


# The ways


def inbound_delivered(scene):
    scene.subscribe()
    message = scene.receive()
    scene.attempts(1)
    scene.purge(message)


def inbound_without_an_endpoint(scene):
    scene.purge(scene.receive())


def inbound_read_over_the_api(scene):
    scene.subscribe()
    message = scene.receive()
    scene.attempts(1)
    for path in (f"/v1/messages/{message}", "/v1/events?after=0", "/v1/conversations", "/v1/deliveries"):
        assert scene.tenant.get(path).status_code == 200
    scene.purge(message)


def inbound_with_retries(scene):
    scene.subscribe(status=500, retry_schedule=[1, 600])
    message = scene.receive()
    scene.attempts(2)
    scene.purge(message)


def inbound_as_dead_letter(scene):
    scene.subscribe(status=500, retry_schedule=[1])
    message = scene.receive()
    letter = scene.tenant.wait_for_dead_letters(1)[0]
    assert scene.fragments[0] in scene.tenant.get(f"/v1/dead-letters/{letter['id']}").text
    scene.purge(message)


def inbound_replayed(scene):
    scene.subscribe(status=500, retry_schedule=[])
    message = scene.receive()
    letter = scene.tenant.wait_for_dead_letters(1)[0]
    scene.endpoint.status = 200
    assert scene.tenant.post(f"/v1/dead-letters/{letter['id']}/replay").status_code == 202
    scene.attempts(2)
    scene.purge(message)


def inbound_shown_on_the_command_line(scene):
    message = scene.receive()
    assert scene.fragments[0] in scene.shown_by_command_line()
    scene.purge(message)


def inbound_over_a_restart(scene):
    scene.subscribe(status=500, retry_schedule=[2, 600])
    message = scene.receive()
    scene.attempts(1)
    assert scene.gateway.stop() == 0
    scene.start()
    scene.attempts(2)
    scene.purge(message)


def inbound_over_a_kill(scene):
    scene.subscribe(status=500, retry_schedule=[2, 600])
    message = scene.receive()
    scene.attempts(1)
    scene.gateway.kill()
    scene.start()
    scene.attempts(2)
    scene.purge(message)


def purged_then_restarted(scene):
    """What one process has forgotten, the next one must not learn. The second purge makes it read what is left."""
    scene.purge(scene.receive())
    assert scene.gateway.stop() == 0
    scene.start()
    scene.sid = "SM" + uuid.uuid4().hex
    before = scene.gone["provider id"]
    second = scene.receive()
    scene.gone["provider id"] += before
    scene.purge(second)


def send_accepted(scene):
    accepted = scene.send()
    scene.tenant.wait_for_status(accepted["message_id"], "sent")
    scene.gone["provider id"] = [scene.tenant.account.calls[0].sid[2:]]
    scene.purge(accepted["message_id"])


def send_rejected(scene):
    scene.gone["answer of the provider"] = [fragment()]
    scene.tenant.account.script = [error(400, 21211, scene.gone["answer of the provider"][0])]
    accepted = scene.send()
    scene.tenant.wait_for_status(accepted["message_id"], "failed")
    scene.purge(accepted["message_id"])


def send_queued(scene):
    assert scene.tenant.connect_sms(segments_per_second=1).status_code == 200
    first = scene.tenant.accepted(LONG_TEXT, customer_number())
    scene.tenant.wait_for_status(first["message_id"], "sent")
    scene.keys.note()
    accepted = scene.send()
    assert scene.tenant.message(accepted["message_id"])["status"] == "queued"
    scene.purge(accepted["message_id"])
    assert len(scene.tenant.account.calls) == 1


def send_repeated_with_its_key(scene):
    accepted = scene.send()
    scene.tenant.wait_for_status(accepted["message_id"], *SETTLED)
    repeat = scene.tenant.accepted(scene.text, scene.customer, key=scene.gone["idempotency key"][0],
                                   metadata={"order": scene.gone["metadata"][0]})
    assert repeat["message_id"] == accepted["message_id"]
    scene.purge(accepted["message_id"])


def purge_mode_delivered(scene):
    purge_mode(scene, 200)


def purge_mode_failed(scene):
    purge_mode(scene, 500)


def purge_mode(scene, status):
    scene.subscribe(status=status)
    answer = scene.tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
    assert answer.status_code == 200, answer.text
    scene.keys.note()
    scene.expect_purge(scene.receive())


def purge_mode_held(scene):
    """Nothing takes it, so it waits for an endpoint, until somebody purges it by hand."""
    scene.subscribe(status=410)
    answer = scene.tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
    assert answer.status_code == 200, answer.text
    assert scene.tenant.inbound("disables the endpoint", customer_number()).status_code == 200
    wait_until(lambda: scene.tenant.read("/v1/webhook")["state"] == "disabled", 10, "the endpoint to be disabled")
    message = scene.receive()
    assert scene.tenant.message(message)["text"] == scene.text, "it is held"
    scene.purge(message)


def purge_mode_send(scene):
    scene.subscribe()
    answer = scene.tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
    assert answer.status_code == 200, answer.text
    scene.keys.note()
    accepted = scene.send()
    scene.tenant.account.wait_for_call(scene.text)
    scene.subjects.append(accepted["message_id"])


def conversation_erased(scene):
    scene.subscribe()
    message = scene.receive()
    scene.attempts(1)
    scene.gone["phone"] = [scene.customer.removeprefix("+")]
    conversation = scene.tenant.message(message)["conversation_id"]
    scene.keys.note()
    erase(scene.tenant, conversation)
    scene.subjects += [message, conversation]


def client_deleted(scene):
    scene.subscribe()
    message = scene.receive()
    scene.attempts(1)
    scene.gone |= {
        "phone": [scene.customer.removeprefix("+")], "credential": [scene.tenant.account.auth_token],
        "webhook secret": [scene.tenant.secret.removeprefix("whsec_")[:40]]}
    scene.keys.note()
    answer = scene.gateway.admin("DELETE", f"/clients/{scene.tenant.id}")
    assert answer.status_code in (200, 204), answer.text
    scene.subjects += [message, scene.tenant.id]


def instagram_message_taken_back(scene):
    scene.subscribe()
    account, mid = scene.meta("instagram")
    scene.told(account, account.text(mid, scene.text))
    message = scene.newest()
    scene.attempts(1)
    scene.told(account, account.edit(mid, scene.another_text("edit"), 1))
    scene.attempts(1)
    scene.keys.note()
    scene.told(account, account.unsend(mid))
    scene.expect_purge(message)


def messenger_edit_before_its_message(scene):
    scene.subscribe()
    account, mid = scene.meta("facebook")
    scene.told(account, account.edit(mid, scene.another_text("edit"), 1))
    scene.told(account, account.text(mid, scene.text))
    message = scene.newest()
    scene.attempts(1)
    assert scene.tenant.message(message)["edited"]
    scene.purge(message)


def whatsapp_ad_and_reply(scene):
    """A referral is kept with the conversation, and goes with the message that told it."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    headline = scene.another_text("headline of the ad")
    referral = {"source_type": "ad", "source_id": "1", "headline": headline, "ctwa_clid": "c"}
    scene.told(account, account.text(mid, scene.text) | {"referral": referral})
    message = scene.newest()
    scene.attempts(1)
    assert scene.tenant.all("/v1/conversations")[0]["attribution"]["headline"] == headline
    scene.purge(message)
    assert scene.tenant.all("/v1/conversations")[0]["attribution"] is None


def whatsapp_conversation_erased(scene):
    """With what came before there was a conversation, and about no message that ever came."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    orphan = {"type": "edit", "edit": {"original_message_id": "wamid.never", "message": {
        "type": "text", "text": {"body": scene.another_text("orphan")}}}}
    scene.told(account, account.text("wamid.orphan", "") | orphan)
    scene.told(account, account.text(mid, scene.text))
    message = scene.newest()
    scene.attempts(1)
    conversation = scene.tenant.message(message)["conversation_id"]
    scene.keys.note()
    erase(scene.tenant, conversation)
    scene.subjects += [message, conversation]


def whatsapp_two_conversations_in_one(scene):
    """Erased under the id of the younger one."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    scene.told(account, account.text("wamid.by.number", scene.another_text("text by number")))
    older = scene.newest()
    by_id = account.text(mid, scene.text) | {"from_user_id": "US.13491208655302741918"}
    del by_id["from"]
    scene.told(account, by_id)
    younger = scene.newest()
    messages = [older, younger]
    conversations = [scene.tenant.message(one)["conversation_id"] for one in messages]
    assert len(set(conversations)) == 2
    scene.told(account, account.text("wamid.by.both", scene.another_text("text by both")) | {
        "from_user_id": "US.13491208655302741918"})
    assert scene.tenant.message(younger)["conversation_id"] == conversations[0], "they are one"
    scene.attempts(3)
    scene.keys.note()
    erase(scene.tenant, conversations[1])
    scene.subjects += messages + conversations


def whatsapp_purge_mode(scene):
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    assert scene.tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"whatsapp": True}}).status_code == 200
    scene.told(account, account.text(mid, scene.text))
    message = scene.newest()
    scene.keys.note()
    scene.expect_purge(message)


# With files


def whatsapp_document(scene):
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    message = scene.whatsapp_file(account, mid)
    scene.attempts(1)
    scene.read_files(message)
    scene.purge(message)


def mms_with_two_files(scene):
    scene.subscribe()
    content, scene.gone["provider id"] = scene.file(), [scene.sid[2:]]
    urls = [scene.twilio.add_media(scene.tenant.account, content, kind) for kind in ("text/plain", "image/png")]
    scene.gone["place of the file"] = [url.rpartition("/ME")[2] for url in urls]
    answer = scene.tenant.inbound(scene.text, scene.customer, sid=scene.sid, NumMedia="2", MediaUrl0=urls[0], MediaUrl1=urls[1],
                                  MediaContentType0="text/plain", MediaContentType1="image/png")
    assert answer.status_code == 200
    message = scene.newest()
    scene.attempts(1)
    scene.read_files(message)
    scene.purge(message)


def messenger_image(scene):
    scene.subscribe(status=500, retry_schedule=[1, 600])
    account, mid = scene.meta("facebook")
    content = scene.file()
    url = scene.files.place(ok(content, "image/png"), path=f"/cdn/{scene.gone['place of the file'][0]}")
    scene.told(account, account.text(mid, scene.text, attachments=[{"type": "image", "payload": {"url": url}}]))
    message = scene.newest()
    scene.attempts(2)
    scene.read_files(message)
    scene.purge(message)


def whatsapp_document_on_its_way(scene):
    """The purge comes when half of the file has come."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    file = HeldFile(scene.file(), "text/plain")
    message = scene.whatsapp_file(account, mid, file)
    assert file.begun.wait(10)
    wait_until(lambda: stored(scene.gateway), 5, "what has come, on disk")
    scene.purge(message)


def whatsapp_document_over_a_kill(scene):
    """One process has half of the file, and the next one all of it."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    file = HeldFile(scene.file(), "text/plain")
    message = scene.whatsapp_file(account, mid, file, ok(file.content, "text/plain"))
    assert file.begun.wait(10)
    scene.gateway.kill()
    scene.start()
    scene.attempts(1)
    scene.read_files(message)
    scene.purge(message)


def whatsapp_purge_mode_with_a_file(scene):
    """It travels in the webhook."""
    scene.subscribe()
    account, mid = scene.meta("whatsapp")
    assert scene.tenant.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"whatsapp": True}}).status_code == 200
    scene.keys.note()
    message = scene.whatsapp_file(account, mid)
    scene.keys.note()
    scene.expect_purge(message)
    assert scene.endpoint.requests == 1 and scene.endpoint.largest > FILE_BYTES * 4 // 3
    wait_until(lambda: not stored(scene.gateway), 5, "no file")


WAYS = [
    inbound_delivered, inbound_without_an_endpoint, inbound_read_over_the_api, inbound_with_retries,
    inbound_as_dead_letter, inbound_replayed, inbound_shown_on_the_command_line, inbound_over_a_restart,
    inbound_over_a_kill, purged_then_restarted, send_accepted, send_rejected, send_queued,
    send_repeated_with_its_key, purge_mode_delivered, purge_mode_failed, purge_mode_held, purge_mode_send,
    conversation_erased, client_deleted, instagram_message_taken_back, messenger_edit_before_its_message,
    whatsapp_ad_and_reply, whatsapp_conversation_erased, whatsapp_two_conversations_in_one, whatsapp_purge_mode,
    whatsapp_document, mms_with_two_files, messenger_image, whatsapp_document_on_its_way,
    whatsapp_document_over_a_kill, whatsapp_purge_mode_with_a_file,
]

# How glibc may copy, which on other processors it does by itself (glibc manual, "Hardware Capability Tunables").
COPIES = {
    "16 bytes": "-AVX512VL,-AVX512F,-AVX2,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM",
    "32 bytes": "-AVX512VL,-AVX512F,-ERMS,-FSRM",
    "rep movsb": "Prefer_ERMS,Prefer_FSRM",
}
# All of them in all ways take minutes.
COPIED = WAYS if os.environ.get("WAYBILL_LONG") else [inbound_delivered, send_accepted]
RUNS = [(way, None) for way in WAYS] + [(way, copy) for copy in COPIES for way in COPIED]


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: run[0].__name__ + (f", {run[1]}" if run[1] else ""))
def findings(request, make_gateway, twilio):
    way, copy = request.param
    scene = Scene(make_gateway, twilio, **{"GLIBC_TUNABLES": f"glibc.cpu.hwcaps={COPIES[copy]}"} if copy else {})
    try:
        way(scene)
        return scene.examine()
    finally:
        scene.close()


def assert_none(hits):
    if hits:
        pytest.fail(summary(hits), pytrace=False)


def test_scanner_finds_what_is_there(findings):
    assert findings.missed_controls == []


def test_nothing_is_left_on_disk(findings):
    assert_none(findings.on_disk)


def test_no_plaintext_is_left_in_memory(findings):
    assert_none(findings.plaintext)


def test_no_key_is_left_in_memory(findings):
    assert_none(findings.keys)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGILL], ids=lambda number: number.name)
def test_a_crash_tells_nothing(make_gateway, twilio, number):
    """Of what lives in memory at that moment, nothing may get to a core dump or into the last words of the process.

    A report of a crash that shows what registers point to would show keys and plaintext, so there must be none.
    """
    scene = Scene(make_gateway, twilio)
    try:
        scene.tenant.subscribe(scene.held)
        scene.receive()
        wait_until(lambda: scene.held.requests, 10, "the attempt")
        limits = Path(f"/proc/{scene.gateway.process.pid}/limits").read_text()
        scene.gateway.process.send_signal(number)
        wait_until(lambda: scene.gateway.process.poll() is not None or scene.tells_registers(), 10, "the end")
        assert not scene.tells_registers(), scene.gateway.log_tail()
        assert scene.gateway.process.poll() == -number
        core = re.search(r"Max core file size +(\S+) +(\S+)", limits)
        assert core.groups() == ("0", "0"), "neither now nor by whoever raises the limit"
        needles = [needle for fragments in scene.gone.values() for needle in text_needles("text", fragments)]
        assert_none(search_files(needles, scene.gateway.directory))
    finally:
        end_children(scene.gateway.process.pid)
        scene.close()


def end_children(pid):
    """A reporter of crashes outlives the process that it reports about."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    for child in path.read_text().split() if path.exists() else []:
        os.kill(int(child), signal.SIGKILL)
