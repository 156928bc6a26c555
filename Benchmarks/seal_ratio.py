"""How much smaller sealing makes a log of realistic events, and what compressing bodies before encryption would gain.

Runs the real gateway with a simulated Twilio and receiver: inbound messages of differing length, webhooks delivered, replies sent.
Usage: seal_ratio.py [messages], in an environment with Tests/Interop/requirements.txt, WAYBILL_BIN naming the binary.
"""

import base64
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "Tests" / "Interop"))

import lz4.block  # noqa: E402
from support.fake_twilio import FakeTwilio  # noqa: E402
from support.gateway import Gateway  # noqa: E402
from support.receiver import Receiver  # noqa: E402
from support.tenant import Tenant, customer_number  # noqa: E402

WORDS = ("hello thanks order delivery tomorrow please when can you the a my is it parcel number address arrived wrong size colour "
         "refund exchange price opening hours Saturday available stock blue large tracking code confirm yes no maybe later").split()


def fill(gateway, twilio, receiver, messages):
    tenant = Tenant(gateway, twilio.account(), sms_monthly_quota=1_000_000)
    assert tenant.connect_sms().status_code == 200
    tenant.subscribe(receiver.endpoint())
    random.seed(1)
    customers = [customer_number() for _ in range(200)]
    for _ in range(messages):
        text = " ".join(random.choices(WORDS, k=random.randint(3, 40)))
        customer = random.choice(customers)
        assert tenant.inbound(text, customer).status_code == 200
        if random.random() < 0.5:
            tenant.accepted(text[::-1], customer)
    time.sleep(3)


def parts(gateway):
    """Plaintexts of sealed parts, each as it would be sealed."""
    found = {}
    for line in gateway.run_ok("replay", "--data", gateway.data, "--bodies").splitlines():
        for name, value in (json.loads(line).get("body") or {}).items():
            text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            found.setdefault(name, []).append(text.encode())
    return found


def compressed(plaintexts, dictionary=b""):
    return sum(min(len(one), len(lz4.block.compress(one, store_size=False, dict=dictionary or None, mode="high_compression")))
               for one in plaintexts)


def main():
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    with tempfile.TemporaryDirectory() as directory:
        twilio, receiver = FakeTwilio(), Receiver()
        gateway = Gateway(Path(directory), twilio, WAYBILL_LOG_SEGMENT_BYTES=str(1 << 20), WAYBILL_LOG_SEALING="false")
        gateway.start()
        fill(gateway, twilio, receiver, messages)
        gateway.stop()
        found = parts(gateway)
        gateway.settings["WAYBILL_LOG_SEALING"] = "true"
        before = {path.stem: path.stat().st_size for path in gateway.data.glob("*.wal")}
        gateway.start()
        for _ in range(600):
            if len(list(gateway.data.glob("*.wal"))) == 1:
                break
            time.sleep(0.1)
        gateway.stop()
        sealed = {path.stem: path.stat().st_size for path in gateway.data.glob("*.sealed")}
        old = sum(size for stem, size in before.items() if stem in sealed)
        print(f"segments: {old:,} bytes before, {sum(sealed.values()):,} after sealing: {sum(sealed.values()) / old:.2f}")
        for name, plaintexts in sorted(found.items()):
            # A dictionary of 16 KiB from other messages, as a preset one would be.
            dictionary = b"".join(plaintexts[:40])[:16384]
            rest = plaintexts[40:]
            total = sum(map(len, rest))
            if total:
                print(f"{name}: {len(rest)} of {total // len(rest)} bytes; LZ4 alone {compressed(rest) / total:.2f}, "
                      f"with a dictionary {compressed(rest, dictionary) / total:.2f}")
        twilio.close()
        receiver.close()


if __name__ == "__main__":
    main()
