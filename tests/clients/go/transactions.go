// Appends over several streams, which are written together or not at all, and conditions on streams that are not written.

package main

import (
	"slices"
	"strings"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

// The part of one stream, of events whose ids come from their numbers.
func part(stream string, expected kurrentdb.StreamState, numbers ...int) kurrentdb.AppendStreamRequest {
	events := each(numbers, func(number int) kurrentdb.EventData { return repeatable(number, 2000+number) })
	return kurrentdb.AppendStreamRequest{StreamName: stream, ExpectedStreamState: expected, Events: slices.Values(events)}
}

func severalStreams(db database) {
	write := func(parts ...kurrentdb.AppendStreamRequest) (*kurrentdb.MultiStreamAppendResponse, error) {
		return db.MultiStreamAppend(db.ctx, slices.Values(parts))
	}
	none, any, exists := kurrentdb.NoStream{}, kurrentdb.Any{}, kurrentdb.StreamExists{}
	first := must(write(part("both-1", none, 1, 2), part("both-2", any, 3)))
	equal(first.Responses, []kurrentdb.AppendResponse{{Stream: "both-1", StreamRevision: 1}, {Stream: "both-2"}}, "revisions")
	equal(int64(position(db.stream("both-2")[0]).Commit), first.Position, "the position is that of the last event")
	equal(must(write(part("both-1", none, 1, 2), part("both-2", any, 3))), first, "a repetition")
	second := must(write(part("both-1", kurrentdb.Revision(1), 4), part("both-2", exists, 5)))
	truth(second.Position > first.Position, "positions rise")
	wrong := refused(kurrentdb.ErrorCodeStreamRevisionConflict,
		failing(write(part("both-1", kurrentdb.Revision(2), 6), part("both-2", kurrentdb.Revision(7), 7))))
	equal(*cause[*kurrentdb.StreamRevisionConflictError](wrong), kurrentdb.StreamRevisionConflictError{
		Stream: "both-2", ExpectedRevision: kurrentdb.Revision(7), ActualRevision: kurrentdb.Revision(1),
	}, "what it says")
	refused(kurrentdb.ErrorAborted, failing(write(part("both-1", any, 8), part("both-1", any, 9))))
	db.write("both-3", event(1))
	must(db.TombstoneStream(db.ctx, "both-3", kurrentdb.TombstoneStreamOptions{}))
	buried := refused(kurrentdb.ErrorCodeStreamTombstoned, failing(write(part("both-1", any, 6), part("both-3", any, 7))))
	equal(cause[*kurrentdb.StreamTombstoneError](buried).Stream, "both-3", "the stream")
	equal(numbers(db.stream("both-1")), []int{1, 2, 4}, "nothing that was refused is written")
	equal(numbers(db.stream("both-2")), []int{3, 5}, "nothing of it in the other stream")
}

func conditions(db database) {
	record := func(stream string, number int) kurrentdb.AppendRecord {
		event := event(number)
		event.Metadata = []byte(`{"who":"me"}`)
		return kurrentdb.AppendRecord{Stream: stream, Record: event}
	}
	when := func(stream string, expected kurrentdb.StreamState) kurrentdb.ConsistencyCheck {
		return kurrentdb.StreamStateCheck{Stream: stream, ExpectedState: expected}
	}
	db.write("asked", events(span(0, 3))...)
	mixed := []kurrentdb.AppendRecord{record("held-1", 1), record("held-2", 2), record("held-1", 3)}
	written := must(db.AppendRecords(db.ctx, mixed, when("asked", kurrentdb.Revision(2))))
	told := map[string]int64{}
	for _, it := range written.Responses {
		told[it.Stream] = it.StreamRevision
	}
	equal(told, map[string]int64{"held-1": 1, "held-2": 0}, "revisions")
	inOrder := slices.DeleteFunc(must(db.readAll(kurrentdb.ReadAllOptions{}, everything)),
		func(it *kurrentdb.ResolvedEvent) bool { return !strings.HasPrefix(it.Event.StreamID, "held-") })
	equal(numbers(inOrder), []int{1, 2, 3}, "in the order of the records, one stream's beside another's")
	equal(int64(position(inOrder[2]).Commit), written.Position, "the position is that of the last event")
	equal(property(inOrder[0], "who"), "me", "its metadata")
	err := refused(kurrentdb.ErrorCodeAppendConsistencyViolation, failing(db.AppendRecords(db.ctx,
		[]kurrentdb.AppendRecord{record("held-3", 4)}, when("held-1", kurrentdb.StreamExists{}),
		when("asked", kurrentdb.Revision(1)), when("held-2", kurrentdb.NoStream{}))))
	equal(cause[*kurrentdb.AppendConsistencyViolationError](err).Violations, []kurrentdb.ConsistencyViolation{
		{CheckIndex: 1, Stream: "asked", ExpectedState: kurrentdb.Revision(1), ActualState: kurrentdb.Revision(2)},
		{CheckIndex: 2, Stream: "held-2", ExpectedState: kurrentdb.NoStream{}, ActualState: kurrentdb.Revision(0)},
	}, "the checks that fail, all of them")
	refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.read("held-3", kurrentdb.ReadStreamOptions{}, everything)))
}
