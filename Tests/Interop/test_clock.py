"""The wall clock is set anew, while the gateway runs and between two of its processes: nothing ends, fires, stalls or comes back."""

import re
import time
from datetime import datetime

import pytest

from support import meta
from support.http import call
from support.problems import assert_problem
from support.tenant import Tenant, customer_number, unique
from support.wait import wait_until
from support.wall_clock import WallClock

MINUTE, HOUR, DAY = 60, 3600, 86_400
JUMPS = [sign * seconds for seconds in (1, HOUR, DAY, 8 * DAY) for sign in (1, -1)]
RETRY_SECONDS = 1
# Time runs at 0.9 to 1.1 times its speed while it follows a jump; the rest is for a busy machine.
EARLIEST, LATEST = 0.85 * RETRY_SECONDS, 8
# How far a time may be from the true one: by then a tenth of the time that these tests take.
NEAR_SECONDS = 20


@pytest.fixture(scope="module")
def wall(tmp_path_factory):
    return WallClock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def history():
    """The jumps of more than a minute so far, and when all began."""
    return {"jumps": [], "began": time.time()}


@pytest.fixture(scope="module")
def moved(make_gateway, wall, history):
    return make_gateway("moved", **meta.SETTINGS, **wall.settings)


@pytest.fixture
def running(moved):
    if moved.process is not None and moved.process.poll() is not None:
        moved.kill()
    if moved.process is None:
        moved.start()
    return moved


def seconds_of(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def jumps_counted(gateway):
    text = call("GET", gateway.base_url + "/metrics").text
    return int(re.search(r"^waybill_clock_jumps_total (\d+)$", text, re.MULTILINE).group(1))


def rotated(tenant, what, name, overlap_seconds):
    answer = tenant.post(f"/v1/{what}/rotate", {"overlap_seconds": overlap_seconds})
    assert answer.status_code == 200, answer.text
    return answer.json()[name]


class Scene:
    """A client in its trial, with all that a clock could end too early, too late, or twice."""

    def __init__(self, gateway, twilio, receiver, wall):
        self.gateway, self.wall = gateway, wall
        self.tenant = Tenant(gateway, twilio.account(), addon={"status": "none"})
        answer = gateway.admin("POST", f"/clients/{self.tenant.id}/trial")
        assert answer.status_code in (200, 201), answer.text
        assert self.tenant.connect_sms().status_code == 200
        self._open_window()
        self._send_once()
        self._rotate()
        self.purging = Tenant(gateway, twilio.account())
        assert self.purging.connect_sms().status_code == 200
        self.late = receiver.endpoint()
        self.purging.subscribe(self.late)
        answer = self.purging.call("PATCH", "/v1/settings", json={"inbound_body_purge": {"sms": True}})
        assert answer.status_code == 200, answer.text
        self.endpoint = receiver.endpoint()
        self.tenant.subscribe(self.endpoint, retry_schedule=[RETRY_SECONDS], events=["sms.message_received"])

    def _open_window(self):
        """A customer writes over Messenger: for a day we may answer."""
        page = meta.Account(self.tenant, "facebook")
        assert page.connect().status_code == 200
        item = page.text(unique("mid"), "Hi") | {"timestamp": int(time.time() * 1000)}
        assert page.post(item).status_code == 200
        event = wait_until(self.tenant.events, 5, "the customer's message")[-1]
        self.conversation = event["data"]["conversation"]["id"]

    def _send_once(self):
        self.customer, self.key = customer_number(), unique("key")
        self.first = self.tenant.send("once", self.customer, key=self.key)
        assert self.first.status_code == 202, self.first.text
        self.tenant.wait_for_status(self.first.json()["message_id"], "sent")
        self.month = self.tenant.read("/v1/usage")["month"]

    def _rotate(self):
        """One API key has ended, and one and a webhook secret end in a day."""
        self.ended = self.tenant.key
        self.overlapping = self.tenant.key = rotated(self.tenant, "api-key", "api_key", 0)
        self.tenant.key = rotated(self.tenant, "api-key", "api_key", DAY)
        rotated(self.tenant, "webhook/secret", "webhook_secret", DAY)

    def _set_addon(self, status):
        answer = self.gateway.admin("PATCH", f"/clients/{self.purging.id}", {"addon": {"status": status}})
        assert answer.status_code == 200, answer.text

    def begin(self, is_recorded):
        """A delivery that failed once, and a body of purge mode that waits for its one attempt.

        Before the end of a process the failure has to be on record: else the attempt counts as interrupted, and is repeated.
        """
        self._set_addon("none")
        self.body = unique("purged")
        assert self.purging.inbound(self.body, customer_number()).status_code == 200
        self.told, self.held = len(self.endpoint.requests), len(self.late.requests)
        self.endpoint.script.append(500)
        assert self.tenant.inbound("Hello", customer_number()).status_code == 200
        self.endpoint.wait_for(self.told + 1)
        if is_recorded:
            wait_until(self._waits_for_retry, 5, "the retry to be scheduled")

    def _waits_for_retry(self):
        return any(one["next_attempt_at"] for one in self.tenant.all("/v1/deliveries"))

    def check(self):
        self._check_keys()
        self._check_sends()
        self._set_addon("active")
        request = self.late.wait_for(self.held + 1)[self.held]
        assert request.event["data"]["message"]["text"] == self.body
        self._check_retry()
        assert self.gateway.process.poll() is None, self.gateway.log_tail()

    def _check_keys(self):
        assert_problem(self.tenant.get("/v1/webhook", token=self.ended), 401)
        assert self.tenant.get("/v1/webhook", token=self.overlapping).status_code == 200
        assert self.tenant.get("/v1/webhook").status_code == 200

    def _check_sends(self):
        again = self.tenant.send("once", self.customer, key=self.key)
        assert (again.status_code, again.content) == (202, self.first.content)
        new = self.tenant.accepted("new", customer_number())
        assert abs(seconds_of(new["created_at"]) - time.time()) < NEAR_SECONDS, new["created_at"]
        assert self.tenant.read("/v1/usage")["month"] == self.month
        answer = self.tenant.post("/v1/send", {"conversation_id": self.conversation, "text": "within the window"})
        assert answer.status_code == 202, answer.text
        self.tenant.wait_for_status(new["message_id"], "sent")
        assert len(self.tenant.account.calls_with("once")) == 1

    def _check_retry(self):
        first, second = self.endpoint.wait_for(self.told + 2)[self.told:]
        assert EARLIEST <= second.at - first.at <= LATEST, second.at - first.at
        # The receiver compares it with its own clock, and its clock is the one that was set right.
        assert abs(int(second.headers["webhook-timestamp"]) - self.wall.now) < NEAR_SECONDS
        assert len(second.headers["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize("seconds", JUMPS)
def test_the_wall_clock_jumps(running, twilio, receiver, wall, history, seconds):
    """By so much while the gateway runs, and back between two processes."""
    is_jump = abs(seconds) > MINUTE
    scene = Scene(running, twilio, receiver, wall)
    before = jumps_counted(running)
    scene.begin(is_recorded=False)
    wall.move(seconds)
    history["jumps"] += [seconds] * is_jump
    scene.check()
    assert jumps_counted(running) == before + is_jump

    scene.begin(is_recorded=True)
    if seconds > 0:
        running.stop()
    else:
        running.kill()
    wall.move(-seconds)
    history["jumps"] += [-seconds] * is_jump
    running.start()
    scene.check()
    assert jumps_counted(running) == is_jump


def test_what_the_history_says(running, wall, history):
    """Each jump once, and times that only know the true one."""
    assert wall.seconds == 0
    assert running.stop() == 0, running.log_tail()
    records = running.replay()
    jumped = [record["data"] for record in records if record["type"] == "clock.jumped"]
    moved = [round(seconds_of(one["wall_after"]) - seconds_of(one["wall_before"])) for one in jumped]
    assert [abs(one) for one in moved] == [abs(one) for one in history["jumps"]]
    assert all(abs(a - b) <= NEAR_SECONDS for a, b in zip(moved, history["jumps"])), moved
    assert all(len(one["boot_id"]) >= 22 and one["boot_nanoseconds"] > 0 for one in jumped)
    times = [seconds_of(record["time"]) for record in records]
    assert times == sorted(times)
    assert history["began"] - NEAR_SECONDS <= times[0] and times[-1] <= time.time() + NEAR_SECONDS
    assert ("jumped" in running.log_tail(10**9)) == bool(jumped)
    checked = running.verify("--invariants")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_jump_is_shown_to_operators(running, wall):
    wall.move(HOUR)

    def behind():
        text = call("GET", running.base_url + "/metrics").text
        return 3500 <= int(re.search(r"^waybill_clock_behind_seconds (\d+)$", text, re.MULTILINE).group(1)) <= 3600

    wait_until(behind, 5, "the clock to be behind")
    token = running.create_token()["token"]
    assert call("GET", running.base_url + "/admin/v1/clients", token).status_code == 200
    wall.move(-HOUR)
