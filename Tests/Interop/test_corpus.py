"""Everything that providers send, as the corpus has it: each payload as it is, repeated, wrongly signed, with members
of a later version, escaped as Meta does, and out of order. Every case has a client and an account of its own.

`corpus/<channel>.json` is a list of cases:

    name      of the case
    payload   a body of Meta, or the form of Twilio; a list of them comes one after the other
    expect    the events that the client is told of, in order: `type`, what `data` must hold at least
              (support/expect.py), and `purged` where the content is gone at the end
    any_order the provider may deliver the payloads in any order, and the client is told the same
    recorded  true: `waybill replay` shows for the client that something came, also where there is no event;
              "unrouted": it shows so for no client
"""

import json
import os
from pathlib import Path

import pytest

from support import meta
from support.expect import TIME, list_differences, set_differences
from support.stage import PLATFORMS, make_stage
from support.wait import wait_until

CORPUS = Path(__file__).parent / "corpus"
CHANNELS = tuple(PLATFORMS)
MESSAGE_TYPES = {
    "text", "image", "audio", "video", "document", "sticker", "location", "contacts", "interactive", "button", "order",
    "story_reply", "story_mention", "share", "unsupported",
}
MESSAGE_EVENTS = {
    "message_received", "reel_shared", "post_shared", "sms.message_received", "whatsapp.message_received",
}
FOLLOW_UPS = {"message.edited", "message.deleted", "message.reaction"}
# Not about what a provider said.
CLIENT_SET_UP = {"client.created", "channel.connected", "webhook_secret.created"}


def load(channel):
    return json.loads((CORPUS / f"{channel}.json").read_text())


CASES = [(channel, case) for channel in CHANNELS for case in load(channel)]


def cases(wanted=lambda case: True):
    chosen = [pytest.param(channel, case, id=f"{channel}-{case['name']}") for channel, case in CASES if wanted(case)]
    return pytest.mark.parametrize("channel, case", chosen)


def one_way(number):
    """Each case in one of four ways in turn; with WAYBILL_LONG in all of them."""
    if os.environ.get("WAYBILL_LONG"):
        return cases()
    mine = {case["name"] for index, (_, case) in enumerate(CASES) if index % 4 == number}
    return cases(lambda case: case["name"] in mine)


def payloads(case):
    return case["payload"] if isinstance(case["payload"], list) else [case["payload"]]


@pytest.fixture(scope="module")
def gateway(make_gateway):
    running = make_gateway(**meta.SETTINGS).start()
    yield running
    assert running.stop() == 0, running.log_tail()


@pytest.fixture
def stage(channel, gateway, twilio):
    return make_stage(channel, gateway, twilio)


def deliver(stage, case, write, transform=lambda payload: payload):
    for payload in payloads(case):
        stage.deliver(write(transform(stage.filled(payload))))


def assert_events(stage, case, compare=list_differences):
    events = stage.events()
    for event in events:
        assert_shape(event, stage)
    lines = compare(stage.filled(case["expect"]), events)
    assert not lines, "\n".join(["", *lines, "of:", *(json.dumps(event, ensure_ascii=False) for event in events)])


def assert_shape(event, stage):
    """What the contract says of every event."""
    if "data" not in event:
        return
    data = event["data"]
    message = data["message"]
    assert data["client_id"] == stage.tenant.id
    assert data["conversation"]["id"].startswith("conv_")
    assert message["id"].startswith("msg_")
    assert event["type"] in MESSAGE_EVENTS | FOLLOW_UPS
    if event["type"] not in MESSAGE_EVENTS:
        return
    assert data["conversation"]["status"] == "open"
    assert isinstance(data["conversation"]["external_reply_mode"], bool)
    assert ("window_expires_at" in data["conversation"]) == (data["platform"] != "sms")
    assert data["customer"] and all(isinstance(value, str) and value for value in data["customer"].values())
    assert (message["direction"], message["type"] in MESSAGE_TYPES) == ("inbound", True), message["type"]
    assert isinstance(message["media"], list) and "reply_to" in message
    assert TIME.fullmatch(message["received_at"])


# Each case, in each way


@cases()
def test_as_it_is(stage, case):
    deliver(stage, case, stage.plain)
    assert_events(stage, case)


@one_way(0)
def test_repeated(stage, case):
    for _ in range(3):
        deliver(stage, case, stage.plain)
    deliver(stage, case, stage.otherwise)
    assert_events(stage, case)


@one_way(1)
def test_wrongly_signed(stage, case):
    for index, payload in enumerate(payloads(case)):
        answer = stage.post_wrong(stage.plain(stage.filled(payload)), 7 * index + len(case["name"]))
        assert answer.status_code == 403
    stage.look()
    assert stage.events() == []


@one_way(2)
def test_with_members_of_a_later_version(stage, case):
    deliver(stage, case, stage.plain, stage.with_unknown)
    assert_events(stage, case)


@one_way(3)
def test_escaped(stage, case):
    deliver(stage, case, stage.escaped)
    assert_events(stage, case)


@cases(lambda case: case.get("any_order"))
def test_in_reverse_order(stage, case):
    for payload in reversed(payloads(case)):
        stage.deliver(stage.plain(stage.filled(payload)))
    assert_events(stage, case, set_differences)


# What is on record


def history(gateway, *arguments):
    """Without what comes of fetching files, which no provider here has: that is tried again and again."""
    return [line for line in gateway.replay(*arguments) if not line["type"].startswith("media.")]


def last_position(gateway):
    """Of a log that has become quiet."""
    seen = [None]

    def settled():
        position = history(gateway)[-1]["position"]
        same, seen[0] = position == seen[0], position
        return position if same else None

    return wait_until(settled, 20, "the log to be quiet")


@cases(lambda case: case.get("recorded"))
def test_what_makes_no_event_is_on_record(stage, case, gateway):
    before = last_position(gateway)
    for payload in payloads(case):
        assert stage.post(stage.plain(stage.filled(payload))).status_code == 200
    owner = stage.tenant.id if case["recorded"] is True else None
    lines = history(gateway, "--from", before + 1)
    assert [line for line in lines if line["client_id"] == owner and line["type"] not in CLIENT_SET_UP]


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_wrongly_signed_is_not_on_record(stage, channel, gateway):
    before = last_position(gateway)
    for case in load(channel):
        for payload in payloads(case):
            assert stage.post_wrong(stage.plain(stage.filled(payload)), len(case["name"])).status_code == 403
    assert last_position(gateway) == before


# Of a kind


def test_the_corpus_is_large_and_names_are_unique():
    names = [(channel, case["name"]) for channel, case in CASES]
    assert len(names) >= 120
    assert len(set(names)) == len(names)


def named(channel, name):
    (case,) = [case for case in load(channel) if case["name"] == name]
    return case


@pytest.mark.parametrize("channel", ["messenger", "instagram", "whatsapp"])
@pytest.mark.parametrize("name", ["reaction", "edit"])
def test_follow_ups_say_whose_they_are(stage, channel, name):
    """One shape: account and customer apply to a reaction and an edit as they do to a message."""
    case = named(channel, name)
    deliver(stage, case, stage.plain)
    message, follow_up = stage.events()
    assert follow_up["data"].get("account") == message["data"]["account"]
    assert follow_up["data"].get("customer") == message["data"]["customer"]
