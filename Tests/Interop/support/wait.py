"""Bounded waiting. Nothing in this suite waits without a limit, and nothing sleeps where it can poll."""

import time

POLL_SECONDS = 0.02


def wait_until(predicate, seconds, what=""):
    """The first truthy value of `predicate`, or a failure after `seconds`."""
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
