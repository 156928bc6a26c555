"""Connecting WhatsApp by Embedded Signup: a code becomes a token, the app is subscribed, the number registered.

Nothing is stored before all of it is done, and a code is not used for what would be refused anyway.
"""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.files import find_bytes
from support.graph import BARE_500, DROP, HANG, before, error, phone_person, raw
from support.http import call
from support.meta_tenant import APP_SECRET, MetaTenant
from support.problems import assert_problem
from support.signup import APP_ID, STEPS, SignupGraph
from support.tenant import unique
from support.wait import wait_until

OLDER_SECRET = "an-older-secret"
# A call is given up after 15 s, all of them together after 30.
CALL_SECONDS = 15
ALL_SECONDS = 30


# Set-up


@pytest.fixture(scope="module")
def graph():
    server = SignupGraph(APP_SECRET)
    yield server
    server.close()
    assert server.foreign_requests == []


@pytest.fixture(scope="module")
def make_signup_gateway(make_gateway, graph):
    def make(name, **settings):
        return make_gateway(name, **{
            "WAYBILL_PROVIDERS_GRAPH_BASE_URL": graph.base_url,
            "WAYBILL_PROVIDERS_INSTAGRAM_BASE_URL": "http://127.0.0.1:9",
            "WAYBILL_META_APP_ID": APP_ID,
            # Webhooks may be signed with any; the app's own is the first.
            "WAYBILL_META_APP_SECRETS": f"{APP_SECRET},{OLDER_SECRET}",
        } | settings)

    return make


@pytest.fixture(scope="module")
def gateway(make_signup_gateway):
    running = make_signup_gateway("signup").start()
    yield running
    if running.process is not None:
        assert running.stop() == 0, running.log_tail()


@pytest.fixture
def signup(graph):
    return graph.signup()


@pytest.fixture
def client(gateway):
    return MetaTenant(gateway)


def put(tenant, form):
    return tenant.gateway.admin("PUT", f"/clients/{tenant.id}/channels/whatsapp", form)


def connect(tenant, signup, **more):
    answer = put(tenant, signup.form(**more))
    assert answer.status_code == 200, answer.text
    return answer


def channels(tenant):
    answer = tenant.gateway.admin("GET", f"/clients/{tenant.id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["channels"]


def connections(tenant):
    """The connections in the history."""
    return [one for one in tenant.gateway.replay("--client", tenant.id) if one["type"] == "channel.connected"]


def assert_failed(answer, step, status, code=None, field=None):
    problem = assert_problem(answer, status, "signup_failed")
    assert problem["detail"].startswith(step + ": "), problem
    assert problem.get("field") == field, problem
    if code is not None:
        assert str(code) in problem["detail"], problem
    if status == 503:
        assert int(answer.headers["Retry-After"]) == problem["retry_after"] > 0
    return problem


# Success


def test_connected_and_used(client, signup):
    answer = connect(client, signup)
    assert answer.json() == {"client_id": client.id, "platform": "whatsapp", "state": "connected"}
    assert int(answer.headers["Waybill-Position"]) > 0
    assert channels(client)["whatsapp"] == {"state": "connected"}

    exchange, subscribe, register = signup.asked
    assert signup.steps == list(STEPS)
    assert (exchange.method, exchange.path) == ("GET", "/v25.0/oauth/access_token")
    assert exchange.query == {"client_id": [APP_ID], "client_secret": [APP_SECRET], "code": [signup.code]}
    assert (subscribe.method, subscribe.path) == ("POST", f"/v25.0/{signup.waba}/subscribed_apps")
    assert (register.method, register.path) == ("POST", f"/v25.0/{signup.account.id}/register")
    assert register.json["messaging_product"] == "whatsapp" and signup.pin == register.json["pin"]
    for one in (subscribe, register):
        assert one.headers["authorization"] == f"Bearer {signup.account.token}" and one.query == {}

    # Inbound finds the client, and what it sends goes out with the token.
    line = client.line(signup.account)
    _, made = line.sent(text=unique("hello"))
    assert made.headers["authorization"] == f"Bearer {signup.account.token}"
    assert made.path == f"/v25.0/{signup.account.id}/messages"


def test_connection_survives_a_restart(make_signup_gateway, signup):
    gateway = make_signup_gateway("signup-restarted").start()
    client = MetaTenant(gateway)
    connect(client, signup)
    line = client.line(signup.account)
    gateway.kill()
    gateway.start()
    _, made = line.sent()
    assert made.headers["authorization"] == f"Bearer {signup.account.token}"
    assert signup.steps == list(STEPS), "a restart asks nothing again"
    assert gateway.stop() == 0


def test_code_replaces_a_token_and_a_token_a_code(client, signup):
    token = signup.account.token
    assert put(client, signup.account.credentials | {"access_token": "EAAGwrong"}).status_code == 200
    connect(client, signup)
    line = client.line(signup.account)
    assert line.sent()[1].headers["authorization"] == f"Bearer {token}"
    signup.account.renew()
    client.connect(signup.account)
    assert line.sent()[1].headers["authorization"] == f"Bearer {signup.account.token}"
    assert signup.steps == list(STEPS)


def test_pace_is_taken(client, signup):
    connect(client, signup, messages_per_second=7)
    assert connections(client)[-1]["data"]["segments_per_second"] == 7


# The number


def test_pin_is_the_numbers(client, graph, signup):
    """A repeat after a lost answer, and a later signup, come with the PIN that was set the first time."""
    signup.scripts["register"] = [DROP]
    assert_failed(put(client, signup.form()), "register", 502)
    connect(client, signup)
    signup.renew()
    connect(client, signup)
    pins = {one.json["pin"] for one in signup.asked_for("register")}
    assert len(signup.asked_for("register")) == 3 and len(pins) == 1

    other = graph.signup()
    connect(MetaTenant(client.gateway), other)
    assert other.pin not in pins


def test_pin_of_the_operator(client, graph):
    signup = graph.signup(pin="007007")
    assert_failed(put(client, signup.form()), "register", 422, 133005, "pin")
    assert "whatsapp" not in channels(client)
    # The code was good once; the token is still at hand.
    connect(client, signup, pin="007007")
    assert len(signup.asked_for("exchange")) == 1
    assert client.line(signup.account).sent()[1].headers["authorization"] == f"Bearer {signup.account.token}"
    # Known from now on.
    signup.renew()
    connect(client, signup)
    assert signup.asked_for("register")[-1].json["pin"] == "007007"


@pytest.mark.parametrize("status, platform_type, is_enough", [
    ("CONNECTED", "CLOUD_API", True), ("PENDING", "CLOUD_API", False), ("CONNECTED", "ON_PREMISE", False)])
def test_number_that_works_already(client, graph, status, platform_type, is_enough):
    signup = graph.signup(pin="007007", status=status, platform_type=platform_type)
    answer = put(client, signup.form())
    assert signup.steps == [*STEPS, "number"]
    if is_enough:
        assert answer.status_code == 200, answer.text
        assert client.line(signup.account).sent()
    else:
        assert_failed(answer, "register", 422, 133005, "pin")


def test_number_that_stays_in_the_app(client, signup):
    connect(client, signup, register=False)
    assert signup.steps == ["exchange", "subscribe"]
    assert client.line(signup.account).sent()


# Steps that fail


REFUSALS = [
    ("exchange", error(400, 100, 36007, "This authorization code has expired."), 422, "100/36007", "code"),
    ("exchange", error(400, 1, message="Error validating client secret."), 422, 1, None),
    ("exchange", error(400, 4, message="Application request limit reached"), 503, 4, None),
    ("subscribe", error(403, 200, message="Permissions error"), 422, 200, None),
    ("subscribe", error(400, 100, 33, "Unsupported post request"), 422, "100/33", "waba_id"),
    ("subscribe", error(500, 2, message="Service temporarily unavailable"), 503, 2, None),
    ("register", error(400, 133005, message="Two step verification PIN Mismatch"), 422, 133005, "pin"),
    ("register", error(400, 133006, message="Phone number re-verification needed"), 422, 133006, None),
    ("register", error(400, 133015, message="Please wait a few minutes"), 503, 133015, None),
    ("register", error(400, 133016, message="Too many attempts"), 503, 133016, None),
]


@pytest.mark.parametrize("step, script, status, code, field", REFUSALS, ids=[f"{one[0]} {one[3]}" for one in REFUSALS])
def test_refused_by_meta(client, signup, step, script, status, code, field):
    signup.scripts[step] = [script]
    assert_failed(put(client, signup.form()), step, status, code, field)
    assert "whatsapp" not in channels(client) and connections(client) == []
    # Nothing comes after the step that failed, but the look at a number that Meta will not register.
    expected = list(STEPS[: STEPS.index(step) + 1]) + (["number"] if step == "register" else [])
    assert signup.steps == expected


NO_ANSWERS = {
    "lost": DROP, "bare 500": BARE_500, "page": raw(200, "<html>", "text/html"), "no success": raw(200, "{}"),
    "not yet": raw(200, '{"success":false,"access_token":""}'), "redirect": raw(302, "", headers={"Location": "/"}),
    "error of nobody": raw(400, '{"error":"invalid_grant"}'), "cut": raw(200, '{"success":true,"access_token":"EAAG'),
    "too long": raw(200, '{"success":true,"access_token":"EAAG","more":"' + "x" * 100_000 + '"}'),
    "deep": raw(200, "[" * 50_000), "token with a line": raw(200, '{"access_token":"EAAG\\r\\nX: y"}'),
    "other types": raw(200, '{"success":"true","access_token":["EAAG"]}'),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_answer_that_says_nothing(client, signup, step, name):
    signup.scripts[step] = [NO_ANSWERS[name]]
    assert_failed(put(client, signup.form()), step, 502)
    assert "whatsapp" not in channels(client) and connections(client) == []
    assert signup.steps == list(STEPS[: STEPS.index(step) + 1]), "no step is repeated by itself"


def test_unreachable(make_signup_gateway, signup):
    gateway = make_signup_gateway("signup-unreachable", WAYBILL_PROVIDERS_GRAPH_BASE_URL="http://127.0.0.1:9").start()
    problem = assert_failed(put(MetaTenant(gateway), signup.form()), "exchange", 502)
    assert "not used" in problem["detail"]
    assert gateway.stop() == 0


def test_code_that_was_used(client, signup):
    connect(client, signup)
    other = MetaTenant(client.gateway)
    assert_problem(put(other, signup.form()), 409, "account_in_use")
    # Of its own client too: what it was worth is stored, and not kept for repeats.
    assert_failed(put(client, signup.form()), "exchange", 422, "100/36009", "code")
    assert channels(client)["whatsapp"] == {"state": "connected"}, "the connection is as it was"
    assert client.line(signup.account).sent()


@pytest.mark.parametrize("step", ["subscribe", "register"])
def test_repeat_after_a_later_step(client, signup, step):
    """The same request again: the code is not used twice, and what was done is done again without harm."""
    signup.scripts[step] = [error(503, 2), BARE_500]
    assert_failed(put(client, signup.form()), step, 503, 2)
    assert_failed(put(client, signup.form()), step, 502)
    connect(client, signup)
    assert len(signup.asked_for("exchange")) == 1
    assert len(signup.asked_for(step)) == 3
    assert len(connections(client)) == 1
    assert client.line(signup.account).sent()


def test_kept_token_is_nobody_elses(client, graph, signup):
    signup.scripts["subscribe"] = [BARE_500]
    assert_failed(put(client, signup.form()), "subscribe", 502)
    assert_failed(put(MetaTenant(client.gateway), signup.form()), "exchange", 422, "100/36009", "code")
    number = graph.signup().account.id
    wrong = signup.form(phone_number_id=number)
    assert_failed(put(client, wrong), "register", 422, "100", "phone_number_id")
    assert put(client, signup.form()).status_code == 200, "what was named can be mended, and the code is not spent"


def test_hanging_steps_end(gateway, graph):
    signups = {step: graph.signup() for step in STEPS}
    clients = {step: MetaTenant(gateway) for step in STEPS}
    for step, signup in signups.items():
        signup.scripts[step] = [HANG]

    def timed(step):
        begun = time.monotonic()
        return put(clients[step], signups[step].form()), time.monotonic() - begun

    with ThreadPoolExecutor(len(STEPS)) as pool:
        for step, (answer, seconds) in zip(STEPS, pool.map(timed, STEPS)):
            assert_failed(answer, step, 504)
            assert CALL_SECONDS - 1 < seconds < CALL_SECONDS + 12, (step, seconds)
            assert "whatsapp" not in channels(clients[step])


@pytest.mark.skipif(not os.environ.get("WAYBILL_LONG"), reason="WAYBILL_LONG is not set; the whole time is half a minute")
def test_slow_steps_end_together(client, signup):
    slow = before(lambda made: time.sleep(12))
    signup.scripts |= {"exchange": [slow], "subscribe": [slow], "register": [HANG]}
    begun = time.monotonic()
    assert_failed(put(client, signup.form()), "register", 504)
    assert ALL_SECONDS - 1 < time.monotonic() - begun < ALL_SECONDS + 3


# What is refused before the code is used


def test_plan_without_whatsapp(gateway, signup):
    client = MetaTenant(gateway, plan="creator")
    assert_problem(put(client, signup.form()), 403, "plan_required")
    assert signup.asked == []
    assert gateway.admin("PATCH", f"/clients/{client.id}", {"plan": "professional"}).status_code == 200
    connect(client, signup)


def test_account_of_another_client(client, signup):
    owner = MetaTenant(client.gateway)
    owner.connect(signup.account)
    assert_problem(put(client, signup.form()), 409, "account_in_use")
    assert signup.asked == []
    assert owner.gateway.admin("DELETE", f"/clients/{owner.id}/channels/whatsapp").status_code == 204
    connect(client, signup)


def test_client_that_is_gone(client, signup):
    assert client.gateway.admin("DELETE", f"/clients/{client.id}").status_code == 204
    assert_problem(put(client, signup.form()), 404, "not_found")
    assert signup.asked == []


@pytest.mark.parametrize("more, field, code", [
    ({"nonsense": 1}, "nonsense", "unknown_field"), ({"client_secret": "x"}, "client_secret", "unknown_field"),
    ({"access_token": "EAAG"}, "access_token", "invalid_request"), ({"code": ""}, "code", "invalid_request"),
    ({"code": "a b"}, "code", "invalid_request"), ({"code": "x" * 4097}, "code", "invalid_request"),
    ({"code": 7}, "code", "invalid_request"), ({"waba_id": "me"}, "waba_id", "invalid_request"),
    ({"waba_id": None}, "waba_id", "invalid_request"), ({"waba_id": "1" * 65}, "waba_id", "invalid_request"),
    ({"phone_number_id": "1/register"}, "phone_number_id", "invalid_request"),
    ({"phone_number_id": 1}, "phone_number_id", "invalid_request"), ({"pin": "12345"}, "pin", "invalid_request"),
    ({"pin": "1234567"}, "pin", "invalid_request"), ({"pin": "12345a"}, "pin", "invalid_request"),
    ({"pin": 123456}, "pin", "invalid_request"), ({"register": "no"}, "register", "invalid_request"),
    ({"register": False, "pin": "123456"}, "pin", "invalid_request"),
], ids=lambda value: str(value)[:40])
def test_bad_form(client, signup, more, field, code):
    assert_problem(put(client, signup.form(**more)), 400, code, field)
    assert signup.asked == [] and "whatsapp" not in channels(client)
    connect(client, signup)


@pytest.mark.parametrize("without, named", [
    ("WAYBILL_META_APP_ID", "meta.app_id"), ("WAYBILL_META_APP_SECRETS", "meta.app_secrets")])
def test_without_the_app(make_signup_gateway, signup, without, named):
    gateway = make_signup_gateway("signup-without", **{without: None}).start()
    client = MetaTenant(gateway)
    problem = assert_problem(put(client, signup.form()), 409, "configuration_invalid")
    assert named in problem["detail"], problem
    assert signup.asked == []
    # With a token it goes without.
    client.connect(signup.account)
    assert gateway.stop() == 0


# Two at once


def test_two_at_once(client, signup):
    arrived, go = threading.Event(), threading.Event()

    def wait(made):
        arrived.set()
        assert go.wait(10)

    signup.scripts["subscribe"] = [before(wait)]
    other = MetaTenant(client.gateway)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(put, client, signup.form())
        try:
            assert arrived.wait(10)
            assert_problem(put(client, signup.form()), 409, "signup_in_progress")
            # The number neither, whoever asks.
            assert_problem(put(other, signup.form()), 409, "signup_in_progress")
        finally:
            go.set()
        assert first.result(20).status_code == 200
    assert signup.steps == list(STEPS)
    assert [one.failure for one in signup.asked] == [None, None, None]
    assert len(connections(client)) == 1 and connections(other) == []


def test_many_at_once(gateway, graph):
    """Each client gets its own token, or is told to come again; nobody gets half of it."""
    pairs = [(MetaTenant(gateway), graph.signup()) for _ in range(24)]

    def repeat(pair):
        client, signup = pair

        def answered():
            answer = put(client, signup.form())
            return answer if answer.status_code != 503 else None

        return wait_until(answered, 30, "a signup")

    with ThreadPoolExecutor(len(pairs)) as pool:
        for answer in pool.map(repeat, pairs):
            assert answer.status_code == 200, answer.text
    for client, signup in pairs:
        assert signup.steps == list(STEPS)
        assert client.line(signup.account).sent()[1].headers["authorization"] == f"Bearer {signup.account.token}"


# Secrets


def test_secrets_are_nowhere(make_signup_gateway, graph, tmp_path):
    """Not in answers, the process's log, the history or the files; also where Meta repeats them in its errors."""
    gateway = make_signup_gateway("signup-secrets").start()
    shown, needles = [], {"app secret": APP_SECRET.encode()}
    for step in STEPS:
        for name in ("error", "page"):
            client, signup = MetaTenant(gateway), graph.signup()
            needles |= {f"{step} {name} {n}": secret.encode() for n, secret in enumerate(signup.secrets)}
            told = f"{APP_SECRET} {signup.code} {signup.account.token}"
            signup.scripts[step] = [error(500, 2, message=told) if name == "error" else raw(500, told)]
            failed = put(client, signup.form())
            assert_failed(failed, step, 503 if name == "error" else 502)
            again = put(client, signup.form())
            # A code that Meta has answered about with a page is used up.
            assert again.status_code == (422 if (step, name) == ("exchange", "page") else 200), again.text
            wrong = [put(client, signup.form(nonsense=1)), put(client, signup.form(access_token="x"))]
            known = gateway.admin("GET", f"/clients/{client.id}")
            shown += [answer.text for answer in (failed, again, *wrong, known)]
            shown.append(json.dumps(gateway.replay("--client", client.id, "--bodies")))
    log = gateway.log_tail(10**9)
    assert "signup_failed" in log, "what went wrong with Meta is in the log"
    shown += [log, call("GET", gateway.base_url + "/metrics").text]
    assert [name for name, needle in needles.items() for text in shown if needle.decode() in text] == []
    assert find_bytes(gateway.directory, needles) == []
    assert gateway.stop() == 0
    assert find_bytes(gateway.directory, needles) == []
    # What is looked for would be found.
    (tmp_path / "control").write_bytes(b"..." + needles["register page 1"] + b"...")
    assert find_bytes(tmp_path, needles) == ["register page 1 in control"]


# The sandbox


def test_sandbox(make_gateway):
    """Tried without Meta: a code of any kind, a template, its statuses, and a customer who writes to the new number."""
    gateway = make_gateway("signup-sandbox", WAYBILL_PUBLIC_URL=None).start("--sandbox")
    client = MetaTenant(gateway)
    number = "106540352249999"
    form = {"code": "sandbox", "waba_id": "102290129349999", "phone_number_id": number}
    assert put(client, form).status_code == 200
    assert channels(client)["whatsapp"] == {"state": "connected"}
    customer = phone_person()
    answer = client.post("/v1/send", {
        "to_phone": customer.phone, "platform": "whatsapp", "template_name": "hello", "template_language": "en_US"})
    assert answer.status_code == 202, answer.text
    client.wait_for_status(answer.json()["message_id"], "read")

    sandbox = wait_until(lambda: [line for line in gateway.log_tail(10**9).splitlines() if "/sandbox/messages" in line], 10)
    url = next(word for word in sandbox[0].split() if word.startswith("http"))
    written = call("POST", url, json={
        "platform": "whatsapp", "account": number, "from": customer.wa_id, "text": "Hi, new number"})
    assert written.json()["gateway_status"] == 200, written.text
    wait_until(lambda: [one for one in client.events() if one["data"]["message"].get("text") == "Hi, new number"], 10)


# The history that all of this made


def test_history_is_sound(gateway):
    result = gateway.verify("--invariants")
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
