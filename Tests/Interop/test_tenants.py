"""What one client's requests may cost the others, and what ends a request that waits."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.problems import assert_problem

# Far more than an answer takes once the key has ended, and far less than a poll waits that nothing ends.
POLL_SECONDS = 20


@pytest.mark.parametrize("overlap", [0, 1])
def test_long_poll_ends_with_its_key(tenant, overlap):
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        polled = pool.submit(tenant.get, f"/v1/events?after=0&wait={POLL_SECONDS}", token=tenant.key)
        time.sleep(0.3)  # The poll is let in meanwhile.
        new = tenant.post("/v1/api-key/rotate", {"overlap_seconds": overlap}).json()["api_key"]
        assert_problem(polled.result(), 401)
        assert time.monotonic() - started < POLL_SECONDS / 2
    # The key that follows it polls on.
    assert tenant.get("/v1/events?after=0", token=new).status_code == 200
