"""Who a WhatsApp customer is: two conversations that become one, numbers that change, and numbers that change hands."""

import pytest

import verify_receipt
from support.graph import Customer, FakeGraph, phone_person, username_person
from support.meta_tenant import APP_SECRET, MetaTenant
from support.tenant import unique
from support.wait import wait_until

# Messages of erased conversations, whose receipts are looked at when the gateway has ended.
purged = []


@pytest.fixture(scope="module")
def graph():
    server = FakeGraph()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(make_gateway, graph):
    running = make_gateway(
        "identity", WAYBILL_PROVIDERS_GRAPH_BASE_URL=graph.base_url, WAYBILL_META_APP_SECRETS=APP_SECRET).start()
    yield running
    assert running.stop() == 0, running.log_tail()
    checked = running.verify("--invariants")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for message_id in purged:
        receipt = running.run_ok("purge-receipt", "--data", running.data, "--message", message_id)
        assert verify_receipt.verify(receipt).message_id == message_id


@pytest.fixture
def connected(gateway, graph):
    tenant, account = MetaTenant(gateway), graph.account("whatsapp")
    tenant.connect(account)
    return tenant, account


def both(number, scoped):
    return Customer(wa_id=number.wa_id, user_id=scoped.user_id)


def conversation(tenant, conversation_id):
    answer = tenant.get(f"/v1/conversations/{conversation_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def system(account, customer, **system):
    """A `system` message; it comes without contacts."""
    item = account.message(customer, "", type="system", system={"body": "User Ana changed"} | system)
    del item["value"]["messages"][0]["text"], item["value"]["contacts"]
    return item


def recipient_of(made):
    return (made.json.get("to") or made.json["recipient"]).removeprefix("+")


def found_by(tenant, **query):
    name, value = next(iter(query.items()))
    return [one["id"] for one in tenant.get("/v1/conversations", params={name: value}).json()["data"]]


def test_two_conversations_become_one(connected):
    tenant, account = connected
    number, scoped = phone_person(), username_person()
    older, younger = tenant.line(account, number), tenant.line(account, scoped)
    for line, ref in ((older, "T-1"), (younger, "T-2")):
        change = {"ticket_ref": ref}
        assert tenant.call("PATCH", f"/v1/conversations/{line.conversation}", json=change).status_code == 200
    key = unique("key")
    first = younger.send(key=key, text="before")
    younger.wait_for(first.json()["message_id"], "sent")

    last = tenant.line(account, both(number, scoped))
    assert last.conversation == older.conversation
    shown, pointing = conversation(tenant, older.conversation), conversation(tenant, younger.conversation)
    assert (shown["joined_into"], shown["joined_ids"]) == (None, [younger.conversation])
    assert pointing == shown | {"id": younger.conversation, "joined_into": older.conversation}
    assert (shown["ticket_ref"], shown["ticket_refs"]) == ("T-1", ["T-1", "T-2"])
    assert shown["customer"]["platform_user_id"] == scoped.user_id
    assert [one["id"] for one in tenant.all("/v1/conversations")] == [older.conversation]
    messages = [older.inbound, younger.inbound, first.json()["message_id"], last.inbound]
    assert [one["id"] for one in older.messages()] == [one["id"] for one in younger.messages()] == messages
    assert {one["conversation_id"] for one in younger.messages()} == {older.conversation}

    # The younger id keeps working, and what it answered stays its answer.
    repeated = younger.send(key=key, text="before")
    assert (repeated.status_code, repeated.content) == (202, first.content)
    later = younger.send(text="after")
    assert later.json()["conversation_id"] == older.conversation
    younger.wait_for(later.json()["message_id"], "sent")

    answer = tenant.post(f"/v1/conversations/{younger.conversation}/erase")
    assert answer.json() == {"conversation_id": younger.conversation, "status": "erased", "erased": True}
    for line in (older, younger):
        shown = conversation(tenant, line.conversation)
        assert (shown["status"], shown["customer"]) == ("erased", {})
        assert all(one["purged"] for one in line.messages())
        assert line.send(text="no").status_code == 410
    purged.extend(messages)
    # The same person is somebody new.
    assert tenant.line(account, both(number, scoped)).conversation not in (older.conversation, younger.conversation)


def test_a_status_that_names_both_joins_too(connected):
    tenant, account = connected
    number, scoped = phone_person(), username_person()
    line = tenant.line(account, scoped)
    answer = tenant.post("/v1/send", {
        "to_phone": number.phone, "platform": "whatsapp", "template_name": "hello", "template_language": "en"})
    assert answer.status_code == 202, answer.text
    younger = answer.json()["conversation_id"]
    assert younger != line.conversation
    wait_until(lambda: account.calls, 10, "the template's call")
    tenant.hook(account, account.status(account.calls[0].id, "delivered", both(number, scoped)))
    assert conversation(tenant, younger)["joined_into"] == line.conversation
    # A status has no name, and takes none away.
    customer = {"platform_user_id": scoped.user_id, "phone": number.phone, "name": "Ana"}
    assert conversation(tenant, line.conversation)["customer"] == customer


def test_a_changed_number_is_the_same_conversation(connected):
    tenant, account = connected
    old, new = phone_person(), phone_person()
    line = tenant.line(account, old)
    before, told = conversation(tenant, line.conversation), len(tenant.events())
    item = system(account, old, type="user_changed_number", wa_id=new.wa_id)
    for _ in range(2):
        tenant.hook(account, item)
    shown = conversation(tenant, line.conversation)
    assert shown["customer"] == {"platform_user_id": new.wa_id, "phone": new.phone, "name": "Ana"}
    assert (shown["last_inbound_at"], shown["message_count"]) == (before["last_inbound_at"], 1)
    assert len(tenant.events()) == told
    _, made = line.sent(text="reply")
    assert recipient_of(made) == new.wa_id
    assert found_by(tenant, phone=old.phone) == [] and found_by(tenant, phone=new.phone) == [line.conversation]
    assert tenant.line(account, new).conversation == line.conversation
    assert tenant.line(account, old).conversation != line.conversation, "whoever has the old number is another person"


def test_a_changed_id_is_the_same_conversation(connected):
    tenant, account = connected
    old, new = username_person(), username_person()
    line = tenant.line(account, old)
    tenant.hook(account, system(account, old, type="user_changed_user_id", user_id=new.user_id))
    _, made = line.sent(text="reply")
    assert recipient_of(made) == new.user_id
    assert tenant.line(account, new).conversation == line.conversation


def test_a_number_that_is_known_joins(connected):
    tenant, account = connected
    old, new = phone_person(), phone_person()
    older, younger = tenant.line(account, old), tenant.line(account, new)
    tenant.hook(account, system(account, old, type="user_changed_number", wa_id=new.wa_id))
    assert conversation(tenant, younger.conversation)["joined_into"] == older.conversation
    _, made = older.sent(text="reply")
    assert recipient_of(made) == new.wa_id


def test_another_id_with_the_number_is_another_person(connected):
    tenant, account = connected
    number = phone_person()
    first = tenant.line(account, both(number, username_person()))
    second = tenant.line(account, both(number, username_person()))
    assert second.conversation != first.conversation
    assert found_by(tenant, phone=number.phone) == [second.conversation]
    assert "phone" not in conversation(tenant, first.conversation)["customer"]
    _, made = first.sent(text="to the first")
    assert recipient_of(made) == first.customer.user_id
