"""KurrentDB's Python client against the server at HOST:PORT: every check in turn, with a line `ok NAME` for each that
passes. At the first one that fails it says why and ends with 1. With a word behind the address, only the checks with it
in their names."""

import os
import sys
import traceback

import appends
import deletions
import group_errors
import groups
import outage
import reads
import subscriptions
import transactions

CHECKS = [
    ("appends meet what they expect", appends.expectations),
    ("wrong expectations are told", appends.wrong_expectations),
    ("repetitions write nothing twice", appends.repetitions),
    ("an append of many events is one", appends.many_events),
    ("many appends run at once", appends.many_appends),
    ("large events come back whole", appends.large_events),
    ("streams are read both ways", reads.streams),
    ("all events are read both ways", reads.all_events),
    ("links are followed", reads.links),
    ("filters choose by type and stream", reads.filters),
    ("missing streams are told", reads.missing_streams),
    ("deleted streams are told from tombstones", deletions.deleted_and_tombstoned),
    ("metadata hides events", deletions.metadata),
    ("a subscription goes live under load", subscriptions.live_under_load),
    ("a filtered subscription goes on behind its checkpoint", subscriptions.checkpoints),
    ("a subscription says when it has caught up", subscriptions.caught_up),
    ("a cancelled or late call ends", subscriptions.cancelled_and_late),
    ("consumers of a group share its events", groups.shared),
    ("events are retried, parked and replayed", groups.retried_and_parked),
    ("a group reads all events", groups.all_events),
    ("groups are listed, changed and deleted", groups.listed_and_changed),
    ("a group's errors are told", group_errors.told),
    ("appends over several streams are one", transactions.several_streams),
    ("the server is discovered", outage.discovered),
    ("nothing acknowledged is lost with the server killed", outage.killed),
    ("conditions hold over several streams", transactions.conditions),
]


def main(address, word=""):
    for name, check in CHECKS:
        if word not in name:
            continue
        try:
            check(address)
        except Exception:
            traceback.print_exc()
            print(f"FAILED {name}", file=sys.stderr, flush=True)
            return 1
        print(f"ok {name}", flush=True)
    return 0


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the client left with a server that was killed would be waited for without end.
    os._exit(code)
