"""Keys and who may do what, the shape of every error, lists, and the endpoints that need no key."""

import json
import re
import socket
import time

import pytest
import requests
import yaml

from support.http import call
from support.problems import REFUSED, assert_problem
from support.tenant import customer_number, unique
from support.wait import wait_until

# Above any request a client or provider makes (Meta's batches end at 3 MB).
OVERSIZE_BYTES = 64 * 1024 * 1024


# Who may do what


@pytest.mark.parametrize("path", ["/v1/send", "/v1/messages/msg_x", "/v1/webhook", "/admin/v1/clients"])
def test_no_token(gateway, path):
    method = "POST" if path == "/v1/send" else "GET"
    assert_problem(call(method, gateway.base_url + path), 401)


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer x", "Basic d2JfbGl2ZV94Og==", "Bearer wb_live_", "Bearer wb_live_" + "A" * 43,
     "Bearer wb_test_" + "A" * 43, "Bearer sk_live_" + "A" * 43, "Bearer " + "A" * 8000],
    ids=lambda value: value[:24],
)
def test_wrong_token(gateway, header):
    assert_problem(call("GET", gateway.base_url + "/v1/webhook", headers={"Authorization": header}), 401)


def test_key_with_another_prefix_or_ending(tenant):
    for wrong in (
        tenant.key.replace("wb_live_", "wb_test_"), tenant.key.replace("wb_live_", "wb_op_"), tenant.key[:-1],
        tenant.key + "A", tenant.key.swapcase(),
    ):
        assert_problem(tenant.get("/v1/webhook", token=wrong), 401)
    assert tenant.get("/v1/webhook").status_code == 200


def test_keys_have_their_prefixes(gateway, tenant):
    assert tenant.key.startswith("wb_live_")
    assert gateway.operator.startswith("wb_op_")
    assert gateway.create_token("auditor")["token"].startswith("wb_aud_")


def test_client_key_is_not_an_operator(gateway, tenant):
    # A valid key in the wrong place: 403 says so, 401 says no more than that it does not fit.
    for method, path in (("GET", "/clients"), ("POST", "/clients"), ("DELETE", f"/clients/{tenant.id}")):
        assert_problem(call(method, f"{gateway.base_url}/admin/v1{path}", tenant.key, json={}), (401, 403))
    assert gateway.admin("GET", f"/clients/{tenant.id}").status_code == 200


def test_operator_and_auditor_are_not_clients(gateway):
    auditor = gateway.create_token("auditor")["token"]
    for token in (gateway.operator, auditor):
        assert_problem(call("GET", gateway.base_url + "/v1/webhook", token), (401, 403))
        body = {"to_phone": customer_number(), "text": "x"}
        assert_problem(call("POST", gateway.base_url + "/v1/send", token, json=body), (401, 403))
    assert_problem(call("POST", gateway.base_url + "/admin/v1/clients", auditor, json={"name": "x"}), (401, 403))
    assert_problem(call("GET", gateway.base_url + "/admin/v1/clients", auditor), (401, 403))


def test_token_in_the_query_is_no_token(gateway, tenant):
    assert_problem(call("GET", f"{gateway.base_url}/v1/webhook?access_token={tenant.key}&api_key={tenant.key}"), 401)


def rotate_key(tenant, overlap_seconds):
    answer = tenant.post("/v1/api-key/rotate", {"overlap_seconds": overlap_seconds})
    assert answer.status_code == 200, answer.text
    # Named as at creation.
    return answer.json()["api_key"]


def test_rotated_key_overlaps(tenant):
    new = rotate_key(tenant, 60)
    assert new.startswith("wb_live_") and new != tenant.key
    assert tenant.get("/v1/webhook").status_code == 200
    assert tenant.get("/v1/webhook", token=new).status_code == 200


def test_rotated_key_ends_at_once(tenant):
    new = rotate_key(tenant, 0)
    assert_problem(tenant.get("/v1/webhook"), 401)
    assert tenant.get("/v1/webhook", token=new).status_code == 200


def test_rotated_key_ends_after_its_overlap(tenant):
    started = time.monotonic()
    new = rotate_key(tenant, 1)
    wait_until(lambda: tenant.get("/v1/webhook").status_code == 401, 5, "the old key to end")
    assert time.monotonic() - started >= 0.9
    assert tenant.get("/v1/webhook", token=new).status_code == 200


def test_operator_replaces_a_key_that_was_taken(gateway, tenant):
    taken = rotate_key(tenant, 0)
    answer = gateway.admin("POST", f"/clients/{tenant.id}/api-key/rotate", {"overlap_seconds": 0})
    assert answer.status_code == 200, answer.text
    new = answer.json()["api_key"]
    assert_problem(tenant.get("/v1/webhook", token=taken), 401)
    assert tenant.get("/v1/webhook", token=new).status_code == 200
    secret = gateway.admin("POST", f"/clients/{tenant.id}/webhook/secret/rotate")
    assert secret.status_code == 200 and secret.json()["webhook_secret"] not in (None, tenant.secret)
    actors = [one["data"]["actor"] for one in gateway.replay("--client", tenant.id, "--type", "api_key.created")]
    assert [actor.split(":")[0] for actor in actors] == ["operator", "client", "operator"]
    assert actors[0] == actors[2] and new not in str(actors)
    assert_problem(gateway.admin("POST", "/clients/cl_x/api-key/rotate"), 404)


# Operator API


def test_client_is_listed_and_changed(gateway, make_tenant):
    tenant = make_tenant(name="Åse & Co")
    shown = gateway.admin("GET", f"/clients/{tenant.id}")
    assert shown.status_code == 200
    assert (shown.json()["name"], shown.json()["plan"]) == ("Åse & Co", "professional")
    listed = gateway.admin("GET", "/clients?limit=200").json()["data"]
    assert tenant.id in [one.get("client_id", one.get("id")) for one in listed]
    assert gateway.admin("PATCH", f"/clients/{tenant.id}", {"plan": "creator"}).status_code == 200
    assert_problem(tenant.send("Hello", customer_number()), 403, code="sms_not_enabled")


def test_deleted_client_is_gone(gateway, make_tenant):
    tenant = make_tenant()
    assert gateway.admin("DELETE", f"/clients/{tenant.id}").status_code in (200, 202, 204)
    assert_problem(tenant.get("/v1/webhook"), 401)
    assert tenant.inbound("too late", customer_number()).status_code in (403, 404)


@pytest.mark.parametrize(
    "change, field",
    [
        ({"plan": "platinum"}, "plan"),
        ({"addon": {"status": "maybe"}}, "addon"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"time_zone": "BST"}, "time_zone"),
        ({"time_zone": "UTC\0"}, "time_zone"),
        ({"time_zone": "europe/berlin"}, "time_zone"),
        ({"sms_monthly_quota": -1}, "sms_monthly_quota"),
        ({"colour": "red"}, "colour"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_client_settings(gateway, change, field):
    body = {"name": "x", "plan": "professional", "addon": {"status": "active"}, "time_zone": "UTC"} | change
    problem = assert_problem(gateway.admin("POST", "/clients", body), REFUSED)
    assert problem["field"].startswith(field), problem


def test_credentials_are_never_returned(gateway, tenant):
    answers = [
        tenant.connect_sms(), gateway.admin("GET", f"/clients/{tenant.id}"), gateway.admin("GET", "/clients?limit=200")]
    for answer in answers:
        assert answer.status_code == 200
        for secret in (tenant.account.auth_token, tenant.key, tenant.secret):
            assert secret not in answer.text


def test_stolen_key_that_ended_while_its_request_was_on_its_way_makes_no_new_one(gateway, tenant):
    body = b'{"overlap_seconds": 0}'
    head = (f"POST /v1/api-key/rotate HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(head.encode() + body[:1])
        time.sleep(0.2)  # The key is looked up meanwhile.
        new = gateway.admin("POST", f"/clients/{tenant.id}/api-key/rotate", {"overlap_seconds": 0}).json()["api_key"]
        connection.sendall(body[1:])
        answer = connection.makefile("rb").readline()
    assert b" 401 " in answer
    assert tenant.get("/v1/webhook", token=new).status_code == 200


# The shape of answers


def assorted_answers(gateway, tenant):
    base = gateway.base_url
    yield call("GET", base + "/healthz")
    yield call("GET", base + "/readyz")
    yield call("GET", base + "/metrics")
    yield call("GET", base + "/openapi.yaml")
    yield call("GET", base + "/nowhere")
    yield call("GET", base + "/v1/webhook")
    yield call("DELETE", base + "/v1/send", tenant.key)
    yield tenant.get("/v1/webhook")
    yield tenant.send("Hello", customer_number())
    yield tenant.send("Hello", "nobody")
    yield tenant.inbound("Hello", customer_number())
    yield tenant.post_inbound([("Body", "x")], signature_header="x")
    yield gateway.admin("GET", "/clients")


def test_every_answer_has_its_own_request_id(gateway, tenant):
    ids = []
    for answer in assorted_answers(gateway, tenant):
        assert answer.headers.get("X-Request-Id"), f"{answer.request.method} {answer.request.url} {answer.status_code}"
        ids.append(answer.headers["X-Request-Id"])
    assert len(set(ids)) == len(ids)


def test_every_write_has_its_position(gateway, tenant):
    writes = [
        tenant.send("Hello", customer_number()),
        tenant.put("/v1/webhook", {"url": "http://127.0.0.1:9/x", "enabled": False}),
        tenant.post("/v1/api-key/rotate", {"overlap_seconds": 60}),
        gateway.admin("PATCH", f"/clients/{tenant.id}", {"name": "renamed"}),
    ]
    positions = [int(answer.headers["Waybill-Position"]) for answer in writes]
    assert positions == sorted(set(positions)), "later writes stand later in the log"


def test_body_with_personal_data_is_not_echoed(tenant):
    secret = unique("confidential")
    answer = tenant.send(secret, "not a number")
    assert_problem(answer, REFUSED, field="to_phone")
    assert secret not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"text":"a"', b'{"text":"\xff\xfe"}', b'{"text":"a"} trailing', b"[" * 200_000, b"'text'", b"\0"],
    ids=["empty", "open", "cut", "not UTF-8", "trailing", "deep", "not JSON", "NUL"],
)
def test_malformed_json(tenant, body):
    answer = tenant.call("POST", "/v1/send", headers={"Content-Type": "application/json"}, data=body)
    assert_problem(answer, 400)


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"text"'])
def test_json_that_is_no_object(tenant, body):
    answer = tenant.call("POST", "/v1/send", headers={"Content-Type": "application/json"}, data=body)
    assert_problem(answer, REFUSED)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1/nowhere", "/v1/send/more", "/admin/v1/nowhere", "/v1/messages/msg_x/nowhere", "/v2/send"])
def test_unknown_route(gateway, tenant, path):
    token = gateway.operator if path.startswith("/admin") else tenant.key
    assert_problem(call("GET", gateway.base_url + path, token), 404)


@pytest.mark.parametrize("method, path, allowed", [
    ("GET", "/v1/send", "POST"), ("PUT", "/v1/send", "POST"), ("POST", "/v1/usage", "GET, HEAD"),
    ("OPTIONS", "/v1/webhook", "GET, HEAD, PUT"), ("PROPFIND", "/healthz", "GET, HEAD"),
])
def test_wrong_method(tenant, method, path, allowed):
    answer = tenant.call(method, path)
    assert_problem(answer, 405, code="method_not_allowed")
    assert answer.headers["Allow"] == allowed


def test_head_is_get_without_the_body(gateway, tenant):
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {tenant.key}"
        for path in ("/v1/usage", "/v1/conversations?limit=1", "/v1/messages/msg_x", "/healthz"):
            answers = [session.request(method, gateway.base_url + path, timeout=10) for method in ("HEAD", "GET", "HEAD")]
            got = answers[1]
            for head in (answers[0], answers[2]):
                # A body would be read as the next answer of the connection.
                assert (head.status_code, head.content) == (got.status_code, b""), path
                assert int(head.headers["Content-Length"]) == len(got.content) > 0
                assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize("path, field", [
    ("/v1/conversations?statuss=open", "statuss"), ("/v1/usage?limit=1", "limit"), ("/healthz?verbose", "verbose"),
    ("/metrics?a=1", "a"), ("/v1/deliveries?state=dead&stat=x", "stat"),
])
def test_unknown_query_parameter(tenant, path, field):
    assert_problem(tenant.get(path), 400, code="unknown_parameter", field=field)


def test_query_parameter_given_twice(tenant):
    assert_problem(tenant.get("/v1/conversations?limit=1&limit=2"), 400, code="invalid_request", field="limit")


@pytest.mark.parametrize("lines", [
    ["Idempotency-Key: k", "Idempotency-Key: k"], ["idempotency-key: k", "Idempotency-Key: l"],
    ["Content-Length: 2", "Content-Length: 2"], ["Content-Length: 2", "Content-Length: 3"],
    ["Host: waybill.example.test"], ["Host: other.example.test"], ["Prefer: wait=1", "Prefer: wait=2"],
    ["Authorization: Bearer x"], ["X-Twilio-Signature: x", "X-Twilio-Signature: y"],
], ids=" + ".join)
def test_header_that_must_be_single(gateway, tenant, lines):
    body = json.dumps({"to_phone": customer_number(), "text": "twice"}).encode()
    length = [] if lines[0].startswith("Content-Length") else [f"Content-Length: {len(body)}"]
    head = ["POST /v1/send HTTP/1.1", "Host: waybill.example.test", f"Authorization: Bearer {tenant.key}",
            "Content-Type: application/json", "Connection: close", *length, *lines, "", ""]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert tenant.read("/v1/conversations")["data"] == [], "nothing was accepted"


@pytest.mark.parametrize("kind", ["messages", "conversations", "deliveries", "dead-letters", "media"])
def test_unknown_id(tenant, kind):
    long = ["msg_" + "A" * 26, "msg_" + "0" * 500]
    for identifier in ["msg_x", *long, "evt_x", "conv_x", "%00", "%F0%9F%98%80", "msg_%2e%2e"]:
        # What cannot be an id may be malformed instead of unknown.
        assert_problem(tenant.get(f"/v1/{kind}/{identifier}"), (400, 404))


def send_oversize(gateway, path, headers):
    """The status line of the answer to a body that is too large. The gateway may answer before it has read it all."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        lines = [f"POST {path} HTTP/1.1", "Host: waybill.example.test", f"Content-Length: {OVERSIZE_BYTES}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        chunk = b'{"text":"' + b"x" * (64 * 1024 - 9)
        answer = b""
        try:
            for _ in range(OVERSIZE_BYTES // len(chunk)):
                connection.setblocking(False)
                try:
                    answer = connection.recv(65536)
                except BlockingIOError:
                    pass
                connection.settimeout(20)
                if answer:
                    break
                connection.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return answer or connection.recv(65536)


@pytest.mark.parametrize("path", ["/v1/send", "/channels/twilio/{client}/sms"])
def test_oversize_body(gateway, tenant, path):
    headers = [f"Authorization: Bearer {tenant.key}", "X-Twilio-Signature: x"]
    media_type = "application/json" if path == "/v1/send" else "application/x-www-form-urlencoded"
    headers.append(f"Content-Type: {media_type}")
    answer = send_oversize(gateway, path.format(client=tenant.id), headers)
    assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    assert b"application/problem+json" in answer.lower()
    assert call("GET", gateway.base_url + "/healthz").status_code == 200


# Lists


@pytest.mark.parametrize("path", ["/v1/conversations", "/v1/deliveries", "/v1/dead-letters"])
def test_list_limits(tenant, path):
    assert tenant.read(path)["data"] == [] and tenant.read(path)["next_cursor"] is None
    assert tenant.get(path + "?limit=200").status_code == 200
    for wrong in ("abc", "-1", "1.5", "99999999999999999999"):
        assert_problem(tenant.get(f"{path}?limit={wrong}"), REFUSED)
    # "At most 200": refused, or clamped.
    assert tenant.get(path + "?limit=201").status_code in (200, *REFUSED)
    assert_problem(tenant.get(path + "?cursor=nonsense"), REFUSED)


def test_pages_cover_everything_once(tenant):
    sent = [tenant.accepted("Hello", customer_number())["conversation_id"] for _ in range(7)]
    seen, cursor, pages = [], None, 0
    while True:
        page = tenant.read("/v1/conversations?limit=3" + (f"&cursor={cursor}" if cursor else ""))
        assert len(page["data"]) <= 3
        seen += [one["id"] for one in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
        assert pages < 10
    assert sorted(seen) == sorted(sent)


def test_default_page_is_50(tenant):
    to = customer_number()
    conversation = [tenant.accepted(f"Hello {n}", to) for n in range(51)][0]["conversation_id"]
    page = tenant.read(f"/v1/conversations/{conversation}/messages")
    assert len(page["data"]) == 50 and page["next_cursor"]


def test_conversations_by_phone(tenant):
    one, other = customer_number(), customer_number()
    expected = tenant.accepted("Hello", one)["conversation_id"]
    tenant.accepted("Hello", other)
    found = tenant.read("/v1/conversations?phone=" + one.replace("+", "%2B"))["data"]
    assert [conversation["id"] for conversation in found] == [expected]
    assert tenant.read("/v1/conversations?platform=whatsapp")["data"] == []


# Without a key


def test_health_and_readiness(gateway):
    assert call("GET", gateway.base_url + "/healthz").status_code == 200
    assert call("GET", gateway.base_url + "/readyz").status_code == 200


def test_metrics_are_prometheus_text(gateway):
    answer = call("GET", gateway.base_url + "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    sample = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]*\})? [0-9eE+.NaInf-]+( \d+)?')
    samples = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    assert samples and all(sample.fullmatch(line) for line in samples)


CONTRACT_PATHS = """
POST /v1/send
GET /v1/messages/{}
POST /v1/messages/{}/cancel
GET /v1/conversations
GET /v1/conversations/{}
GET /v1/conversations/{}/messages
GET /v1/media/{}
PATCH /v1/conversations/{}
GET /v1/webhook
PUT /v1/webhook
POST /v1/webhook/test
POST /v1/webhook/secret/rotate
POST /v1/api-key/rotate
GET /audit/v1/checkpoint
GET /audit/v1/tile/{}
GET /v1/deliveries
GET /v1/deliveries/{}
GET /v1/dead-letters
GET /v1/dead-letters/{}
DELETE /v1/dead-letters/{}
POST /v1/dead-letters/{}/replay
POST /v1/dead-letters/replay
GET /v1/events
GET /v1/usage
POST /channels/twilio/{}/sms
POST /channels/twilio/{}/status
POST /admin/v1/clients
GET /admin/v1/clients
GET /admin/v1/clients/{}
PATCH /admin/v1/clients/{}
DELETE /admin/v1/clients/{}
POST /admin/v1/clients/{}/trial
POST /admin/v1/clients/{}/api-key/rotate
POST /admin/v1/clients/{}/webhook/secret/rotate
PUT /admin/v1/clients/{}/channels/{}
DELETE /admin/v1/clients/{}/channels/{}
""".split("\n")[1:-1]


def test_openapi_describes_the_contract(gateway):
    answer = call("GET", gateway.base_url + "/openapi.yaml")
    assert answer.status_code == 200
    document = yaml.safe_load(answer.text)
    assert document["openapi"].startswith("3.")
    assert "post" in document["paths"]["/v1/send"]
    described = {
        f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert [one for one in CONTRACT_PATHS if one not in described] == []
    assert [
        (method, path) for path, operations in document["paths"].items() for method, one in operations.items()
        if not path.startswith("/channels/") and "responses" in one and "400" not in one["responses"]
    ] == [], "every path refuses a query parameter that it does not know"


def test_openapi_describes_every_event_that_is_published(gateway):
    """Those that can be subscribed to, but for the two that nothing publishes yet."""
    document = yaml.safe_load(call("GET", gateway.base_url + "/openapi.yaml").text)
    types = set(document["components"]["schemas"]["EventType"]["enum"]) - {"lead_captured", "escalation"}
    assert set(document["webhooks"]) == types
    for name, item in document["webhooks"].items():
        schema = item["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        told = document["components"]["schemas"][schema]["properties"]["type"]
        assert name == told.get("const") or name in told["enum"], name
