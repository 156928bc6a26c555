"""The idempotency key of a send: one key, one message, one answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.problems import REFUSED, assert_problem
from support.tenant import unique


def replayed(answer):
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_repeat_gets_the_first_answer(tenant, customer):
    key = unique("key")
    first = tenant.send("once", customer, key=key)
    assert first.status_code == 202 and not replayed(first)
    tenant.wait_for_status(first.json()["message_id"], "sent")
    second = tenant.send("once", customer, key=key)
    # The first answer, not the present state: it still says queued.
    assert (second.status_code, second.content) == (202, first.content)
    assert replayed(second)
    assert len(tenant.account.calls_with("once")) == 1


def test_concurrent_repeats_make_one_message(tenant, customer):
    key = unique("race")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: tenant.send("race", customer, key=key), range(20)))
    assert [answer.status_code for answer in answers] == [202] * 20, {answer.text for answer in answers}
    assert len({answer.content for answer in answers}) == 1
    assert [replayed(answer) for answer in answers].count(False) == 1
    tenant.wait_for_status(answers[0].json()["message_id"], "sent")
    assert len(tenant.account.calls_with("race")) == 1


def test_concurrent_repeats_with_different_requests(tenant, customer):
    key = unique("clash")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda n: tenant.send(f"clash {n}", customer, key=key), range(20)))
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 19
    winner = next(answer for answer in answers if answer.status_code == 202).json()
    tenant.wait_for_status(winner["message_id"], "sent")
    assert len(tenant.account.calls) == 1


def test_same_key_with_another_request(tenant, customer):
    key = unique("key")
    tenant.accepted("first", customer, key=key)
    assert_problem(tenant.send("second", customer, key=key), 422, code="idempotency_mismatch")
    assert_problem(
        tenant.send("first", customer, key=key, metadata={"a": "b"}), 422, code="idempotency_mismatch")
    tenant.account.wait_for_call("first")
    assert tenant.account.calls_with("second") == []


def test_order_and_spacing_of_the_json_do_not_matter(tenant, customer):
    key = unique("key")
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    first = tenant.call("POST", "/v1/send", headers=headers, data=f'{{"to_phone":"{customer}","text":"a"}}')
    reordered = f'{{ "text" : "\\u0061", "to_phone": "{customer}" }}'
    second = tenant.call("POST", "/v1/send", headers=headers, data=reordered)
    assert (first.status_code, second.status_code) == (202, 202)
    assert replayed(second) and second.content == first.content


def test_key_in_body_and_header(tenant, customer):
    key = unique("key")
    by_header = tenant.send("Hello", customer, key=key)
    for answer in (
        tenant.send("Hello", customer, idempotency_key=key),
        tenant.send("Hello", customer, key=key, idempotency_key=key),
        tenant.send("Hello", customer, key=f'"{key}"'),
        tenant.send("Hello", customer, key=f'"{key}"', idempotency_key=key),
    ):
        assert answer.status_code == 202, answer.text
        assert replayed(answer) and answer.content == by_header.content


def test_keys_that_disagree(tenant, customer):
    answer = tenant.send("Hello", customer, key=unique("one"), idempotency_key=unique("two"))
    assert_problem(answer, REFUSED)
    assert tenant.account.calls == []


@pytest.mark.parametrize("key", ["k" * 256, "", '""'], ids=["256", "empty", "quoted empty"])
def test_bad_key_in_the_header(tenant, customer, key):
    assert_problem(tenant.send("Hello", customer, key=key), REFUSED)
    assert tenant.account.calls == []


@pytest.mark.parametrize("key", ["k" * 256, "", 7, ["k"]], ids=["256", "empty", "number", "list"])
def test_bad_key_in_the_body(tenant, customer, key):
    assert_problem(tenant.send("Hello", customer, idempotency_key=key), REFUSED, field="idempotency_key")
    assert tenant.account.calls == []


@pytest.mark.parametrize("key", ["k", "k" * 255, "a b/c?d=e&{}'"], ids=["1", "255", "odd"])
def test_good_key(tenant, customer, key):
    answer = tenant.send("Hello", customer, key=key)
    assert answer.status_code == 202, answer.text
    assert answer.json()["idempotency_key"] == key
    assert replayed(tenant.send("Hello", customer, key=key))


def test_keys_are_case_sensitive(tenant, customer):
    one, other = tenant.accepted("Hello", customer, key="Key"), tenant.accepted("Hello", customer, key="kEY")
    assert one["message_id"] != other["message_id"]


def test_key_belongs_to_the_client(make_tenant, customer):
    key = unique("shared")
    one, other = make_tenant(), make_tenant()
    first, second = one.send("Hello", customer, key=key), other.send("Hello", customer, key=key)
    assert (first.status_code, second.status_code) == (202, 202)
    assert not replayed(second)
    assert first.json()["message_id"] != second.json()["message_id"]


def test_key_survives_a_new_api_key(tenant, customer):
    key = unique("key")
    first = tenant.send("Hello", customer, key=key)
    # Named as at creation.
    tenant.key = tenant.post("/v1/api-key/rotate", {"overlap_seconds": 0}).json()["api_key"]
    second = tenant.send("Hello", customer, key=key)
    assert replayed(second) and second.content == first.content


def test_refusal_is_not_stored_under_the_key(tenant, customer):
    key = unique("key")
    assert tenant.send("Hello", customer, key=key, colour="red").status_code in REFUSED
    nowhere = {"conversation_id": "conv_unknown", "text": "x"}
    assert tenant.post("/v1/send", nowhere, headers={"Idempotency-Key": key}).status_code == 404
    tenant.inbound("STOP", customer)
    assert tenant.send("Hello", customer, key=key).status_code == 410
    tenant.inbound("START", customer)
    answer = tenant.send("Hello", customer, key=key)
    assert answer.status_code == 202 and not replayed(answer)


def test_accepted_send_is_replayed_even_when_it_would_be_refused_now(tenant, customer):
    key = unique("key")
    first = tenant.send("Hello", customer, key=key)
    tenant.inbound("STOP", customer)
    second = tenant.send("Hello", customer, key=key)
    assert (second.status_code, second.content) == (202, first.content)
    assert replayed(second)


def test_sends_without_a_key_are_different_messages(tenant, customer):
    one, other = tenant.accepted("Hello", customer), tenant.accepted("Hello", customer)
    assert one["message_id"] != other["message_id"]


def test_repeat_while_waiting_for_the_provider(tenant, customer):
    """A repeat with Prefer: wait of a message that was already sent must not hang or send again."""
    key = unique("key")
    first = tenant.send("Hello", customer, key=key, prefer="wait=5")
    assert first.status_code == 200
    second = tenant.send("Hello", customer, key=key, prefer="wait=5")
    # Whether Prefer counts as part of the first answer (200) or only the durable 202 is stored is not said.
    assert second.status_code in (200, 202)
    assert second.json()["message_id"] == first.json()["message_id"]
    assert len(tenant.account.calls) == 1
