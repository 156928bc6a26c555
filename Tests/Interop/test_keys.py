"""What a purge destroys, looked at from outside: the reader of docs/keys.md with everything an attacker may have.

The root key lies apart from the data directory, as docs/keys.md advises. What the attacker copied early is the whole
data directory at that time; what he never has, unless a test says so, is an earlier root key.
"""

import base64
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import pytest
import requests

import read_keys
from read_keys import FIRST_PAGE, PAGE_MAGIC, SLOT_BYTES, open_box, opened_states, read_pages_files, read_root_keys
from support.fake_twilio import TOO_MANY_REQUESTS
from support.files import find_bytes
from support.tenant import Tenant, customer_number, unique
from support.wait import wait_until

SECRET_CREATED, CHANNEL_CONNECTED, ENDPOINT_CONFIGURED = 37, 40, 44
ROUNDS = 6
MESSAGES_PER_ROUND = 25


class Kept:
    """A gateway whose root key is on other media than its data."""

    def __init__(self, make_gateway, name):
        self.gateway = make_gateway(name, WAYBILL_LOG_SEGMENT_BYTES=str(1024 * 1024))
        self.root = self.gateway.directory / "media" / "root.key"
        self.root.parent.mkdir()
        self.start()

    @property
    def data(self):
        return self.gateway.data

    def start(self):
        self.gateway.start("--key-root", self.root)

    def copy(self, target):
        """The data directory without the zeros that wait to become the next segment."""
        def ignored(folder, names):
            return [name for name in names if name.endswith(".tmp") or (Path(folder) / name).is_socket()]

        shutil.copytree(self.data, target, ignore=ignored)
        assert not (target / self.root.name).exists()
        return Early(target, read_root_keys(self.root))

    def bodies(self):
        return bodies_of(self.data, read_keys.read_keys(self.data, self.root))

    def wait_for_purge(self, kind, position):
        def completed():
            lines = self.gateway.replay("--type", "purge.completed")
            return any(position in line["data"].get(kind, ()) for line in lines)

        wait_until(completed, 20, f"the purge of {position} in {kind}")


class Early(NamedTuple):
    """What was copied before a purge: the data directory, and apart from it the root key of that time."""

    data: Path
    root_keys: dict


def bodies_of(data, *states):
    return {body.record.position: body for body in read_keys.open_bodies(data, *states)}


def attacked(kept, *copies, root_keys=None):
    """The bodies that open with all that is there: every slot of every file, under every root key."""
    root_keys = {**read_root_keys(kept.root), **(root_keys or {})}
    contents = [content for data in (kept.data, *copies) for content in read_pages_files(data)]
    generations = {slot.generation for content in contents for slot in read_keys.parse_slots(content)}
    states = [state for key in root_keys.values() for state in opened_states(contents, dict.fromkeys(generations, key))]
    return bodies_of(kept.data, *states)


def plaintexts(bodies):
    return b"\n".join(part for body in bodies.values() for part in (body.parts or {}).values())


def content(body):
    return json.loads(body.parts["content"])


def assert_only_these_are_shut(found, early, shut):
    """`early` is what opened before the purge. Everything else opens as it did."""
    assert shut and shut <= early.keys()
    for position, body in early.items():
        assert found[position].parts == (None if position in shut else body.parts), f"position {position}"


def assert_everything_opens(found, early):
    for position, body in early.items():
        assert found[position].parts == body.parts, f"position {position}"


def positions_under(bodies, reference):
    """Everything that one leaf seals."""
    return {position for position, body in bodies.items() if body.record.reference == reference}


@pytest.fixture(scope="module")
def kept(make_gateway):
    kept = Kept(make_gateway, "keys")
    yield kept
    if kept.gateway.process is not None:
        assert kept.gateway.stop() == 0, kept.gateway.log_tail()


@pytest.fixture
def tenant(kept, twilio):
    return tenant_of(kept, twilio)


def tenant_of(kept, twilio):
    tenant = Tenant(kept.gateway, twilio.account())
    answer = tenant.connect_sms()
    assert answer.status_code == 200, answer.text
    return tenant


class Talk(NamedTuple):
    """A conversation with two messages in and two out, every one of them delivered or sent."""

    customer: str
    conversation: str
    inbound: list  # of (message id, text)
    outbound: list

    @property
    def words(self):
        """What nobody should find: texts, and the number without its plus, which forms encode."""
        return [text.encode() for _, text in self.inbound + self.outbound] + [self.customer[1:].encode()]


def talk(tenant, endpoint):
    customer, inbound, outbound = customer_number(), [], []
    before = len(endpoint.requests)
    for number in range(2):
        text = unique("inbound")
        assert tenant.inbound(text, customer).status_code == 200
        data = endpoint.wait_for_type("sms.message_received", before + 1)[-1].event["data"]
        inbound.append((data["message"]["id"], text))
        before += 1
    for number in range(2):
        text = unique("outbound")
        message_id = tenant.accepted(text, customer, metadata={"ticket": unique("metadata")})["message_id"]
        tenant.wait_for_status(message_id, "sent")
        outbound.append((message_id, text))
    wait_until(lambda: all(one["state"] == "delivered" for one in tenant.all("/v1/deliveries")), 10, "all delivered")
    return Talk(customer, data["conversation"]["id"], inbound, outbound)


@pytest.fixture
def endpoint(tenant, receiver):
    endpoint = receiver.endpoint()
    tenant.subscribe(endpoint)
    return endpoint


def client_position(kept, tenant):
    (line,) = kept.gateway.replay("--type", "client.created", "--client", tenant.id)
    return line["position"]


def message_position(kept, message_id):
    lines = [line for line in kept.gateway.replay() if line["message_id"] == message_id]
    return lines[0]["position"]


def purge(tenant, message_id):
    answer = tenant.post(f"/v1/messages/{message_id}/purge")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"message_id": message_id, "purged": True}


# The reader


def test_every_body_is_what_the_api_shows(kept, tenant, endpoint):
    talks = [talk(tenant, endpoint) for _ in range(2)]
    lines = {line["position"]: line for line in kept.gateway.replay()}
    client = client_position(kept, tenant)
    bodies = {position: body for position, body in kept.bodies().items() if body.record.client == client}
    assert all(body.parts for body in bodies.values())

    shown = {}
    for one in talks:
        conversation = tenant.read(f"/v1/conversations/{one.conversation}")
        shown[one.conversation] = conversation["customer"]["phone"]
        shown |= {entry["id"]: entry for entry in tenant.all(f"/v1/conversations/{one.conversation}/messages")}
    webhooks = {request.headers["webhook-id"]: request.body for request in endpoint.requests}
    deliveries = [tenant.read(f"/v1/deliveries/{one['id']}") for one in tenant.all("/v1/deliveries")]
    excerpts = {attempt["response_excerpt"] for one in deliveries for attempt in one["attempts"]}
    events = {event["id"]: event for event in tenant.events()}

    found = {}
    for position, body in bodies.items():
        line = lines[position]
        found.setdefault(line["type"], []).append(body)
        if line["type"] in ("message.received", "send.accepted"):
            assert content(body)["text"] == shown[line["message_id"]]["text"]
        elif line["type"] == "conversation.opened":
            assert json.loads(body.parts["identifiers"])["phone"] == shown[line["conversation_id"]]
        elif line["type"] == "send.finished":
            assert body.parts["content"].decode() == shown[line["message_id"]]["provider_message_id"]
            assert json.loads(body.parts["response_excerpt"])["sid"] == body.parts["content"].decode()
        elif line["type"] == "event.published":
            event = json.loads(body.parts["rendering"])
            assert event == events[event["id"]]
            assert webhooks.get(event["id"], body.parts["rendering"]) == body.parts["rendering"]
        elif line["type"] == "delivery.finished":
            assert body.parts["response_excerpt"].decode() in excerpts

    # Two conversations. Each has two messages in, which are delivered, and two out, whose status is only an event.
    counts = {name: len(records) for name, records in found.items()}
    assert counts == {
        "client.created": 1, "webhook_secret.created": 1, "channel.connected": 1, "endpoint.configured": 1,
        "conversation.opened": 2, "message.received": 4, "send.accepted": 4, "send.finished": 4,
        "event.published": 8, "delivery.finished": 4,
    }
    assert content(found["client.created"][0])["name"] == "Interop"
    assert "whsec_" + base64.b64encode(found["webhook_secret.created"][0].parts["content"]).decode() == tenant.secret
    assert content(found["channel.connected"][0])["auth_token"] == tenant.account.auth_token
    assert content(found["endpoint.configured"][0])["url"] == endpoint.url
    for body in found["message.received"]:
        assert parse_qs(body.parts["provider_bytes"].decode())["Body"] == [content(body)["text"]]


def run_reader(*arguments):
    command = [sys.executable, read_keys.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_command(kept, tenant, endpoint, tmp_path):
    text = talk(tenant, endpoint).inbound[0][1]
    result = run_reader(kept.data, "--root", kept.root)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["position"] for line in lines] == list(kept.bodies())
    assert any(text in line["body"]["content"] for line in lines if line["body"] and "content" in line["body"])

    assert run_reader(kept.data).returncode == 1, "there is no root key in the data directory"
    (line,) = [line for line in kept.root.read_text().split("\0") if line]
    wrong = tmp_path / "root.key"
    for changed in (line[:60] + ("0" if line[60] != "0" else "1") + line[61:], line.upper(), ""):
        wrong.write_text(changed.ljust(8192, "\0"))
        result = run_reader(kept.data, "--root", wrong)
        assert (result.returncode, result.stdout) == (1, "") and "no state of the keys opens" in result.stderr


def test_one_slot_is_enough(kept, tenant, endpoint, tmp_path):
    talk(tenant, endpoint)
    copy, before = kept.copy(tmp_path / "copy").data, kept.bodies()
    (pages,) = copy.glob("keys-*")
    whole = pages.read_bytes()
    for start in (0, SLOT_BYTES, 2 * SLOT_BYTES):
        pages.write_bytes(whole[:start] + bytes(SLOT_BYTES) + whole[start + SLOT_BYTES:])
        assert bodies_of(copy, read_keys.read_keys(copy, kept.root)) == before
    pages.write_bytes(bytes(FIRST_PAGE) + whole[FIRST_PAGE:])
    with pytest.raises(read_keys.Violation):
        read_keys.read_keys(copy, kept.root)


# The attacker's kit


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_a_purged_body_needs_the_root_key_of_its_time(kept, tenant, endpoint, tmp_path, direction):
    talks = [talk(tenant, endpoint) for _ in range(2)]
    (purged, text), _ = getattr(talks[0], direction)
    early, before = kept.copy(tmp_path / "early"), kept.bodies()
    position = message_position(kept, purged)
    shut = positions_under(before, before[position].record.reference)
    purge(tenant, purged)

    found = attacked(kept, early.data)
    assert_only_these_are_shut(found, before, shut)
    assert text.encode() not in plaintexts(found)
    about = [line for line in kept.gateway.replay() if line["message_id"] == purged]
    assert not any(found[line["position"]].parts for line in about if line["position"] in found)
    # Message, webhook and its answer; or message, the provider's answer, and the status.
    assert len(shut) == 3

    # What the documents call the limit: nothing reaches a copy that was made with its root key.
    found = attacked(kept, early.data, root_keys=early.root_keys)
    assert_everything_opens(found, before)


def test_no_page_is_sealed_under_a_key_that_lived_on(kept, tenant, endpoint, tmp_path):
    (message_id, _), _ = talk(tenant, endpoint).inbound
    early = kept.copy(tmp_path / "early")
    purge(tenant, message_id)
    (content,) = read_pages_files(early.data)
    old = next(opened_states([content], early.root_keys))
    new = read_keys.read_keys(kept.data, kept.root)
    assert (old.generation, old.sequence) == (new.generation - 1, new.sequence - 1)
    assert not set(early.root_keys.values()) & set(read_root_keys(kept.root).values())
    changed = {place: key for place, key in old.pages.items() if place not in new.pages}
    assert changed
    for (offset, length), key in changed.items():
        box = content[offset:offset + length]
        assert open_box(box, key, PAGE_MAGIC) is not None
        assert not any(open_box(box, other, PAGE_MAGIC) for other in new.pages.values())


def test_erased_conversation(kept, tenant, endpoint, tmp_path):
    erased, other = talk(tenant, endpoint), talk(tenant, endpoint)
    # One that is queued again: it ends with the conversation.
    tenant.account.script = [TOO_MANY_REQUESTS]
    waiting = unique("waiting")
    queued = tenant.accepted(waiting, erased.customer)["message_id"]
    wait_until(lambda: len(tenant.message(queued)["status_history"]) == 3, 10, "the first try to be over")
    early, before = kept.copy(tmp_path / "early"), kept.bodies()
    answer = tenant.post(f"/v1/conversations/{erased.conversation}/erase")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"conversation_id": erased.conversation, "status": "erased", "erased": True}

    lines = kept.gateway.replay("--conversation", erased.conversation)
    shut = {line["position"] for line in lines} & before.keys()
    found = attacked(kept, early.data)
    assert_only_these_are_shut(found, before, shut)
    opened = plaintexts(found)
    assert not [word for word in [*erased.words, waiting.encode()] if word in opened]
    assert all(word in opened for word in other.words)
    assert_everything_opens(attacked(kept, early.data, root_keys=early.root_keys), before)


def test_deleted_client(kept, twilio, tenant, endpoint, receiver, tmp_path):
    deleted = tenant_of(kept, twilio)
    theirs = receiver.endpoint()
    deleted.subscribe(theirs)
    gone, other = talk(deleted, theirs), talk(tenant, endpoint)
    assert deleted.post("/v1/webhook/test").status_code == 200
    client = client_position(kept, deleted)
    early, before = kept.copy(tmp_path / "early"), kept.bodies()
    assert kept.gateway.admin("DELETE", f"/clients/{deleted.id}").status_code == 204
    kept.wait_for_purge("clients", client)

    shut = {position for position, body in before.items() if body.record.client == client}
    found = attacked(kept, early.data)
    assert_only_these_are_shut(found, before, shut)
    assert not any(body.parts for body in found.values() if body.record.client == client)
    opened = plaintexts(found)
    secrets = [deleted.account.auth_token.encode(), theirs.url.encode() + b'"', base64.b64decode(deleted.secret[6:])]
    assert not [word for word in gone.words + secrets if word in opened]
    assert all(word in opened for word in other.words)
    state = read_keys.read_keys(kept.data, kept.root)
    below = [(depth, branches) for tree in state.trees.values() for depth, branches in tree.nodes
             if depth >= 64 and branches >> depth - 64 == client]
    assert below == [], "nothing is left of the client's subtree, not even of keys that it never used"


def rotated(tenant):
    answer = tenant.post("/v1/webhook/secret/rotate", {"overlap_seconds": 0})
    assert answer.status_code in (200, 201), answer.text


def disconnected(tenant):
    answer = tenant.gateway.admin("DELETE", f"/clients/{tenant.id}/channels/sms")
    assert answer.status_code in (200, 204), answer.text


def endpoint_replaced(tenant):
    answer = tenant.put("/v1/webhook", {"url": "https://example.com/other", "enabled": False})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "end, record_type, is_replaced",
    [
        (rotated, SECRET_CREATED, True),
        (disconnected, CHANNEL_CONNECTED, False),
        (endpoint_replaced, ENDPOINT_CONFIGURED, True),
    ],
)
def test_a_secret_that_ended(kept, tenant, endpoint, tmp_path, end, record_type, is_replaced):
    client = client_position(kept, tenant)

    def records(bodies):
        return [body for body in bodies.values() if body.record.client == client and body.record.type == record_type]

    early, before = kept.copy(tmp_path / "early"), kept.bodies()
    (old,) = records(before)
    (secret,) = old.parts.values()
    end(tenant)
    kept.wait_for_purge("secrets", old.record.position)

    found = attacked(kept, early.data)
    assert_only_these_are_shut(found, before, {old.record.position})
    assert secret not in plaintexts(found)
    assert [body.parts is None for body in records(found)] == [True] + [False] * is_replaced
    assert_everything_opens(attacked(kept, early.data, root_keys=early.root_keys), before)


def test_purges_of_earlier_epochs(kept, tenant, endpoint, tmp_path):
    """Keys of a process that ended are found in what is left of its epoch, and destroyed there."""
    first = talk(tenant, endpoint)
    assert kept.gateway.stop() == 0
    kept.start()
    second = talk(tenant, endpoint)
    early, before = kept.copy(tmp_path / "early"), kept.bodies()
    epochs = set()
    for message_id, _ in (first.inbound[0], second.inbound[0]):
        epochs.add(before[message_position(kept, message_id)].record.reference.epoch)
        purge(tenant, message_id)
    assert len(epochs) == 2
    opened = plaintexts(attacked(kept, early.data))
    for one in (first, second):
        assert one.inbound[0][1].encode() not in opened
        assert one.inbound[1][1].encode() in opened


# Crashes


@pytest.fixture(scope="module")
def killed_gateway(make_gateway):
    return Kept(make_gateway, "killed")


@pytest.fixture
def killed(killed_gateway):
    if killed_gateway.gateway.process is None:
        killed_gateway.start()
    return killed_gateway


class Roots:
    """Every root key that the file was ever seen with."""

    def __init__(self, path):
        self.path = path
        self.seen = {}

    def look(self):
        present = read_root_keys(self.path)
        self.seen |= present
        return present

    def assert_only_one_is_left(self, directory):
        (present,) = self.look().items()
        assert present[0] == max(self.seen)
        texts = {generation: key.hex() for generation, key in self.seen.items() if generation != present[0]}
        content = self.path.read_bytes()
        for key in texts.values():
            assert key.encode() not in content and bytes.fromhex(key) not in content
        assert find_bytes(directory, {f"root key {number}": key.encode() for number, key in texts.items()}) == []


def received(tenant, endpoint, count):
    """Message ids and texts of `count` new messages of one customer."""
    customer, texts = customer_number(), [unique("inbound") for _ in range(count)]
    before = len(endpoint.requests)
    for text in texts:
        assert tenant.inbound(text, customer).status_code == 200
    requests_made = endpoint.wait_for(before + count, seconds=30)[before:]
    messages = [request.event["data"]["message"] for request in requests_made]
    wait_until(lambda: all(one["state"] == "delivered" for one in tenant.all("/v1/deliveries")), 20, "all delivered")
    return {message["id"]: message["text"] for message in messages}


def assert_verifies(kept):
    result = kept.gateway.verify("--invariants")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_kill_right_after_the_answer(killed, twilio, receiver):
    tenant, endpoint, roots = tenant_of(killed, twilio), receiver.endpoint(), Roots(killed.root)
    tenant.subscribe(endpoint)
    for message_id, text in received(tenant, endpoint, 4).items():
        roots.look()
        purge(tenant, message_id)
        killed.gateway.kill()
        # The answer is the word: nothing is left to be done by the next start.
        assert text.encode() not in plaintexts(killed.bodies())
        roots.assert_only_one_is_left(killed.gateway.directory)
        killed.start()
        assert text.encode() not in plaintexts(killed.bodies())
        message = tenant.message(message_id)
        assert (message["purged"], message["text"]) == (True, None)
        roots.assert_only_one_is_left(killed.gateway.directory)
        assert_verifies(killed)


def test_kill_at_any_moment(killed, twilio, receiver, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, roots = random.Random(seed), Roots(killed.root)
    tenant, endpoint, acknowledged, pending = tenant_of(killed, twilio), receiver.endpoint(), {}, 0
    tenant.subscribe(endpoint)
    for number in range(ROUNDS):
        messages = received(tenant, endpoint, MESSAGES_PER_ROUND)
        early = killed.copy(tmp_path / f"early-{number}")
        roots.look()
        told = purge_until_killed(killed, tenant, messages, chance.uniform(0.001, 0.15))
        acknowledged |= told
        opened = plaintexts(killed.bodies())
        assert not [text for text in acknowledged.values() if text.encode() in opened], "acknowledged, and there"

        killed.start()
        pending += settle(killed, acknowledged, messages, early)
        roots.assert_only_one_is_left(killed.gateway.directory)
        assert_verifies(killed)
    assert acknowledged, "no round came to an answer"
    print(f"{len(acknowledged)} purges acknowledged, {pending} found requested and carried out at a start")


def purge_until_killed(killed, tenant, messages, seconds):
    """The messages whose purge was acknowledged."""
    told = {}

    def work(mine):
        for message_id, text in mine:
            try:
                answer = tenant.post(f"/v1/messages/{message_id}/purge")
            except requests.RequestException:
                return
            assert answer.status_code in (200, 202), answer.text
            if answer.status_code == 200:
                told[message_id] = text

    # All but the last few, so that something stays.
    entries = list(messages.items())[:-3]
    threads = [threading.Thread(target=work, args=(entries[start::2],), daemon=True) for start in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    killed.gateway.kill()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a request outlived the gateway"
    return told


def settle(killed, acknowledged, messages, early):
    """What was requested is carried out, what was not is there; how many had been requested without an answer."""
    def requested_and_completed():
        requested, completed, names = set(), set(), {}
        for line in killed.gateway.replay():
            if line["type"] == "message.received":
                names[line["position"]] = line["message_id"]
            elif line["type"] == "purge.requested":
                requested.add(line["message_id"])
            elif line["type"] == "purge.completed":
                completed |= {names[position] for position in line["data"].get("messages", ())}
        return (requested,) if requested <= completed else None

    (requested,) = wait_until(requested_and_completed, 20, "every requested purge to be completed")
    assert acknowledged.keys() <= requested
    opened = plaintexts(attacked(killed, early.data))
    for message_id, text in messages.items():
        assert (text.encode() not in opened) == (message_id in requested), message_id
    return len((requested & messages.keys()) - acknowledged.keys())
