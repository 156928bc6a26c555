"""Data directories that earlier builds wrote: the present build verifies, folds, replays and serves them as they did.

`Tests/Golden/README.md` says what is in them. What was true then must be true now; more may be shown than was.
"""

import gzip
import hashlib
import json
from pathlib import Path

import pytest

from read_log import main as read_log_main
from support.gateway import REPOSITORY, Gateway
from support.meta_tenant import APP_SECRET
from support.tenant import Tenant

FOLDERS = ["landed-1", "landed-1-restored", "landed-2", "landed-2-restored", "landed-2-salvaged"]
GOLDEN = REPOSITORY / "Tests" / "Golden"
SETTINGS = {
    "WAYBILL_LOG_SEGMENT_BYTES": str(1 << 20), "WAYBILL_IDEMPOTENCY_RETENTION": "36500d",
    "WAYBILL_META_APP_SECRETS": APP_SECRET, "WAYBILL_META_VERIFY_TOKEN": "golden",
    "WAYBILL_PROVIDERS_GRAPH_BASE_URL": "http://127.0.0.1:9", "WAYBILL_PROVIDERS_INSTAGRAM_BASE_URL": "http://127.0.0.1:9",
    "WAYBILL_LOG_ORIGIN": "golden.waybill.example",
}


class Golden:
    def __init__(self, name, directory):
        self.folder = GOLDEN / name
        self.facts = json.loads((self.folder / "facts.json").read_text())
        self.reads = self._packed("reads.json.gz")
        self.gateway = Gateway(directory, **SETTINGS)
        self.gateway._operator = self.facts["operator_token"]
        restore_files(self.folder / "data", self.gateway.data, self.facts["files"])

    def _packed(self, name):
        return json.loads(gzip.decompress((self.folder / name).read_bytes()))

    def lines(self):
        return [json.loads(line) for line in gzip.decompress((self.folder / "replay.jsonl.gz").read_bytes()).splitlines()]

    def tenant(self, client_id):
        key = next(one["key"] for one in self.facts["clients"].values() if one["id"] == client_id)
        return Tenant.known(self.gateway, client_id, key)


def restore_files(source, target, sizes):
    """The zeros at the ends of files are not kept in the repository."""
    for name, size in sizes.items():
        if not (source / name).exists():
            continue
        path = Path(target) / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes((source / name).read_bytes().ljust(size, b"\0"))
        path.chmod(0o600)


def differences(then, now, path="$"):
    """Where `now` does not say what `then` said."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name, value in then.items():
            if name not in now:
                yield f"{path}.{name} is missing"
            else:
                yield from differences(value, now[name], f"{path}.{name}")
    elif isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            yield f"{path} has {len(now)} entries and had {len(then)}"
        for number, (one, other) in enumerate(zip(then, now)):
            yield from differences(one, other, f"{path}[{number}]")
    elif then != now:
        yield f"{path} is {now!r} and was {then!r}"


def assert_same(then, now, what):
    found = list(differences(then, now))
    assert not found, f"{what}: {len(found)} differences\n" + "\n".join(found[:20])


@pytest.fixture(scope="module", params=FOLDERS)
def untouched(request, tmp_path_factory):
    """The files as they were written."""
    return Golden(request.param, tmp_path_factory.mktemp("untouched"))


@pytest.fixture(scope="module", params=FOLDERS)
def golden(request, tmp_path_factory):
    """The files with the present build serving them."""
    found = Golden(request.param, tmp_path_factory.mktemp("golden"))
    found.gateway.start()
    yield found
    gateway = found.gateway
    assert gateway.stop() == 0, gateway.log_tail()
    result = gateway.verify("--invariants")
    assert result.returncode == 0, result.stdout + result.stderr
    assert_same(found.lines(), gateway.replay("--bodies", "--until", str(found.facts["records"])), "the history after serving")


def test_files_verify_with_the_root_of_then(untouched):
    result = untouched.gateway.verify("--json", "--invariants")
    assert result.returncode == 0, result.stdout + result.stderr
    assert_same(untouched.facts["verify"], json.loads(result.stdout), "verify")


def test_history_reads_as_it_did(untouched):
    assert_same(untouched.lines(), untouched.gateway.replay("--bodies"), "the history")


def test_reader_of_the_format_agrees(untouched, capsys):
    assert read_log_main([str(untouched.gateway.data)]) == 0, capsys.readouterr().out[-2000:]


def test_clients_read_what_they_read(golden):
    for client, reads in golden.reads.items():
        tenant = golden.tenant(client)
        for path, then in reads["lists"].items():
            assert_same(then, tenant.events() if path == "/v1/events" else tenant.all(path), path)
        for path, then in reads["objects"].items():
            # Usage is that of the present month.
            if path != "/v1/usage":
                assert_same(then, tenant.read(path), path)


def test_repeats_of_sends_get_their_first_answers(golden):
    for one in golden.facts["sends"]:
        answer = golden.tenant(one["client"]).post("/v1/send", one["request"], headers={"Idempotency-Key": one["key"]})
        assert answer.status_code == 202 and answer.headers["Idempotency-Replayed"] == "true", answer.text
        assert_same(one["answer"], answer.json(), "a repeated send")


def test_consent_is_kept(golden):
    for one in golden.facts["opted_out"]:
        answer = golden.tenant(one["client"]).send("no", one["to_phone"])
        assert (answer.status_code, answer.json()["code"]) == (410, "recipient_opted_out")


# A number as the provider wrote it then; other forms of it, and numbers of somebody else that the build of then took for it.
FORMS = {
    "brazil mobile without 9": (["+551187654321", "+5511987654321"], []),
    "brazil mobile with 9": (["+5521976543210", "+552176543210"], []),
    "brazil landline": (["+551133221705"], ["+5511933221705"]),
    "mexico with 1": (["+5215512345678", "+525512345678"], []),
    "argentina with 9": (["+5491123456789", "+541123456789"], []),
}


@pytest.mark.parametrize("name", FORMS)
def test_customers_are_found_by_any_form_of_their_number(golden, name):
    """The look-up hashes of then are those of forms that are not all taken for one any more."""
    tenant = golden.tenant(golden.facts["clients"]["over Meta"]["id"])
    forms, strangers = FORMS[name]
    assert forms[0] == "+" + golden.facts["whatsapp_numbers"][name]
    found = [[one["id"] for one in tenant.read(f"/v1/conversations?phone=%2B{form[1:]}")["data"]] for form in forms]
    assert len(found[0]) == 1 and all(one == found[0] for one in found), found
    messages = tenant.all(f"/v1/conversations/{found[0][0]}/messages")
    assert f"I am {name}" in [one["text"] for one in messages]
    for stranger in strangers:
        assert tenant.read(f"/v1/conversations?phone=%2B{stranger[1:]}")["data"] == []


def test_purged_and_erased_stay_so(golden):
    for one in golden.facts["purged"]:
        message = golden.tenant(one["client"]).message(one["message"])
        assert message["purged"] is True and message["text"] is None
    for one in golden.facts["erased"]:
        tenant = golden.tenant(one["client"])
        assert tenant.read(f"/v1/conversations/{one['conversation']}")["status"] == "erased"
        answer = tenant.post("/v1/send", {"conversation_id": one["conversation"], "text": "no"})
        assert (answer.status_code, answer.json()["code"]) == (410, "conversation_erased")


def test_files_of_messages_are_served(golden):
    for one in golden.facts["media"]:
        answer = golden.tenant(one["client"]).get(one["url"])
        assert answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() == one["sha256"]


def test_dead_letters_are_kept(golden):
    for one in golden.facts["dead_letters"]:
        assert golden.tenant(one["client"]).read(f"/v1/dead-letters/{one['id']}")["event"]["data"]


def test_tokens_and_checkpoints_of_then_are_good(golden):
    facts, gateway = golden.facts, golden.gateway
    assert gateway.admin("GET", "/clients").status_code == 200
    # A log that went on from a backup has a name of its own; the later checkpoint is from before its end was lost, too.
    kept = gateway.directory / "checkpoint"
    kept.write_text(facts["checkpoint_after_rotation"])
    result = gateway.verify("--checkpoint", kept)
    assert result.returncode == 0, result.stdout + result.stderr
