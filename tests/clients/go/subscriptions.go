// Subscriptions: the switch from the past to the present under load, checkpoints, the word that it has caught up, ends.

package main

import (
	"context"
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const underLoad = 10_000

// Two subscriptions begin amid the appends of another client: no gap, no double, the order held.
func liveUnderLoad(db database) {
	writer := connect(db.ctx, db.address, "kurrentdb://"+db.address+"?tls=false")
	defer writer.close()
	must(writer.append("load", kurrentdb.NoStream{}, events(span(0, underLoad/2))...))
	appended := beside(func() {
		for first := underLoad / 2; first < underLoad; first += 10 {
			must(writer.append("load", kurrentdb.Revision(uint64(first-1)), events(span(first, first+10))...))
		}
	})
	filter := &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Regex: "^load$"}
	stream := follow(db.SubscribeToStream(db.ctx, "load", kurrentdb.SubscribeToStreamOptions{From: kurrentdb.Start{}}))
	all := follow(db.SubscribeToAll(db.ctx, kurrentdb.SubscribeToAllOptions{From: kurrentdb.Start{}, Filter: filter}))
	whole := func(follower follower) func() {
		return func() {
			defer follower.close()
			before := kurrentdb.Position{}
			for expected := range underLoad {
				found := follower.event()
				equal([]int{number(found), revision(found)}, []int{expected, expected}, "the next event")
				truth(expected == 0 || position(found).Commit > before.Commit, "positions rise: %v", position(found))
				before = position(found)
			}
		}
	}
	ofStream, ofAll := beside(whole(stream)), beside(whole(all))
	appended.finished("the appends")
	ofStream.finished("the subscription to the stream")
	ofAll.finished("the subscription to all events")
}

func checkpoints(db database) {
	start := db.write("marked", typed("mark.Wanted", 0))
	for range 10 {
		db.write("marked", each(span(0, 100), func(number int) kurrentdb.EventData { return typed("mark.Other", number) })...)
	}
	db.write("marked", typed("mark.Wanted", 1))
	from := func(place kurrentdb.Position) follower {
		filter := &kurrentdb.SubscriptionFilter{Type: kurrentdb.EventFilterType, Regex: "^mark.Wanted$"}
		return follow(db.SubscribeToAll(db.ctx, kurrentdb.SubscribeToAllOptions{
			From: place, Filter: filter, MaxSearchWindow: 10, CheckpointInterval: 1,
		}))
	}
	subscription, wanted, mark := from(start), []int{}, kurrentdb.Position{}
	for len(wanted) == 0 || mark.Commit <= start.Commit+1000 {
		said := subscription.next()
		if said.EventAppeared != nil {
			wanted = append(wanted, number(said.EventAppeared))
		}
		if said.CheckPointReached != nil {
			truth(said.CheckPointReached.Commit > mark.Commit, "checkpoints rise: %v", said.CheckPointReached)
			mark = *said.CheckPointReached
		}
	}
	subscription.close()
	equal(wanted, []int{1}, "behind the first")
	db.write("marked", typed("mark.Other", 0))
	db.write("marked", typed("mark.Wanted", 2))
	subscription = from(mark)
	defer subscription.close()
	equal(number(subscription.event()), 2, "what came behind the last checkpoint")
}

func caughtUp(db database) {
	place := db.write("caught-up", events(span(0, 5))...)
	from := func(stream string, from kurrentdb.StreamPosition) follower {
		return follow(db.SubscribeToStream(db.ctx, stream, kurrentdb.SubscribeToStreamOptions{From: from}))
	}
	stream := from("caught-up", kurrentdb.Start{})
	defer stream.close()
	for expected := range 5 {
		equal(stream.number("an event of the past"), expected, "an event of the past")
	}
	equal(*stream.caughtUp("five events").StreamRevision, 4, "how far it has come")
	must(db.append("caught-up", kurrentdb.Revision(4), event(5)))
	equal(stream.number("an event of the present"), 5, "an event of the present")

	all := follow(db.SubscribeToAll(db.ctx, kurrentdb.SubscribeToAllOptions{From: place}))
	defer all.close()
	equal(all.number("$all"), 5, "$all")
	truth(all.caughtUp("$all").Position.Commit > place.Commit, "$all says its position")

	later := from("not-yet", kurrentdb.Start{})
	defer later.close()
	truth(later.caughtUp("a stream that is not there yet").StreamRevision == nil, "a stream that is not there yet has no revision")
	must(db.append("not-yet", kurrentdb.NoStream{}, event(7)))
	equal(later.number("its first event"), 7, "its first event")

	end := from("caught-up", kurrentdb.End{})
	defer end.close()
	end.caughtUp("from the end")
	must(db.append("caught-up", kurrentdb.Revision(5), event(6)))
	equal(end.number("what comes later"), 6, "only what comes later")
}

func cancelledAndLate(db database) {
	ctx, cancel := context.WithCancel(db.ctx)
	end := kurrentdb.SubscribeToAllOptions{From: kurrentdb.End{}}
	stopped, cancelled := follow(db.SubscribeToAll(db.ctx, end)), follow(db.SubscribeToAll(ctx, end))
	for _, it := range []struct {
		follower follower
		stop     func()
	}{{stopped, stopped.close}, {cancelled, cancel}} {
		it.follower.caughtUp("from the end")
		ended := beside(func() {
			said := it.follower.Recv()
			truth(said.SubscriptionDropped != nil, "expected an end, found %+v", said)
			told := refused(kurrentdb.ErrorCodeUnknown, said.SubscriptionDropped.Error)
			equal(status.Code(told.Err()), codes.Canceled, "the status of a cancelled subscription")
		})
		time.Sleep(100 * time.Millisecond)
		it.stop()
		ended.finished("the end of a cancelled subscription")
	}
	truth(stopped.Recv().SubscriptionDropped != nil, "an end is for good")

	seconds := 2 * time.Second
	begun := time.Now()
	short := follow(db.SubscribeToStream(db.ctx, "silent", kurrentdb.SubscribeToStreamOptions{Deadline: &seconds}))
	short.caughtUp("a stream that is not there yet")
	said := short.Recv()
	truth(said.SubscriptionDropped != nil, "expected an end, found %+v", said)
	refused(kurrentdb.ErrorCodeDeadlineExceeded, said.SubscriptionDropped.Error)
	lasted := time.Since(begun)
	truth(lasted > 1900*time.Millisecond && lasted < 20*time.Second, "the deadline is kept: %v", lasted)

	passed := -time.Second
	late := failing(db.AppendToStream(db.ctx, "silent", kurrentdb.AppendToStreamOptions{Deadline: &passed}, event(1)))
	refused(kurrentdb.ErrorCodeDeadlineExceeded, late)
	refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.read("silent", kurrentdb.ReadStreamOptions{}, everything)))
	must(db.append("silent", kurrentdb.NoStream{}, event(2)))
	equal(numbers(db.stream("silent")), []int{2}, "the connection goes on")
}
