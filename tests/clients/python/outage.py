"""The server is found by discovery, and killed under appends: the test that runs this program kills it at `KILL ME` and
says `killed` on standard input once it is there again."""

import sys
import threading
import time

from checking import NO_STREAM, client, equal, event, id_of, numbers, revisions, true
from kurrentdbclient import KurrentDBClient
from kurrentdbclient.exceptions import DiscoveryFailedError, KurrentDBClientError, WrongCurrentVersionError

# Appends that are acknowledged before the kill, and once more behind it.
BEFORE, BEHIND = 200, 200


def discovered(address):
    for target in (f"esdb+discover://{address}", f"kurrentdb+discover://{address}", f"esdb://127.0.0.1:1,{address}"):
        with KurrentDBClient(f"{target}?tls=false&maxDiscoverAttempts=3&discoveryInterval=100") as db:
            stream = f"found-{target.partition(':')[0]}-{target.count(',')}"
            db.append_to_stream(stream, current_version=NO_STREAM, events=event(1))
            equal(numbers(db.get_stream(stream)), [1], target)
            (member,) = db.read_gossip()
            equal(f"{member.address}:{member.port}", address, "the address that it tells")
            equal(member.state, "NODE_STATE_LEADER", "its state")
    try:
        KurrentDBClient("esdb+discover://127.0.0.1:1?tls=false&maxDiscoverAttempts=2&discoveryInterval=10")
    except DiscoveryFailedError:
        return
    true(False, "nobody is found where nobody is")


def killed(address):
    back = threading.Event()

    def wait():
        if sys.stdin.readline().strip() == "killed":
            back.set()

    threading.Thread(target=wait, daemon=True).start()
    acknowledged, failures, behind = 0, 0, 0
    deadline = time.monotonic() + 100
    with client(address) as db:
        while behind < BEHIND:
            true(time.monotonic() < deadline, f"100 s are over: {acknowledged} acknowledged, {failures} failed")
            expected = NO_STREAM if acknowledged == 0 else acknowledged - 1
            try:
                # A repetition has the same id, so it is written once, whatever became of the one before.
                db.append_to_stream("killed", current_version=expected,
                                    events=event(acknowledged, id=id_of(1000 + acknowledged)))
            except WrongCurrentVersionError:
                raise
            except KurrentDBClientError:
                failures += 1
                time.sleep(0.05)
                continue
            acknowledged += 1
            behind += back.is_set()
            if acknowledged == BEFORE:
                print("KILL ME", flush=True)
        read = db.get_stream("killed")
        equal(numbers(read), list(range(acknowledged)), "every acknowledged event, once, in order")
        equal(revisions(read), list(range(acknowledged)), "their revisions")
        equal([it.id for it in read], [id_of(1000 + n) for n in range(acknowledged)], "their ids")
