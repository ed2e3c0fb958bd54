"""The exceptions of persistent subscriptions: what exists, what does not, too many consumers, consumers that are dropped."""

import time

from checking import NO_STREAM, Worker, client, events, number, equal, refused
from kurrentdbclient.exceptions import (
    AlreadyExistsError, CancelledError, InternalError, MaximumSubscriptionsReachedError, NotFoundError,
)


def told(address):
    with client(address) as db:
        db.append_to_stream("guarded", current_version=NO_STREAM, events=events(range(3)))
        db.create_subscription_to_stream("group", "guarded", max_subscriber_count=1)
        db.create_subscription_to_all("group", from_end=True)
        refused(AlreadyExistsError, db.create_subscription_to_stream, "group", "guarded")
        refused(AlreadyExistsError, db.create_subscription_to_all, "group")
        refused(InternalError, db.create_subscription_to_stream, "odd", "guarded",
                read_batch_size=600, history_buffer_size=500)
        for stream in ("guarded", None):
            for call in (db.get_subscription_info, db.delete_subscription, db.replay_parked_events):
                refused(NotFoundError, call, "no-group", stream)
        refused(NotFoundError, db.update_subscription_to_stream, "no-group", "guarded", max_retry_count=1)
        refused(NotFoundError, db.update_subscription_to_all, "no-group", max_retry_count=1)
        refused(NotFoundError, db.read_subscription_to_stream, "no-group", "guarded")
        refused(NotFoundError, db.read_subscription_to_all, "no-group")
        equal(list(db.list_subscriptions_to_stream("no-groups-here")), [], "the groups of a stream that has none")

        consumer = db.read_subscription_to_stream("group", "guarded", timeout=60)
        equal([number(next(consumer)) for _ in range(3)], [0, 1, 2], "the one consumer's events")
        refused(MaximumSubscriptionsReachedError, db.read_subscription_to_stream, "group", "guarded")
        waiting = Worker(refused, CancelledError, next, consumer)
        time.sleep(0.2)
        db.update_subscription_to_stream("group", "guarded", max_retry_count=5)
        waiting.finished()

        consumer = db.read_subscription_to_all("group", timeout=60)
        waiting = Worker(refused, NotFoundError, next, consumer)
        time.sleep(0.2)
        db.delete_subscription("group")
        waiting.finished()
        db.delete_subscription("group", "guarded")

