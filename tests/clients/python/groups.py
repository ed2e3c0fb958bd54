"""Persistent subscriptions: consumers that share a group, retries, parked events, groups of $all, what is told of them."""

import threading

from checking import (
    ANY, NO_STREAM, Failed, Worker, client, equal, event, events, number, numbers, refused, true, within,
)
from kurrentdbclient.exceptions import NotFoundError


def shared(address):
    """Three consumers, one of which leaves with events in hand: each event is acknowledged, by more than one of them."""
    with client(address) as db:
        db.create_subscription_to_stream("team", "work", consumer_strategy="RoundRobin", message_timeout=60)
        # All are there before the first event, so each gets its share.
        names = ("one", "two", "three")
        consumers = {
            name: db.read_subscription_to_stream("team", "work", event_buffer_size=10, max_ack_delay=0.01)
            for name in names
        }
        db.append_to_stream("work", current_version=NO_STREAM, events=events(range(200)))
        done, handled, lock = set(), [], threading.Lock()

        def consume(name, leaves_after):
            subscription, mine = consumers[name], 0
            for found in subscription:
                if mine == leaves_after:
                    # This one and what else was sent to it are not acknowledged.
                    subscription.stop()
                    return
                mine += 1
                subscription.ack(found)
                with lock:
                    handled.append((name, number(found)))
                    done.add(number(found))
                    if len(done) == 400:
                        everything.set()

        everything = threading.Event()
        stayers = [Worker(consume, name, None) for name in ("one", "two")]
        leaver = Worker(consume, "three", 5)
        leaver.finished()
        for first in range(200, 400, 20):
            db.append_to_stream("work", current_version=ANY, events=events(range(first, first + 20)))
        if not everything.wait(60):
            raise Failed(f"missing after a minute: {sorted(set(range(400)) - done)}")
        for name in names:
            true(any(who == name for who, _ in handled), f"consumer {name} got events")
        by_stayers = [what for who, what in handled if who != "three"]
        equal(len(by_stayers), len(set(by_stayers)), "no event is acknowledged twice by those who stay")

        info = within(10, "two connections and nothing in flight", lambda: settled(db, "team", "work", 2))
        equal((info.event_source, info.group_name), ("work", "team"), "whose information it is")
        equal(info.consumer_strategy, "RoundRobin", "the strategy")
        equal(info.last_known_event_position, "399", "the last event that it knows")
        db.delete_subscription("team", "work")
        for stayer in stayers:
            error = refused(NotFoundError, stayer.finished)
            true(error is not None, "a consumer is told that its group is gone")


def settled(db, group, stream, connections):
    info = db.get_subscription_info(group, stream)
    idle = info.total_in_flight_messages == 0 and info.retry_buffer_count == 0
    return info if idle and len(info.connections) == connections else None


def retried_and_parked(address):
    with client(address) as db:
        db.append_to_stream("hard", current_version=NO_STREAM, events=events(range(6)))
        db.create_subscription_to_stream("hard-ones", "hard", max_retry_count=2, message_timeout=60)
        seen = []
        with db.read_subscription_to_stream("hard-ones", "hard", max_ack_delay=0.01, timeout=30) as subscription:
            for found in subscription:
                seen.append((number(found), found.retry_count))
                what = number(found)
                if what == 1 and found.retry_count == 0:
                    subscription.nack(found, "retry")
                elif what in (2, 4):
                    subscription.nack(found, "park")
                elif what == 3:
                    subscription.nack(found, "skip")
                elif what == 5:
                    # Once more than it may be retried: it is parked.
                    subscription.nack(found, "retry")
                else:
                    subscription.ack(found)
                if (1, 1) in seen and (5, 2) in seen:
                    break
        equal(sorted(seen), [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (5, 1), (5, 2)], "what was sent")
        within(10, "three parked events",
               lambda: db.get_subscription_info("hard-ones", "hard").parked_message_count == 3)
        parked = db.get_stream("$persistentsubscription-hard::hard-ones-parked", resolve_links=True)
        equal(sorted(numbers(parked)), [2, 4, 5], "what is parked")

        db.replay_parked_events("hard-ones", "hard")
        again = []
        with db.read_subscription_to_stream("hard-ones", "hard", max_ack_delay=0.01, timeout=30) as subscription:
            for found in subscription:
                again.append((number(found), found.retry_count))
                subscription.ack(found)
                if len(again) == 3:
                    break
        equal(sorted(again), [(2, 0), (4, 0), (5, 0)], "what was replayed")
        within(10, "no parked event",
               lambda: db.get_subscription_info("hard-ones", "hard").parked_message_count == 0)
        db.delete_subscription("hard-ones", "hard")


def all_events(address):
    with client(address) as db:
        start = db.append_to_stream("wide-1", current_version=ANY, events=event(0, "wide.Wanted"))
        db.append_to_stream("wide-2", current_version=ANY, events=events([1], "wide.Other"))
        db.append_to_stream("wide-2", current_version=ANY, events=events([2, 3], "wide.Wanted"))
        db.create_subscription_to_all("wide", commit_position=start, filter_include=("wide.Wanted",),
                                      checkpoint_after=0.1, min_checkpoint_count=1)
        with db.read_subscription_to_all("wide", max_ack_delay=0.01, timeout=30) as subscription:
            equal(subscription.subscription_id, "$all::wide", "its id")
            found = []
            for event_found in subscription:
                subscription.ack(event_found)
                found.append(number(event_found))
                if len(found) == 3:
                    db.append_to_stream("wide-3", current_version=ANY, events=event(4, "wide.Wanted"))
                if len(found) == 4:
                    break
        equal(found, [0, 2, 3, 4], "with the event that it starts from")
        # Another consumer goes on behind what was acknowledged.
        db.append_to_stream("wide-3", current_version=ANY, events=event(5, "wide.Wanted"))
        with db.read_subscription_to_all("wide", max_ack_delay=0.01, timeout=30) as subscription:
            found = next(subscription)
            subscription.ack(found)
            equal(number(found), 5, "what is new")
        info = db.get_subscription_info("wide")
        equal((info.event_source, info.group_name), ("$all", "wide"), "whose information it is")
        db.delete_subscription("wide")


def listed_and_changed(address):
    with client(address) as db:
        equal(list(db.list_subscriptions()), [], "no group yet")
        db.append_to_stream("listed", current_version=NO_STREAM, events=events(range(3)))
        db.create_subscription_to_stream("first", "listed", from_end=True, message_timeout=20, max_retry_count=3)
        db.create_subscription_to_stream("second", "listed", consumer_strategy="Pinned", stream_position=1)
        db.create_subscription_to_all("third", from_end=True)

        def named(infos):
            return sorted((it.event_source, it.group_name) for it in infos)

        equal(named(db.list_subscriptions()), [("$all", "third"), ("listed", "first"), ("listed", "second")], "all")
        equal(named(db.list_subscriptions_to_stream("listed")), [("listed", "first"), ("listed", "second")], "a stream's")
        info = db.get_subscription_info("first", "listed")
        equal((info.message_timeout, info.max_retry_count, info.start_from), (20.0, 3, "-1"), "as it was created")
        equal(db.get_subscription_info("second", "listed").consumer_strategy, "Pinned", "the strategy")

        db.update_subscription_to_stream("first", "listed", max_retry_count=7, stream_position=2)
        info = db.get_subscription_info("first", "listed")
        equal((info.message_timeout, info.max_retry_count, info.start_from), (20.0, 7, "2"), "as it was changed")
        with db.read_subscription_to_stream("first", "listed", timeout=30) as subscription:
            found = next(subscription)
            equal(number(found), 2, "it starts where it was told to")
            subscription.ack(found)
        db.update_subscription_to_all("third", max_subscriber_count=9)
        equal(db.get_subscription_info("third").max_subscriber_count, 9, "as it was changed")

        for group, stream in (("first", "listed"), ("second", "listed"), ("third", None)):
            db.delete_subscription(group, stream)
        equal(list(db.list_subscriptions()), [], "no group any more")
