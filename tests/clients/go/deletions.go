// Deletions and tombstones, told apart by their errors, and the metadata that hides events.

package main

import (
	"slices"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
)

func deletedAndTombstoned(db database) {
	remove := func(stream string, expected kurrentdb.StreamState) error {
		return failing(db.DeleteStream(db.ctx, stream, kurrentdb.DeleteStreamOptions{StreamState: expected}))
	}
	bury := func(stream string, expected kurrentdb.StreamState) error {
		return failing(db.TombstoneStream(db.ctx, stream, kurrentdb.TombstoneStreamOptions{StreamState: expected}))
	}
	deleted := func(stream string, err error) {
		equal(refused(kurrentdb.ErrorCodeStreamDeleted, err).Err().Error(), "stream '"+stream+"' is deleted", "what it says")
	}
	db.write("gone", events(span(0, 3))...)
	refusedWith(codes.FailedPrecondition,
		"Delete failed due to WrongExpectedVersion. Stream: gone, Expected version: 0, Actual version: 2",
		remove("gone", kurrentdb.Revision(0)))
	done(remove("gone", kurrentdb.Revision(2)))
	refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.read("gone", kurrentdb.ReadStreamOptions{}, everything)))
	deleted("gone", failing(db.append("gone", kurrentdb.StreamExists{}, event(3))))
	must(db.append("gone", kurrentdb.NoStream{}, event(3)))
	equal(numbers(db.stream("gone")), []int{3}, "a revived stream")
	equal(revisions(db.stream("gone")), []int{3}, "it goes on")

	db.write("buried", events(span(0, 3))...)
	refusedWith(codes.FailedPrecondition,
		"Delete failed due to WrongExpectedVersion. Stream: buried, Expected version: 1, Actual version: 2",
		bury("buried", kurrentdb.Revision(1)))
	done(bury("buried", kurrentdb.Revision(2)))
	deleted("buried", failing(db.read("buried", kurrentdb.ReadStreamOptions{}, everything)))
	deleted("buried", failing(db.read("buried", backwards(), everything)))
	deleted("buried", failing(db.SubscribeToStream(db.ctx, "buried", kurrentdb.SubscribeToStreamOptions{})))
	deleted("buried", failing(db.append("buried", kurrentdb.Any{}, event(3))))
	deleted("buried", remove("buried", kurrentdb.Any{}))
	deleted("buried", bury("buried", kurrentdb.Any{}))
	deleted("$$buried", failing(db.GetStreamMetadata(db.ctx, "buried", kurrentdb.ReadStreamOptions{})))
	done(bury("never-there", kurrentdb.Any{}))
	deleted("never-there", failing(db.read("never-there", kurrentdb.ReadStreamOptions{}, everything)))
}

func metadata(db database) {
	set := func(expected kurrentdb.StreamState, change func(*kurrentdb.StreamMetadata)) error {
		var metadata kurrentdb.StreamMetadata
		change(&metadata)
		return failing(db.SetStreamMetadata(db.ctx, "hidden", kurrentdb.AppendToStreamOptions{StreamState: expected}, metadata))
	}
	get := func() *kurrentdb.StreamMetadata {
		return must(db.GetStreamMetadata(db.ctx, "hidden", kurrentdb.ReadStreamOptions{}))
	}
	nothing := func(*kurrentdb.StreamMetadata) {}
	before := func(revision uint64) func(*kurrentdb.StreamMetadata) {
		return func(metadata *kurrentdb.StreamMetadata) { metadata.SetTruncateBefore(revision) }
	}
	first := placeOf(must(db.append("hidden", kurrentdb.NoStream{}, event(0))))
	must(db.append("hidden", kurrentdb.Revision(0), events(span(1, 10))...))
	done(set(kurrentdb.NoStream{}, func(metadata *kurrentdb.StreamMetadata) {
		metadata.SetMaxCount(3)
		metadata.AddCustomProperty("owner", "me")
	}))
	equal(*get().MaxCount(), 3, "the metadata")
	equal(get().CustomProperties(), map[string]any{"owner": "me"}, "its own properties")
	equal(numbers(db.stream("hidden")), []int{7, 8, 9}, "three are left")
	equal(numbers(must(db.read("hidden", backwards(), everything))), []int{9, 8, 7}, "three backwards")
	refused(kurrentdb.ErrorCodeWrongExpectedVersion, set(kurrentdb.Revision(5), nothing))
	done(set(kurrentdb.Revision(0), before(4)))
	equal(numbers(db.stream("hidden")), span(4, 10), "from the fifth on")
	truth(get().MaxCount() == nil && *get().TruncateBefore() == 4, "the last metadata: %+v", get())
	done(set(kurrentdb.Any{}, before(10)))
	equal(numbers(db.stream("hidden")), []int{}, "none is left, yet the stream is there")
	all := must(db.readAll(kurrentdb.ReadAllOptions{From: first}, everything))
	mine := slices.DeleteFunc(all, func(it *kurrentdb.ResolvedEvent) bool { return it.Event.StreamID != "hidden" })
	equal(numbers(mine), span(0, 10), "all of them stay in $all")
	done(set(kurrentdb.Any{}, nothing))
	equal(numbers(db.stream("hidden")), span(0, 10), "they come back")
}
