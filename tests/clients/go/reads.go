// Reads: streams and all events in both directions, from places and with counts, links, filters, what is not there.

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
)

// Reads from the end of a stream back.
func backwards() kurrentdb.ReadStreamOptions {
	return kurrentdb.ReadStreamOptions{Direction: kurrentdb.Backwards, From: kurrentdb.End{}}
}

func reversed[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func streamsBothWays(db database) {
	must(db.append("both-ways", kurrentdb.NoStream{}, events(span(0, 100))...))
	read := func(direction kurrentdb.Direction, from kurrentdb.StreamPosition, count uint64) []int {
		return revisions(must(db.read("both-ways", kurrentdb.ReadStreamOptions{Direction: direction, From: from}, count)))
	}
	equal(read(kurrentdb.Forwards, kurrentdb.Start{}, everything), span(0, 100), "forwards")
	equal(read(kurrentdb.Backwards, kurrentdb.End{}, everything), reversed(span(0, 100)), "backwards")
	equal(read(kurrentdb.Forwards, kurrentdb.Start{}, 3), []int{0, 1, 2}, "three")
	equal(read(kurrentdb.Backwards, kurrentdb.End{}, 3), []int{99, 98, 97}, "the last three")
	equal(read(kurrentdb.Forwards, kurrentdb.Revision(50), 2), []int{50, 51}, "from 50")
	equal(read(kurrentdb.Backwards, kurrentdb.Revision(50), 2), []int{50, 49}, "back from 50")
	equal(read(kurrentdb.Forwards, kurrentdb.Revision(100), everything), []int{}, "behind the end")
	equal(read(kurrentdb.Backwards, kurrentdb.Revision(500), 1), []int{99}, "back from behind the end")
	early := must(db.ReadStream(db.ctx, "both-ways", kurrentdb.ReadStreamOptions{}, everything))
	first := must(early.Recv()).Event
	early.Close()
	equal([]string{first.StreamID, first.EventType, first.ContentType}, []string{"both-ways", "note.Taken", "application/json"},
		"an event of a read that is left early")
	truth(first.CreatedDate.Year() >= 2024, "a time: %v", first.CreatedDate)
}

func allBothWays(db database) {
	written := each(span(0, 20), func(number int) kurrentdb.Position {
		return db.write(fmt.Sprintf("everything-%d", number), event(number))
	})
	read := func(direction kurrentdb.Direction, from kurrentdb.AllPosition, count uint64) []kurrentdb.Position {
		return each(must(db.readAll(kurrentdb.ReadAllOptions{Direction: direction, From: from}, count)), position)
	}
	equal(read(kurrentdb.Forwards, written[0], everything), written, "from an event on, with itself")
	equal(read(kurrentdb.Forwards, written[5], 3), written[5:8], "three from the sixth")
	equal(read(kurrentdb.Backwards, kurrentdb.End{}, 20), reversed(written), "backwards from the end")
	equal(read(kurrentdb.Backwards, written[5], 2), []kurrentdb.Position{written[4], written[3]},
		"back from an event, without itself")
	whole := read(kurrentdb.Forwards, kurrentdb.Start{}, everything)
	for index := 1; index < len(whole); index++ {
		truth(whole[index].Commit > whole[index-1].Commit, "positions rise: %v", whole[index])
	}
	equal(whole[len(whole)-20:], written, "all")
	equal(read(kurrentdb.Backwards, kurrentdb.End{}, everything), reversed(whole), "all backwards")
}

func links(db database) {
	link := func(to string) kurrentdb.EventData {
		return kurrentdb.EventData{EventID: uuid.New(), EventType: "$>", Data: []byte(to)}
	}
	db.write("linked", events(span(10, 13))...)
	db.write("links", link("2@linked"), link("0@linked"))
	for _, plain := range db.stream("links") {
		truth(plain.Event.EventType == "$>" && plain.Link == nil, "links as they are: %+v", plain)
	}
	read := must(db.read("links", kurrentdb.ReadStreamOptions{ResolveLinkTos: true}, everything))
	equal(numbers(read), []int{12, 10}, "what the links name")
	for index, found := range read {
		truth(found.Link != nil, "the link itself: %+v", found)
		equal([]string{found.Event.StreamID, found.Link.StreamID}, []string{"linked", "links"}, "the streams of both")
		equal(found.OriginalStreamRevision().Value, uint64(index), "the revision of the link")
	}
	back := backwards()
	back.ResolveLinkTos = true
	equal(numbers(must(db.read("links", back, everything))), []int{10, 12}, "backwards")
	all := must(db.readAll(kurrentdb.ReadAllOptions{ResolveLinkTos: true}, everything))
	all = slices.DeleteFunc(all, func(it *kurrentdb.ResolvedEvent) bool { return it.Link == nil })
	equal(numbers(all), []int{12, 10}, "links in $all")
	options := kurrentdb.SubscribeToStreamOptions{From: kurrentdb.Start{}, ResolveLinkTos: true}
	follower := follow(db.SubscribeToStream(db.ctx, "links", options))
	defer follower.close()
	found := follower.event()
	truth(found.Link != nil, "a subscription follows links: %+v", found)
	equal([]int{revision(found), int(found.Link.EventNumber)}, []int{2, 0}, "a subscription's link")
}

// The client reads all events without a filter only, so it is subscriptions that filter.
func filters(db database) {
	start := db.write("apple-0", typed("start", 0))
	db.write("apple-1", typed("fruit.Ripe", 1))
	db.write("apple-2", typed("fruit.Rotten", 2))
	db.write("pear-1", typed("fruit.Ripe", 3))
	db.write("pear-1", typed("tree.Felled", 4))
	must(db.SetStreamMetadata(db.ctx, "pear-1", kurrentdb.AppendToStreamOptions{}, kurrentdb.StreamMetadata{}))
	read := func(filter *kurrentdb.SubscriptionFilter) string {
		follower := follow(db.SubscribeToAll(db.ctx, kurrentdb.SubscribeToAllOptions{From: start, Filter: filter}))
		defer follower.close()
		return strings.Join(each(follower.past(), func(it *kurrentdb.ResolvedEvent) string {
			if strings.HasPrefix(it.Event.EventType, "$") {
				return it.Event.EventType
			}
			return fmt.Sprint(number(it))
		}), " ")
	}
	types := func(expression string, prefixes ...string) *kurrentdb.SubscriptionFilter {
		return &kurrentdb.SubscriptionFilter{Type: kurrentdb.EventFilterType, Regex: expression, Prefixes: prefixes}
	}
	streams := func(expression string, prefixes ...string) *kurrentdb.SubscriptionFilter {
		return &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Regex: expression, Prefixes: prefixes}
	}
	equal(read(nil), "1 2 3 4 $metadata", "no filter")
	equal(read(kurrentdb.ExcludeSystemEventsFilter()), "1 2 3 4", "no system events")
	equal(read(types(`^(?!fruit\.)`)), "4 $metadata", "types that do not match")
	equal(read(types("^fruit.Ripe$")), "1 3", "a type")
	equal(read(types("", "fruit.Ro", "tree.")), "2 4", "types by prefix")
	equal(read(streams(`^(apple-\d|\$\$pear-1)$`)), "1 2 $metadata", "streams by expression")
	equal(read(streams("", "apple-1", "pear-")), "1 3 4", "streams by prefix")
	equal(read(streams(`^(?!apple-|\$)`)), "3 4", "streams that do not match")
}

func missingStreams(db database) {
	for _, options := range []kurrentdb.ReadStreamOptions{{}, backwards()} {
		err := refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.read("nowhere", options, everything)))
		equal(err.Err().Error(), "stream 'nowhere' is not found", "what it says")
	}
	wrong := "Delete failed due to WrongExpectedVersion. Stream: nowhere, Expected version: 3, Actual version: -1"
	refusedWith(codes.FailedPrecondition, wrong, failing(db.DeleteStream(db.ctx, "nowhere",
		kurrentdb.DeleteStreamOptions{StreamState: kurrentdb.Revision(3)})))
	refusedWith(codes.FailedPrecondition, wrong, failing(db.TombstoneStream(db.ctx, "nowhere",
		kurrentdb.TombstoneStreamOptions{StreamState: kurrentdb.Revision(3)})))
	metadata := failing(db.GetStreamMetadata(db.ctx, "nowhere", kurrentdb.ReadStreamOptions{}))
	refused(kurrentdb.ErrorCodeResourceNotFound, metadata)
}
