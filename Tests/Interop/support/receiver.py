"""A client's webhook endpoint: records what arrived byte for byte, and answers as a test scripted."""

import itertools
import json
import time
from dataclasses import dataclass, field

from support.http import LoopbackServer
from support.wait import wait_until

HANG = "hang"
DROP = "drop"


@dataclass
class Received:
    """One request as it came. Header names are lower-case."""

    body: bytes
    headers: dict
    at: float
    method: str

    @property
    def event(self):
        return json.loads(self.body)


@dataclass
class Endpoint:
    """One URL on the receiver. `script` is consumed one step a request; after its end `default` answers.

    A step is a status, (status, headers), HANG or DROP.
    """

    url: str
    default: object = 200
    script: list = field(default_factory=list)
    requests: list = field(default_factory=list)

    def wait_for(self, count, seconds=10):
        wait_until(lambda: len(self.requests) >= count, seconds, f"{count} requests at {self.url}")
        return list(self.requests)

    def of_type(self, event_type):
        return [request for request in list(self.requests) if request.event["type"] == event_type]

    def wait_for_type(self, event_type, count=1, seconds=10):
        wait_until(lambda: len(self.of_type(event_type)) >= count, seconds, f"{count} × {event_type} at {self.url}")
        return self.of_type(event_type)


class Receiver(LoopbackServer):
    def __init__(self):
        self._endpoints = {}
        self._numbers = itertools.count(1)
        self.unexpected = []
        super().__init__()

    def endpoint(self, script=(), default=200):
        path = f"/hook/{next(self._numbers)}"
        endpoint = Endpoint(self.base_url + path, default=default, script=list(script))
        self._endpoints[path] = endpoint
        return endpoint

    def handle(self, handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(body, headers, time.monotonic(), handler.command)
        endpoint = self._endpoints.get(handler.path)
        if endpoint is None:
            self.unexpected.append((handler.path, received))
            return self.answer(handler, 404)
        with self.lock:
            step = endpoint.script.pop(0) if endpoint.script else endpoint.default
            endpoint.requests.append(received)
        if step == HANG:
            self.hang(handler)
        elif step == DROP:
            self.drop(handler)
        else:
            status, extra = step if isinstance(step, tuple) else (step, {})
            self.answer(handler, status, b'{"received":true}', headers=extra)
