"""What an event must hold: a part of it, member by member, with a few words in angle brackets for what varies.

    <absent>          not there, or null
    <none>            not there, null or empty
    <false>           false, or not there
    <any>             there, and not empty
    <time>            RFC 3339 with milliseconds, UTC
    <starts PREFIX>   a string that begins so
    <message N>       the id of the message that event N is about
    <conversation N>  the id of event N's conversation
"""

import itertools
import re

MISSING = object()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_WORD = re.compile(r"<(absent|none|false|any|time|starts|message|conversation)(?: ([^>]*))?>")


def differences(expected, actual, events=(), path="data"):
    """Where `actual` lacks what is expected, one line each. `events` are those that <message N> names."""
    word = _WORD.fullmatch(expected) if isinstance(expected, str) else None
    if word:
        return [] if _fits(word[1], word[2], actual, events) else [_line(path, expected, actual)]
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            line for name, value in expected.items()
            for line in differences(value, actual.get(name, MISSING), events, f"{path}.{name}")
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            line for index, pair in enumerate(zip(expected, actual))
            for line in differences(*pair, events, f"{path}[{index}]")
        ]
    return [] if _is_same(expected, actual) else [_line(path, expected, actual)]


def _line(path, expected, actual):
    return f"{path}: expected {expected!r}, got {'nothing' if actual is MISSING else repr(actual)}"


def _is_same(expected, actual):
    """True and 1 are equal in Python, not in JSON."""
    return expected == actual and isinstance(expected, bool) == isinstance(actual, bool)


def _fits(word, argument, actual, events):
    if word == "absent":
        return actual is MISSING or actual is None
    if word == "none":
        return actual is MISSING or actual in (None, "", [], {})
    if word == "false":
        return actual is MISSING or actual is False
    if word == "any":
        return actual is not MISSING and actual not in (None, "", [], {})
    if not isinstance(actual, str):
        return False
    if word == "time":
        return TIME.fullmatch(actual) is not None
    if word == "starts":
        return actual.startswith(argument) and len(actual) > len(argument)
    data = events[int(argument)].get("data")
    # Of an event that was purged before anybody could read it, the id is not known.
    return data is None or data[word]["id"] == actual


def event_differences(expected, actual, events):
    """`actual` is an event as it was first seen, with `purged` as it is now."""
    if expected["type"] != actual["type"]:
        return [_line("type", expected["type"], actual["type"])]
    lines = []
    purged = expected.get("purged", False)
    if purged != "either" and purged != actual["purged"]:
        lines.append(_line("purged", purged, actual["purged"]))
    # What was purged before anybody could read it cannot be compared.
    if "data" in actual:
        lines += differences(expected["data"], actual["data"], events)
    return lines


def list_differences(expected, actual):
    """In this order."""
    types = [one["type"] for one in expected], [one["type"] for one in actual]
    if types[0] != types[1]:
        return [_line("types", *types)]
    return [
        f"event {index}: {line}" for index, (want, got) in enumerate(zip(expected, actual))
        for line in event_differences(want, got, actual)
    ]


def set_differences(expected, actual):
    """In any order; those of the order that fits best."""
    types = [sorted(one["type"] for one in events) for events in (expected, actual)]
    if types[0] != types[1]:
        return [_line("types", *types)]
    wanted = [one["type"] for one in expected]
    orders = (order for order in itertools.permutations(actual) if [one["type"] for one in order] == wanted)
    return min((list_differences(expected, list(order)) for order in orders), key=len)
