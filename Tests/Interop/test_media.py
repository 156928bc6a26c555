"""Files of inbound messages: fetched from where the provider has them, kept under the message's key, told and served to their
client, and gone with the message. And what must never happen: a credential or a connection where it does not belong, wrong
bytes, a file that outlives its message.
"""

import base64
import copy
import random
import os
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from support.http import call
from support.media import (
    INLINE_BYTES, STICKER_BYTES, File, Graph, Held, Host, Party, Trap, TwilioMedia, basic, bearer, chunked, code_of,
    content_of, cut, download, drop, endpoint_of, flood, guarded, hang, no_such_media, ok, path_of, redirect, settings,
    sha256_base64, sha256_hex, status, stored, token_of, trickle)
from support.problems import assert_problem
from support.tenant import customer_number, unique
from support.wait import holds_for, wait_until
from test_backup import backed_up, restore, restored
from test_purge import assert_verifies, erase, held, purge

__all__ = ["held"]

FIRST_DELIVERY_SECONDS = 10
# What may be added to it on a busy machine.
SLACK_SECONDS = 8
# In which a first delivery comes when nothing holds it back, and a failure that is final is known.
PROMPT_SECONDS = 8
KILLS = 3


@pytest.fixture(scope="module")
def graph():
    server = Graph()
    yield server
    server.close()


@pytest.fixture(scope="module")
def media():
    """Twilio's own host."""
    server = TwilioMedia()
    yield server
    server.close()


@pytest.fixture(scope="module")
def cdn():
    """A host that belongs to no provider's API."""
    server = Host()
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(make_gateway, graph, media):
    running = make_gateway(**settings(graph, media)).start()
    yield running
    assert running.stop() == 0, running.log_tail()


@pytest.fixture(scope="module")
def strict(make_gateway, graph, media):
    """As in production: no network is allowed beyond the public."""
    running = make_gateway("strict", **settings(graph, media, WAYBILL_MEDIA_ALLOW_CIDRS=None)).start()
    yield running
    assert running.stop() == 0, running.log_tail()


@pytest.fixture(scope="module")
def fragile(make_gateway, graph, media):
    """A gateway that the tests kill."""
    running = make_gateway("fragile", **settings(graph, media)).start()
    yield running
    assert running.stop() == 0, running.log_tail()
    assert_verifies(running, "--invariants")


@pytest.fixture
def party(gateway, receiver):
    """Makes clients; each has one account, an endpoint and a customer."""
    def make(platform="whatsapp", on=None, endpoint=None, **webhook):
        return Party(on or gateway, platform, endpoint or receiver.endpoint(), webhook=webhook)

    return make


@pytest.fixture
def trap():
    one = Trap()
    yield one
    one.close()


@pytest.fixture
def trap6():
    one = Trap("::1")
    yield one
    one.close()


def sent(party, graph, size=40_000, kind="image", mime_type="image/jpeg", **more):
    """A WhatsApp file that was fetched before its webhook: its content, its message's id and what the webhook says of it."""
    content = content_of(size)
    mid = party.says(File(kind, graph.simple(party.account, content, mime_type), mime_type, more))
    message = party.received(mid).event["data"]["message"]
    (item,) = message["media"]
    assert item["size"] == size
    return content, message["id"], item


# A file of WhatsApp

# By name: type, media type, what the provider says of it, and what the client is told.
KINDS = {
    "image": ("image", "image/jpeg", {"caption": "für «dich» 📎"}, {"caption": "für «dich» 📎"}),
    "video": ("video", "video/mp4", {}, {}),
    "document": ("document", "application/pdf", {"filename": "price list.pdf", "caption": "here"},
                 {"filename": "price list.pdf", "caption": "here"}),
    "voice": ("audio", "audio/ogg; codecs=opus", {"voice": True}, {"voice": True}),
    "audio": ("audio", "audio/mpeg", {"voice": False}, {"voice": False}),
    "sticker": ("sticker", "image/webp", {}, {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_whatsapp_file(party, graph, name):
    kind, mime_type, said, told = KINDS[name]
    one, content = party(), content_of(40_000)
    place = graph.place(guarded(bearer(one.account), ok(content, mime_type)))
    media_id = graph.file(one.account, graph.described(one.account, content, mime_type, url=place))
    mid = one.says(File(kind, media_id, mime_type, said | {"sha256": sha256_base64(content)}))
    request = one.received(mid)
    message = request.event["data"]["message"]
    (item,) = message["media"]
    assert item["id"].startswith("med_") and item["url"] == f"/v1/media/{item['id']}"
    expected = {"type": kind, "mime_type": mime_type, "size": len(content)} | told
    assert {key: item.get(key) for key in expected} == expected
    assert not {"content", "omitted", "error"} & set(item)
    assert ("voice" in item) == (kind == "audio")
    assert not any(key.startswith("_") for key in item), "what is for Waybill alone"

    (shown,) = one.media(message["id"])
    assert {key: shown.get(key) for key in [*expected, "id", "url"]} == {**expected, "id": item["id"], "url": item["url"]}
    assert shown["status"] == "fetched" and not shown.get("error")
    assert one.newest()["media"] == [shown], "also in lists"
    assert request.body in one.tenant.get("/v1/events?after=0").content

    answer = one.get(item)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["Content-Type"].partition(";")[0] == mime_type.partition(";")[0]
    (asked,) = graph.asked(endpoint_of(media_id))
    assert asked.query.get("phone_number_id") == [one.account.id]
    (asked,) = graph.asked(place)
    assert asked.authorization == bearer(one.account) and asked.headers["user-agent"].startswith("Waybill/")


def test_a_repeat_of_the_webhook_fetches_nothing(party, graph):
    one, content = party(), content_of(1000)
    media_id = graph.simple(one.account, content)
    mid = one.says(File("image", media_id))
    assert one.told(mid)[0]["size"] == 1000
    one.says(File("image", media_id), mid=mid)
    one.received(one.says(text="after"))
    assert len(one.webhooks_of(mid)) == 1 and len(graph.asked(endpoint_of(media_id))) == 1


@pytest.mark.parametrize("size", ["number", "string", "absent"])
def test_size_as_the_graph_may_write_it(party, graph, size):
    one, content = party(), content_of(3000)
    written = {"number": 3000, "string": "3000", "absent": None}[size]
    media_id = graph.file(one.account, graph.described(one.account, content, file_size=written))
    assert one.told(one.says(File("image", media_id)))[0]["size"] == 3000


DIGESTS = {"Base64": sha256_base64, "hex": sha256_hex, "HEX": lambda content: sha256_hex(content).upper(), "none": lambda _: None}


@pytest.mark.parametrize("webhook, endpoint", [
    ("Base64", "hex"), ("hex", "Base64"), ("Base64", "Base64"), ("HEX", "HEX"), ("none", "hex"), ("Base64", "none"),
    ("none", "none")])
def test_digests_in_either_form(party, graph, webhook, endpoint):
    one, content = party(), content_of(3000)
    media_id = graph.file(one.account, graph.described(one.account, content, sha256=DIGESTS[endpoint](content)))
    digest = DIGESTS[webhook](content)
    mid = one.says(File("image", media_id, more={} if digest is None else {"sha256": digest}))
    assert one.told(mid)[0]["size"] == 3000


def test_large_file_in_whole_and_in_part(party, graph):
    one = party()
    content, _, item = sent(one, graph, 5_000_000, "document", "application/zip", filename="big.zip")
    with ThreadPoolExecutor(4) as pool:
        assert all(one.content == content for one in pool.map(lambda _: one.get(item), range(4)))
    head = one.get(item, "HEAD")
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "5000000")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(25):
        first = chance.randrange(len(content))
        last = min(first + chance.choice([0, 1, 4095, 65535, 65536, 1_000_000]), len(content) - 1)
        answer = one.get(item, Range=f"bytes={first}-{last}")
        assert (answer.status_code, answer.content) == (206, content[first:last + 1]), f"{first}-{last}"


@pytest.fixture(scope="module")
def ranged(gateway, graph, receiver):
    one = Party(gateway, "whatsapp", receiver.endpoint())
    return one, *sent(one, graph, 200_000, "document", "text/plain")


@pytest.mark.parametrize("written, first, last", [
    ("0-0", 0, 0), ("1000-70000", 1000, 70_000), ("65535-65536", 65_535, 65_536), ("199999-199999", 199_999, 199_999),
    ("0-199999", 0, 199_999), ("199990-300000", 199_990, 199_999), ("100000-", 100_000, 199_999), ("-500", 199_500, 199_999)])
def test_range(ranged, written, first, last):
    one, content, _, item = ranged
    answer = one.get(item, Range=f"bytes={written}")
    assert (answer.status_code, answer.content) == (206, content[first:last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/200000"
    assert answer.headers["Content-Length"] == str(last - first + 1)
    assert answer.headers["Content-Type"].partition(";")[0] == "text/plain"


@pytest.mark.parametrize("written", ["bytes=200000-", "bytes=200000-200001", "bytes=999999999999999999999-"])
def test_range_beyond_the_end(ranged, written):
    one, _, _, item = ranged
    answer = one.get(item, Range=written)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */200000"


@pytest.mark.parametrize("written", [
    "bytes=5-2", "bytes=a-b", "bytes=-", "items=0-1", "bytes", "", "bytes=0-1,5-6", "bytes=-0"])
def test_range_that_is_none(ranged, written):
    """Ignored or refused, but never answered with something else."""
    one, content, _, item = ranged
    answer = one.get(item, Range=written)
    assert answer.status_code in (200, 400, 416)
    assert answer.status_code != 200 or answer.content == content


def test_headers_of_a_file(party, graph):
    one = party()
    content, _, item = sent(one, graph, 1000, "document", "application/pdf", filename="price list.pdf")
    answers = [one.get(item), one.get(item), one.get(item, "HEAD")]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/pdf"
        assert answer.headers["Content-Length"] == "1000"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert {part.strip() for part in answer.headers["Cache-Control"].split(",")} >= {"private", "no-store"}
        disposition = answer.headers["Content-Disposition"]
        assert disposition.startswith("attachment;") and "price list.pdf" in disposition
        assert answer.headers["X-Request-Id"]
    assert [answer.content for answer in answers] == [content, content, b""]
    assert len({answer.headers["ETag"] for answer in answers}) == 1
    assert answers[0].headers["ETag"].strip("W/").startswith('"')
    _, _, other = sent(one, graph, 1000)
    assert one.get(other).headers["ETag"] != answers[0].headers["ETag"]


@pytest.mark.parametrize("filename, mime_type", [
    ('a"; filename="b.exe', "text/plain"), ("../../../etc/passwd", "text/plain"), ("x\r\nX-Evil: 1\r\n\r\n<b>", "text/plain"),
    ("日本 📎 ü.pdf", "application/pdf"), ("a" * 3000 + ".txt", "text/plain"), ("back\\slash\x00\x7f", "text/plain"),
    ("page.html", "text/html"), ("a.txt", "text/plain\r\nX-Evil: 1"), ("a.txt", "ü/ü"), ("a.txt", ""), ("a.txt", "x" * 3000),
], ids=lambda value: ascii(value)[:24])
def test_names_and_types_of_strangers_stay_what_they_are(party, graph, filename, mime_type):
    """Who sends a file chooses both; neither may become a header, a path or a page."""
    one, content = party(), content_of(500)
    media_id = graph.simple(one.account, content, "application/octet-stream")
    mid = one.says(File("document", media_id, mime_type, {"filename": filename}))
    (item,) = one.told(mid)
    answer = one.get(item)
    assert (answer.status_code, answer.content) == (200, content)
    assert "X-Evil" not in answer.headers
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment") and disposition.isascii() and disposition.isprintable()
    assert disposition.count('filename="') <= 1 and "/" not in disposition.partition("filename*")[0]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"].isascii()


def test_who_may_read_a_file(party, graph, gateway):
    one, stranger = party(), party()
    content, _, item = sent(one, graph, 500)
    url = gateway.base_url + item["url"]
    assert call("GET", url, one.tenant.key).content == content
    assert_problem(call("GET", url), 401, "unauthorized")
    assert_problem(call("GET", url, "wb_live_nonsense"), 401, "unauthorized")
    assert_problem(call("GET", url, gateway.operator), 403, "forbidden")
    refused = call("GET", url, stranger.tenant.key)
    assert_problem(refused, 404, "not_found")
    for unknown in (item["id"][:-1] + ("0" if item["id"][-1] != "0" else "1"), "med_" + "0" * 26, "med_", "msg_x", "..", "%00",
                    "x" * 3000, item["id"] + "%2F..%2F..%2Froot.key"):
        answer = call("GET", f"{gateway.base_url}/v1/media/{unknown}", one.tenant.key)
        assert answer.status_code in (400, 404, 414), unknown
    assert call("HEAD", url, stranger.tenant.key).status_code == 404
    assert call("POST", url, one.tenant.key).status_code in (404, 405)
    assert call("DELETE", url, one.tenant.key).status_code in (404, 405)


# Where a token may go


def test_token_goes_to_no_other_host(party, graph, cdn, gateway):
    """Neither by the URL that the Graph names nor by a redirect of it. Whether the file is fetched then is another question."""
    one, content = party(), content_of(1000)
    named = cdn.place(ok(content))
    by_name = graph.place(ok(content)).replace("127.0.0.1", "localhost")
    other_end = cdn.place(ok(content))
    redirected = graph.place(guarded(bearer(one.account), redirect(other_end)))
    lookalikes = [cdn.place(ok(content), path="/graph.facebook.com"), cdn.place(ok(content), path="/lookaside.fbsbx.com/x")]
    for number, url in enumerate([named, by_name, redirected, *lookalikes]):
        media_id = graph.file(one.account, graph.described(one.account, content, url=url))
        one.told(one.says(File("image", media_id), sender=customer_number()))
    assert cdn.saw(token_of(one.account)) == []
    assert all(asked.authorization is None for url in (named, other_end) for asked in cdn.asked(url))
    assert all(asked.authorization is None for asked in graph.asked(by_name)), "another name is another origin"
    assert token_of(one.account) not in gateway.log.read_text(errors="replace")


# Twilio


def test_mms_with_two_files(party, media, cdn):
    one = party("sms")
    text, image = content_of(5000), content_of(300_000)
    ends = [cdn.place(ok(text, "text/plain")), cdn.place(chunked(image, "image/png"))]
    urls = [media.file(one.account, redirect(end)) for end in ends]
    mid = one.says(File("", urls[0], "text/plain"), File("", urls[1], "image/png"), text="two of them")
    message = one.received(mid).event["data"]["message"]
    assert message["text"] == "two of them"
    assert [(item["type"], item["mime_type"], item["size"]) for item in message["media"]] == [
        ("document", "text/plain", 5000), ("image", "image/png", 300_000)]
    assert len({item["id"] for item in message["media"]}) == 2
    answers = [one.get(item) for item in message["media"]]
    assert [answer.content for answer in answers] == [text, image]
    assert [answer.headers["Content-Type"].partition(";")[0] for answer in answers] == ["text/plain", "image/png"]
    assert [asked.authorization for url in urls for asked in media.asked(url)] == [basic(one.account)] * 2
    assert [asked.authorization for end in ends for asked in cdn.asked(end)] == [None, None]
    assert cdn.saw(one.account.auth_token) == []


def test_mms_over_every_kind_of_redirect(party, media, cdn):
    one = party("sms")
    contents = [content_of(700 + number) for number in range(8)]
    urls = [media.file(one.account, redirect(cdn.place(ok(content)), code))
            for code, content in zip((301, 302, 303, 307, 308), contents)]
    relative = f"/files/{unique('relative')}"
    media.place(ok(contents[5]), path=relative)
    urls.append(media.file(one.account, redirect(relative)))
    urls.append(media.file(one.account, redirect(cdn.place(redirect(cdn.place(ok(contents[6])))))))
    chain = cdn.place(redirect(cdn.place(redirect(cdn.place(ok(contents[7]))))))
    urls.append(media.file(one.account, redirect(chain)))
    items = one.told(one.says(*(File("", url) for url in urls)))
    assert [item.get("size") for item in items] == [len(content) for content in contents]
    assert [one.get(item).content for item in items] == contents
    (asked,) = media.asked(relative)
    assert asked.authorization is None, "a redirect is followed without credentials"


def test_redirects_that_lead_nowhere(party, media, cdn):
    one = party("sms")
    loop = f"/files/{unique('loop')}"
    cdn.place(redirect(cdn.base_url + loop), path=loop)
    there, back = f"/files/{unique('there')}", f"/files/{unique('back')}"
    cdn.place(redirect(cdn.base_url + back), path=there)
    cdn.place(redirect(cdn.base_url + there), path=back)
    end = cdn.place(ok(content_of(100)))
    long = end
    for _ in range(6):
        long = cdn.place(redirect(long))
    places = [cdn.base_url + loop, cdn.base_url + there, long]
    started = time.monotonic()
    urls = [media.file(one.account, redirect(place)) for place in places]
    urls += [media.file(one.account, status(307, b"")), media.file(one.account, redirect(""))]
    items = one.told(one.says(*(File("", url) for url in urls)))
    assert time.monotonic() - started < PROMPT_SECONDS
    assert all("size" not in item for item in items)
    # One try and at most the next one, of at most four requests each.
    assert max(len(cdn.asked(path)) for path in (loop, there, back)) <= 8
    assert cdn.asked(end) == []
    message = one.newest()
    assert all(item["status"] != "fetched" for item in message["media"])


def test_credentials_go_to_twilio_alone(party, media, cdn):
    """A `MediaUrl` elsewhere, also in a form that is rightly signed, is asked without them, if at all."""
    one, content = party("sms"), content_of(1000)
    foreign = cdn.place(ok(content))
    by_name = media.place(ok(content)).replace("127.0.0.1", "localhost")
    lookalike = cdn.place(ok(content), path=f"/2010-04-01/Accounts/{one.account.sid}/Messages/MM1/Media/ME1")
    one.told(one.says(File("", foreign), File("", by_name), File("", lookalike)))
    assert cdn.saw(one.account.auth_token) == [] and cdn.saw(f"{one.account.sid}:{one.account.auth_token}") == []
    requests = [asked for url in (foreign, lookalike) for asked in cdn.asked(url)] + media.asked(by_name)
    assert all(asked.authorization is None for asked in requests)


def test_redirect_to_a_private_address_is_not_followed(strict, party, media, graph, trap, trap6):
    """Nothing connects there. The provider's own origin may be anywhere, as the operator configured it."""
    one, content = party("sms", on=strict), content_of(900)
    targets = [f"{scheme}://{host}/x" for scheme, host in [
        ("https", f"127.0.0.1:{trap.port}"), ("http", f"127.0.0.1:{trap.port}"), ("https", f"localhost:{trap.port}"),
        ("https", f"[::1]:{trap6.port}"), ("https", f"[::ffff:127.0.0.1]:{trap.port}"),
        # Addresses to some, names to others.
        ("https", f"0.0.0.0:{trap.port}"), ("https", f"2130706433:{trap.port}"), ("https", f"0x7f.1:{trap.port}")]]
    urls = [media.file(one.account, ok(content)), *(media.file(one.account, redirect(target)) for target in targets)]
    mid = one.says(*(File("", url) for url in urls))
    message = one.received(mid).event["data"]["message"]
    refused = wait_until(lambda: failed(one, message["id"], slice(1, 6)), 5, "the refusals")
    assert {code_of(item) for item in refused} <= {"address_refused", "insecure_url"}, refused
    assert code_of(refused[0]) == code_of(refused[2]) == "address_refused"
    right, *others = one.media(message["id"])
    assert right["status"] == "fetched" and one.get(right).content == content
    assert all(item["status"] != "fetched" for item in others)
    assert (trap.connections, trap6.connections) == (0, 0)
    assert_problem(one.get(refused[0]), 404, "media_unavailable")


# Messenger and Instagram


@pytest.mark.parametrize("platform", ["facebook", "instagram"])
def test_several_attachments(party, cdn, platform):
    one = party(platform)
    files = [("image", "image", "image/png"), ("audio", "audio", "audio/mpeg"), ("file", "document", "application/pdf")]
    contents = [content_of(2000 + number) for number, (kind, _, _) in enumerate(files)]
    # As Meta signs its URLs.
    urls = [cdn.place(ok(content, mime)) + "?_nc_cat=1&oh=00_Af%2Bx&oe=6A1B" for content, (_, _, mime) in zip(contents, files)]
    mid = one.says(*(File(kind, url) for url, (kind, _, _) in zip(urls, files)))
    items = one.told(mid)
    assert [(item["type"], item.get("size")) for item in items] == [
        (told, len(content)) for content, (_, told, _) in zip(contents, files)]
    answers = [one.get(item) for item in items]
    assert [answer.content for answer in answers] == contents
    assert [answer.headers["Content-Type"] for answer in answers] == [mime for _, _, mime in files]
    for url in urls:
        (asked,) = cdn.asked(url)
        assert asked.query == {"_nc_cat": ["1"], "oh": ["00_Af+x"], "oe": ["6A1B"]}, "as it was written"
        assert not {"authorization", "cookie", "referer"} & set(asked.headers)
        assert asked.headers["user-agent"]
    assert cdn.saw(token_of(one.account)) == []


def test_forty_attachments(party, cdn):
    one = party("facebook")
    contents = [content_of(300 + number) for number in range(40)]
    urls = [cdn.place(ok(content)) for content in contents]
    message = one.received(one.says(*(File("image", url) for url in urls))).event["data"]["message"]
    kept = [item for item in message["media"] if item.get("url")]
    assert len(kept) == 32 and message["media"][:32] == kept, "the first ones"
    one.settled(message["id"])
    assert [one.get(item).content for item in kept] == contents[:32]
    assert [len(cdn.asked(url)) for url in urls] == [1] * 32 + [0] * 8


@pytest.mark.parametrize("where", ["gateway", "strict"])
def test_urls_that_nobody_should_ask_for(request, party, cdn, trap, trap6, where):
    """Where a network is allowed for tests, the others are still closed."""
    one, secret = party("facebook", on=request.getfixturevalue(where)), cdn.place(ok(content_of(100)))
    port = cdn.base_url.rpartition(":")[2]
    user = secret.replace("http://", "http://user:password@")
    refused = ["http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", f"https://[::1]:{trap6.port}/",
               "https://10.0.0.1/", "https://[fd00::1]/", "https://[64:ff9b::7f00:1]/"]
    odd = [user, f"http://user@127.0.0.1:{port}/x", "file:///etc/passwd", f"gopher://127.0.0.1:{trap.port}/_x",
           f"ftp://127.0.0.1:{trap.port}/x", f"dict://127.0.0.1:{trap.port}/x", "data:text/plain,hello", "/etc/passwd",
           "not a URL", f"http://127.0.0.1:{trap.port}\\@example.test/"]
    if where == "strict":
        # The first one is refused for its scheme, before anybody is asked for its address.
        refused = ["http://cdn.example.test/x", secret, f"https://127.0.0.1:{trap.port}/", f"https://localhost:{trap.port}/",
                   *refused]
    else:
        # What is left of it is an address that is allowed here.
        odd.pop()
    started = time.monotonic()
    mid = one.says(*(File("image", url) for url in refused + odd), text="with files")
    message = one.received(mid).event["data"]["message"]
    assert time.monotonic() - started < PROMPT_SECONDS
    assert message["text"] == "with files" and len(message["media"]) == len(refused + odd)
    items = wait_until(lambda: failed(one, message["id"], slice(len(refused))), 5, "the refusals")
    assert {code_of(item) for item in items} <= {"address_refused", "insecure_url"}, items
    assert where == "gateway" or code_of(items[0]) == "insecure_url"
    assert all(item.get("status") != "fetched" for item in one.media(message["id"]))
    assert (trap.connections, trap6.connections, cdn.asked(secret), cdn.asked("/x")) == (0, 0, [], [])


def failed(party, message_id, which):
    """Some of a message's media, once all of them have failed."""
    items = party.media(message_id)[which]
    return items if all(item["status"] == "failed" for item in items) else None


# Failures

OTHERS = b"other bytes of the same length"


def final_failures(graph, account):
    """By name: the media id, the type of the file, and its code if the design says one."""
    small, large = content_of(100), content_of(STICKER_BYTES + 1)

    def behind(step):
        return graph.file(account, graph.described(account, small, url=graph.place(step), file_size=None, sha256=None))

    return {
        "no such media": (graph.file(account, no_such_media), "image", "not_found"),
        "gone": (behind(status(410)), "image", None),
        "refused": (behind(status(400)), "image", None),
        "too large": (graph.simple(account, large), "sticker", "too_large"),
        "too large by its length": (behind(flood(24 << 20, has_length=True)), "sticker", "too_large"),
        "too large in the end": (behind(flood(24 << 20)), "sticker", "too_large"),
    }


def test_failures_that_are_final(party, graph):
    one = party()
    cases = final_failures(graph, one.account)
    senders = {name: customer_number() for name in cases}
    mids = {name: one.says(File(kind, media_id), sender=senders[name]) for name, (media_id, kind, _) in cases.items()}
    for name, (media_id, _, code) in cases.items():
        message = one.received(mids[name], PROMPT_SECONDS).event["data"]["message"]
        assert "size" not in message["media"][0], name
        (item,) = one.settled(message["id"])
        assert item["status"] == "failed" and code_of(item) == (code or code_of(item)), f"{name}: {item}"
        problem = assert_problem(one.get(item), 404, "media_unavailable")
        assert code_of(item) in problem["detail"], name
        assert one.get(item, "HEAD").status_code == 404
        assert len(graph.asked(endpoint_of(media_id))) == 1, f"{name}: final means once"
        assert path_of(one, message["id"]) not in stored(one.gateway)
    floods = [asked.sent for asked in list(graph.requests) if asked.sent]
    assert len(floods) == 2 and max(floods) < 16 << 20, f"it read on: {floods}"


def test_largest_file_of_its_type(party, graph):
    one = party()
    content, _, item = sent(one, graph, STICKER_BYTES, "sticker", "image/webp")
    assert one.get(item).content == content


def repeated_failures(graph, account):
    """By name: the media id of a file that is there at the second try. And its content."""
    content = content_of(100_000)

    def behind(*steps):
        return graph.file(account, graph.described(account, content, url=graph.place(*steps, ok(content))))

    def after(*answers):
        return graph.file(account, *answers, graph.described(account, content))

    wrong = graph.described(account, content, sha256=sha256_hex(OTHERS))
    return content, {
        "500": behind(status(500)), "429": behind(status(429)), "408": behind(status(408)), "401": behind(status(401)),
        "403": behind(status(403)), "404 twice": behind(status(404), status(404)), "cut": behind(cut(content)),
        "another file": behind(ok(content[:-5] + b"wrong")), "shorter": behind(ok(content[:-1])),
        "endpoint 500": after(status(500)), "endpoint without JSON": after(ok(b"<html>", "text/html")),
        "endpoint without a URL": after(ok(b'{"id":"1"}', "application/json")), "another digest": after(wrong),
    }


def test_failures_that_are_repeated(party, graph):
    """After the first one the webhook goes out without a size; two seconds later the file is fetched."""
    one = party()
    content, cases = repeated_failures(graph, one.account)
    started, mids = time.monotonic(), {}
    for name, media_id in cases.items():
        file = File("image", media_id, more={"sha256": sha256_base64(content)})
        mids[name] = one.says(file, sender=customer_number())
    messages = {name: one.received(mid, PROMPT_SECONDS).event["data"]["message"] for name, mid in mids.items()}
    assert time.monotonic() - started < PROMPT_SECONDS
    early = [name for name, message in messages.items() if "size" in message["media"][0]]
    assert early == []
    for name, message in messages.items():
        (item,) = one.settled(message["id"])
        assert (item["status"], item["size"]) == ("fetched", len(content)), name
        assert not item.get("error"), name
        assert one.get(item).content == content, name
        path = path_of(one, message["id"])
        assert path in stored(one.gateway) and path + ".part" not in stored(one.gateway)
    assert all(len(one.webhooks_of(mid)) == 1 for mid in mids.values()), "nothing is told twice"


def test_connection_that_ends_without_a_word(party, graph):
    """On a connection that was kept the repeat may be at once."""
    one, content = party(), content_of(2000)
    place = graph.place(drop, ok(content))
    media_id = graph.file(one.account, graph.described(one.account, content, url=place))
    message = one.received(one.says(File("image", media_id)), PROMPT_SECONDS).event["data"]["message"]
    (item,) = one.settled(message["id"])
    assert one.get(item).content == content


def test_expired_url_is_asked_for_anew(party, graph):
    one, content = party(), content_of(2000)
    expired = graph.place(status(404))
    media_id = graph.file(one.account, graph.described(one.account, content, url=expired),
                          graph.described(one.account, content))
    assert one.told(one.says(File("image", media_id)), PROMPT_SECONDS)[0]["size"] == 2000
    assert (len(graph.asked(endpoint_of(media_id))), len(graph.asked(expired))) == (2, 1)


def test_wrong_bytes_are_never_kept(party, graph):
    one, content = party(), content_of(100_000)
    place = graph.place(ok(content[:-5] + b"wrong"))
    media_id = graph.file(one.account, graph.described(one.account, content, url=place))
    mid = one.says(File("image", media_id, more={"sha256": sha256_base64(content)}))
    message = one.received(mid, PROMPT_SECONDS).event["data"]["message"]
    assert "size" not in message["media"][0]
    graph.wait_for(place, 2)
    assert one.media(message["id"])[0]["status"] == "pending"
    holds_for(lambda: not {path_of(one, message["id"])} & stored(one.gateway), 0.5, "no file of wrong bytes")


def test_the_others_of_a_message_are_fetched(party, media):
    one, content = party("sms"), content_of(1000)
    urls = [media.file(one.account, step) for step in (status(410), ok(content), status(500))]
    message = one.received(one.says(*(File("", url) for url in urls)), PROMPT_SECONDS).event["data"]["message"]
    assert [item.get("size") for item in message["media"]] == [None, 1000, None]
    items = one.media(message["id"])
    assert [item["status"] for item in items] == ["failed", "fetched", "pending"]
    assert one.get(items[1]).content == content


# The first delivery waits


def test_first_delivery_waits_for_the_file(party, graph):
    """In the meantime it is not in the list of events either. Who asks for the file waits for it."""
    one, file = party(), Held(content_of(60_000))
    place = graph.place(file)
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=place))
    mid = one.says(File("image", media_id))
    assert file.begun.wait(10)
    message = one.newest()
    assert message["media"][0]["status"] == "pending" and message["media"][0]["url"]
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(one.get, message["media"][0])
        polled = pool.submit(one.tenant.read, "/v1/events?after=0&wait=10")
        holds_for(lambda: not one.endpoint.requests and not one.pulled(), 1, "neither told nor listed")
        file.released.set()
        assert asked.result(12).content == file.content
        request = one.received(mid, PROMPT_SECONDS)
        assert [event["id"] for event in polled.result(12)["data"]] == [request.event["id"]]
    assert request.event["data"]["message"]["media"][0]["size"] == 60_000
    assert request.body in one.tenant.get("/v1/events?after=0").content


class Waiting(NamedTuple):
    """What was seen of a client of whom one customer's file hung and another one's came slowly."""

    party: Party
    started: float
    names: dict  # provider ids by name
    slow: bytes
    items: dict
    pulled: dict  # while they were waited for
    pending: object
    pending_seconds: float
    slow_place: str

    def at(self, name):
        return self.party.received(self.names[name]).at - self.started


@pytest.fixture(scope="module")
def waiting(gateway, graph, receiver):
    one, content, slow = Party(gateway, "whatsapp", receiver.endpoint()), content_of(1000), content_of(40_000)
    senders = {name: customer_number() for name in ("hung", "slow", "other")}
    hung = graph.file(one.account, graph.described(one.account, content, url=graph.place(hang)))
    slow_place = graph.place(trickle(slow, 40, 0.3))
    late = graph.file(one.account, graph.described(one.account, slow, url=slow_place))
    started = time.monotonic()
    names = {"hung": one.says(File("image", hung), sender=senders["hung"]),
             "behind": one.says(text="behind it", sender=senders["hung"]),
             "slow": one.says(File("image", late), sender=senders["slow"]),
             "other": one.says(text="of somebody else", sender=senders["other"])}
    conversations = {name: one.newest(senders[name]) for name in ("hung", "slow")}
    first = one.tenant.read(f"/v1/conversations/{conversations['hung']['conversation_id']}/messages")["data"][-1]
    items = {"hung": first["media"][0], "slow": conversations["slow"]["media"][0]}
    wait_until(lambda: one.webhooks_of(names["other"]), PROMPT_SECONDS, "the webhook of another conversation", exactly=True)
    pulled = one.tenant.read("/v1/events?after=0")
    asked = time.monotonic()
    pending = one.get(items["hung"])
    seconds = time.monotonic() - asked
    for name in names:
        one.received(names[name], 2 * SLACK_SECONDS)
    return Waiting(one, started, names, slow, items, pulled, pending, seconds, slow_place)


def test_other_conversations_are_not_delayed(waiting):
    assert waiting.at("other") < PROMPT_SECONDS


def test_first_delivery_waits_ten_seconds_at_most(waiting):
    for name in ("hung", "slow"):
        assert FIRST_DELIVERY_SECONDS - 2 <= waiting.at(name) <= FIRST_DELIVERY_SECONDS + SLACK_SECONDS, name
        (item,) = waiting.party.told(waiting.names[name])
        assert "size" not in item and item["url"] == waiting.items[name]["url"]


def test_order_within_the_conversation_is_kept(waiting):
    assert waiting.at("hung") < waiting.at("behind")
    assert len(waiting.party.webhooks_of(waiting.names["behind"])) == 1


def test_list_of_events_ends_before_one_that_waits(waiting):
    """Also before those of others behind it. Then it has the bytes of the webhooks."""
    assert (waiting.pulled["data"], waiting.pulled["next_after"]) == ([], 0)
    listed = waiting.party.tenant.get("/v1/events?after=0")
    assert [event["data"]["message"]["platform_message_id"] for event in listed.json()["data"]] == list(waiting.names.values())
    assert all(waiting.party.received(mid).body in listed.content for mid in waiting.names.values())


def test_file_that_is_not_there_yet(waiting):
    problem = assert_problem(waiting.pending, 503, "media_pending")
    assert int(waiting.pending.headers["Retry-After"]) >= 1 and problem["retry_after"] >= 1
    assert 5 <= waiting.pending_seconds <= FIRST_DELIVERY_SECONDS + SLACK_SECONDS, "it waits, but not for ever"
    assert waiting.party.media(first_of(waiting, "hung"))[0]["status"] == "pending"


def first_of(waiting, name):
    return waiting.party.received(waiting.names[name]).event["data"]["message"]["id"]


def test_file_that_came_after_its_webhook(waiting, graph):
    """Slow is not failed: what has begun goes on."""
    one, message = waiting.party, first_of(waiting, "slow")
    (item,) = one.settled(message, 12)
    assert (item["status"], item["size"]) == ("fetched", len(waiting.slow))
    assert one.get(item).content == waiting.slow and len(graph.asked(waiting.slow_place)) == 1
    assert len(one.webhooks_of(waiting.names["slow"])) == 1
    assert "size" not in one.pulled()[2]["data"]["message"]["media"][0], "an event does not change"


# Purges


def test_purge_takes_the_file(party, graph):
    one = party()
    (_, gone, item), (content, kept, other) = sent(one, graph), sent(one, graph)
    paths = [path_of(one, message) for message in (gone, kept)]
    assert set(paths) <= stored(one.gateway)
    purge(one.tenant, gone)
    assert paths[0] not in stored(one.gateway) and paths[1] in stored(one.gateway)
    for headers in ({}, {"Range": "bytes=0-5"}):
        assert_problem(one.get(item, **headers), 410, "body_purged")
    assert one.get(item, "HEAD").status_code == 410
    assert one.get(other).content == content
    shown = one.tenant.message(gone)
    assert shown["purged"] is True
    assert not any(part.get("filename") or part.get("caption") for part in shown.get("media") or [])
    assert one.pulled()[0].get("purged") is True
    assert_verifies(one.gateway)


def test_file_lies_sealed(party, graph):
    one = party()
    content, message, _ = sent(one, graph, 300_000)
    raw = (one.gateway.data / "media" / path_of(one, message)).read_bytes()
    assert not any(content[start:start + 16] in raw for start in range(0, len(content), 997))


def test_purge_of_a_message_whose_file_is_on_its_way(party, graph):
    one, file = party(), Held(content_of(1 << 20))
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=graph.place(file)))
    mid = one.says(File("image", media_id))
    assert file.begun.wait(10)
    message = one.newest()
    path = path_of(one, message["id"])
    purge(one.tenant, message["id"])
    wait_until(lambda: not {path, path + ".part"} & stored(one.gateway), 5, "what has come to be gone")
    file.released.set()
    assert_problem(one.get(message["media"][0]), 410, "body_purged")
    holds_for(lambda: not {path, path + ".part"} & stored(one.gateway), 1, "nothing comes back")
    assert one.webhooks_of(mid) == []
    assert [event.get("purged") for event in one.pulled()] == [True]


def test_erased_conversation_takes_its_files(party, graph):
    one = party()
    (_, first, item), (_, second, _) = sent(one, graph), sent(one, graph)
    paths = {path_of(one, message) for message in (first, second)}
    erase(one.tenant, one.tenant.message(first)["conversation_id"])
    assert not paths & stored(one.gateway)
    assert_problem(one.get(item), 410, ("body_purged", "conversation_erased"))


def test_unsent_message_takes_its_files(party, cdn):
    one = party("instagram")
    urls = [cdn.place(ok(content_of(1000))) for _ in range(2)]
    mid = one.says(*(File("image", url) for url in urls))
    message = one.received(mid).event["data"]["message"]
    paths = {path_of(one, message["id"], index) for index in range(2)}
    assert paths <= stored(one.gateway)
    assert one.account.post(one.account.unsend(mid, one.sender.removeprefix("+"))).status_code == 200
    one.wait_for_purge(message["id"])
    wait_until(lambda: not paths & stored(one.gateway), 5, "the files to be gone")
    for item in message["media"]:
        assert_problem(one.get(item), 410, "body_purged")
    assert_verifies(one.gateway)


def test_deleted_client_takes_its_files(party, graph, gateway):
    one, neighbour = party(), party()
    (_, message, item), (content, _, other) = sent(one, graph), sent(neighbour, graph)
    path = path_of(one, message)
    assert path in stored(gateway)
    assert gateway.admin("DELETE", f"/clients/{one.tenant.id}").status_code in (200, 204)
    wait_until(lambda: path not in stored(gateway), 5, "the file to be gone")
    assert one.get(item).status_code in (401, 404, 410)
    assert neighbour.get(other).content == content


def test_history_does_not_tell_what_a_file_is(party, graph, gateway):
    """Its name and its digest are sealed too: from the digest a known file could be told again after a purge."""
    one, name = party(), unique("name")
    content, _, _ = sent(one, graph, 1000, "document", "text/plain", filename=f"{name}.txt", caption=name)
    lines = gateway.run_ok("replay", "--data", gateway.data, "--client", one.tenant.id)
    assert '"media.fetched"' in lines
    for secret in (name, sha256_hex(content), sha256_base64(content), token_of(one.account)):
        assert secret not in lines
    log = gateway.log.read_text(errors="replace")
    assert name not in log and token_of(one.account) not in log


# Inbound Body Purge


def inline(party, mid):
    """What a webhook holds of each file: its bytes, or why they are not in it."""
    items = party.told(mid)
    assert all("url" not in item and ("content" in item) != ("omitted" in item) for item in items), items
    return [base64.b64decode(item["content"], validate=True) if "content" in item else item["omitted"] for item in items]


def assert_gone(party, message, requests=1):
    """Nothing is left of a message's files, and nothing more is told."""
    party.wait_for_purge(message["id"])
    path = path_of(party, message["id"])
    wait_until(lambda: not {path, path + ".part"} & stored(party.gateway), 5, "the file to be gone")
    for item in {item["id"]: item for item in party.told_of(message["id"])}.values():
        assert_problem(party.get(item), 410, "body_purged")
    holds_for(lambda: len(party.endpoint.requests) == requests, 0.5, "the one attempt")
    assert all(event.get("purged") for event in party.pulled())


@pytest.mark.parametrize("answer", [200, 500])
def test_purge_mode_puts_the_file_into_the_webhook(party, graph, held, answer):
    one, content = party(endpoint=held, retry_schedule=[1, 1]).purging(), content_of(50_000)
    mid = one.says(File("document", graph.simple(one.account, content, "text/plain"), "text/plain", {"filename": "a.txt"}))
    assert inline(one, mid) == [content]
    (item,) = one.told(mid)
    assert (item["type"], item["mime_type"], item["filename"], item["size"]) == ("document", "text/plain", "a.txt", 50_000)
    message = one.newest()
    listed = one.tenant.get("/v1/events?after=0").text
    assert message["id"] in listed and '"content"' not in listed
    assert base64.b64encode(content).decode()[:64] not in listed, "by pull it never is"
    held.release(answer)
    assert_gone(one, message)


def test_purge_mode_of_mms_up_to_the_limit(party, media):
    one, sizes = party("sms").purging(), [40_000, 40_000, 10_000]
    contents = [content_of(size) for size in sizes]
    mid = one.says(*(File("", media.file(one.account, ok(content))) for content in contents))
    told = inline(one, mid)
    assert told[:2] == [contents[0], "too_large"], "together they are above the limit"
    assert told[2] in (contents[2], "too_large"), "whether a smaller one behind it goes in is left open"
    assert_gone(one, one.newest())


@pytest.mark.parametrize("size, is_told", [(INLINE_BYTES, True), (INLINE_BYTES + 1, False)])
def test_purge_mode_at_the_limit(party, graph, size, is_told):
    one, content = party().purging(), content_of(size)
    mid = one.says(File("image", graph.simple(one.account, content)))
    assert inline(one, mid) == [content if is_told else "too_large"]
    assert_gone(one, one.newest())


def test_purge_mode_without_the_file(party, graph):
    one, content = party().purging(), content_of(100)
    files = [no_such_media, graph.described(one.account, content, url=graph.place(status(410)))]
    for number, answer in enumerate(files):
        mid = one.says(File("image", graph.file(one.account, answer)))
        assert inline(one, mid) == ["unavailable"]
        assert_gone(one, one.newest(), number + 1)


def test_purge_mode_tries_again_before_its_one_delivery(party, graph):
    one, content = party().purging(), content_of(1000)
    place = graph.place(status(500), ok(content))
    media_id = graph.file(one.account, graph.described(one.account, content, url=place))
    mid = one.says(File("image", media_id))
    graph.wait_for(place, 1)
    assert one.webhooks_of(mid) == []
    (pulled,) = one.pulled()
    assert pulled["data"]["message"]["media"][0]["omitted"] == "webhook_only", "who pulls need not wait"
    assert inline(one, mid) == [content]
    assert_gone(one, one.newest())


def test_purge_mode_purged_by_hand_while_the_file_comes(party, graph):
    one, file = party().purging(), Held(content_of(30_000))
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=graph.place(file)))
    one.says(File("image", media_id))
    assert file.begun.wait(10)
    message = one.newest()
    purge(one.tenant, message["id"])
    file.released.set()
    holds_for(lambda: not one.endpoint.requests, 1, "nothing is delivered")
    assert_gone(one, message, 0)


def test_purge_mode_keeps_the_file_until_it_may_be_delivered(party, graph):
    one, content = party().purging(), content_of(1000)

    def set_addon(status):
        answer = one.gateway.admin("PATCH", f"/clients/{one.tenant.id}", {"addon": {"status": status}})
        assert answer.status_code == 200, answer.text

    set_addon("none")
    mid = one.says(File("image", graph.simple(one.account, content)))
    message = wait_until(lambda: one.newest(), 5, "the message")
    wait_until(lambda: path_of(one, message["id"]) in stored(one.gateway), 5, "the file")
    assert one.endpoint.requests == []
    set_addon("active")
    assert inline(one, mid) == [content]
    assert_gone(one, message)


# Crashes


def test_killed_while_a_file_comes(fragile, party, graph):
    """After the restart it is fetched, and what belongs to nothing is removed, without going beyond the directory."""
    one, file = party(on=fragile), Held(content_of(1 << 20))
    place = graph.place(file, ok(file.content))
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=place))
    mid = one.says(File("image", media_id))
    assert file.begun.wait(10)
    path = path_of(one, one.newest()["id"])
    wait_until(lambda: path + ".part" in stored(fragile), 5, "what has come, on disk")
    fragile.kill()
    assert one.endpoint.requests == []
    strays = plant_strays(fragile)
    fragile.start()
    wait_until(lambda: not strays & stored(fragile), 5, "what belongs to nothing to be gone")
    assert (fragile.directory / "outside").read_bytes() == b"outside"
    message = one.received(mid, FIRST_DELIVERY_SECONDS + SLACK_SECONDS).event["data"]["message"]
    (item,) = one.settled(message["id"], 15)
    assert item["status"] == "fetched" and one.get(item).content == file.content
    assert path in stored(fragile) and path + ".part" not in stored(fragile)
    holds_for(lambda: len(one.webhooks_of(mid)) == 1, 1, "one delivery")
    assert len(graph.asked(place)) == 2
    file.released.set()


def plant_strays(gateway):
    """Files and parts that no record names."""
    (gateway.directory / "outside").write_bytes(b"outside")
    folder = gateway.data / "media" / "0"
    folder.mkdir(parents=True, exist_ok=True)
    other = gateway.data / "media" / "244"
    other.mkdir(exist_ok=True)
    planted = [folder / "4095-0", folder / "4095-0.part", other / "1000000-0", other / "1000000-31.part"]
    for one in planted:
        one.write_bytes(b"stray")
    (folder / "4094-0.part").symlink_to(gateway.directory / "outside")
    return {str(one.relative_to(gateway.data / "media")) for one in [*planted, folder / "4094-0.part"]}


def test_purged_file_that_somebody_puts_back(fragile, party, graph):
    """Its key is gone, and the next start takes the file away too."""
    one = party(on=fragile)
    (_, gone, item), (content, _, other) = sent(one, graph), sent(one, graph)
    path = fragile.data / "media" / path_of(one, gone)
    copied = path.read_bytes()
    purge(one.tenant, gone)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(copied)
    assert_problem(one.get(item), 410, "body_purged")
    assert fragile.stop() == 0
    fragile.start()
    wait_until(lambda: not path.exists(), 5, "the file to be gone again")
    assert_problem(one.get(item), 410, "body_purged")
    assert one.get(other).content == content


def test_kills_at_any_moment(fragile, party, graph):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, one, contents = random.Random(seed), party(on=fragile), {}

    def post():
        while not over.wait(0.03) and len(contents) < 60:
            content = content_of(200_000)
            place = graph.place(trickle(content, 5, 0.02))
            media_id = graph.file(one.account, graph.described(one.account, content, url=place))
            mid = unique("mid")
            try:
                one.says(File("image", media_id), sender=customer_number(), mid=mid)
            except (OSError, AssertionError):
                return
            contents[mid] = content

    for _ in range(KILLS):
        over, enough = threading.Event(), len(contents) + chance.randrange(1, 12)
        poster = threading.Thread(target=post, daemon=True)
        poster.start()
        wait_until(lambda: len(contents) >= enough, 20, "some messages")
        time.sleep(chance.random() * 0.2)
        fragile.kill()
        over.set()
        poster.join(10)
        fragile.start()
    assert_all_there(one, contents)


def assert_all_there(party, contents):
    paths = set()
    for mid, content in contents.items():
        message = party.received(mid, 20).event["data"]["message"]
        (item,) = party.settled(message["id"], 20)
        assert item["status"] == "fetched" and party.get(item).content == content
        paths.add(path_of(party, message["id"]))
    assert paths <= stored(party.gateway)
    # What was never acknowledged may still be on its way.
    wait_until(lambda: not any(name.endswith(".part") for name in stored(party.gateway)), 10, "no part is left")


def test_killed_in_the_middle_of_a_purge(fragile, party, graph):
    """A message is purged and without its file, or neither."""
    one, chance = party(on=fragile), random.Random(7)
    for _ in range(KILLS):
        content, message, item = sent(one, graph, 2000)
        path = path_of(one, message)
        asker = threading.Thread(target=asked_to_purge, args=(one, message), daemon=True)
        asker.start()
        time.sleep(chance.random() * 0.03)
        fragile.kill()
        asker.join(10)
        fragile.start()
        if one.tenant.message(message)["purged"]:
            wait_until(lambda: path not in stored(fragile), 5, "the file to be gone")
            assert_problem(one.get(item), 410, "body_purged")
        else:
            assert one.get(item).content == content
            purge(one.tenant, message)
            assert path not in stored(fragile)


def asked_to_purge(party, message):
    try:
        party.tenant.post(f"/v1/messages/{message}/purge")
    except OSError:
        pass


def test_purge_mode_killed_during_the_attempt(fragile, party, graph, held):
    """The attempt was the attempt, and the file goes with the message."""
    one, content = party(on=fragile, endpoint=held).purging(), content_of(20_000)
    mid = one.says(File("image", graph.simple(one.account, content)))
    assert inline(one, mid) == [content]
    message = one.newest()
    fragile.kill()
    fragile.start()
    held.release(200)
    assert_gone(one, message)


def test_purge_mode_killed_while_the_file_comes(fragile, party, graph):
    one, file = party(on=fragile).purging(), Held(content_of(50_000))
    place = graph.place(file, ok(file.content))
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=place))
    mid = one.says(File("image", media_id))
    assert file.begun.wait(10)
    message = one.newest()
    fragile.kill()
    fragile.start()
    one.received(mid, 15)
    assert inline(one, mid) == [file.content]
    assert_gone(one, message)
    file.released.set()


# Damage


def assert_fails(party, item, content, what):
    """A problem, or an answer that breaks off: never as many bytes as announced, and none that are wrong."""
    got = download(party, item)
    if got.status >= 500:
        assert got.headers["content-type"].startswith("application/problem+json"), what
        return
    assert got.status in (0, 200) and not got.is_whole, f"{what}: {got.status}, {len(got.body)} bytes"
    assert content.startswith(got.body), f"{what}: wrong bytes"


def test_damaged_file_is_never_served(party, graph):
    one = party()
    content, message, item = sent(one, graph, 300_000, "document", "text/plain")
    path = one.gateway.data / "media" / path_of(one, message)
    whole = path.read_bytes()
    size = len(whole)
    for offset in (0, 1, 9, 20, 40, size // 5, size // 2, size - 20, size - 1):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x01]) + whole[offset + 1:])
        assert_fails(one, item, content, f"byte {offset} of {size}")
    for length in (0, 1, 32, size // 2, size - (1 << 16), size - 1):
        path.write_bytes(whole[:length])
        assert_fails(one, item, content, f"{length} of {size} bytes")
    path.unlink()
    assert_fails(one, item, content, "no file")
    path.write_bytes(whole)
    assert one.get(item).content == content, "put back, it is whole again"


def test_damage_in_one_place_shows_in_no_range(party, graph):
    one = party()
    content, message, item = sent(one, graph, 300_000, "document", "text/plain")
    path = one.gateway.data / "media" / path_of(one, message)
    whole = path.read_bytes()
    path.write_bytes(whole[:150_000] + bytes([whole[150_000] ^ 0x80]) + whole[150_001:])
    for first, last in ((0, 10), (149_000, 151_000), (100_000, 299_999), (299_990, 299_999)):
        got = download(one, item, Range=f"bytes={first}-{last}")
        assert got.status >= 500 or content[first:last + 1].startswith(got.body), f"{first}-{last}"
    got = download(one, item, Range="bytes=149000-151000")
    assert got.status >= 500 or not got.is_whole


def test_files_of_two_messages_are_not_exchanged(party, graph):
    one = party()
    contents, messages, items = zip(*(sent(one, graph, 100_000) for _ in range(2)))
    paths = [one.gateway.data / "media" / path_of(one, message) for message in messages]
    sealed = [path.read_bytes() for path in paths]
    assert len(sealed[0]) == len(sealed[1])
    for path, other in zip(paths, reversed(sealed)):
        path.write_bytes(other)
    for item, content in zip(items, contents):
        assert_fails(one, item, content, "another message's file")
    # Nor the files of one message with each other: see below for what an MMS has.
    for path, own in zip(paths, sealed):
        path.write_bytes(own)


def test_files_of_one_message_are_not_exchanged(party, media):
    one, contents = party("sms"), [content_of(100_000) for _ in range(2)]
    mid = one.says(*(File("", media.file(one.account, ok(content))) for content in contents))
    message = one.received(mid).event["data"]["message"]
    paths = [one.gateway.data / "media" / path_of(one, message["id"], index) for index in range(2)]
    sealed = [path.read_bytes() for path in paths]
    for path, other in zip(paths, reversed(sealed)):
        path.write_bytes(other)
    for item, content in zip(message["media"], contents):
        assert_fails(one, item, content, "the other file")


# Backups


def test_restore_brings_files_back(make_gateway, party, graph, media, tmp_path):
    old = make_gateway("old", **settings(graph, media, WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20))).start()
    one = party(on=old)
    (_, gone, first), (content, kept, item) = sent(one, graph, 300_000), sent(one, graph, 300_000)
    paths = {name: path_of(one, message) for name, message in (("gone", gone), ("kept", kept))}
    purge(one.tenant, gone)
    backed_up(old, tmp_path / "backup", tmp_path / "backup.key")
    assert old.stop() == 0
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert not any(content[100_000:100_032] in path.read_bytes() for path in files)

    new = make_gateway("new", **settings(graph, media, WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20)))
    restored(new, tmp_path / "backup")
    new.start()
    there = copy.copy(one)
    there.tenant = copy.copy(one.tenant)
    there.gateway = there.tenant.gateway = new
    answer = there.get(item)
    assert (answer.status_code, answer.content) == (200, content)
    assert there.media(kept)[0]["status"] == "fetched"
    assert_problem(there.get(first), 410, "body_purged")
    assert paths["kept"] in stored(new) and paths["gone"] not in stored(new)
    purge(there.tenant, kept)
    assert paths["kept"] not in stored(new)
    assert new.stop() == 0
    assert_verifies(new, "--invariants")


def test_damaged_file_in_a_backup(make_gateway, party, graph, media, tmp_path):
    old = make_gateway("old", **settings(graph, media)).start()
    one = party(on=old)
    sent(one, graph, 50_000)
    backed_up(old, tmp_path / "backup", tmp_path / "backup.key")
    assert old.stop() == 0
    files = [path for path in (tmp_path / "backup").rglob("*")
             if path.is_file() and "media" in str(path.relative_to(tmp_path / "backup"))]
    assert files, "the media files are not in the backup"
    for number, change in enumerate([lambda raw: raw[:-1], None]):
        source, _ = damaged(tmp_path, files[0], f"damaged-{number}", change)
        new = make_gateway(f"new-{number}", **settings(graph, media))
        result = restore(new, source, "--backup-key", tmp_path / "backup.key")
        assert (result.returncode, result.stdout) == (1, ""), f"{number}: {result.stdout}{result.stderr}"
        assert not (new.data / "root.key").exists()


def damaged(tmp_path, file, name, change):
    """A copy of the backup in which a file is changed, or gone."""
    source = shutil.copytree(tmp_path / "backup", tmp_path / name)
    path = source / file.relative_to(tmp_path / "backup")
    raw = path.read_bytes()
    path.unlink()
    if change is not None:
        path.write_bytes(change(raw))
    return source, raw


def test_one_damaged_file_does_not_keep_all_else_from_being_restored(make_gateway, party, graph, media, tmp_path):
    old = make_gateway("old", **settings(graph, media)).start()
    one = party(on=old)
    content, _, item = sent(one, graph, 50_000)
    backed_up(old, tmp_path / "backup", tmp_path / "backup.key")
    assert old.stop() == 0
    (file,) = [path for path in (tmp_path / "backup" / "media").rglob("*") if path.is_file()]
    source, _ = damaged(tmp_path, file, "damaged", lambda raw: raw[:300] + bytes([raw[300] ^ 1]) + raw[301:])
    new = make_gateway("new", **settings(graph, media))
    assert restore(new, source, "--backup-key", tmp_path / "backup.key").returncode == 0
    new.start()
    there = copy.copy(one)
    there.tenant = copy.copy(one.tenant)
    there.gateway = there.tenant.gateway = new
    assert_fails(there, item, content, "one bit")


# Who takes long, and who asks otherwise


class Stalled:
    """A client that asks for a file and takes next to nothing of it."""

    def __init__(self, party, item):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", party.gateway.port))
        head = f"GET {item['url']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {party.tenant.key}\r\n\r\n"
        self.socket.sendall(head.encode())
        assert self.socket.recv(1024).startswith(b"HTTP/1.1 200")

    def rest(self):
        """What still comes, up to the end of the connection."""
        self.socket.settimeout(20)
        parts = []
        try:
            while part := self.socket.recv(1 << 16):
                parts.append(part)
        except ConnectionError:
            pass
        return b"".join(parts)


def open_files(gateway):
    """The media files that the gateway's process has open."""
    found = []
    for link in (f"/proc/{gateway.process.pid}/fd/{name}" for name in os.listdir(f"/proc/{gateway.process.pid}/fd")):
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        if str(gateway.data / "media") in target:
            found.append(target)
    return found


def test_purge_ends_a_download_that_is_under_way(party, graph):
    one = party()
    content, message, item = sent(one, graph, 8 << 20, "document", "text/plain")
    stalled = Stalled(one, item)
    wait_until(lambda: open_files(one.gateway), 5, "the file to be open")
    purge(one.tenant, message)
    assert open_files(one.gateway) == []
    assert len(stalled.rest()) < len(content), "the answer breaks off"


def test_purge_ends_a_fetch_that_is_under_way(party, graph):
    one, file = party(), Held(content_of(300_000))
    media_id = graph.file(one.account, graph.described(one.account, file.content, url=graph.place(file)))
    one.says(File("document", media_id, "text/plain"))
    assert file.begun.wait(10)
    message = one.newest()["id"]
    wait_until(lambda: open_files(one.gateway), 5, "the file to be open")
    purge(one.tenant, message)
    assert open_files(one.gateway) == [] and path_of(one, message) + ".part" not in stored(one.gateway)
    file.released.set()


def test_shutdown_ends_a_download(party, graph, make_gateway, media):
    gateway = make_gateway("stopped", **settings(graph, media)).start()
    one = party(on=gateway)
    content, _, item = sent(one, graph, 8 << 20, "document", "text/plain")
    stalled = Stalled(one, item)
    begun, results = time.monotonic(), []
    stop = threading.Thread(target=lambda: results.append(gateway.stop()))
    stop.start()
    time.sleep(1)
    taken = stalled.rest()
    stop.join(40)
    assert results == [0] and time.monotonic() - begun < 30
    assert len(taken) < len(content), "a short answer is seen to be one"


def test_one_file_that_cannot_be_unlinked_keeps_no_other_purge(fragile, party, graph):
    one = party(on=fragile)
    (_, first, _), (_, second, _) = sent(one, graph), sent(one, graph)
    path = fragile.data / "media" / path_of(one, first)
    path.unlink()
    path.mkdir()
    (path / "x").touch()
    assert one.tenant.call("POST", f"/v1/messages/{first}/purge").status_code == 202, "it is not done"
    purge(one.tenant, second)
    shutil.rmtree(path)
    fragile.stop()
    fragile.start()
    one.wait_for_purge(first)


def test_what_the_provider_calls_a_type_does_not_survive_the_purge(party, graph):
    one = party()
    secret = unique("secret")
    content = content_of(100)
    mime_type = f'application/pdf; name="{secret}.pdf"'
    mid = one.says(File("document", graph.simple(one.account, content, mime_type), mime_type))
    message = one.received(mid).event["data"]["message"]
    assert message["media"][0]["mime_type"] == mime_type
    purge(one.tenant, message["id"])
    shown = one.gateway.run_ok("replay", "--data", one.gateway.data, "--bodies")
    assert secret not in str(shown)


def raw_answers(party, method, path):
    """All that comes for one request on a connection that is kept."""
    with socket.create_connection(("127.0.0.1", party.gateway.port)) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {party.tenant.key}\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(20)
        parts = []
        try:
            while part := connection.recv(1 << 16):
                parts.append(part)
                # A body that should not be there follows its header.
                connection.settimeout(0.5)
        except TimeoutError:
            pass
        return b"".join(parts)


def test_head_never_has_a_body(party, graph):
    one = party()
    _, message, item = sent(one, graph)
    for path, status in (("/v1/media/med_x", b"404"), (item["url"], b"200")):
        answer = raw_answers(one, "HEAD", path)
        assert answer.split(b" ", 2)[1] == status and answer.endswith(b"\r\n\r\n"), answer
    purge(one.tenant, message)
    assert raw_answers(one, "HEAD", item["url"]).endswith(b"\r\n\r\n")


def test_conditions(party, graph):
    one = party()
    content, _, item = sent(one, graph)
    tag = one.get(item).headers["ETag"]
    same = one.get(item, **{"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")
    assert one.get(item, **{"If-None-Match": '"other"'}).content == content
    assert one.get(item, **{"Range": "bytes=0-9", "If-Range": tag}).content == content[:10]
    assert one.get(item, **{"Range": "bytes=0-9", "If-Range": '"other"'}).content == content
    assert one.get(item, method="HEAD", **{"Range": "bytes=0-9"}).status_code == 200


# Settings


@pytest.mark.parametrize("networks", ["nonsense", "127.0.0.1/99", "http://127.0.0.1"])
def test_networks_must_be_networks(make_gateway, networks):
    bare = make_gateway("bare", WAYBILL_MEDIA_ALLOW_CIDRS=networks)
    result = bare.run("serve", "--data", bare.data, "--check-config")
    assert result.returncode != 0 and "media.allow_cidrs" in result.stderr


def test_default_limit_of_inline_files_is_larger(make_gateway, party, graph, media):
    """16 MiB, unless the operator set another one."""
    roomy = make_gateway("roomy", **settings(graph, media, WAYBILL_PURGE_INLINE_MEDIA_BYTES=None)).start()
    one, content = party(on=roomy).purging(), content_of(3 << 20)
    mid = one.says(File("document", graph.simple(one.account, content)))
    assert inline(one, mid) == [content]
    assert_gone(one, one.newest())
    assert roomy.stop() == 0


# The sandbox

SANDBOX = [("whatsapp", "16505551234", "image", "image/png"), ("facebook", "9001", "document", "application/pdf"),
           ("instagram", "9002", "audio", "audio/mpeg"), ("sms", "+16505551234", "video", "video/mp4")]


@pytest.mark.parametrize("platform, sender, kind, mime_type", SANDBOX)
def test_sandbox_has_files(sandbox, platform, sender, kind, mime_type):
    gateway, base, key = sandbox
    content = content_of(100_000)
    media = {"type": kind, "mime_type": mime_type, "filename": "a.bin", "content": base64.b64encode(content).decode()}
    written = call("POST", f"{base}/sandbox/messages", json={"platform": platform, "from": sender, "media": media})
    assert (written.status_code, written.json()) == (200, {"gateway_status": 200, "accepted": True})

    def arrived():
        for one in call("GET", f"{base}/sandbox/received").json()["data"]:
            data = one["event"]["data"]
            if one["signature_verified"] and data.get("platform") == platform and data["message"].get("media"):
                return data["message"]["media"]

    (item,) = wait_until(arrived, PROMPT_SECONDS, "the webhook")
    assert (item["type"], item["size"]) == (kind, len(content))
    assert call("GET", gateway.base_url + item["url"], key).content == content


def test_sandbox_in_inbound_body_purge(sandbox):
    gateway, base, key = sandbox
    change = {"inbound_body_purge": {"whatsapp": True}}
    assert call("PATCH", f"{gateway.base_url}/v1/settings", key, json=change).status_code == 200
    content = base64.b64encode(content_of(1_500_000)).decode()
    media = {"type": "image", "mime_type": "image/png", "content": content}
    call("POST", f"{base}/sandbox/messages", json={"platform": "whatsapp", "from": "16505551235", "media": media})
    wait_until(lambda: content in call("GET", f"{base}/sandbox/received").text, PROMPT_SECONDS, "the webhook with its file")
