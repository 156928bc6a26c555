"""Meta's webhook address: verification, signatures, sizes, batches, who gets what, and what outlives the process."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from support import meta
from support.http import call
from support.meta import Account, compact, envelope, escaped, other_digit, signature
from support.problems import assert_problem
from support.tenant import Tenant, unique
from support.wait import wait_until

OTHER_SECRET = "secret-of-the-instagram-app"
PLATFORMS = ("facebook", "instagram", "whatsapp")
MEBIBYTE = 1 << 20
BATCH = 1000
BATCH_CLIENTS = 50
# Meta's own target for an answer is a second; a slow machine must not fail the suite.
BATCH_SECONDS = 10
CRASHES = 5
POSTERS = 4

# Vector B1 of the facts: what is on the wire, its signature, and signatures over what is not on the wire.
B1_BODY = (
    rb'{"object":"page","entry":[{"id":"1001","time":1790000000123,"messaging":[{"sender":{"id":"9001"},'
    rb'"recipient":{"id":"1001"},"timestamp":1790000000001,"message":{"mid":"m_A1",'
    rb'"text":"caf\u00e9 \ud83d\ude00 https:\/\/x.test\/a"}}]}]}'
)
B1 = "sha256=91e2aeae965421b6942a48d6e1d85cb89f11bacf6f6826e016ed4094dd133622"
B1_SHA1 = "sha1=84b2b767e3517cba7e29009894f2a078aa1084be"
B1_OF_UTF8 = "sha256=6b7ef0a51d7326fab1d81888eff0f8ceaecce3ab88903302aef65a133bfccaf9"
B1_OF_PLAIN_SLASHES = "sha256=261325a07718b87b40edc20153e61a5f5d92b5bbbc0343fa316aa3353962bbbb"


@pytest.fixture(scope="module")
def gateway(make_gateway):
    secrets = f"{meta.SECRET}, {OTHER_SECRET}"
    running = make_gateway(**meta.SETTINGS | {"WAYBILL_META_APP_SECRETS": secrets}).start()
    yield running
    assert running.stop() == 0, running.log_tail()


@pytest.fixture(scope="module")
def fragile(make_gateway):
    """A gateway that the tests stop and kill."""
    running = make_gateway("fragile", **meta.SETTINGS).start()
    yield running
    assert running.stop() == 0, running.log_tail()


def connected(gateway, platform, **settings):
    account = Account(Tenant(gateway, None, **settings), platform)
    answer = account.connect()
    assert answer.status_code == 200, answer.text
    return account


@pytest.fixture(params=PLATFORMS)
def account(gateway, request):
    return connected(gateway, request.param)


@pytest.fixture
def page(gateway):
    return connected(gateway, "facebook")


def record_types(gateway, after=0):
    """Of what was recorded for no client: its types, after a position."""
    return [line["type"] for line in gateway.replay("--from", after + 1) if line["client_id"] is None]


def last_position(gateway):
    return gateway.replay()[-1]["position"]


# Verification


def verify(gateway, **replaced):
    query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": meta.VERIFY_TOKEN} | replaced
    query = {name: value for name, value in query.items() if value is not None}
    return call("GET", gateway.base_url + meta.PATH, params=query)


@pytest.mark.parametrize("challenge", ["1158201444", "007", "a b+c/<&>"])
def test_verification_answers_the_challenge_alone(gateway, challenge):
    answer = verify(gateway, **{"hub.challenge": challenge})
    assert (answer.status_code, answer.text) == (200, challenge)
    assert answer.headers["Content-Type"].partition(";")[0] == "text/plain"


@pytest.mark.parametrize("replaced", [
    {"hub.verify_token": "wrong"},
    {"hub.verify_token": meta.VERIFY_TOKEN + "x"},
    {"hub.verify_token": meta.VERIFY_TOKEN.upper()},
    {"hub.verify_token": ""},
    {"hub.verify_token": None},
    {"hub.mode": "unsubscribe"},
    {"hub.mode": ""},
    {"hub.mode": None},
    {"hub.mode": None, "hub.challenge": None, "hub.verify_token": None},
], ids=str)
def test_verification_refused(gateway, replaced):
    answer = verify(gateway, **replaced)
    assert_problem(answer, 403)
    assert "1158201444" not in answer.text


def test_verification_without_a_challenge(gateway):
    assert verify(gateway, **{"hub.challenge": None}).status_code in (400, 403)


def test_nothing_verifies_where_nothing_is_set(make_gateway):
    settings = {name: value for name, value in meta.SETTINGS.items() if "_META_" not in name}
    bare = make_gateway("bare", **settings).start()
    body = compact({"object": "page", "entry": []})
    assert verify(bare).status_code == 403
    assert verify(bare, **{"hub.verify_token": ""}).status_code == 403
    assert verify(bare, **{"hub.verify_token": None}).status_code == 403
    for secret in ("", meta.SECRET):
        assert meta.post(bare, body, signature(body, secret)).status_code == 403
    assert bare.stop() == 0


# Signatures


@pytest.fixture(scope="module")
def page_1001(gateway):
    page = Account(Tenant(gateway, None), "facebook", 1001)
    assert page.connect().status_code == 200
    return page


WRONG_FOR_B1 = {
    "of the UTF-8": B1_OF_UTF8,
    "of plain slashes": B1_OF_PLAIN_SLASHES,
    "legacy": B1_SHA1,
    "legacy name": B1.replace("sha256", "sha1"),
    "no name": B1.removeprefix("sha256="),
    "short": B1[:-1],
    "long": B1 + "00",
    "twice": B1 + "," + B1,
    "no digits": "sha256=",
    "name only": "sha256",
    "missing": "",
    "first digit": other_digit(B1, 0),
    "middle digit": other_digit(B1, 31),
    "last digit": other_digit(B1, 63),
}


@pytest.mark.parametrize("wrong", WRONG_FOR_B1)
def test_vector_b1_wrongly_signed(gateway, page_1001, wrong):
    before = last_position(gateway)
    assert_problem(meta.post(gateway, B1_BODY, WRONG_FOR_B1[wrong]), 403)
    assert last_position(gateway) == before


def test_vector_b1(gateway, page_1001):
    answer = meta.post(gateway, B1_BODY, B1, headers={"X-Hub-Signature": B1_SHA1})
    assert answer.status_code == 200
    assert page_1001.wait_for_texts(1) == ["café 😀 https://x.test/a"]


def test_only_the_legacy_signature(gateway, page):
    body = compact(page.body(page.text("m_1", "legacy")))
    legacy = {"X-Hub-Signature": signature(body, algorithm="sha1")}
    assert_problem(meta.post(gateway, body, "", headers=legacy), 403)
    assert_problem(meta.post(gateway, body, other_digit(signature(body), 5), headers=legacy), 403)
    assert page.texts() == []


def test_any_of_the_secrets_may_sign(gateway, page):
    for secret in (meta.SECRET, OTHER_SECRET):
        body = compact(page.body(page.text(f"m_{secret}", secret)))
        assert meta.post(gateway, body, signature(body, secret)).status_code == 200
    both = f"{meta.SECRET},{OTHER_SECRET}"
    for secret in ("", "wrong", both, meta.VERIFY_TOKEN, OTHER_SECRET + " ", OTHER_SECRET[:-1]):
        body = compact(page.body(page.text("m_wrong", "wrong")))
        assert_problem(meta.post(gateway, body, signature(body, secret)), 403)
    assert page.wait_for_texts(2) == [meta.SECRET, OTHER_SECRET]


def test_signature_of_another_body(gateway, page):
    one, other = (escaped(page.body(page.text("m_1", f"für {name}"))) for name in ("Ana", "Eve"))
    assert_problem(meta.post(gateway, one, signature(other)), 403)
    assert page.texts() == []


# Forms and sizes


@pytest.mark.parametrize("body", [
    b"", b"not JSON", b"\x00\xff\xfe", b'{"object":"page","entry":[', b"null", b"7", b'"text"', b"[]", b"{}",
    b'{"object":null}', b'{"object":7,"entry":7}', b'{"object":"page"}', b'{"object":"page","entry":{}}',
    b'{"object":"page","entry":[]}', b'{"object":"page","entry":[null,7,"x",[],{}]}',
    b'{"object":"page","entry":[{"id":7}]}', b'{"object":"page","entry":[{"id":{},"messaging":{}}]}',
    b'{"object":"user","entry":[{"id":"1","changes":[{"field":"photos"}]}]}',
    b'{"object":"whatsapp_business_account","entry":[{"id":"1"}]}',
    b'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":null}]}]}',
    b"[" * 100_000, b'{"object":"page","entry":' + b"[" * 500 + b"]" * 500 + b"}",
], ids=lambda body: body[:48].decode("latin-1"))
def test_whatever_is_rightly_signed_is_answered_with_200(gateway, page, body):
    assert meta.post(gateway, body).status_code == 200
    page.post_text("m_1", "still there")
    assert page.wait_for_texts(1) == ["still there"]


def test_unknown_object_is_on_record(gateway):
    before = last_position(gateway)
    body = compact({"object": unique("hologram"), "entry": [{"id": "1", "time": 1}]})
    assert meta.post(gateway, body).status_code == 200
    assert record_types(gateway, before)


def test_unknown_account_is_on_record_and_keeps_nothing_back(account):
    before = last_position(account.gateway)
    stranger = Account(account.tenant, account.platform)
    body = envelope(
        account.platform,
        account.entry(account.text("m_1", "before")),
        stranger.entry(stranger.text("m_2", "to nobody")),
        account.entry(account.text("m_3", "after")),
    )
    assert meta.post(account.gateway, compact(body)).status_code == 200
    assert account.wait_for_texts(2) == ["before", "after"]
    assert record_types(account.gateway, before)


def test_answer_is_exactly_200(account):
    assert account.post(account.text("m_1", "one")).status_code == 200
    assert account.post(account.text("m_1", "one")).status_code == 200


def test_large_batch(page):
    """3.5 MB of a thousand messages, as Cyrillic looks when Meta has escaped it."""
    items = [page.text(f"m_{n}", "Жё" * 280 + f" {n}") for n in range(BATCH)]
    body = escaped(page.body(*items))
    assert 3_490_000 < len(body) < 4 * MEBIBYTE
    assert meta.post(page.gateway, body).status_code == 200
    texts = page.wait_for_texts(BATCH, 30)
    assert [text.split()[1] for text in texts] == [str(n) for n in range(BATCH)]


# In kilobytes, below and above what one record of the log holds, and near the limit of a request.
LARGE = [100, 600, 3500]


@pytest.mark.parametrize("kilobytes", LARGE)
def test_large_item_keeps_its_neighbours_from_nothing(page, kilobytes):
    """A batch that is refused for one item is repeated for hours, and then lost with all of them."""
    large = page.text("m_2", "large", x_later="x" * kilobytes * 1000)
    answer = page.post(page.text("m_1", "before"), large, page.text("m_3", "after"))
    assert answer.status_code == 200
    assert {"before", "after"} <= set(page.wait_for_texts(2))


@pytest.mark.parametrize("kilobytes", LARGE)
def test_message_in_a_large_item(account, kilobytes):
    """What a later version adds may be of any size; the message itself is small, and is not lost for it."""
    assert account.post(account.text("m_1", "small", x_later="ab/" * (kilobytes * 333))).status_code == 200
    account.post_text("m_2", "after")
    assert account.wait_for_texts(2) == ["small", "after"]


@pytest.mark.parametrize("depth", [64, 20_000])
def test_deep_item_keeps_its_neighbours_from_nothing(account, depth):
    name = unique("deep")
    items = [account.text(f"{name}.1", "before"), "deep", account.text(f"{name}.2", "deeper", more="deep"),
             account.text(f"{name}.3", "after")]
    body = compact(account.body(*items)).replace(b'"deep"', b"[" * depth + b"7" + b"]" * depth)
    assert meta.post(account.gateway, body).status_code == 200
    assert account.wait_for_texts(3) == ["before", "deeper", "after"]


def test_body_of_5_mb_is_refused(gateway, page):
    body = compact(page.body(page.text("m_1", "large", x_later="x" * 5_000_000)))
    head = (f"POST {meta.PATH} HTTP/1.1\r\nHost: waybill\r\nContent-Type: application/json\r\n"
            f"X-Hub-Signature-256: {signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n")
    assert exchanged(gateway.port, head.encode() + body).startswith(b"HTTP/1.1 413 ")
    page.post_text("m_2", "after")
    assert page.wait_for_texts(1) == ["after"]


def exchanged(port, request):
    """The answer to a request, also where it comes before the request is read to its end."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        sender = threading.Thread(target=_send, args=(connection, request), daemon=True)
        sender.start()
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            pass
    sender.join(20)
    return answer


def _send(connection, request):
    try:
        connection.sendall(request)
    except OSError:
        pass


def test_batch_over_many_clients(gateway, capsys):
    accounts = [connected(gateway, "facebook") for _ in range(BATCH_CLIENTS)]
    each = BATCH // BATCH_CLIENTS
    entries = [one.entry(*(one.text(f"m_{n}", f"{n}") for n in range(each))) for one in accounts]
    entries[7]["messaging"][3] = {"sender": 7, "timestamp": {}, "message": ["malformed"]}
    body = compact(envelope("facebook", *entries))
    started = time.monotonic()
    assert meta.post(gateway, body).status_code == 200
    seconds = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{BATCH} updates of {BATCH_CLIENTS} clients: {seconds * 1000:.0f} ms")
    assert seconds < BATCH_SECONDS
    for index, one in enumerate(accounts):
        expected = [f"{n}" for n in range(each) if (index, n) != (7, 3)]
        assert one.wait_for_texts(len(expected)) == expected


# At the same time


def test_concurrent_repeats_make_one_event(account):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: account.post(account.text("m_1", "race")), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    account.post_text("m_2", "after")
    assert account.wait_for_texts(2) == ["race", "after"]


def test_message_and_reaction_at_the_same_time(account):
    """Whichever is first: the client is told of both, of the message first."""
    rounds = 20
    with ThreadPoolExecutor(2) as pool:
        for n in range(rounds):
            items = account.text(f"m_{n}", f"{n}"), account.reaction(f"m_{n}", "🧶")
            answers = list(pool.map(account.post, items if n % 2 else reversed(items)))
            assert {answer.status_code for answer in answers} == {200}
    events = account.wait_for_events(2 * rounds)
    assert [one["type"] == "message.reaction" for one in events] == [False, True] * rounds


# Whose account it is


def test_account_belongs_to_one_client(account):
    other = Account(Tenant(account.gateway, None), account.platform, account.id)
    assert_problem(other.connect(), 409, "account_in_use")
    account.post_text("m_1", "mine")
    assert account.wait_for_texts(1) == ["mine"]
    assert other.texts() == []


def test_account_is_connected_again_by_its_own_client(account):
    assert account.connect().status_code == 200
    account.post_text("m_1", "mine")
    assert account.wait_for_texts(1) == ["mine"]


def test_one_number_on_three_platforms_is_three_accounts(gateway):
    accounts = [connected(gateway, "facebook")]
    for platform in PLATFORMS[1:]:
        accounts.append(Account(Tenant(gateway, None), platform, accounts[0].id))
        assert accounts[-1].connect().status_code == 200
    for one in accounts:
        one.post_text("m_1", one.platform)
        assert one.wait_for_texts(1) == [one.platform]


def test_disconnected_then_connected_elsewhere(account):
    account.post_text("m_1", "to the first")
    assert account.wait_for_texts(1) == ["to the first"]
    assert account.disconnect().status_code in (200, 204)
    account.post_text("m_2", "to nobody")
    other = Account(Tenant(account.gateway, None), account.platform, account.id)
    assert other.connect().status_code == 200
    other.post_text("m_3", "to the second")
    assert other.wait_for_texts(1) == ["to the second"]
    assert account.texts() == ["to the first"]
    assert_problem(account.connect(), 409, "account_in_use")


def test_moved_to_another_account(account):
    """The client connects another page: the one before it is free again."""
    former = account.id
    account.id = str(int(former) + 10**15)
    assert account.connect().status_code == 200
    account.post_text("m_1", "to the new account")
    assert account.wait_for_texts(1) == ["to the new account"]
    other = Account(Tenant(account.gateway, None), account.platform, former)
    assert other.connect().status_code == 200
    other.post_text("m_1", "to the former account")
    assert other.wait_for_texts(1) == ["to the former account"]
    assert account.texts() == ["to the new account"]


def test_disconnecting_what_is_not_connected(account):
    assert account.disconnect().status_code in (200, 204)
    assert_problem(account.disconnect(), 404)


@pytest.mark.parametrize("platform, settings", [
    ("facebook", {"addon": {"status": "none"}}),
    ("whatsapp", {"addon": {"status": "none"}}),
    ("whatsapp", {"plan": "creator"}),
])
def test_without_plan_or_add_on_it_is_recorded_and_not_forwarded(gateway, platform, settings):
    account = Account(Tenant(gateway, None, **settings), platform)
    account.connect()
    before = last_position(gateway)
    account.post_text("m_1", "for later")
    assert [line for line in gateway.replay("--from", before + 1) if line["type"] != "event.published"]
    paid = {"plan": "professional", "addon": {"status": "active"}}
    renewed = gateway.admin("PATCH", f"/clients/{account.tenant.id}", paid)
    assert renewed.status_code == 200, renewed.text
    assert account.connect().status_code == 200
    account.post_text("m_2", "from now on")
    assert account.wait_for_texts(1) == ["from now on"]


# What an unsend takes along


def test_nothing_of_an_unsent_message_is_left(gateway):
    """Neither its words nor those of an edit, also of one that came before the message and had to wait."""
    account = connected(gateway, "instagram")
    original, early, late = (unique(name) for name in ("original", "early", "late"))
    account.post(account.edit("m_1", early, 1))
    account.post(account.text("m_1", original))
    account.post(account.edit("m_1", late, 2))
    assert shown(account, original, early, late) == [original, early, late]
    account.post(account.text("m_1", None, is_deleted=True))
    wait_until(lambda: not shown(account, original, early, late), 5, "the words to be gone")


def shown(account, *words):
    """Those of the words that `replay --bodies` shows."""
    lines = account.gateway.run_ok("replay", "--data", account.gateway.data, "--client", account.tenant.id, "--bodies")
    return [word for word in words if word in lines]


# Across restarts


def stop(gateway):
    assert gateway.stop() == 0


def kill(gateway):
    gateway.kill()


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("end", [stop, kill])
def test_reaction_waits_for_its_message_across_a_restart(fragile, platform, end):
    account = connected(fragile, platform)
    assert account.post(account.reaction("m_1", "🧶")).status_code == 200
    end(fragile)
    fragile.start()
    assert account.tenant.events() == []
    account.post_text("m_1", "the message")
    end(fragile)
    fragile.start()
    message, reaction = account.wait_for_events(2)
    assert message["data"]["message"]["text"] == "the message"
    assert reaction["type"] == "message.reaction"
    assert reaction["data"]["message"]["id"] == message["data"]["message"]["id"]
    assert reaction["data"]["message"]["reaction"]["emoji"] == "🧶"
    account.post(account.reaction("m_1", "🧶"))
    account.post_text("m_1", "the message")
    account.post_text("m_2", "after")
    assert len(account.wait_for_events(3)) == 3


@pytest.mark.parametrize("platform", PLATFORMS)
def test_killed_right_after_the_answer(fragile, platform):
    account = connected(fragile, platform)
    texts = []
    for n in range(CRASHES):
        texts += [f"{n} a", f"{n} b"]
        answer = account.post(*(account.text(f"m_{text}", text) for text in texts[-2:]))
        fragile.kill()
        assert answer.status_code == 200
        fragile.start()
        assert account.wait_for_texts(len(texts)) == texts
    result = fragile.verify()
    assert result.returncode == 0, result.stdout + result.stderr


def test_killed_among_many_answers(fragile):
    """What was acknowledged is there; what was not may be, and is there once after Meta has repeated it."""
    account = connected(fragile, "facebook")
    acknowledged, asked = [], []
    for crash in range(CRASHES):
        ended = threading.Event()
        with ThreadPoolExecutor(POSTERS) as pool:
            posters = [
                pool.submit(post_until, ended, account, f"{crash}-{n}", asked, acknowledged) for n in range(POSTERS)
            ]
            enough = len(acknowledged) + 10 * (crash + 1)
            wait_until(lambda: len(acknowledged) >= enough, 20, "acknowledgements")
            fragile.kill()
            ended.set()
            for one in posters:
                one.result()
        fragile.start()
        assert set(acknowledged) <= set(account.wait_for_texts(len(acknowledged)))
    for mid in asked:
        account.post_text(mid, mid)
    assert sorted(account.wait_for_texts(len(asked))) == sorted(asked)
    result = fragile.verify()
    assert result.returncode == 0, result.stdout + result.stderr


def post_until(ended, account, name, asked, acknowledged):
    for n in range(10_000):
        if ended.is_set():
            return
        mid = f"m_{name}-{n}"
        asked.append(mid)
        try:
            answer = account.post(account.text(mid, mid), timeout=20)
        except requests.exceptions.RequestException:
            return
        if answer.status_code == 200:
            acknowledged.append(mid)
