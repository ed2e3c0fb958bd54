"""Subscriptions: the switch from the past to the present under load, checkpoints, the word that it has caught up, ends."""

import time

from checking import ANY, NO_STREAM, Worker, client, equal, event, events, number, refused, true
from kurrentdbclient.exceptions import CancelledByClientError, GrpcDeadlineExceededError

EVENTS = 10_000


def live_under_load(address):
    """Two subscriptions begin amid the appends of another client: no gap, no double, the order held."""
    with client(address) as db, client(address) as writer:
        half = EVENTS // 2
        writer.append_to_stream("load", current_version=NO_STREAM, events=events(range(half)))

        def append():
            for first in range(half, EVENTS, 10):
                writer.append_to_stream("load", current_version=first - 1,
                                        events=events(range(first, first + 10)))

        def follow(subscription):
            place = -1
            for expected in range(EVENTS):
                found = next(subscription)
                equal((number(found), found.stream_position), (expected, expected), "the next event")
                true(found.commit_position > place, "positions rise")
                place = found.commit_position

        with db.subscribe_to_stream("load") as stream, db.subscribe_to_all(
            filter_include=("load",), filter_by_stream_name=True
        ) as everything:
            workers = [Worker(append), Worker(follow, stream), Worker(follow, everything)]
            for worker in workers:
                worker.finished()


def checkpoints(address):
    with client(address) as db:
        start = db.append_to_stream("marked", current_version=ANY, events=event(0, "mark.Wanted"))
        for first in range(0, 1000, 100):
            db.append_to_stream("marked", current_version=ANY, events=events(range(first, first + 100), "mark.Other"))
        db.append_to_stream("marked", current_version=ANY, events=event(1, "mark.Wanted"))
        options = {"filter_include": ("mark.Wanted",), "include_checkpoints": True, "window_size": 10,
                   "checkpoint_interval_multiplier": 1, "timeout": 30}
        wanted, marks = [], []
        with db.subscribe_to_all(commit_position=start, **options) as subscription:
            for found in subscription:
                if found.is_checkpoint:
                    marks.append(found.commit_position)
                else:
                    wanted.append(number(found))
                if wanted and marks and marks[-1] > start + 1000:
                    break
        equal(wanted, [1], "behind the first")
        true(marks == sorted(set(marks)), f"checkpoints rise: {marks}")
        db.append_to_stream("marked", current_version=ANY, events=events([0], "mark.Other"))
        db.append_to_stream("marked", current_version=ANY, events=event(2, "mark.Wanted"))
        with db.subscribe_to_all(commit_position=marks[-1], **options) as subscription:
            found = next(it for it in subscription if not it.is_checkpoint)
            equal(number(found), 2, "what came behind the last checkpoint")


def caught_up(address):
    with client(address) as db:
        db.append_to_stream("caught-up", current_version=NO_STREAM, events=events(range(5)))
        last = db.get_stream("caught-up")[-1]
        with db.subscribe_to_stream("caught-up", include_caught_up=True, timeout=30) as subscription:
            found = [next(subscription) for _ in range(6)]
            equal([it.is_caught_up for it in found], [False] * 5 + [True], "five events, then the word")
            equal(found[5].stream_position, 4, "how far it has come")
            db.append_to_stream("caught-up", current_version=4, events=event(5))
            equal(number(next(subscription)), 5, "an event of the present")
        with db.subscribe_to_all(commit_position=last.commit_position, filter_exclude=(),
                                 include_caught_up=True, timeout=30) as subscription:
            equal([number(next(subscription)), next(subscription).is_caught_up], [5, True], "$all")
        with db.subscribe_to_stream("not-yet", include_caught_up=True, timeout=30) as subscription:
            true(next(subscription).is_caught_up, "a stream that is not there yet")
            db.append_to_stream("not-yet", current_version=NO_STREAM, events=event(7))
            equal(number(next(subscription)), 7, "its first event")
        with db.subscribe_to_stream("caught-up", from_end=True, include_caught_up=True, timeout=30) as subscription:
            true(next(subscription).is_caught_up, "from the end")
            db.append_to_stream("caught-up", current_version=5, events=event(6))
            equal(number(next(subscription)), 6, "only what comes later")


def cancelled_and_late(address):
    with client(address) as db:
        begun = time.monotonic()
        subscription = db.subscribe_to_stream("silent", timeout=0.5)
        refused(GrpcDeadlineExceededError, next, subscription)
        true(0.4 < time.monotonic() - begun < 10, "the deadline is kept")

        subscription = db.subscribe_to_all(from_end=True)
        reader = Worker(lambda: equal(list(subscription), [], "nothing comes"))
        time.sleep(0.2)
        subscription.stop()
        reader.finished(10)

        subscription = db.subscribe_to_all(from_end=True)
        reader = Worker(refused, CancelledByClientError, next, subscription)
        time.sleep(0.2)
        subscription.stop(cancel=True)
        reader.finished(10)
        db.append_to_stream("silent", current_version=NO_STREAM, events=event(1))
        equal(number(db.get_stream("silent")[0]), 1, "the connection goes on")
