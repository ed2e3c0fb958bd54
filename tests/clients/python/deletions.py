"""Deletions and tombstones, told apart by their exceptions, and the metadata that hides events."""

from checking import ANY, EXISTS, NO_STREAM, client, equal, event, events, numbers, refused, revisions
from kurrentdbclient.exceptions import (
    FailedPreconditionError, NotFoundError, StreamIsDeletedError, WrongCurrentVersionError,
)


def deleted_and_tombstoned(address):
    with client(address) as db:
        db.append_to_stream("gone", current_version=NO_STREAM, events=events(range(3)))
        refused(WrongCurrentVersionError, db.delete_stream, "gone", current_version=0)
        db.delete_stream("gone", current_version=2)
        refused(NotFoundError, db.get_stream, "gone")
        refused(StreamIsDeletedError, db.delete_stream, "gone", current_version=EXISTS)
        refused(StreamIsDeletedError, db.append_to_stream, "gone", current_version=EXISTS,
                events=events([3, 4]))
        db.append_to_stream("gone", current_version=NO_STREAM, events=event(3))
        read = db.get_stream("gone")
        equal((numbers(read), revisions(read)), ([3], [3]), "a revived stream goes on")

        db.append_to_stream("buried", current_version=NO_STREAM, events=events(range(3)))
        refused(WrongCurrentVersionError, db.tombstone_stream, "buried", current_version=1)
        db.tombstone_stream("buried", current_version=2)
        refused(StreamIsDeletedError, db.get_stream, "buried")
        refused(StreamIsDeletedError, db.get_stream, "buried", backwards=True)
        refused(StreamIsDeletedError, db.subscribe_to_stream, "buried")
        refused(StreamIsDeletedError, db.append_to_stream, "buried", current_version=ANY,
                events=events([3, 4]))
        # The client makes this of the answer to a single event.
        single = refused(FailedPreconditionError, db.append_to_stream, "buried", current_version=ANY,
                         events=event(3))
        equal(str(single), "Event stream 'buried' is deleted.", "what it says")
        refused(StreamIsDeletedError, db.delete_stream, "buried", current_version=ANY)
        refused(StreamIsDeletedError, db.tombstone_stream, "buried", current_version=ANY)
        refused(StreamIsDeletedError, db.get_stream_metadata, "buried")
        db.tombstone_stream("never-there", current_version=ANY)
        refused(StreamIsDeletedError, db.get_stream, "never-there")


def metadata(address):
    with client(address) as db:
        db.append_to_stream("hidden", current_version=NO_STREAM, events=events(range(10)))
        position = db.get_stream("hidden")[0].commit_position
        db.set_stream_metadata("hidden", metadata={"$maxCount": 3, "owner": "me"}, current_version=NO_STREAM)
        equal(db.get_stream_metadata("hidden"), ({"$maxCount": 3, "owner": "me"}, 0), "the metadata")
        equal(numbers(db.get_stream("hidden")), [7, 8, 9], "three are left")
        equal(numbers(db.get_stream("hidden", backwards=True)), [9, 8, 7], "three backwards")
        refused(WrongCurrentVersionError, db.set_stream_metadata, "hidden", metadata={}, current_version=5)
        db.set_stream_metadata("hidden", metadata={"$tb": 4}, current_version=0)
        equal(numbers(db.get_stream("hidden")), [4, 5, 6, 7, 8, 9], "from the fifth on")
        db.set_stream_metadata("hidden", metadata={"$tb": 10}, current_version=ANY)
        equal(db.get_stream("hidden"), (), "none is left, yet the stream is there")
        in_all = [it for it in db.read_all(commit_position=position) if it.stream_name == "hidden"]
        equal(numbers(in_all), list(range(10)), "all of them stay in $all")
        db.set_stream_metadata("hidden", metadata={}, current_version=ANY)
        equal(numbers(db.get_stream("hidden")), list(range(10)), "they come back")
