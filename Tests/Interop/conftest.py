"""End-to-end tests of the `waybill` binary against its public contract, with software from elsewhere on both sides:
Twilio's own signature code, the Standard Webhooks library, and plain HTTP.

    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    WAYBILL_BIN=../../.build/release/waybill .venv/bin/pytest

Every module has one gateway, one fake Twilio and one receiver; every test has clients of its own.
"""

import os
import re

import pytest

pytest.register_assert_rewrite("support")

from support import gateway as gateway_module  # noqa: E402 - after the rewrite is registered
from support.fake_twilio import FakeTwilio  # noqa: E402
from support.gateway import Gateway  # noqa: E402
from support.receiver import Receiver  # noqa: E402
from support.tenant import Tenant, customer_number  # noqa: E402
from support.wait import wait_until  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def waybill_binary():
    path = gateway_module.binary()
    if not os.access(path, os.X_OK):
        pytest.exit(f"no gateway at {path}: build it first (swift build -c release), or set WAYBILL_BIN", returncode=2)
    return path


@pytest.fixture(scope="module")
def twilio():
    server = FakeTwilio()
    yield server
    server.close()


@pytest.fixture(scope="module")
def receiver():
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="module")
def make_gateway(tmp_path_factory, twilio):
    """Gateways with their own data directories; all of them end with the module, however the tests went."""
    gateways = []

    def make(name="gateway", **settings):
        gateways.append(Gateway(tmp_path_factory.mktemp(name), twilio, **settings))
        return gateways[-1]

    make.gateways = gateways
    yield make
    for one in gateways:
        one.kill()


@pytest.fixture(scope="module")
def gateway(make_gateway):
    """The module's gateway. It must also end well: SIGTERM drains and exits 0."""
    running = make_gateway().start()
    yield running
    if running.process is not None:
        assert running.stop() == 0, running.log_tail()


@pytest.fixture(scope="module")
def sandbox(make_gateway):
    """A gateway with providers of its own: its address, that of its sandbox, and the demo client's key, as it prints them."""
    names = ("PUBLIC_URL", "WEBHOOKS_ALLOW_HTTP", "WEBHOOKS_ALLOW_CIDRS", "PROVIDERS_TWILIO_BASE_URL")
    running = make_gateway("sandbox", **{f"WAYBILL_{name}": None for name in names}).start("--sandbox")

    def printed():
        return re.search(r"Sandbox: +(http://\S+).*?Demo key: +(wb_\S+)", running.log_tail(20_000), re.DOTALL)

    yield running, *wait_until(printed, 10, "the sandbox").groups()
    assert running.stop() == 0, running.log_tail()


@pytest.fixture
def make_tenant(request, make_gateway, twilio):
    def make(on=None, sms=True, **settings):
        running = on or request.getfixturevalue("gateway")
        tenant = Tenant(running, twilio.account(), **settings)
        if sms:
            answer = tenant.connect_sms()
            assert answer.status_code == 200, answer.text
        return tenant

    return make


@pytest.fixture
def tenant(make_tenant):
    """A client on the professional plan with a number, and no webhook yet."""
    return make_tenant()


@pytest.fixture
def customer():
    return customer_number()


@pytest.fixture(autouse=True)
def gateway_log_on_failure(request):
    """A failing test shows the end of its module's gateway logs; nothing is read when it passes."""
    yield
    report = getattr(request.node, "call_report", None)
    make = request.node.funcargs.get("make_gateway")
    if report is not None and report.failed and make is not None:
        for one in make.gateways:
            print(f"--- end of {one.log} ---\n{one.log_tail()}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        item.call_report = report
    return report
