"""The Send API over Messenger, Instagram and WhatsApp: who is meant, what Graph gets, and what becomes of a message.

Wire facts are those of `reference/channels.md`, C to E. What needs the clock to move is not tested here.
"""

import json
import os
import time

import pytest

from support.files import find_bytes
from support.graph import (
    BARE_500, CUT, DROP, HANG, Customer, FakeGraph, before, error, milliseconds, new_customer, person, phone_person,
    post_webhook, raw, username_person)
from support.meta_tenant import APP_SECRET, MetaTenant
from support.problems import REFUSED, assert_problem
from support.tenant import unique
from support.wait import holds_for, wait_until

# How long a refusal for now may take to be repeated: the contract gives no schedule for sends.
RESEND_SECONDS = 45
# When a call that hangs is given up.
TIMEOUT_SECONDS = 45

CHANNELS = ["facebook", "instagram", "instagram login", "whatsapp", "whatsapp username"]
DIRECT = CHANNELS[:3]
PLATFORMS = ["facebook", "instagram", "whatsapp"]
OLDER_SECRET = "an-older-secret"
IMAGE = "https://media.example.test/a/picture.png?size=1&kind=a%20b"


# Set-up


@pytest.fixture(scope="module")
def graph():
    server = FakeGraph()
    yield server
    server.close()
    assert server.foreign_requests == []


@pytest.fixture(scope="module")
def instagram_graph():
    server = FakeGraph()
    yield server
    server.close()
    assert server.foreign_requests == []


@pytest.fixture(scope="module")
def make_meta_gateway(make_gateway, graph, instagram_graph):
    def make(name):
        return make_gateway(
            name,
            WAYBILL_PROVIDERS_GRAPH_BASE_URL=graph.base_url,
            WAYBILL_PROVIDERS_INSTAGRAM_BASE_URL=instagram_graph.base_url,
            WAYBILL_META_APP_SECRETS=f"{OLDER_SECRET},{APP_SECRET}",
        )

    return make


@pytest.fixture(scope="module")
def gateway(make_meta_gateway):
    """As elsewhere, with Meta's hosts."""
    running = make_meta_gateway("meta").start()
    yield running
    if running.process is not None:
        assert running.stop() == 0, running.log_tail()


@pytest.fixture(scope="module")
def killed(make_meta_gateway):
    """A gateway that tests may kill."""
    return make_meta_gateway("meta-killed").start()


@pytest.fixture
def new_account(graph, instagram_graph):
    def make(channel):
        platform, _, rest = channel.partition(" ")
        if rest == "login":
            return instagram_graph.account(platform, "instagram")
        return graph.account(platform)

    return make


@pytest.fixture
def connected(gateway, new_account):
    """A new client with an account on this channel."""
    def make(channel, on=None, tenant=None, **settings):
        tenant = tenant or MetaTenant(on or gateway, **settings)
        account = new_account(channel)
        tenant.connect(account)
        return tenant, account

    return make


@pytest.fixture
def make_line(connected):
    """A new client's conversation with a customer who has written."""
    def make(channel, **settings):
        tenant, account = connected(channel, **settings)
        return tenant.line(account, customer_of(channel))

    return make


@pytest.fixture
def line(request, make_line):
    return make_line(request.param)


def customer_of(channel):
    if channel == "whatsapp username":
        return username_person()
    return new_customer(channel.partition(" ")[0])


def on(*channels):
    return pytest.mark.parametrize("line", channels, indirect=True)


def recipient_of(made):
    body = made.json
    return body["recipient"]["id"] if isinstance(body.get("recipient"), dict) else body.get("to") or body["recipient"]


def is_replay(answer):
    return answer.headers.get("Idempotency-Replayed") == "true"


# To whom


@on(*CHANNELS)
def test_text_by_conversation(line):
    text = unique("Grüße 😀 & \"quotes\" \\ / \u2028 end")
    message_id, made = line.sent(text=text)
    assert made.text == text
    assert recipient_of(made).removeprefix("+") == line.customer.any_id
    assert made.headers["authorization"] == f"Bearer {line.account.token}"
    # Where proxies and logs look for it, there is no token.
    assert line.account.token not in made.path and line.account.token.encode() not in made.body
    assert len(line.account.calls) == 1


@on(*CHANNELS)
def test_path_and_host(line):
    """An account that was connected by Instagram Login is known on the other host only."""
    _, made = line.sent()
    wanted = f"/v25.0/{line.account.id}/messages"
    own = [] if line.account.platform == "whatsapp" else ["/v25.0/me/messages"]
    assert made.path in [wanted, *own]


@on(*CHANNELS)
def test_wire_form_of_a_text(line):
    message_id, made = line.sent(text="Hello")
    body = made.json
    if line.account.platform == "whatsapp":
        name = "recipient" if line.customer.user_id else "to"
        assert (body["messaging_product"], body["type"], body["text"]["body"]) == ("whatsapp", "text", "Hello")
        assert body.get("recipient_type", "individual") == "individual"
        assert body[name].removeprefix("+") == line.customer.any_id
        assert body["biz_opaque_callback_data"] == message_id
    else:
        assert body["recipient"] == {"id": line.customer.id}
        assert body["messaging_type"] == "RESPONSE" and "tag" not in body
        assert body["message"] == {"text": "Hello", "metadata": message_id}
    assert "context" not in body and "reply_to" not in body


@on(*CHANNELS)
def test_text_by_platform_user_id(line):
    answer = line.tenant.post("/v1/send", {"platform_user_id": line.customer.any_id, "text": "by id"})
    assert answer.status_code == 202, answer.text
    # The platform is derived, and the conversation is the customer's.
    assert answer.json()["platform"] == line.account.platform
    assert answer.json()["conversation_id"] == line.conversation
    assert recipient_of(line.account.wait_for_call("by id")) == line.customer.any_id


@pytest.mark.parametrize("fields", [{"platform": "whatsapp"}, {}], ids=["named", "derived"])
def test_all_ids_of_one_person_are_one_conversation(connected, fields):
    tenant, account = connected("whatsapp")
    customer = Customer(wa_id=phone_person().wa_id, user_id=username_person().user_id)
    line = tenant.line(account, customer)
    for name, value in (
        ("platform_user_id", customer.wa_id), ("platform_user_id", customer.user_id), ("to_phone", customer.phone),
    ):
        # By phone alone it would be an SMS.
        more = {"platform": "whatsapp"} if name == "to_phone" else fields
        answer = tenant.post("/v1/send", {name: value, "text": unique(name)} | more)
        assert answer.status_code == 202, f"{name}: {answer.text}"
        assert answer.json()["conversation_id"] == line.conversation, name
    wait_until(lambda: len(account.calls) == 3, 10, "three calls")
    assert {recipient_of(made) for made in account.calls} <= {customer.wa_id, customer.user_id}


def test_phone_over_whatsapp_and_the_answer_to_it(connected):
    """A conversation that was opened by number is found again when the customer answers."""
    tenant, account = connected("whatsapp")
    customer = phone_person()
    answer = tenant.post("/v1/send", {
        "to_phone": customer.phone, "platform": "whatsapp", "template_name": "hello", "template_language": "en_US"})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: account.calls, 10, "the template's call")
    assert account.calls[0].problem == "" and recipient_of(account.calls[0]).removeprefix("+") == customer.wa_id
    line = tenant.line(account, customer)
    assert line.conversation == answer.json()["conversation_id"]
    _, made = line.sent(text="by number")
    assert recipient_of(made).removeprefix("+") == customer.wa_id


@pytest.mark.parametrize(
    "dialled, wa_id",
    [("+5511987654321", "551187654321"), ("+525512345678", "5215512345678"), ("+541112345678", "5491112345678")],
    ids=["Brazil", "Mexico", "Argentina"])
def test_number_that_whatsapp_writes_differently(connected, dialled, wa_id):
    """E.6: both forms are one person, and a reply goes to the value that was received."""
    tenant, account = connected("whatsapp")
    answer = tenant.post("/v1/send", {
        "to_phone": dialled, "platform": "whatsapp", "template_name": "hello", "template_language": "en"})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: account.calls, 10, "the template's call")
    assert recipient_of(account.calls[0]).removeprefix("+") == dialled.removeprefix("+")
    line = tenant.line(account, Customer(wa_id=wa_id))
    assert line.conversation == answer.json()["conversation_id"]
    _, made = line.sent(text="reply")
    assert recipient_of(made).removeprefix("+") == wa_id


@on(*PLATFORMS)
def test_unknown_recipient(line, make_line, connected):
    def send(to, **fields):
        return line.tenant.post("/v1/send", {"platform_user_id": to, "text": "Hello"} | fields)

    stranger = make_line(line.account.platform)
    assert_problem(send("999999"), 404, code="unknown_recipient")
    assert_problem(send(stranger.customer.any_id), 404, code="unknown_recipient")
    for other in PLATFORMS:
        if other != line.account.platform:
            connected(other, tenant=line.tenant)
            assert_problem(send(line.customer.any_id, platform=other), 404, code="unknown_recipient")
    assert line.account.calls == []


def test_ambiguous_recipient(connected):
    tenant, page = connected("facebook")
    _, profile = connected("instagram", tenant=tenant)
    same = person()
    lines = {"facebook": tenant.line(page, same), "instagram": tenant.line(profile, same)}
    answer = tenant.post("/v1/send", {"platform_user_id": same.id, "text": "to whom"})
    assert_problem(answer, 409, code="ambiguous_recipient")
    assert page.calls == [] and profile.calls == []
    for platform, line in lines.items():
        answer = tenant.post("/v1/send", {"platform_user_id": same.id, "platform": platform, "text": platform})
        assert answer.status_code == 202, answer.text
        assert (answer.json()["platform"], answer.json()["conversation_id"]) == (platform, line.conversation)
        line.account.wait_for_call(platform)
    assert [made.text for made in page.calls + profile.calls] == ["facebook", "instagram"]


def test_ambiguous_with_a_whatsapp_id(connected):
    tenant, page = connected("facebook")
    _, number = connected("whatsapp", tenant=tenant)
    digits = phone_person().wa_id
    tenant.line(page, Customer(id=digits))
    tenant.line(number, Customer(wa_id=digits))
    answer = tenant.post("/v1/send", {"platform_user_id": digits, "text": "to whom"})
    assert_problem(answer, 409, code="ambiguous_recipient")


@on(*PLATFORMS)
def test_conversation_of_another_client(line, connected):
    other, _ = connected(line.account.platform)
    answer = other.post("/v1/send", {"conversation_id": line.conversation, "text": "Hello"})
    assert_problem(answer, 404, code="unknown_recipient")
    answer = other.post("/v1/send", {"platform_user_id": line.customer.any_id, "text": "Hello"})
    assert_problem(answer, 404, code="unknown_recipient")
    assert line.account.calls == []


@on("facebook")
def test_platform_that_is_not_the_conversations(line):
    assert_problem(line.send(text="Hello", platform="whatsapp"), (400, 404, 409, 422))
    assert line.send(text="Hello", platform="facebook").status_code == 202


@pytest.mark.parametrize(
    "name", ["from", "sender", "sender_id", "page_id", "ig_account_id", "phone_number_id", "account", "access_token"])
@on("whatsapp")
def test_sender_may_not_be_named(line, name):
    problem = assert_problem(line.send(text="Hello", **{name: line.account.id}), REFUSED)
    assert problem["field"] == name
    assert line.account.calls == []


@pytest.mark.parametrize("platform", ["facebook", "instagram"])
def test_phone_is_no_way_to_messenger(connected, platform):
    tenant, account = connected(platform)
    answer = tenant.post("/v1/send", {"to_phone": "+16505550199", "platform": platform, "text": "Hello"})
    assert_problem(answer, REFUSED)
    assert account.calls == []


@pytest.mark.parametrize("platform", PLATFORMS)
def test_disconnected_channel(make_line, platform):
    line = make_line(platform)
    answer = line.tenant.gateway.admin("DELETE", f"/clients/{line.tenant.id}/channels/{platform}")
    assert answer.status_code in (200, 204), answer.text
    assert_problem(line.send(text="Hello"), 403, code="channel_not_connected")


def test_whatsapp_needs_a_plan(connected):
    tenant, account = connected("whatsapp")
    line = tenant.line(account)
    assert tenant.gateway.admin("PATCH", f"/clients/{tenant.id}", {"plan": "creator"}).status_code == 200
    assert_problem(line.send(text="Hello"), 403, code="plan_required")
    assert account.calls == []


# What is said


MEDIA = {"image": "image", "video": "video", "audio": "audio", "document": "file", "sticker": "image"}


@pytest.mark.parametrize("kind", MEDIA)
@on(*DIRECT)
def test_media_over_messenger_and_instagram(line, kind):
    _, made = line.sent(media_url=IMAGE, media_type=kind)
    attachment = made.json["message"]["attachment"]
    # Neither has stickers of the sender's own: they go as images.
    assert (attachment["type"], attachment["payload"]["url"]) == (MEDIA[kind], IMAGE)
    assert "text" not in made.json["message"]


@pytest.mark.parametrize("kind", MEDIA)
@on("whatsapp", "whatsapp username")
def test_media_over_whatsapp(line, kind):
    _, made = line.sent(media_url=IMAGE, media_type=kind)
    assert made.json["type"] == kind
    assert made.json[kind] == {"link": IMAGE}


@pytest.mark.parametrize("kind", ["image", "video", "document"])
@on("whatsapp")
def test_caption_over_whatsapp(line, kind):
    caption = "Für dich 😀\n" + "x" * 900
    _, made = line.sent(media_url=IMAGE, media_type=kind, caption=caption)
    assert made.json[kind] == {"link": IMAGE, "caption": caption}


@on("whatsapp")
def test_filename_over_whatsapp(line):
    _, made = line.sent(media_url=IMAGE, media_type="document", caption="June", filename="Rechnung für Ana.pdf")
    assert made.json["document"] == {"link": IMAGE, "caption": "June", "filename": "Rechnung für Ana.pdf"}


@pytest.mark.parametrize("kind", ["audio", "sticker"])
@on("whatsapp")
def test_caption_that_whatsapp_cannot_show(line, kind):
    """What the client wrote must not be lost without a word."""
    assert_problem(line.send(media_url=IMAGE, media_type=kind, caption="hear this"), REFUSED, field="caption")
    assert line.account.calls == []


@on("whatsapp")
def test_caption_too_long(line):
    assert_problem(line.send(media_url=IMAGE, media_type="image", caption="x" * 1025), REFUSED, field="caption")
    line.sent(media_url=IMAGE, media_type="image", caption="x" * 1024)


# As odd as JSON may be: spaces, escapes, numbers that no double holds, members in any order.
COMPONENTS = {
    "none": b"[]",
    "text header, positional": b'''[{"type":"header","parameters":[{"type":"text","text":"June"}]},
        {"type":"body","parameters":[{"type":"text","text":"Ana"},{"type":"text","text":"42"}]}]''',
    "image header, named": b'''[ {"parameters" :[{"image":{"link":"https:\\/\\/x.test\\/a.png"}, "type":"image"}],
        "type": "header"},
        {"type":"body","parameters":[{"type":"text","parameter_name":"first_name","text":"Jos\\u00e9 \\ud83d\\ude00"}]} ]''',
    "video header": b'[{"type":"header","parameters":[{"type":"video","video":{"id":"17841400000000001"}}]}]',
    "pdf header": '[{"type":"header","parameters":[{"type":"document","document":'
                  '{"link":"https://x.test/a.pdf","filename":"Größe.pdf"}}]}]'.encode(),
    "currency and date": b'''[{"type":"body","parameters":[
        {"type":"currency","currency":{"fallback_value":"$1.10","code":"USD","amount_1000":1234567890123456789012345}},
        {"type":"date_time","date_time":{"fallback_value":"1 June","x":1.10,"y":1E+2,"z":-0,"n":null,"t":true}}]}]''',
    "quick reply": b'''[{"type":"button","sub_type":"quick_reply","index":"0",
        "parameters":[{"type":"payload","payload":"a\\tb"}]}]''',
    "url button": b'''[\t{"index" :\t"1","sub_type":"url","type":"button",\r
        "parameters":[{"type":"text","text":"?a=1&b=%20"}]}\r\n]''',
    "copy code": b'''[{"type":"button","sub_type":"copy_code","index":2,
        "parameters":[{"type":"coupon_code","coupon_code":"SAVE"}]}]''',
    "unknown kinds": b'[{"zz":[],"type":"carousel","cards":[{"card_index":0,"components":[{}]}],"\\u0061":""}]',
}


def send_template(line, components, key=None, **replaced):
    """With the components as they stand: Python's JSON would write them anew."""
    head = {"conversation_id": line.conversation, "template_name": "order_update", "template_language": "en_US"} | replaced
    body = json.dumps(head).encode()[:-1] + b', "template_components": ' + components + b" }"
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    return line.tenant.call("POST", "/v1/send", headers=headers, data=body)


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS)
@on("whatsapp")
def test_template_components_go_out_byte_for_byte(line, components):
    answer = send_template(line, components)
    assert answer.status_code == 202, answer.text
    message = line.wait_for(answer.json()["message_id"], "sent", "failed")
    assert [made.problem for made in line.account.calls] == [""], message
    made = line.account.calls[0]
    assert made.member("components") == components
    template = made.json["template"]
    assert (made.json["type"], template["name"], template["language"]["code"]) == ("template", "order_update", "en_US")
    assert made.our_id == message["id"]


@on("whatsapp", "whatsapp username")
def test_template_without_components(line):
    _, made = line.sent(template_name="hello", template_language="de")
    assert made.json["template"]["name"] == "hello" and made.json["template"].get("components", []) == []


@pytest.mark.parametrize("components", [b'{"type":"body"}', b'"[]"', b"7", b"true"])
@on("whatsapp")
def test_template_components_are_a_list(line, components):
    assert_problem(send_template(line, components), REFUSED, field="template_components")
    assert line.account.calls == []


@on(*CHANNELS)
def test_reaction_set_changed_and_removed(line):
    own, own_call = line.sent(text="react to me")
    for target, mid in ((line.inbound, line.inbound_mid), (own, own_call.id)):
        for emoji in ("❤️", "👍🏽", ""):
            _, made = line.sent(reaction={"message_id": target, "emoji": emoji})
            assert_reaction(line, made, mid, emoji)


def assert_reaction(line, made, mid, emoji):
    body = made.json
    if line.account.platform == "whatsapp":
        assert body["type"] == "reaction" and body["reaction"] == {"message_id": mid, "emoji": emoji}
        assert "context" not in body
        return
    assert body["recipient"] == {"id": line.customer.id} and "message" not in body
    if emoji:
        assert (body["sender_action"], body["payload"]) == ("react", {"message_id": mid, "reaction": emoji})
    else:
        assert (body["sender_action"], body["payload"]) == ("unreact", {"message_id": mid})


@on("facebook")
def test_answer_to_a_reaction_is_not_taken_for_the_message(line):
    """Messenger's answer names the message that the reaction is to: reports about that one still find it."""
    own, made = line.sent(text="react to me")
    sign, _ = line.sent(reaction={"message_id": own, "emoji": "👍"})
    assert line.tenant.message(sign)["provider_message_id"] != made.id
    line.report_delivered(made)
    line.wait_for(own, "delivered")


@on(*PLATFORMS)
def test_reaction_without_emoji_or_target(line, make_line):
    stranger = make_line(line.account.platform)
    assert_problem(line.send(reaction={"emoji": "👍"}), REFUSED)
    assert_problem(line.send(reaction="👍"), REFUSED, field="reaction")
    assert_problem(line.send(reaction={"message_id": line.inbound, "emoji": "👍", "mid": "x"}), REFUSED)
    neighbour = line.tenant.line(line.account)
    for other in ("msg_unknown", stranger.inbound, neighbour.inbound):
        assert_problem(line.send(reaction={"message_id": other, "emoji": "👍"}), (400, 404, 422))
        assert_problem(line.send(text="Hello", reply_to=other), (400, 404, 422))
    assert line.account.calls == []


@on(*DIRECT)
def test_typing_over_messenger_and_instagram(line):
    for is_on, action in ((True, "typing_on"), (False, "typing_off")):
        _, made = line.sent(typing=is_on)
        assert made.json == {"recipient": {"id": line.customer.id}, "sender_action": action}


@on("whatsapp", "whatsapp username")
def test_typing_over_whatsapp_marks_the_last_message_read(line):
    _, mid = line.write()
    line.sent(text="in between")
    _, made = line.sent(typing=True)
    assert made.json == {
        "messaging_product": "whatsapp", "status": "read", "message_id": mid, "typing_indicator": {"type": "text"}}


@on(*CHANNELS)
def test_reports_are_not_about_signs(line):
    """A typing sign or a reaction is not read or delivered: reports are about messages."""
    typing, _ = line.sent(typing=True)
    own, made = line.sent(text="a message")
    line.report_read(made)
    line.wait_for(own, "read")
    holds_for(lambda: line.status(typing) == "sent", 0.3, "typing is no message that can be read")


@on(*CHANNELS)
def test_reply_to_an_inbound_and_to_an_own_message(line):
    own, own_call = line.sent(text="first")
    for target, mid in ((line.inbound, line.inbound_mid), (own, own_call.id)):
        for content in ({"text": "reply"}, {"media_url": IMAGE, "media_type": "image"}):
            _, made = line.sent(reply_to=target, **content)
            if line.account.platform == "whatsapp":
                assert made.json["context"] == {"message_id": mid}
            else:
                assert made.json["reply_to"] == {"mid": mid}


@on("facebook", "whatsapp")
def test_reply_to_a_message_that_was_never_sent(line):
    """There is nothing to quote. The message must not go out as if it stood alone, nor with an empty id."""
    line.account.scripts["lost"] = [error(400, 100)]
    lost = line.accepted(text="lost")
    line.wait_for(lost, "failed")
    for content in ({"text": "about it", "reply_to": lost}, {"reaction": {"message_id": lost, "emoji": "👍"}}):
        answer = line.send(**content)
        if answer.status_code == 202:
            line.wait_for(answer.json()["message_id"], "failed")
        else:
            assert_problem(answer, (400, 404, 409, 410, 422))
    assert [made.text for made in line.account.calls] == ["lost"]


@on("facebook", "whatsapp")
def test_reply_to_a_purged_message(line):
    """The provider's id went with the body: refused, or failed at once, and nothing behind it waits."""
    assert line.tenant.post(f"/v1/messages/{line.inbound}/purge").status_code in (200, 202)
    for content in (
        {"text": "about it", "reply_to": line.inbound},
        {"reaction": {"message_id": line.inbound, "emoji": "👍"}},
    ):
        answer = line.send(**content)
        if answer.status_code == 202:
            line.wait_for(answer.json()["message_id"], "failed", seconds=3)
        else:
            assert_problem(answer, (400, 404, 409, 410, 422))
    line.sent(text="not held back")


@on("whatsapp")
def test_typing_after_the_last_message_was_purged(line):
    assert line.tenant.post(f"/v1/messages/{line.inbound}/purge").status_code in (200, 202)
    answer = line.send(typing=True)
    if answer.status_code == 202:
        line.wait_for(answer.json()["message_id"], "failed", seconds=3)
    else:
        assert_problem(answer, (400, 404, 409, 410, 422))
    line.sent(text="not held back")


@on(*DIRECT)
def test_human_agent(line):
    _, made = line.sent(text="from a person", human_agent=True)
    assert (made.json["messaging_type"], made.json["tag"]) == ("MESSAGE_TAG", "HUMAN_AGENT")


@on("facebook", "whatsapp")
def test_prefer_wait(line):
    answer = line.send(text="now", prefer="wait=5")
    assert (answer.status_code, answer.json()["status"]) == (200, "sent"), answer.text
    line.account.script = [error(400, 100)]
    answer = line.send(text="refused", prefer="wait=5")
    assert (answer.status_code, answer.json()["status"]) == (200, "failed"), answer.text


@on(*CHANNELS)
def test_messages_of_a_conversation_leave_in_order(line):
    texts = [f"part {n}" for n in range(6)]
    line.account.scripts["part 2"] = [error(400, 4)]
    for text in texts:
        line.accepted(text=text)
    wait_until(lambda: len(line.account.calls) == len(texts) + 1, 20, "all parts")
    assert [made.text for made in line.account.calls] == texts[:3] + texts[2:]


# What a channel cannot do


UNSUPPORTED = [
    ("facebook", {"media_url": IMAGE, "media_type": "image", "caption": "x"}, "caption"),
    ("instagram", {"media_url": IMAGE, "media_type": "document", "caption": "x"}, "caption"),
    ("facebook", {"template_name": "hello", "template_language": "en"}, "template_name"),
    ("instagram", {"template_name": "hello", "template_language": "en"}, "template_name"),
    ("whatsapp", {"typing": False}, "typing"),
]


@pytest.mark.parametrize(
    "line, content, field", UNSUPPORTED, indirect=["line"], ids=[f"{name} {field}" for name, _, field in UNSUPPORTED])
@pytest.mark.parametrize("is_named", [False, True], ids=["derived", "named"])
def test_unsupported_on_the_channel(line, content, field, is_named):
    more = {"platform": line.account.platform} if is_named else {}
    assert_problem(line.send(**content | more), 400, code="unsupported_channel", field=field)
    assert line.account.calls == []


@pytest.mark.parametrize(
    "content, field",
    [
        ({"reaction": {"message_id": "msg_x", "emoji": "👍"}}, "reaction"),
        ({"typing": True}, "typing"),
        ({"template_name": "hello", "template_language": "en"}, "template_name"),
    ],
    ids=lambda value: str(value)[:20])
def test_unsupported_over_sms(connected, content, field):
    tenant, _ = connected("whatsapp")
    answer = tenant.post("/v1/send", {"to_phone": "+16505550123"} | content)
    assert_problem(answer, 400, code="unsupported_channel", field=field)


LONGEST = [
    ("facebook", "x" * 2000, "x"),
    ("instagram", "x" * 1000, "x"),
    ("instagram login", "é" * 500, "é"),
    ("instagram", "😀" * 250, "!"),
    ("whatsapp", "x" * 4096, "x"),
]


@pytest.mark.parametrize("line, longest, more", LONGEST, indirect=["line"], ids=[f"{one[0]} {one[1][0]}" for one in LONGEST])
def test_text_too_long(line, longest, more):
    """Instagram counts bytes."""
    assert_problem(line.send(text=longest + more), REFUSED, field="text")
    assert line.account.calls == []
    _, made = line.sent(text=longest)
    assert made.text == longest


@pytest.mark.parametrize(
    "content, field",
    [
        ({"text": "a", "media_url": IMAGE, "media_type": "image"}, None),
        ({"text": "a", "typing": True}, None),
        ({"template_name": "a", "template_language": "en", "reaction": {"message_id": "msg_x", "emoji": "x"}}, None),
        ({}, None),
        ({"text": ""}, "text"),
        ({"media_url": IMAGE, "media_type": "gif"}, "media_type"),
        ({"media_url": IMAGE}, "media_type"),
        ({"media_url": "ftp://x.test/a", "media_type": "image"}, "media_url"),
        ({"template_name": "a"}, "template_language"),
        ({"template_language": "en"}, None),
        ({"typing": "yes"}, "typing"),
        ({"typing": True, "reply_to": "msg_x"}, "reply_to"),
        ({"text": "a", "caption": "b"}, "caption"),
        ({"text": "a", "human_agent": 1}, "human_agent"),
    ],
    ids=lambda value: str(value)[:40])
@on("whatsapp")
def test_content_that_is_none(line, content, field):
    problem = assert_problem(line.send(**content), REFUSED)
    assert field is None or problem["field"] == field, problem
    assert line.account.calls == []


# When


def test_first_contact_by_phone_needs_a_template(connected):
    tenant, account = connected("whatsapp")
    customer = phone_person()
    to = {"to_phone": customer.phone, "platform": "whatsapp"}
    for content in ({"text": "Hello"}, {"media_url": IMAGE, "media_type": "image"}, {"typing": True}):
        problem = assert_problem(tenant.post("/v1/send", to | content), 409, code="outside_24h_window")
        assert "template" in problem["detail"]
    assert account.calls == []
    answer = tenant.post("/v1/send", to | {"template_name": "hello", "template_language": "en"})
    assert answer.status_code == 202, answer.text
    message_id = answer.json()["message_id"]
    tenant.wait_for_status(message_id, "sent")
    # Statuses do not open the window; the customer does.
    tenant.hook(account, account.status(account.calls[0].id, "read", customer, message_id))
    tenant.wait_for_status(message_id, "read")
    assert_problem(tenant.post("/v1/send", to | {"text": "Hello"}), 409, code="outside_24h_window")
    tenant.line(account, customer)
    answer = tenant.post("/v1/send", to | {"text": "Hello"})
    assert answer.status_code == 202, answer.text


@on("whatsapp")
def test_template_inside_the_window(line):
    line.sent(template_name="hello", template_language="en")


@pytest.mark.parametrize("channel", DIRECT)
@pytest.mark.parametrize("more", [{}, {"human_agent": True}], ids=["automatic", "human"])
def test_business_wrote_first(connected, channel, more):
    """The app's own message makes the customer known, but only the customer opens the window."""
    tenant, account = connected(channel)
    customer = person()
    tenant.hook(account, account.echo(customer, "typed in the app", account.new_message_id()))
    answer = tenant.post("/v1/send", {"platform_user_id": customer.id, "text": "Hello"} | more)
    assert_problem(answer, 409, code="outside_24h_window")
    assert account.calls == []
    tenant.line(account, customer).sent(text="Hello", **more)


def test_reaction_opens_the_window_of_messenger(connected):
    """C.3: reacting to a message is one of the openers."""
    tenant, account = connected("facebook")
    customer, mid = person(), account.new_message_id()
    tenant.hook(account, account.echo(customer, "typed in the app", mid))
    tenant.hook(account, account.reaction(customer, mid))
    answer = tenant.post("/v1/send", {"platform_user_id": customer.id, "text": "Hello"})
    assert answer.status_code == 202, answer.text


# What the business does in its own app


@on("whatsapp")
def test_message_edited_and_taken_back_in_the_business_app(line):
    """The client is told of both, and what was taken back is gone."""
    message_id, made = line.sent(text="until six")
    edit = {"original_message_id": made.id, "message": {"type": "text", "text": {"body": "until seven"}}}
    line.hook(line.account.in_the_app(line.customer, type="edit", edit=edit))
    message = line.tenant.message(message_id)
    assert (message["text"], message["edited"], message["direction"]) == ("until seven", True, "outbound")
    line.hook(line.account.in_the_app(line.customer, type="revoke", revoke={"original_message_id": made.id}))
    message = line.tenant.message(message_id)
    assert (message["text"], message["purged"], message["status"]) == (None, True, "sent")
    types = [event["type"] for event in line.tenant.events()]
    assert [name for name in types if name in ("message.edited", "message.deleted")] == [
        "message.edited", "message.deleted"]


@on("whatsapp")
def test_what_the_provider_said_beside_the_text_is_read_later(line):
    product = {"catalog_id": "194836987003835", "product_retailer_id": "di9"}
    mid = line.account.new_message_id()
    line.hook(line.account.message(line.customer, "How much?", mid, context={"referred_product": product}))
    told = line.tenant.inbound_of(mid)["message"]
    assert told["product"] == {"catalog_id": "194836987003835", "product_id": "di9"}
    assert told["sent_at"] <= told["received_at"]
    message = line.tenant.message(told["id"])
    assert (message["product"], message["sent_at"]) == (told["product"], told["sent_at"])
    message_id, _ = line.sent(text="Ten")
    assert "sent_at" not in line.tenant.message(message_id), "it is the provider's, and none was said"


# How the status moves


@on("whatsapp", "whatsapp username")
@pytest.mark.parametrize(
    "reports, final",
    [
        (["sent", "delivered", "read"], "read"),
        (["sent", "read"], "read"),
        (["delivered", "sent", "sent", "delivered"], "delivered"),
        (["read", "delivered", "sent"], "read"),
        (["sent", "delivered", "played"], "read"),
        (["delivered", "failed"], "delivered"),
        (["failed", "sent", "delivered"], "delivered"),
        (["warning", "deleted", "brand_new", "delivered"], "delivered"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value)
def test_whatsapp_status(line, reports, final):
    message_id, made = line.sent()
    for status in reports:
        code = 131026 if status == "failed" else None
        line.hook(line.account.status(made.id, status, line.customer, made.our_id, code))
    assert line.wait_for(message_id, final)["error"] is None
    assert_only_rose(line, message_id, final)


ORDER = ["queued", "sending", "outcome_unknown", "sent", "failed", "delivered", "read"]


def told(line, message_id):
    """The statuses that the client was told, first to last."""
    return [message["status"] for message in line.tenant.statuses_told(message_id)]


def assert_only_rose(line, message_id, final):
    """In the history and in what the client was told, each status once."""
    for statuses in (line.history(message_id), told(line, message_id)):
        ranks = [ORDER.index(status) for status in statuses]
        assert ranks == sorted(set(ranks)) and statuses[-1] == final, statuses


@on("whatsapp")
def test_whatsapp_failure_after_acceptance(line):
    message_id, made = line.sent()
    line.hook(line.account.status(made.id, "failed", line.customer, made.our_id, 131049))
    message = line.wait_for(message_id, "failed")
    assert message["error"]["code"] == "131049"
    assert line.tenant.statuses_told(message_id)[-1]["error"]["code"] == "131049"
    assert len(line.account.calls) == 1


@on("whatsapp")
def test_whatsapp_status_is_found_by_either_id(line):
    by_mid, first = line.sent()
    by_ours, second = line.sent()
    line.hook(line.account.status(first.id, "delivered", line.customer))
    line.hook(line.account.status("wamid.unheard-of", "delivered", line.customer, second.our_id))
    for message_id in (by_mid, by_ours):
        line.wait_for(message_id, "delivered")


@on("whatsapp")
def test_whatsapp_statuses_of_many_in_one_request(line):
    sent = [line.sent() for _ in range(3)]
    line.hook(*(line.account.status(made.id, status) for status in ("delivered", "read") for _, made in sent))
    for message_id, _ in sent:
        line.wait_for(message_id, "read")
        assert_only_rose(line, message_id, "read")


@on("whatsapp")
def test_foreign_opaque_data_is_not_believed(line, make_line):
    """Our own id of another client's message says nothing about this client's."""
    other = make_line("whatsapp")
    foreign, made = other.sent()
    line.hook(line.account.status("wamid.unheard-of", "read", line.customer, made.our_id))
    holds_for(lambda: other.status(foreign) == "sent", 0.3, "another client's webhook raised it")


@on(*PLATFORMS)
def test_forged_report(line):
    """Only Meta's signature makes a status: any of the listed secrets, and no other."""
    message_id, made = line.sent()
    if line.account.platform == "whatsapp":
        report = line.account.status(made.id, "read", line.customer, made.our_id)
    else:
        report = line.account.read(line.customer, mid=made.id if line.account.platform == "instagram" else None)
    envelope, base_url = line.account.envelope(report), line.tenant.gateway.base_url
    assert post_webhook(base_url, "another-secret", envelope).status_code == 403
    assert line.status(message_id) == "sent"
    assert post_webhook(base_url, OLDER_SECRET, envelope).status_code == 200
    line.wait_for(message_id, "read")


@on("facebook")
def test_messenger_delivery_and_read_by_watermark(line):
    early = [line.sent()[0] for _ in range(2)]
    time.sleep(0.02)
    watermark = milliseconds()
    time.sleep(0.02)
    late, _ = line.sent()
    line.hook(line.account.delivery(line.customer, watermark=watermark))
    for message_id in early:
        line.wait_for(message_id, "delivered")
    line.hook(line.account.read(line.customer, watermark=watermark))
    for message_id in early:
        line.wait_for(message_id, "read")
        assert_only_rose(line, message_id, "read")
    assert line.status(late) == "sent"
    # Read implies delivered: an older watermark changes nothing.
    line.hook(line.account.delivery(line.customer, watermark=watermark - 5))
    line.hook(line.account.read(line.customer))
    line.wait_for(late, "read")
    assert all(line.status(message_id) == "read" for message_id in early)


@on("facebook")
def test_messenger_delivery_by_mids(line):
    _, other = line.sent()
    message_id, made = line.sent()
    line.hook(line.account.delivery(line.customer, watermark=1, mids=["m_unheard-of", made.id]))
    line.wait_for(message_id, "delivered")
    assert line.status(other.our_id) == "sent"


@on("facebook")
def test_messenger_delivery_by_mids_and_watermark(line):
    """The mids are those that the report is about; everything before the watermark is delivered as well."""
    sent = [line.sent() for _ in range(3)]
    line.hook(line.account.delivery(line.customer, mids=[sent[-1][1].id]))
    for message_id, _ in sent:
        line.wait_for(message_id, "delivered", seconds=5)


@on("facebook")
def test_watermark_is_one_customers(line):
    other = line.tenant.line(line.account)
    mine, _ = line.sent()
    theirs, _ = other.sent()
    line.hook(line.account.read(line.customer))
    line.wait_for(mine, "read")
    assert other.status(theirs) == "sent"


@on("facebook")
def test_watermark_does_not_raise_what_failed(line):
    line.account.scripts["refused"] = [error(400, 551, 1545041)]
    failed = line.accepted(text="refused")
    line.wait_for(failed, "failed")
    message_id, _ = line.sent()
    line.hook(line.account.read(line.customer))
    line.wait_for(message_id, "read")
    assert line.status(failed) == "failed"


@on("instagram", "instagram login")
def test_instagram_read_raises_earlier_ones_too(line):
    first, second, third = [line.sent() for _ in range(3)]
    line.hook(line.account.read(line.customer, mid=second[1].id))
    for message_id, _ in (first, second):
        line.wait_for(message_id, "read")
        assert_only_rose(line, message_id, "read")
    assert line.status(third[0]) == "sent"
    line.hook(line.account.read(line.customer, mid=first[1].id))
    assert line.status(third[0]) == "sent"


@on("instagram")
def test_instagram_read_of_something_unknown(line):
    message_id, _ = line.sent()
    line.hook(line.account.read(line.customer, mid="aWdfunheard-of"))
    assert line.status(message_id) == "sent"


@on(*CHANNELS)
def test_message_shows_what_became_of_it(line):
    message_id, made = line.sent(text="Hello", metadata={"order": "42", "Größe": "XL"})
    line.report_read(made)
    message = line.wait_for(message_id, "read")
    assert message["provider_message_id"] == made.id
    assert (message["platform"], message["direction"], message["text"]) == (line.account.platform, "outbound", "Hello")
    assert message["metadata"] == {"order": "42", "Größe": "XL"} and message["error"] is None
    statuses = [step["status"] for step in message["status_history"]]
    assert statuses[0] == "queued" and statuses[-2:] == ["sent", "read"]
    assert all(step["at"].endswith("Z") for step in message["status_history"])


ASKED = {"media_url", "media_type", "caption", "filename", "template_name", "template_language", "template_components",
         "reaction", "typing"}


def asked_of(message):
    return {name: value for name, value in message.items() if name in ASKED}


@pytest.mark.parametrize("content", [
    {"media_url": IMAGE, "media_type": "document", "caption": "June", "filename": "Größe.pdf"},
    {"media_url": IMAGE, "media_type": "image"},
    {"template_name": "hello", "template_language": "de"},
    {"typing": True},
    {"text": "Hello"},
], ids=["document", "image", "template", "typing", "text"])
@on("whatsapp")
def test_message_shows_what_was_asked(line, content):
    """Under the names of the request, alone and in the list, for as long as the body is alive."""
    message_id, _ = line.sent(**content)
    asked = {name: value for name, value in content.items() if name in ASKED}
    assert asked_of(line.tenant.message(message_id)) == asked
    assert [asked_of(message) for message in line.outbound()] == [asked]
    assert asked_of(line.tenant.message(line.inbound)) == {}

    assert line.tenant.post(f"/v1/messages/{message_id}/purge").status_code in (200, 202)
    for message in (line.tenant.message(message_id), *line.outbound()):
        assert message["purged"] and asked_of(message) == {} and message["text"] is None


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS)
@on("whatsapp")
def test_message_shows_template_components_as_given(line, components):
    answer = send_template(line, components)
    message_id = answer.json()["message_id"]
    path = f"/v1/messages/{message_id}"
    assert b'"template_components":' + components in line.tenant.get(path).content
    assert line.tenant.post(f"{path}/purge").status_code in (200, 202)
    assert asked_of(line.tenant.message(message_id)) == {}


@on(*PLATFORMS)
def test_message_shows_the_reaction(line):
    for emoji in ("👍🏽", ""):
        message_id, _ = line.sent(reaction={"message_id": line.inbound, "emoji": emoji})
        assert asked_of(line.tenant.message(message_id)) == {"reaction": {"message_id": line.inbound, "emoji": emoji}}


@on(*CHANNELS)
def test_status_events_carry_the_metadata(line, receiver):
    endpoint = receiver.endpoint()
    line.tenant.subscribe(endpoint, events=["message.status"])
    message_id, made = line.sent(text="Hello", metadata={"order": "42"})
    line.report_read(made)
    line.wait_for(message_id, "read")
    wait_until(lambda: len(endpoint.requests) >= 2, 10, "two events")
    events = [request.event["data"] for request in endpoint.requests]
    assert sorted(data["message"]["status"] for data in events) == ["read", "sent"]
    for data in events:
        assert data["message"]["id"] == message_id and data["platform"] == line.account.platform
        assert data["conversation"]["id"] == line.conversation
        assert data["message"]["metadata"] == {"order": "42"}


# Reports that overtake the answer


def overtaken(line, *reports):
    """A message whose reports arrive before Graph's answer: our id, and the call. A report makes items from the call."""
    text = unique("overtaken")
    line.account.scripts[text] = [before(lambda made: [line.hook(*report(made)) for report in reports])]
    message_id = line.accepted(text=text)
    made = line.account.wait_for_call(text)
    wait_until(lambda: made.answered or made.failure, 10, "Graph's answer")
    assert made.failure is None, made.failure
    return message_id, made


def settled(line, message_id, made):
    """The message, once Graph's answer is on record."""
    return wait_until(
        lambda: next((m for m in [line.tenant.message(message_id)] if m["provider_message_id"] == made.id), None),
        10, f"the answer to {message_id}")


@on("whatsapp", "whatsapp username")
@pytest.mark.parametrize("has_our_id", [True, False], ids=["ours", "wamid only"])
@pytest.mark.parametrize("status", ["sent", "delivered", "read", "failed"])
def test_whatsapp_status_before_the_answer(line, has_our_id, status):
    code = 131026 if status == "failed" else None
    message_id, made = overtaken(line, lambda made: [
        line.account.status(made.id, status, line.customer, made.our_id if has_our_id else None, code)])
    settled(line, message_id, made)
    line.wait_for(message_id, status)
    holds_for(lambda: line.status(message_id) == status, 0.3, "the answer lowered it")
    assert told(line, message_id).count(status) == 1
    # Later ones find it as well.
    line.hook(line.account.status(made.id, "read", line.customer))
    line.wait_for(message_id, "read")


@on("facebook")
def test_messenger_delivery_before_the_answer(line):
    message_id, made = overtaken(line, lambda made: [line.account.delivery(line.customer, mids=[made.id])])
    settled(line, message_id, made)
    line.wait_for(message_id, "delivered", seconds=5)


@on("instagram", "instagram login")
def test_instagram_read_before_the_answer(line):
    earlier, _ = line.sent()
    message_id, made = overtaken(line, lambda made: [line.account.read(line.customer, mid=made.id)])
    settled(line, message_id, made)
    for one in (message_id, earlier):
        line.wait_for(one, "read", seconds=5)


@on(*PLATFORMS)
def test_reaction_of_the_customer_before_the_answer(line):
    message_id, made = overtaken(line, lambda made: [line.account.reaction(line.customer, made.id)])
    settled(line, message_id, made)

    def reactions():
        return [event for event in line.tenant.events() if event["type"] == "message.reaction"]

    event = wait_until(reactions, 5, "the reaction")[0]
    assert event["data"]["message"]["id"] == message_id


@on(*DIRECT)
def test_echo_with_metadata_before_the_answer(line):
    message_id, made = overtaken(line, lambda made: [
        line.account.echo(line.customer, made.text, made.id, made.our_id)])
    settled(line, message_id, made)
    assert [message["id"] for message in line.outbound()] == [message_id]
    # The history shows what was learned, and "sent" was learned twice: from the echo, and from the answer.
    assert (line.status(message_id), told(line, message_id)) == ("sent", ["sent"])


@on(*DIRECT)
def test_echo_without_metadata_before_the_answer(line):
    """Its mid turns out to be the answer's: then it was ours, and there is one message."""
    message_id, made = overtaken(line, lambda made: [line.account.echo(line.customer, made.text, made.id)])
    settled(line, message_id, made)
    wait_until(lambda: line.status(message_id) == "sent", 5, "sent")
    assert [message["id"] for message in line.outbound()] == [message_id]


@on("facebook")
def test_reports_after_an_echo_without_metadata_before_the_answer(line):
    message_id, made = overtaken(line, lambda made: [line.account.echo(line.customer, made.text, made.id)])
    settled(line, message_id, made)
    line.report_delivered(made)
    line.wait_for(message_id, "delivered", seconds=5)


@on("facebook", "instagram")
def test_everything_before_the_answer(line):
    message_id, made = overtaken(
        line,
        lambda made: [line.account.echo(line.customer, made.text, made.id, made.our_id)],
        lambda made: [line.account.read(line.customer, mid=made.id if line.account.platform == "instagram" else None)])
    settled(line, message_id, made)
    line.wait_for(message_id, "read", seconds=5)
    assert len(line.outbound()) == 1


# Echoes after the answer


@on(*DIRECT)
@pytest.mark.parametrize("has_metadata", [True, False], ids=["metadata", "mid only"])
def test_echo_of_an_own_message_is_no_other_message(line, has_metadata):
    message_id, made = line.sent()
    events = len(line.tenant.events())
    echo = line.account.echo(line.customer, made.text, made.id, made.our_id if has_metadata else None)
    line.hook(echo)
    line.hook(echo)
    assert [message["id"] for message in line.outbound()] == [message_id]
    assert len(line.tenant.events()) == events
    assert line.status(message_id) == "sent"


@on("facebook", "instagram", "instagram login", "whatsapp")
def test_message_typed_in_the_app(line, receiver):
    endpoint = receiver.endpoint()
    line.tenant.subscribe(endpoint, events=["*"])
    events = line.tenant.events()
    mid = line.account.new_message_id()
    echo = line.account.echo(line.customer, "typed in the app", mid, app_id=263902037430900)
    line.hook(echo)
    line.hook(echo)
    assert [(message["text"], message["provider_message_id"]) for message in line.outbound()] == [("typed in the app", mid)]
    assert line.tenant.events() == events
    holds_for(lambda: endpoint.requests == [], 0.3, "the client is not told what its own people wrote")
    # It can be answered and reacted to like any other.
    _, made = line.sent(text="reply", reply_to=line.outbound()[0]["id"])
    assert mid in made.body.decode()


@on("facebook")
def test_metadata_of_somebody_else_is_no_proof(line, make_line):
    """Another app's echo may carry anything as metadata."""
    foreign, made = make_line("facebook").sent()
    for metadata in ("out-77", foreign, line.inbound):
        line.hook(line.account.echo(line.customer, metadata, line.account.new_message_id(), metadata))
    assert {message["text"] for message in line.outbound()} == {"out-77", foreign, line.inbound}
    assert all(message["id"] != foreign for message in line.outbound())


# What Graph says instead of yes


def batch(connected, channel, steps):
    """A message for each of `steps` (name to step), each to a customer of its own: name to line and our id."""
    tenant, account = connected(channel)
    lines = tenant.lines(account, [customer_of(channel) for _ in steps])
    found = {}
    for (name, step), line in zip(steps.items(), lines):
        account.scripts[name] = [step]
        found[name] = line, line.accepted(text=name)
    return found


def named(errors):
    return {f"{code}/{subcode or 0} {status}": error(status, code, subcode) for status, code, subcode in errors}


REFUSED_BY_WHATSAPP = named((status, code, None) for status, code in [
    (400, 33), (400, 100), (400, 131008), (400, 131009), (400, 130472), (400, 131049), (400, 131050), (400, 131021),
    (400, 131030), (400, 131026), (400, 131047), (400, 131051), (400, 131052), (400, 131062), (400, 132000), (400, 132005),
    (400, 132007), (400, 132012), (404, 132001), (400, 135000), (400, 137000), (400, 987654)])
REFUSED_BY_MESSENGER = named([
    (400, 10, 2018278), (400, 10, 2018065), (400, 100, None), (400, 100, 2018001), (400, 100, 2018109), (400, 100, 2018047),
    (400, 551, 1545041), (400, 200, 1545041), (400, 987654, None)])
REFUSED_BY_INSTAGRAM = named([(400, 10, 2534022), (400, 100, 2534014), (400, 100, None)])


@pytest.mark.parametrize(
    "channel, steps",
    [("whatsapp", REFUSED_BY_WHATSAPP), ("facebook", REFUSED_BY_MESSENGER), ("instagram", REFUSED_BY_INSTAGRAM)],
    ids=PLATFORMS[::-1])
def test_refused_for_good(connected, channel, steps):
    sent = batch(connected, channel, steps)
    for name, (line, message_id) in sent.items():
        message = line.wait_for(message_id, "failed")
        code = name.split("/")[0]
        assert message["error"]["code"].split("/")[0] == code, name
        assert message["status_history"][-1]["code"].split("/")[0] == code, name
        assert message["provider_message_id"] is None
        assert line.tenant.statuses_told(message_id)[-1]["status"] == "failed"
    holds_for(lambda: all(len(line.account.calls_with(name)) == 1 for name, (line, _) in sent.items()), 2.5, "one call each")
    # None of them holds up the channel.
    line.tenant.line(line.account).sent()


RETRIED_BY_WHATSAPP = named((status, code, None) for status, code in [
    (400, 1), (503, 2), (400, 4), (429, 4), (400, 80007), (400, 130429), (429, 130429), (400, 131048), (400, 133016),
    (500, 131000), (500, 131016), (500, 131057), (503, 133004), (400, 132069)])
RETRIED_BY_MESSENGER = named([
    (500, 1, None), (500, 2, None), (400, 2, 2018344), (400, 1200, None), (400, 4, None), (400, 17, None), (400, 32, None),
    (400, 613, None), (400, 80006, None), (400, 10, 1893063)])
RETRIED_BY_INSTAGRAM = named([(400, 80002, None), (400, 613, 2534040), (400, 4, None)]) | {
    "said to be transient": error(400, 987654, is_transient=True)}


def test_refused_for_now(connected):
    """Queued and repeated, until it is accepted."""
    by_channel = {
        "whatsapp": RETRIED_BY_WHATSAPP, "facebook": RETRIED_BY_MESSENGER, "instagram": RETRIED_BY_INSTAGRAM}
    sent = [(channel, name, one) for channel, steps in by_channel.items()
            for name, one in batch(connected, channel, steps).items()]
    for channel, name, (line, message_id) in sent:
        message = line.wait_for(message_id, "sent", "failed", "outcome_unknown", seconds=RESEND_SECONDS)
        assert message["status"] == "sent", f"{channel} {name}: {message}"
        first, second = line.account.calls_with(name)
        assert second.at - first.at >= 0.9, f"{channel} {name}"
        # Known by the same id, so that a report about either is about this message.
        assert first.our_id == second.our_id == message_id
        assert message["provider_message_id"] == second.id and message["error"] is None


def test_queued_while_it_waits_for_its_turn(make_line):
    line = make_line("facebook")
    line.account.script = [error(400, 4)]
    message_id = line.accepted(text="wait")
    wait_until(lambda: line.account.calls, 10, "the first call")
    message = wait_until(
        lambda: next((m for m in [line.tenant.message(message_id)] if m["status"] == "queued" and m["error"]), None),
        5, "queued again")
    assert message["error"]["code"] == "4"
    line.wait_for(message_id, "sent")


def test_pair_limit_is_one_customers(make_line):
    """131056: about one message in six seconds to one person, and nobody else is slowed down."""
    line = make_line("whatsapp")
    line.account.scripts["too many"] = [error(400, 131056)]
    message_id = line.accepted(text="too many")
    line.account.wait_for_call("too many")
    line.tenant.line(line.account).sent(text="to somebody else")
    line.wait_for(message_id, "sent", seconds=RESEND_SECONDS)
    first, second = line.account.calls_with("too many")
    assert second.at - first.at >= 4


@pytest.mark.parametrize(
    "channel, headers",
    [
        ("whatsapp", {"X-Business-Use-Case-Usage": json.dumps(
            {"2178": [{"type": "whatsapp", "call_count": 100, "estimated_time_to_regain_access": 5}]})}),
        ("facebook", {"X-Page-Usage": json.dumps({"call_count": 100, "estimated_time_to_regain_access": 5})}),
        ("instagram", {"Retry-After": "120"}),
    ],
    ids=["business use case", "page", "Retry-After"])
def test_wait_that_graph_asks_for(make_line, channel, headers):
    line = make_line(channel)
    line.account.script = [error(400, 4, headers=headers)]
    message_id = line.accepted(text="later")
    wait_until(lambda: line.account.calls, 10, "the first call")
    holds_for(lambda: len(line.account.calls) == 1, 3, "called again before its time")
    assert line.status(message_id) == "queued"
    assert line.tenant.post(f"/v1/messages/{message_id}/cancel").status_code == 200


FAULTS = {
    "whatsapp": named((status, code, None) for status, code in [
        (401, 0), (401, 190), (403, 10), (403, 200), (403, 299), (403, 131005), (403, 368), (403, 131031), (400, 131042),
        (400, 133010)]),
    "facebook": named([
        (401, 190, None), (400, 190, 460), (401, 190, 463), (403, 10, None), (403, 200, None), (400, 368, None)]),
    "instagram login": named([(401, 190, None), (403, 10, None)]),
}


def test_fault_of_the_credential_pauses_the_channel(connected):
    """Nothing is lost: what waits goes out with the new token, and only then."""
    paused = []
    for channel, steps in FAULTS.items():
        for name, step in steps.items():
            tenant, account = connected(channel)
            line, other = tenant.lines(account, [customer_of(channel), customer_of(channel)])
            account.script = [step]
            first = line.accepted(text="first")
            paused.append((f"{channel} {name}", line, first, other))
    for name, line, first, _ in paused:
        wait_until(lambda: line.account.calls, 10, f"the first call of {name}")
        wait_until(lambda: line.status(first) == "queued" and line.tenant.message(first)["error"], 5, f"{name} queued again")
    seconds = [(name, other, other.accepted(text="second")) for name, _, _, other in paused]
    holds_for(lambda: all(len(other.account.calls) == 1 for _, other, _ in seconds), 3, "calls on a paused channel")
    for _, line, first, other in paused:
        line.account.renew()
        line.tenant.connect(line.account)
    for (name, line, first, other), (_, _, second) in zip(paused, seconds):
        for message_id in (first, second):
            assert line.wait_for(message_id, "sent", "failed")["status"] == "sent", name
        calls = line.account.calls[1:]
        assert sorted(made.text for made in calls) == ["first", "second"], name
        assert {made.headers["authorization"] for made in calls} == {f"Bearer {line.account.token}"}


def test_pause_is_one_platforms(connected):
    tenant, page = connected("facebook")
    _, number = connected("whatsapp", tenant=tenant)
    page_line, number_line = tenant.line(page), tenant.line(number)
    page.script = [error(401, 190)]
    waiting = page_line.accepted(text="paused")
    wait_until(lambda: page.calls, 10, "the first call")
    number_line.sent(text="unaffected")
    assert page_line.status(waiting) == "queued"


def test_old_token_that_fails_after_the_new_one_is_set(make_line):
    """The refusal says nothing about the token that is set now."""
    line = make_line("whatsapp")

    def replace(made):
        line.account.renew()
        line.tenant.connect(line.account)

    line.account.script = [before(replace, then=error(401, 190))]
    message_id = line.accepted(text="crossed")
    line.wait_for(message_id, "sent", seconds=RESEND_SECONDS)
    tokens = [made.headers["authorization"].removeprefix("Bearer ") for made in line.account.calls]
    assert tokens == [*line.account.old_tokens, line.account.token]


# Nobody knows


UNKNOWN = {
    "closed": DROP,
    "cut": CUT,
    "bare 500": BARE_500,
    "hang": HANG,
    "502 of a proxy": raw(502, "<html>Bad Gateway</html>", "text/html"),
    "503 of a proxy": raw(503, '{"error":"overloaded"}'),
    "200 of a proxy": raw(200, "<html>Log in to the Wi-Fi</html>", "text/html"),
    "200 without an id": raw(200, "{}"),
    "200 that is cut off": raw(200, '{"recipient_id":"1","message_'),
    "400 without an envelope": raw(400, "Bad Request", "text/plain"),
    "redirect": raw(307, "", headers={"Location": "/v25.0/elsewhere"}),
    "too much": raw(200, b"x" * 8_000_000),
    "401 of a proxy": raw(401, '{"message":"Unauthorized"}'),
}


@pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set; a real time-out takes half a minute")
def test_outcome_unknown_and_what_settles_it(connected):
    """Never a blind repeat (E.4). Meta's own word settles it: WhatsApp's opaque data, Messenger's echo."""
    sent = {channel: batch(connected, channel, UNKNOWN) for channel in PLATFORMS}
    every = [(channel, name, *one) for channel, found in sent.items() for name, one in found.items()]
    wrong = {}
    for channel, name, line, message_id in every:
        message = line.wait_for(message_id, "outcome_unknown", "sent", "failed", seconds=TIMEOUT_SECONDS)
        if message["status"] != "outcome_unknown":
            wrong[channel, name] = message["status"]
    assert wrong == {}
    holds_for(lambda: all(len(line.account.calls_with(name)) == 1 for _, name, line, _ in every), 2.5, "a second call")
    for channel, name, line, message_id in every:
        made = line.account.calls_with(name)[0]
        if channel == "whatsapp":
            line.hook(line.account.status(made.id, "delivered", line.customer, made.our_id))
        else:
            line.hook(line.account.echo(line.customer, made.text, made.id, made.our_id))
        status = "delivered" if channel == "whatsapp" else "sent"
        assert line.wait_for(message_id, status)["status"] == status
        assert line.history(message_id)[-2:] == ["outcome_unknown", status]
        assert len(line.outbound()) == 1, name


@on(*PLATFORMS)
def test_bare_429_is_tried_again(line):
    """A 429 is a refusal by whoever says it, as the design has it: nothing was taken."""
    line.account.script = [raw(429, "Too Many Requests", "text/plain")]
    message_id = line.accepted(text="later")
    line.wait_for(message_id, "sent")
    assert len(line.account.calls) == 2


def settled_by_report(line):
    """A message whose answer was lost, and which Meta itself says that it has: our id, and the call."""
    line.account.script = [DROP]
    message_id = line.accepted(text="perhaps")
    line.wait_for(message_id, "outcome_unknown")
    made = line.account.calls[0]
    if line.account.platform == "whatsapp":
        line.hook(line.account.status(made.id, "sent", line.customer, made.our_id))
    else:
        line.hook(line.account.echo(line.customer, made.text, made.id, made.our_id))
    line.wait_for(message_id, "sent")
    return message_id, made


@on(*PLATFORMS)
def test_settled_message_is_found_by_later_reports(line):
    message_id, made = settled_by_report(line)
    if line.account.platform == "whatsapp":
        line.hook(line.account.status(made.id, "read", line.customer))
    elif line.account.platform == "facebook":
        line.hook(line.account.delivery(line.customer, watermark=1, mids=[made.id]))
    else:
        line.hook(line.account.read(line.customer, mid=made.id))
    line.wait_for(message_id, "read", "delivered")


@on(*PLATFORMS)
def test_settled_message_has_its_provider_id(line):
    """The report that settled it named it."""
    message_id, made = settled_by_report(line)
    assert line.tenant.message(message_id)["provider_message_id"] == made.id


@on("instagram", "instagram login")
def test_report_that_waited_for_a_lost_answer(line):
    """The customer's read names a mid that nobody knows yet; the echo, which does, comes after it."""
    line.account.scripts["perhaps"] = [before(
        lambda made: line.hook(line.account.read(line.customer, mid=made.id)), then=DROP)]
    message_id = line.accepted(text="perhaps")
    line.wait_for(message_id, "outcome_unknown")
    made = line.account.calls[0]
    line.hook(line.account.echo(line.customer, made.text, made.id, made.our_id))
    line.wait_for(message_id, "read", seconds=5)


@on(*PLATFORMS)
def test_settled_message_can_be_quoted(line):
    message_id, made = settled_by_report(line)
    _, reply = line.sent(text="about that", reply_to=message_id)
    assert made.id in reply.body.decode()
    _, reaction = line.sent(reaction={"message_id": message_id, "emoji": "👍"})
    assert_reaction(line, reaction, made.id, "👍")


@on("facebook")
def test_watermark_settles_no_unknown_outcome(line):
    """That the customer read what came before says nothing of a message that may never have come."""
    line.account.script = [DROP]
    message_id = line.accepted(text="perhaps")
    line.wait_for(message_id, "outcome_unknown")
    other, _ = line.sent(text="certainly")
    line.hook(line.account.read(line.customer))
    line.wait_for(other, "read")
    assert line.tenant.message(message_id)["status"] == "outcome_unknown"


@on("whatsapp")
def test_report_beats_a_refusal_for_now(line):
    """Graph says that it has the message, and then, of the same call, that it is busy: it has the message."""
    text = "contradiction"
    line.account.scripts[text] = [before(
        lambda made: line.hook(line.account.status(made.id, "sent", line.customer, made.our_id)), then=error(503, 2))]
    message_id = line.accepted(text=text)
    made = line.account.wait_for_call(text)
    line.wait_for(message_id, "sent")
    assert made.failure is None
    holds_for(lambda: len(line.account.calls_with(text)) == 1, 3, "sent twice")


@pytest.mark.parametrize("channel", CHANNELS)
def test_killed_during_the_call(killed, connected, channel):
    if killed.process is None:
        killed.start()
    tenant, account = connected(channel, on=killed)
    line = tenant.line(account, customer_of(channel))
    account.script = [HANG]
    message_id = line.accepted(text="interrupted")
    made = account.wait_for_call("interrupted")
    behind = line.accepted(text="behind it")
    killed.kill()
    killed.start()
    line.wait_for(message_id, "outcome_unknown")
    line.wait_for(behind, "sent")
    holds_for(lambda: len(account.calls_with("interrupted")) == 1, 2, "sent twice")
    assert line.status(message_id) == "outcome_unknown"
    if account.platform == "whatsapp":
        line.hook(account.status(made.id, "delivered", line.customer, made.our_id))
        line.wait_for(message_id, "delivered")
    else:
        line.hook(account.echo(line.customer, made.text, made.id, made.our_id))
        line.wait_for(message_id, "sent")
    assert len(line.outbound()) == 2


def test_killed_between_a_report_and_its_message(killed, connected):
    """A status without our id waits for its message; the kill comes before the answer that would name it."""
    if killed.process is None:
        killed.start()
    tenant, account = connected("whatsapp", on=killed)
    line = tenant.line(account)
    account.scripts["waiting"] = [before(lambda made: line.hook(account.status(made.id, "delivered")), then=HANG)]
    message_id = line.accepted(text="waiting")
    made = account.wait_for_call("waiting")
    wait_until(lambda: any(one["type"] == "provider_event.parked" for one in killed.replay("--client", tenant.id)), 10,
               "the report on record")
    killed.kill()
    killed.start()
    line.wait_for(message_id, "outcome_unknown")
    # The next status with our id tells which message it was.
    line.hook(account.status(made.id, "sent", our_id=made.our_id))
    line.wait_for(message_id, "delivered")
    assert killed.verify("--invariants").returncode == 0


# Once


def kinds_of(line):
    """Content of each kind, each with requests that are not the same."""
    text = {"text": "a"}
    media = {"media_url": IMAGE, "media_type": "image"}
    found = {
        "text": [text, {"text": "b"}, text | {"reply_to": line.inbound}, text | {"metadata": {"a": "b"}}, media],
        "media": [media, media | {"media_url": IMAGE + "2"}, media | {"media_type": "document"}],
        "reaction": [
            {"reaction": {"message_id": line.inbound, "emoji": one}} for one in ("👍", "❤️", "")],
        "typing": [{"typing": True}, {"text": "True"}],
    }
    if line.account.platform == "whatsapp":
        template = {"template_name": "hello", "template_language": "en"}
        found["media"] += [media | {"caption": "b"}, media | {"media_type": "document", "filename": "a.pdf"}]
        found["template"] = [
            template, template | {"template_name": "bye"}, template | {"template_language": "de"},
            template | {"template_components": [{"type": "body", "parameters": []}]}]
    else:
        found["text"].append(text | {"human_agent": True})
        found["typing"].append({"typing": False})
    return found


KINDS = [(one, kind) for one in PLATFORMS for kind in ("text", "media", "reaction", "typing")] + [("whatsapp", "template")]


@pytest.mark.parametrize("line, kind", KINDS, indirect=["line"])
def test_idempotency_of_every_content(line, kind):
    content, *others = kinds_of(line)[kind]
    key = unique("key")
    first = line.send(key=key, **content)
    assert first.status_code == 202 and not is_replay(first), first.text
    line.wait_for(first.json()["message_id"], "sent")
    again = line.send(key=key, **content)
    assert (again.status_code, again.content, is_replay(again)) == (202, first.content, True)
    for other in others:
        assert_problem(line.send(key=key, **other), 422, code="idempotency_mismatch")
    assert_problem(
        line.tenant.post("/v1/send", {"platform_user_id": line.customer.any_id} | content, headers={"Idempotency-Key": key}),
        422, code="idempotency_mismatch")
    assert len(line.account.calls) == 1


@on("whatsapp")
def test_idempotency_of_template_components(line):
    key = unique("key")
    components = COMPONENTS["image header, named"]
    first = send_template(line, components, key)
    assert first.status_code == 202, first.text
    again = send_template(line, components, key)
    assert (again.content, is_replay(again)) == (first.content, True)
    changed = components.replace(b"Jos", b"Jo\\u0073\\u0073")
    assert_problem(send_template(line, changed, key), 422, code="idempotency_mismatch")
    line.wait_for(first.json()["message_id"], "sent")
    assert len(line.account.calls) == 1


@on("whatsapp")
def test_refusal_leaves_nothing_under_the_key(line):
    key = unique("key")
    stranger = phone_person()
    to = {"to_phone": stranger.phone, "platform": "whatsapp", "text": "Hello"}
    headers = {"Idempotency-Key": key}
    assert_problem(line.tenant.post("/v1/send", to, headers=headers), 409, code="outside_24h_window")
    line.tenant.line(line.account, stranger)
    answer = line.tenant.post("/v1/send", to, headers=headers)
    assert answer.status_code == 202 and not is_replay(answer), answer.text


@on("facebook")
def test_repeat_of_an_unknown_outcome_is_not_sent_again(line):
    key = unique("key")
    line.account.script = [DROP]
    first = line.send(key=key, text="once")
    line.wait_for(first.json()["message_id"], "outcome_unknown")
    again = line.send(key=key, text="once")
    assert (again.content, is_replay(again)) == (first.content, True)
    holds_for(lambda: len(line.account.calls) == 1, 1, "sent twice")


# The token


@pytest.mark.parametrize("channel", CHANNELS[:4])
def test_token_is_nowhere(gateway, connected, channel):
    """Not in the history, not in the files, not in an answer; also when Meta repeats it in an error, as it does."""
    tenant, account = connected(channel)
    line = tenant.line(account)
    line.sent()
    account.script = [error(401, 190, message=f"Malformed access token {account.token}")]
    paused = line.accepted(text="malformed")
    wait_until(lambda: len(account.calls) == 2 and line.status(paused) == "queued", 5, "paused")
    tokens = [account.token]
    account.renew()
    tokens.append(account.token)
    tenant.connect(account)
    line.wait_for(paused, "sent")

    shown = [
        tenant.get(f"/v1/messages/{paused}").text,
        tenant.get(f"/v1/conversations/{line.conversation}/messages").text,
        json.dumps(tenant.events()),
        gateway.admin("GET", f"/clients/{tenant.id}").text,
        gateway.log_tail(10**9),
        json.dumps(gateway.replay("--client", tenant.id)),
    ]
    assert [text for text in shown if any(token in text for token in tokens)] == []
    assert find_bytes(gateway.data, {f"token {n}": token.encode() for n, token in enumerate(tokens)}) == []


@pytest.mark.parametrize("channel", ["facebook", "whatsapp"])
def test_token_is_not_in_bodies_of_the_history(gateway, connected, channel):
    tenant, account = connected(channel)
    line = tenant.line(account)
    account.script = [error(400, 100, message=f"Malformed access token {account.token}")]
    line.wait_for(line.accepted(text="malformed"), "failed")
    lines = [json.dumps(one) for one in gateway.replay("--client", tenant.id, "--bodies")]
    assert any("malformed" in one for one in lines), "bodies are shown"
    assert [one for one in lines if account.token in one] == []


# The history that all of this made


def test_history_is_sound(gateway):
    result = gateway.verify("--invariants")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
