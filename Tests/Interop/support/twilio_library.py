"""Twilio's own Python library on loopback: its REST client against our servers, and requests as they came over the wire."""

from typing import NamedTuple
from urllib.parse import parse_qsl

from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from support.fake_twilio import FakeTwilio, FormValues
from support.http import LoopbackServer, call

API = "https://api.twilio.com"
TIMEOUT_SECONDS = 20
FORM = "application/x-www-form-urlencoded"


class Recorded(NamedTuple):
    """Header names are lower-case."""

    method: str
    target: str
    headers: dict
    body: bytes

    @staticmethod
    def of(handler, body):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        return Recorded(handler.command, handler.path, headers, body)

    @property
    def pairs(self):
        """Every parameter, decoded, in an order of its own: two requests say the same if these are equal."""
        return sorted(parse_qsl(self.body.decode("ascii"), keep_blank_values=True, strict_parsing=True))

    def values(self, name):
        return [value for one, value in self.pairs if one == name]


class RecordingTwilio(FakeTwilio):
    """The fake Twilio, which also keeps what came as it came."""

    def __init__(self):
        self.recorded = []
        super().__init__()

    def handle(self, handler, body):
        # A list's append is atomic, and an entry is there before anybody can see the answer.
        self.recorded.append(Recorded.of(handler, body))
        super().handle(handler, body)

    def of(self, account):
        prefix = f"/2010-04-01/Accounts/{account.sid}/"
        return [one for one in list(self.recorded) if one.target.startswith(prefix)]


class Front(LoopbackServer):
    """Stands where Twilio sees the gateway: keeps what came with the status that it got. What is for the gateway is passed
    on to `target`; anything else gets 200."""

    def __init__(self):
        self.target = None
        self.recorded = []
        super().__init__()

    def handle(self, handler, body):
        recorded = Recorded.of(handler, body)
        if not recorded.target.startswith("/channels/"):
            self.recorded.append((recorded, 200))
            return self.answer(handler, 200)
        passed = {name: recorded.headers[name] for name in ("content-type", "x-twilio-signature") if name in recorded.headers}
        answer = call(recorded.method, self.target + recorded.target, headers=passed, data=body)
        self.recorded.append((recorded, answer.status_code))
        self.answer(handler, answer.status_code, answer.content, answer.headers.get("Content-Type", ""))


class LoopbackHttpClient(TwilioHttpClient):
    """The library's own HTTP client; only the host that it asks is another one, and nothing leaves this machine."""

    def __init__(self, base_url):
        super().__init__(timeout=TIMEOUT_SECONDS)
        self.session.trust_env = False
        self._base_url = base_url

    def request(self, method, url, *args, **kwargs):
        assert url.startswith(API + "/"), f"the library asks {url}"
        return super().request(method, self._base_url + url[len(API):], *args, **kwargs)


def library(base_url, account_sid, auth_token):
    """`twilio.rest.Client` of an account, with nothing from the environment."""
    # An empty mapping would be replaced by the environment.
    return Client(account_sid, auth_token, http_client=LoopbackHttpClient(base_url), environment={"NOTHING": ""})


def validates(auth_token, url, pairs, signature):
    """What the library says of a form POST."""
    return RequestValidator(auth_token).validate(url, FormValues(pairs), signature)
