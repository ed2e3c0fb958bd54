"""Appends over several streams, which are written together or not at all, and conditions on streams that are not written."""

import json

from checking import ANY, EXISTS, NO_STREAM, client, equal, event, events, id_of, numbers, refused, true
from kurrentdbclient import NewEvents
from kurrentdbclient.events import NewRecord, StreamStateCheck
from kurrentdbclient.exceptions import (
    ConsistencyChecksFailedError, MultiAppendToSameStreamError, StreamTombstonedError, WrongCurrentVersionError,
)


def several_streams(address):
    with client(address) as db:
        def append(**expected):
            sent = [
                NewEvents(stream.replace("_", "-"), [event(number, id=id_of(2000 + number)) for number in numbers], version)
                for stream, (version, numbers) in expected.items()
            ]
            return db.multi_append_to_stream(sent)

        first = append(both_1=(NO_STREAM, [1, 2]), both_2=(ANY, [3]))
        equal(numbers(db.get_stream("both-1")), [1, 2], "the one stream")
        equal(numbers(db.get_stream("both-2")), [3], "the other stream")
        equal(db.get_stream("both-2")[-1].commit_position, first, "the position is that of the last event")
        equal(append(both_1=(NO_STREAM, [1, 2]), both_2=(ANY, [3])), first, "a repetition")
        true(append(both_1=(1, [4]), both_2=(EXISTS, [5])) > first, "positions rise")
        error = refused(WrongCurrentVersionError, append, both_1=(2, [6]), both_2=(7, [7]))
        equal((error.stream_name, error.expected_version, error.actual_version), ("both-2", 7, 1), "what it says")
        twice = [NewEvents("both-1", [event(8)], ANY), NewEvents("both-1", [event(9)], ANY)]
        error = refused(MultiAppendToSameStreamError, db.multi_append_to_stream, twice)
        equal(error.stream_name, "both-1", "the stream")
        db.append_to_stream("both-3", current_version=ANY, events=event(1))
        db.tombstone_stream("both-3", current_version=ANY)
        error = refused(StreamTombstonedError, append, both_1=(ANY, [6]), both_3=(ANY, [7]))
        equal(error.stream_name, "both-3", "the stream")
        equal(numbers(db.get_stream("both-1")), [1, 2, 4], "nothing that was refused is written")
        equal(numbers(db.get_stream("both-2")), [3, 5], "nothing of it in the other stream")


def conditions(address):
    with client(address) as db:
        def record(stream, number):
            metadata = json.dumps({"who": "me"}).encode()
            return NewRecord(stream, "note.Taken", json.dumps({"number": number}).encode(), metadata)

        db.append_to_stream("asked", current_version=NO_STREAM, events=events(range(3)))
        mixed = [record("held-1", 1), record("held-2", 2), record("held-1", 3)]
        written = db.append_records(mixed, StreamStateCheck("asked", 2))
        equal({it.stream_name: it.stream_position for it in written.stream_positions}, {"held-1": 1, "held-2": 0}, "revisions")
        in_order = [it for it in db.read_all() if it.stream_name.startswith("held-")]
        equal(numbers(in_order), [1, 2, 3], "in the order of the records, one stream's beside another's")
        equal(in_order[-1].commit_position, written.commit_position, "the position is that of the last event")
        equal(json.loads(in_order[0].metadata)["who"], "me", "its metadata")
        checks = [StreamStateCheck("held-1", EXISTS), StreamStateCheck("asked", 1), StreamStateCheck("held-2", NO_STREAM)]
        error = refused(ConsistencyChecksFailedError, db.append_records, [record("held-3", 4)], checks)
        told = [(it.check_index, it.stream_state_failure) for it in error.failures]
        equal([(i, it.stream_name, it.expected_state, it.actual_state) for i, it in told],
              [(1, "asked", 1, 2), (2, "held-2", -1, 0)], "the checks that fail, all of them")
        equal(db.get_current_version("held-3"), NO_STREAM, "nothing is written")
