"""Appends: every expectation, right and wrong, repetitions, many events at once, many appends at once, large events."""

import os
from concurrent.futures import ThreadPoolExecutor

from checking import (
    ANY, EXISTS, NO_STREAM, client, equal, event, events, id_of, numbers, refused, revisions, true,
)
from kurrentdbclient import NewEvent
from kurrentdbclient.exceptions import WrongCurrentVersionError


def expectations(address):
    with client(address) as db:
        # One event goes by Append, a list by BatchAppend.
        for stream, wrapped in (("expected-single", lambda it: it), ("expected-batch", lambda it: [it])):
            positions = [
                db.append_to_stream(stream, current_version=expected, events=wrapped(event(number)))
                for number, expected in enumerate([NO_STREAM, ANY, EXISTS, 2, 3])
            ]
            true(positions == sorted(set(positions)), f"positions rise: {positions}")
            read = db.get_stream(stream)
            equal(numbers(read), [0, 1, 2, 3, 4], stream)
            equal(revisions(read), [0, 1, 2, 3, 4], f"revisions of {stream}")
            equal([it.commit_position for it in read], positions, f"positions of {stream}")
            equal(db.get_current_version(stream), 4, f"the version of {stream}")


def wrong_expectations(address):
    with client(address) as db:
        for wrapped in (lambda it: it, lambda it: [it]):
            for expected in (EXISTS, 0, 7):
                error = refused(
                    WrongCurrentVersionError, db.append_to_stream, "never-written",
                    current_version=expected, events=wrapped(event(1)),
                )
                equal(error.actual_version, NO_STREAM, f"what is there instead of {expected}")
            db.append_to_stream("wrong", current_version=ANY, events=wrapped(event(1)))
            last = db.get_current_version("wrong")
            for expected in (NO_STREAM, last + 1, 99):
                error = refused(
                    WrongCurrentVersionError, db.append_to_stream, "wrong",
                    current_version=expected, events=wrapped(event(2)),
                )
                equal(error.actual_version, last, f"what is there instead of {expected}")
                equal(error.expected_version, expected, "what was expected")
        equal(numbers(db.get_stream("wrong")), [1, 1], "nothing that was refused is written")
        equal(db.get_current_version("never-written"), NO_STREAM, "nothing is written there")


def repetitions(address):
    with client(address) as db:
        first, second, third = (event(number, id=id_of(number)) for number in (1, 2, 3))
        one = db.append_to_stream("repeated", current_version=NO_STREAM, events=first)
        two = db.append_to_stream("repeated", current_version=0, events=[second, third])
        for expected in (NO_STREAM, ANY):
            again = db.append_to_stream("repeated", current_version=expected, events=first)
            equal(again, one, f"the position of a repetition that expects {expected}")
        for expected in (0, ANY, EXISTS):
            again = db.append_to_stream("repeated", current_version=expected, events=[second, third])
            equal(again, two, f"the position of a repeated batch that expects {expected}")
        refused(
            WrongCurrentVersionError, db.append_to_stream, "repeated",
            current_version=0, events=[second, event(9)],
        )
        equal(numbers(db.get_stream("repeated")), [1, 2, 3], "each event once")


def many_events(address):
    with client(address) as db:
        position = db.append_to_stream("many", current_version=NO_STREAM, events=events(range(3000)))
        read = db.get_stream("many")
        equal(numbers(read), list(range(3000)), "every event in order")
        equal(read[-1].commit_position, position, "the position is that of the last event")
        refused(
            WrongCurrentVersionError, db.append_to_stream, "many",
            current_version=17, events=events(range(3000, 6000)),
        )
        equal(db.get_current_version("many"), 2999, "a refused batch writes none of its events")


def many_appends(address):
    with client(address) as db:
        def append(number):
            return db.append_to_stream(
                f"crowd-{number % 10}", current_version=ANY, events=event(number)
            )

        with ThreadPoolExecutor(32) as pool:
            positions = list(pool.map(append, range(1000)))
        equal(len(set(positions)), 1000, "positions of their own")
        for stream in range(10):
            read = db.get_stream(f"crowd-{stream}")
            equal(sorted(numbers(read)), list(range(stream, 1000, 10)), f"crowd-{stream}")
            equal(revisions(read), list(range(100)), f"revisions of crowd-{stream}")
            equal([positions[number] for number in numbers(read)],
                  [it.commit_position for it in read], f"positions of crowd-{stream}")


def large_events(address):
    with client(address) as db:
        written = [
            NewEvent(type="blob", data=os.urandom(size), metadata=os.urandom(100),
                     content_type="application/octet-stream")
            for size in (0, 1 << 20, 5 << 20)
        ]
        db.append_to_stream("large", current_version=NO_STREAM, events=written[0])
        db.append_to_stream("large", current_version=0, events=written[1])
        db.append_to_stream("large", current_version=1, events=written[2])
        db.append_to_stream("large-batch", current_version=NO_STREAM, events=written)
        for stream in ("large", "large-batch"):
            for read, expected in zip(db.get_stream(stream), written, strict=True):
                true(read.data == expected.data, f"{len(expected.data)} bytes of {stream}")
                true(read.metadata == expected.metadata, f"metadata in {stream}")
                equal(read.content_type, "application/octet-stream", "the content type")
                equal(read.id, expected.id, "the id")
