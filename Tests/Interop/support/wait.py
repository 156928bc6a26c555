"""Bounded waiting. Nothing in this suite waits without a limit, and nothing sleeps where it can poll."""

import time

POLL_SECONDS = 0.02
# What a busy machine is given at least. Less than what endpoints of these tests are held or hang for (12 s and more): what waits
# for one of them by mistake is still seen.
PATIENCE_SECONDS = 10


def wait_until(predicate, seconds, what="", exactly=False):
    """The first truthy value of `predicate`, or a failure after `seconds`, where the time itself is tested, and else after at
    least `PATIENCE_SECONDS`."""
    if not exactly:
        seconds = max(seconds, PATIENCE_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {seconds} s: {what or predicate}; last value {value!r}")
        time.sleep(POLL_SECONDS)


def holds_for(predicate, seconds, what=""):
    """Fails as soon as `predicate` is false within `seconds`: for things that must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert predicate(), f"did not hold for {seconds} s: {what or predicate}"
        time.sleep(POLL_SECONDS)
    assert predicate(), f"did not hold for {seconds} s: {what or predicate}"
