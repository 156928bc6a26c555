"""The command line: history, tokens, checks, settings, and what must not be found on the disk."""

import json
import re
import subprocess

import pytest

from support.files import copy_data, find_bytes, flip_in_the_middle, log_segment, modes_of_sockets, used_offsets
from support.gateway import binary, clean_environment, free_port
from support.http import call
from support.problems import assert_problem
from support.tenant import Tenant, customer_number, unique
from support.wait import wait_until

COMMANDS = [
    "serve", "verify", "replay", "checkpoint", "prove", "salvage", "token", "schema",
]
TOKEN = re.compile(r"wb_(?:op|aud|live|test)_[A-Za-z0-9_-]+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


@pytest.fixture
def conversation(tenant, customer):
    """One SMS in and one out, done with; their texts are nowhere else."""
    texts = unique("inbound"), unique("outbound")
    assert tenant.inbound(texts[0], customer).status_code == 200
    answer = tenant.accepted(texts[1], customer)
    tenant.wait_for_status(answer["message_id"], "sent")
    inbound = tenant.events()[0]["data"]["message"]["id"]
    return answer["conversation_id"], {inbound: texts[0], answer["message_id"]: texts[1]}


# History


def test_replay_lines_have_the_contracts_keys(gateway, tenant, conversation):
    lines = gateway.replay()
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    for line in lines:
        assert set(line) >= {
            "position", "time", "type", "client_id", "conversation_id", "message_id", "data", "body", "purged"}
        assert TIME.fullmatch(line["time"])
        assert isinstance(line["type"], str) and line["type"]
        assert isinstance(line["data"], dict)
        assert line["purged"] is False
        assert line["body"] is None
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    conversation_id, texts = conversation
    mine = [line for line in lines if line["message_id"] in texts]
    assert {line["message_id"] for line in mine} == set(texts)
    assert {line["client_id"] for line in mine} == {tenant.id}
    assert {line["conversation_id"] for line in mine} == {conversation_id}


def test_bodies_only_when_asked_for(gateway, conversation):
    plain = gateway.run_ok("replay", "--data", gateway.data)
    with_bodies = gateway.replay("--bodies")
    _, texts = conversation
    for message_id, text in texts.items():
        assert text not in plain
        shown = [line for line in with_bodies if line["message_id"] == message_id and text in json.dumps(line["body"])]
        assert shown, f"{text} is not among the bodies"
        assert not [line for line in with_bodies if text in json.dumps(line["data"])]


def test_replay_filters(gateway, make_tenant, tenant, conversation, customer):
    other = make_tenant()
    other.inbound("someone else", customer)
    wait_until(other.events, 5, "the other client's event")
    conversation_id, _ = conversation
    everything = gateway.replay()

    def expected(predicate, lines=everything):
        return [line for line in lines if predicate(line)]

    last = everything[-1]["position"]
    one = everything[len(everything) // 2]
    # Later records may have joined meanwhile: compare up to what was there.
    upto = ("--until", last)
    assert gateway.replay("--client", tenant.id, *upto) == expected(lambda line: line["client_id"] == tenant.id)
    assert gateway.replay("--conversation", conversation_id, *upto) == expected(
        lambda line: line["conversation_id"] == conversation_id)
    assert gateway.replay("--type", one["type"], *upto) == expected(lambda line: line["type"] == one["type"])
    # Both ends are assumed to belong to the range.
    middle = one["position"]
    assert gateway.replay("--from", middle, *upto) == expected(lambda line: line["position"] >= middle)
    assert gateway.replay("--until", middle) == expected(lambda line: line["position"] <= middle)
    assert gateway.replay("--from", "2100-01-01T00:00:00Z") == []
    assert gateway.replay("--until", "2000-01-01T00:00:00Z") == []
    assert gateway.replay("--from", "2000-01-01T00:00:00Z", *upto) == everything


def test_replay_works_without_serve(make_gateway, twilio):
    running = make_gateway("offline").start()
    tenant = Tenant(running, twilio.account())
    tenant.connect_sms()
    text = unique("offline")
    tenant.inbound(text, customer_number())
    before = running.replay()
    assert running.stop() == 0
    after = running.replay()
    assert after[: len(before)] == before
    # Without the gateway, the command may open the keys itself: they are in the data directory.
    assert text in json.dumps(running.replay("--bodies"), ensure_ascii=False)


# What must not be on the disk


def secrets_of(gateway, tenant, customer, texts):
    return {
        "the inbound text": texts[0], "the outbound text": texts[1], "the customer's phone": customer.removeprefix("+"),
        "the auth token": tenant.account.auth_token, "the API key": tenant.key, "the webhook secret": tenant.secret[6:],
        "the operator token": gateway.operator,
    }


def test_plaintext_is_neither_in_the_data_directory_nor_in_the_log(make_gateway, twilio, receiver, tmp_path):
    running = make_gateway("plaintext").start()
    tenant = Tenant(running, twilio.account())
    tenant.connect_sms()
    # A number that is no other one's beginning, nor a likely number in binary data.
    customer, texts = "+16505559871234", (unique("inbound"), unique("outbound"))
    endpoint = receiver.endpoint(script=[500, 500])
    tenant.subscribe(endpoint, retry_schedule=[1, 1])
    tenant.inbound(texts[0], customer)
    answer = tenant.accepted(texts[1], customer, key=unique("key"), metadata={"note": texts[1]})
    tenant.wait_for_status(answer["message_id"], "sent")
    endpoint.wait_for(3)
    # Errors are a way out for plaintext as well.
    tenant.send(texts[0], customer, colour=texts[1])
    tenant.send(texts[0], texts[1])
    tenant.post_inbound([("Body", texts[0]), ("From", customer)], signature_header="wrong")

    needles = {name: value.encode() for name, value in secrets_of(running, tenant, customer, texts).items()}
    (tmp_path / "planted").write_bytes(b"..." + b"...".join(needles.values()))
    assert len(find_bytes(tmp_path, needles)) == len(needles), "the scan finds what is planted"

    def scan():
        return find_bytes(running.directory, needles)

    assert scan() == [], "while running"
    assert running.stop() == 0
    assert scan() == [], "after a clean stop"
    running.start()
    running.kill()
    assert scan() == [], "after a kill"


def test_socket_in_the_data_directory_is_private(gateway):
    sockets = modes_of_sockets(gateway.data)
    assert sockets and set(sockets.values()) == {0o600}, sockets


# Tokens


def test_first_start_prints_one_operator_token(make_gateway):
    running = make_gateway("first").start()
    printed = TOKEN.findall(running.log_tail(10**9))
    assert len(printed) == 1 and printed[0].startswith("wb_op_")
    assert call("GET", running.base_url + "/admin/v1/clients", printed[0]).status_code == 200
    assert running.stop() == 0
    running.start()
    assert TOKEN.findall(running.log_tail(10**9)) == printed


def test_token_before_the_first_start(make_gateway):
    prepared = make_gateway("before")
    token = prepared.create_token()["token"]
    prepared.start()
    assert call("GET", prepared.base_url + "/admin/v1/clients", token).status_code == 200


def test_token_lifecycle(gateway):
    def listed():
        return json.loads(gateway.run_ok("token", "list", "--data", gateway.data, "--json"))

    def status(token):
        return call("GET", gateway.base_url + "/admin/v1/clients", token).status_code

    created = gateway.create_token()
    assert set(created) >= {"id", "role", "token"} and created["role"] == "operator"
    assert status(created["token"]) == 200
    entry = next(one for one in listed() if one["id"] == created["id"])
    assert entry["role"] == "operator"
    assert "token" not in entry and created["token"] not in json.dumps(listed())

    gateway.run_ok("token", "revoke", "--data", gateway.data, created["id"])
    assert_problem(call("GET", gateway.base_url + "/admin/v1/clients", created["token"]), 401)
    # A revoked one may stay listed as revoked, or be gone.
    assert not [one for one in listed() if one["id"] == created["id"] and not one.get("revoked_at", one.get("revoked"))]
    assert gateway.run("token", "revoke", "--data", gateway.data, "no-such-token").returncode == 1
    assert gateway.operator != created["token"] and status(gateway.operator) == 200


def test_token_with_label_expiry_and_last_use(gateway):
    def made(end, label):
        return json.loads(gateway.run_ok(
            "token", "create", "--data", gateway.data, "--role", "auditor", "--label", label, "--expires", end, "--json"))

    used, unused = made("90d", "used"), made("2100-01-31T12:00:00Z", "unused")
    assert unused["expires_at"] == "2100-01-31T12:00:00.000Z" > used["expires_at"]
    assert call("GET", gateway.base_url + "/audit/v1/checkpoint", used["token"]).status_code == 200
    listed = {one["id"]: one for one in json.loads(gateway.run_ok("token", "list", "--data", gateway.data))}
    for one, label in ((used, "used"), (unused, "unused")):
        entry = listed[one["id"]]
        assert (entry["label"], entry["expires_at"], entry["role"]) == (label, one["expires_at"], "auditor")
    assert listed[used["id"]]["last_used_at"] >= listed[used["id"]]["created_at"]
    assert listed[unused["id"]]["last_used_at"] is None
    created = gateway.replay("--type", "token.created")[-1]["data"]
    assert (created["label"], created["actor"], created["expires_at"]) == ("unused", "cli", unused["expires_at"])


def test_auditor_token(gateway):
    created = gateway.create_token("auditor")
    assert created["role"] == "auditor"
    assert call("GET", gateway.base_url + "/admin/v1/clients", created["token"]).status_code == 403


def test_revocation_survives_a_restart(make_gateway):
    running = make_gateway("revoked").start()
    kept, revoked = running.create_token(), running.create_token()
    running.run_ok("token", "revoke", "--data", running.data, revoked["id"])
    running.kill()
    running.start()
    assert call("GET", running.base_url + "/admin/v1/clients", revoked["token"]).status_code == 401
    assert call("GET", running.base_url + "/admin/v1/clients", kept["token"]).status_code == 200


# Usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(gateway, command):
    result = gateway.run(command, "--help")
    assert result.returncode == 0
    assert command in result.stdout and len(result.stdout.splitlines()) >= 2


def test_help_names_every_command(gateway):
    output = gateway.run_ok("--help")
    assert [command for command in COMMANDS if command not in output] == []
    for command in ("create", "list", "revoke"):
        assert gateway.run("token", command, "--help").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["replay", "--data", "{data}", "--no-such-flag"],
        ["replay"],
        ["verify"],
        ["replay", "--data", "{data}", "--from", "yesterday-ish"],
        ["token", "create", "--data", "{data}", "--role", "emperor"],
        ["token", "create", "--data", "{data}", "--expires", "whenever"],
        ["token", "create", "--data", "{data}", "--expires", "2020-01-01T00:00:00Z"],
        ["token", "no-such-command", "--data", "{data}"],
        ["prove", "--data", "{data}", "--position", "first"],
        ["serve", "--data", "{data}", "--listen", "no-port"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_2(gateway, arguments):
    result = gateway.run(*(argument.format(data=gateway.data) for argument in arguments))
    assert result.returncode == 2, f"{result.stdout}\n{result.stderr}"
    assert result.stderr.strip(), "a message says what was wrong"
    assert result.stdout == ""


def test_check_config_masks_secrets(gateway):
    secret = unique("secret")
    settings = gateway.settings | {"WAYBILL_META_APP_SECRETS": f"{secret},{secret}2", "WAYBILL_AI_API_KEY": secret}
    result = gateway.run("serve", "--data", gateway.directory / "unused", "--check-config", settings=settings)
    assert result.returncode == 0, result.stderr
    assert gateway.public_url in result.stdout
    assert secret not in result.stdout + result.stderr


@pytest.mark.parametrize(
    "name, value",
    [
        ("WAYBILL_NO_SUCH_KEY", "1"),
        ("WAYBILL_LOG_DURABILITY", "perhaps"),
        ("WAYBILL_WEBHOOKS_ALLOW_CIDRS", "10.0.0.0/99"),
    ],
)
def test_bad_settings_are_an_error(gateway, name, value):
    settings = gateway.settings | {name: value}
    result = gateway.run("serve", "--data", gateway.directory / "unused", "--check-config", settings=settings)
    # Bad usage, or a failed check: the contract does not say which of the two codes.
    assert result.returncode in (1, 2)
    key = name.removeprefix("WAYBILL_").lower()
    named = result.stderr.lower().replace(".", "_")
    assert key in named, f"the message names the key: {result.stderr}"


def test_settings_file_is_under_the_environment(gateway, tmp_path):
    file = tmp_path / "waybill.yaml"
    file.write_text(
        "listen: 127.0.0.1:1\npublic_url: https://file.example.test\n"
        "webhooks:\n  header_prefix: FromFile\n  allow_cidrs: [10.0.0.0/8]\n")
    settings = {"WAYBILL_PUBLIC_URL": "https://environment.example.test"}
    arguments = ["serve", "--data", tmp_path / "unused", "--config", file, "--check-config"]
    result = gateway.run(*arguments, "--listen", "127.0.0.1:2", settings=settings)
    assert result.returncode == 0, result.stderr
    for value in ("FromFile", "10.0.0.0/8", "https://environment.example.test", "127.0.0.1:2"):
        assert value in result.stdout
    for overridden in ("file.example.test", "127.0.0.1:1\n"):
        assert overridden not in result.stdout


# Checks


def test_verify_while_serving(gateway, conversation):
    result = gateway.verify()
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    result = gateway.verify("--json")
    assert result.returncode == 0
    json.loads(result.stdout)



@pytest.fixture(scope="module")
def stopped_data(make_gateway, twilio):
    """The data directory of a stopped gateway with several groups of records behind each other."""
    running = make_gateway("stopped").start()
    tenant = Tenant(running, twilio.account())
    tenant.connect_sms()
    for n in range(30):
        assert tenant.inbound(f"record {n}", customer_number()).status_code == 200
    assert running.stop() == 0
    return running


def integers(text):
    return {int(number, 0) for number in re.findall(r"\b(?:0[xX][0-9a-fA-F]+|[1-9][0-9]*|0)\b", text)}


def test_verify_of_an_untouched_copy(stopped_data, tmp_path):
    copy = copy_data(stopped_data.data, tmp_path / "copy")
    result = stopped_data.verify(data=copy)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"


def test_flipped_bit_is_found_and_not_served(stopped_data, tmp_path):
    copy = copy_data(stopped_data.data, tmp_path / "copy")
    segment = log_segment(copy)
    offset = flip_in_the_middle(segment)

    result = stopped_data.verify(data=copy)
    said = result.stdout + result.stderr
    assert result.returncode == 1, said
    assert segment.name in said or segment.stem in said, f"{segment.name} is not named: {said}"
    assert "offset" in said.lower()
    # The offset of the frame that holds the flipped byte: groups of one record are a few blocks long.
    assert [n for n in integers(said) if offset - 64 * 1024 <= n <= offset], f"nothing near {offset}: {said}"
    assert stopped_data.verify("--json", data=copy).returncode == 1

    before = segment.read_bytes()
    refused = stopped_data.run(
        "serve", "--data", copy, "--listen", f"127.0.0.1:{free_port()}", timeout=30)
    assert refused.returncode == 1, refused.stderr
    said = refused.stdout + refused.stderr
    assert segment.name in said or segment.stem in said, said
    assert "offset" in said.lower()
    assert segment.read_bytes() == before, "corruption is never truncated away"


def test_verify_finds_a_flip_anywhere_in_use(stopped_data, tmp_path):
    """A coarse sweep: the first, a quarter, three quarters of the bytes in use."""
    copy = copy_data(stopped_data.data, tmp_path / "copy")
    segment = log_segment(copy)
    content = segment.read_bytes()
    offsets = list(used_offsets(content))
    for share in (0.0, 0.25, 0.75):
        offset = offsets[int(len(offsets) * share)]
        damaged = bytearray(content)
        damaged[offset] ^= 0x01
        segment.write_bytes(damaged)
        assert stopped_data.verify(data=copy).returncode == 1, f"a flip at {offset} is not found"
    segment.write_bytes(content)
    assert stopped_data.verify(data=copy).returncode == 0


def test_verify_of_no_data_directory(gateway, tmp_path):
    assert gateway.verify(data=tmp_path / "nothing").returncode in (1, 2)
    assert not (tmp_path / "nothing").exists(), "a check writes nothing"


def test_replay_into_a_closed_pipe(gateway, conversation):
    """`replay | head -1` is how people look: the end of the reader is no crash."""
    command = f"'{binary()}' replay --data '{gateway.data}' | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=30, env=clean_environment({}))
    assert json.loads(result.stdout)["position"] == 1
    assert "Fatal" not in result.stderr
