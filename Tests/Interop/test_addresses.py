"""Who a customer is under several addresses, which of them a message goes to, and from which number of the client's."""

import pytest

from support.graph import Customer, FakeGraph, error, phone_person, username_person
from support.meta_tenant import APP_SECRET, MetaTenant
from support.problems import assert_problem
from support.tenant import customer_number, unique
from support.wait import wait_until

SERVICE = "MG" + "5" * 32
TEMPLATE = {"template_name": "code", "template_language": "es"}


@pytest.fixture(scope="module")
def graph():
    server = FakeGraph()
    yield server
    server.close()
    assert server.foreign_requests == []


@pytest.fixture(scope="module")
def gateway(make_gateway, graph):
    running = make_gateway(
        "addresses", WAYBILL_PROVIDERS_GRAPH_BASE_URL=graph.base_url, WAYBILL_META_APP_SECRETS=APP_SECRET).start()
    yield running
    if running.process is not None:
        assert running.stop() == 0, running.log_tail()


@pytest.fixture
def whatsapp(gateway, graph):
    tenant, account = MetaTenant(gateway), graph.account("whatsapp")
    tenant.connect(account)
    return tenant, account


def both_ids():
    return Customer(wa_id=phone_person().wa_id, user_id=username_person().user_id)


def address_of(made):
    """The one member that says to whom."""
    assert made.problem == ""
    return {name: made.json[name] for name in ("to", "recipient") if name in made.json}


# WhatsApp: by number or by id


@pytest.mark.parametrize("content", [{"text": "Hello"}, TEMPLATE], ids=["text", "template"])
def test_named_address_is_the_one_used(whatsapp, content):
    tenant, account = whatsapp
    customer = both_ids()
    line = tenant.line(account, customer)
    by_number, by_id = {"to": customer.wa_id}, {"recipient": customer.user_id}
    for recipient, wanted in [
        ({"to_phone": customer.phone, "platform": "whatsapp"}, by_number),
        ({"platform_user_id": customer.user_id}, by_id),
        ({"platform_user_id": customer.wa_id}, by_number),
        ({"conversation_id": line.conversation}, by_number),
    ]:
        count = len(account.calls)
        answer = tenant.post("/v1/send", recipient | content)
        assert answer.status_code == 202, answer.text
        assert answer.json()["conversation_id"] == line.conversation
        wait_until(lambda: len(account.calls) > count, 10, f"the call for {recipient}")
        assert address_of(account.calls[count]) == wanted, recipient


def test_conversation_without_a_number_is_by_id(whatsapp):
    tenant, account = whatsapp
    customer = username_person()
    line = tenant.line(account, customer)
    _, made = line.sent(text="by id")
    assert address_of(made) == {"recipient": customer.user_id}


def test_named_address_outlives_a_crash(gateway, whatsapp):
    tenant, account = whatsapp
    customer = both_ids()
    line = tenant.line(account, customer)
    text = unique("named")
    # The first call is refused for now, so that the second is made by the next process.
    account.scripts[text] = [error(400, 4)]
    answer = tenant.post("/v1/send", {"platform_user_id": customer.user_id, "text": text})
    assert answer.status_code == 202, answer.text
    wait_until(lambda: "queued" in line.history(answer.json()["message_id"])[1:], 10, "the refusal")
    gateway.kill()
    gateway.start()
    line.wait_for(answer.json()["message_id"], "sent")
    assert [address_of(made) for made in account.calls_with(text)] == [{"recipient": customer.user_id}] * 2


def test_brazilian_landline_and_mobile_are_two_people(whatsapp):
    tenant, account = whatsapp
    people = [Customer(wa_id=wa_id) for wa_id in ("551133221705", "5511933221705")]
    lines = tenant.lines(account, people)
    assert lines[0].conversation != lines[1].conversation
    for line in lines:
        _, made = line.sent(text=unique("reply"))
        assert address_of(made) == {"to": line.customer.wa_id}
        listed = tenant.all(f"/v1/conversations?phone=%2B{line.customer.wa_id}")
        assert [one["id"] for one in listed] == [line.conversation]


# Other channels over Twilio


@pytest.mark.parametrize("scheme", ["rcs", "whatsapp"])
def test_other_channel_of_a_number_is_the_same_customer(tenant, customer, scheme):
    tenant.inbound("by sms", customer)
    tenant.inbound(f"by {scheme}", f"{scheme}:{customer}")
    events = wait_until(lambda: found if len(found := tenant.events()) == 2 else None, 5, "both events")
    assert len({event["data"]["conversation"]["id"] for event in events}) == 1
    assert {event["data"]["customer"]["phone"] for event in events} == {customer}
    assert [event["data"]["message"].get("via") for event in events] == [None, scheme]
    assert tenant.message(events[1]["data"]["message"]["id"])["via"] == scheme
    tenant.post("/v1/send", {"conversation_id": events[1]["data"]["conversation"]["id"], "text": "answer"})
    assert tenant.account.wait_for_call("answer")["To"] == customer


def test_stop_over_another_channel_counts(tenant, customer):
    tenant.inbound("STOP", f"rcs:{customer}")
    assert_problem(tenant.send("Hello", customer), 410, code="recipient_opted_out")
    tenant.inbound("START", customer)
    tenant.accepted("Hello again", customer)


# To which number


def inbound_to(tenant, number, text, customer, **extra):
    answer = tenant.inbound(text, customer, To=number, **extra)
    assert answer.status_code == 200, answer.text


def test_message_to_another_number_is_refused(gateway, tenant, customer):
    other = customer_number()
    inbound_to(tenant, other, "not for you", customer)
    inbound_to(tenant, f"rcs:{other}", "nor this", customer)
    inbound_to(tenant, f"rcs:{tenant.phone}", "for you", customer)
    events = wait_until(tenant.events, 5, "the event")
    assert [event["data"]["message"]["text"] for event in events] == ["for you"]
    assert len(tenant.all("/v1/conversations")) == 1
    recorded = [one for one in gateway.replay() if one["client_id"] == tenant.id]
    assert [one["type"] for one in recorded].count("provider_event.unrecognized") == 2
    assert other not in gateway.log_tail(1_000_000) and customer not in gateway.log_tail(1_000_000)


def test_messaging_service_answers_from_the_number_written_to(make_tenant, customer):
    tenant = make_tenant(sms=False)
    assert tenant.connect_sms(from_phone=None, messaging_service_sid=SERVICE).status_code == 200
    numbers = [customer_number(), customer_number()]
    for index, number in enumerate([*numbers, numbers[0]]):
        inbound_to(tenant, number, "Hi", customer, MessagingServiceSid=SERVICE)
        event = wait_until(lambda: found if len(found := tenant.events()) > 2 * index else None, 5, "the event")[-1]
        assert event["data"]["account"] == {"id": SERVICE, "phone": number}
        conversation = event["data"]["conversation"]["id"]
        answer = tenant.post("/v1/send", {"conversation_id": conversation, "text": f"answer {index}"})
        assert answer.status_code == 202, answer.text
        made = tenant.account.wait_for_call(f"answer {index}")
        assert (made["From"], made["MessagingServiceSid"], made["To"]) == (number, SERVICE, customer)
        assert tenant.read(f"/v1/conversations/{conversation}")["account"]["phone"] == number
        # Its status is an event too.
        tenant.wait_for_status(answer.json()["message_id"], "sent")
    assert len(tenant.all("/v1/conversations")) == 1


def test_message_to_another_service_is_refused(make_tenant, customer):
    tenant = make_tenant(sms=False)
    assert tenant.connect_sms(from_phone=None, messaging_service_sid=SERVICE).status_code == 200
    inbound_to(tenant, customer_number(), "not for you", customer, MessagingServiceSid="MG" + "6" * 32)
    inbound_to(tenant, customer_number(), "for you", customer, MessagingServiceSid=SERVICE)
    events = wait_until(tenant.events, 5, "the event")
    assert [event["data"]["message"]["text"] for event in events] == ["for you"]
