"""Reads: streams and all events in both directions, from places and with counts, links, filters, what is not there."""

from checking import ANY, NO_STREAM, client, equal, event, events, numbers, refused, revisions, true
from kurrentdbclient import NewEvent
from kurrentdbclient.exceptions import NotFoundError


def streams(address):
    with client(address) as db:
        db.append_to_stream("both-ways", current_version=NO_STREAM, events=events(range(100)))

        def read(**options):
            return revisions(db.get_stream("both-ways", **options))

        equal(read(), list(range(100)), "forwards")
        equal(read(backwards=True), list(range(99, -1, -1)), "backwards")
        equal(read(limit=3), [0, 1, 2], "three")
        equal(read(backwards=True, limit=3), [99, 98, 97], "the last three")
        equal(read(stream_position=50, limit=2), [50, 51], "from 50")
        equal(read(stream_position=50, backwards=True, limit=2), [50, 49], "back from 50")
        equal(read(stream_position=100), [], "behind the end")
        equal(read(stream_position=500, backwards=True, limit=1), [99], "back from behind the end")
        with db.read_stream("both-ways") as response:
            equal(next(response).stream_position, 0, "an event of a read that is left early")
        first = db.get_stream("both-ways", limit=1)[0]
        equal(first.stream_name, "both-ways", "the stream")
        equal(first.type, "note.Taken", "the type")
        equal(first.content_type, "application/json", "the content type")
        true(first.recorded_at is not None and first.recorded_at.year >= 2024, "a time")


def all_events(address):
    with client(address) as db:
        before = db.get_commit_position()
        written = [
            db.append_to_stream(f"everything-{number}", current_version=ANY, events=event(number))
            for number in range(20)
        ]

        def read(**options):
            return [it.commit_position for it in db.read_all(**options)]

        equal(read(commit_position=written[0]), written, "from an event on, with itself")
        equal(read(commit_position=written[5], limit=3), written[5:8], "three from the sixth")
        equal(read(backwards=True, limit=20), written[::-1], "backwards from the end")
        equal(read(backwards=True, commit_position=written[5], limit=2), [written[4], written[3]],
              "back from an event, without itself")
        whole = read(filter_exclude=())
        true(whole == sorted(set(whole)), "positions rise")
        equal(whole[-20:], written, "all without a filter")
        equal(read(filter_exclude=(), backwards=True), whole[::-1], "the same backwards")
        true(before < written[0] and db.get_commit_position() == written[-1], "the last position")


def links(address):
    with client(address) as db:
        db.append_to_stream("linked", current_version=NO_STREAM, events=events([10, 11, 12]))
        to = [NewEvent(type="$>", data=f"{n}@linked".encode(), content_type="application/octet-stream")
              for n in (2, 0)]
        db.append_to_stream("links", current_version=NO_STREAM, events=to)
        plain = db.get_stream("links")
        equal([it.type for it in plain], ["$>", "$>"], "links as they are")
        for backwards in (False, True):
            read = db.get_stream("links", resolve_links=True, backwards=backwards)
            expected = [10, 12] if backwards else [12, 10]
            equal(numbers(read), expected, "what the links name")
            equal([it.stream_name for it in read], ["linked", "linked"], "their stream")
            equal([it.link.stream_name for it in read], ["links", "links"], "the links' stream")
        with db.subscribe_to_stream("links", resolve_links=True) as subscription:
            found = next(subscription)
            equal((found.stream_position, found.link.stream_position), (2, 0), "a subscription's link")
        through_all = [it for it in db.read_all(filter_exclude=(), resolve_links=True) if it.link]
        equal(numbers(through_all), [12, 10], "links in $all")


def filters(address):
    with client(address) as db:
        db.append_to_stream("apple-1", current_version=ANY, events=events([1], "fruit.Ripe"))
        db.append_to_stream("apple-2", current_version=ANY, events=events([2], "fruit.Rotten"))
        db.append_to_stream("pear-1", current_version=ANY, events=events([3], "fruit.Ripe"))
        db.append_to_stream("pear-1", current_version=ANY, events=events([4], "tree.Felled"))
        db.append_to_stream("pear-1", current_version=ANY, events=events([5], "Result"))
        db.set_stream_metadata("pear-1", metadata={"owner": "me"})
        start = db.get_stream("apple-1")[0].commit_position

        def read(**options):
            found = list(db.read_all(commit_position=start, **options))
            back = db.read_all(backwards=True, limit=len(found), **options)
            equal(list(back), found[::-1], "the same backwards")
            return [it.type if it.is_system_event else numbers([it])[0] for it in found]

        equal(read(), [1, 2, 3, 4], "the client's own filter leaves system events and results out")
        equal(read(filter_exclude=()), [1, 2, 3, 4, 5, "$metadata"], "no filter")
        equal(read(filter_exclude=("fruit.*",)), [4, 5, "$metadata"], "types that do not match")
        equal(read(filter_include=("fruit.Ripe",)), [1, 3], "a type")
        equal(read(filter_include=("fruit.", "tree."), filter_by_prefix=True), [1, 2, 3, 4],
              "types by prefix")
        by_stream = {"filter_by_stream_name": True}
        equal(read(filter_include=(r"apple-\d", r"\$\$pear-1"), **by_stream), [1, 2, "$metadata"],
              "streams by expression")
        equal(read(filter_include=("apple-", "pear-"), filter_by_prefix=True, **by_stream),
              [1, 2, 3, 4, 5], "streams by prefix")
        equal(read(filter_exclude=("apple-.*", r"\$.*"), **by_stream), [3, 4, 5],
              "streams that do not match")


def missing_streams(address):
    with client(address) as db:
        refused(NotFoundError, db.get_stream, "nowhere")
        refused(NotFoundError, db.get_stream, "nowhere", backwards=True, limit=1)
        refused(NotFoundError, db.delete_stream, "nowhere", current_version=3)
        refused(NotFoundError, db.tombstone_stream, "nowhere", current_version=3)
        equal(db.get_current_version("nowhere"), NO_STREAM, "the version")
        equal(db.get_stream_metadata("nowhere"), ({}, NO_STREAM), "the metadata")
