// Persistent subscriptions: consumers that share a group, retries, parked events, groups of $all, what is told of them.

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type settings = kurrentdb.PersistentSubscriptionSettings

func changed(change func(*settings)) *settings {
	settings := kurrentdb.SubscriptionSettingsDefault()
	change(&settings)
	return &settings
}

func (db database) createGroup(stream, group string, from kurrentdb.StreamPosition, change func(*settings)) error {
	options := kurrentdb.PersistentStreamSubscriptionOptions{StartFrom: from, Settings: changed(change)}
	return db.CreatePersistentSubscription(db.ctx, stream, group, options)
}

func (db database) updateGroup(stream, group string, from kurrentdb.StreamPosition, change func(*settings)) error {
	options := kurrentdb.PersistentStreamSubscriptionOptions{StartFrom: from, Settings: changed(change)}
	return db.UpdatePersistentSubscription(db.ctx, stream, group, options)
}

func (db database) createGroupOfAll(group string, change func(*settings)) error {
	options := kurrentdb.PersistentAllSubscriptionOptions{Settings: changed(change)}
	return db.CreatePersistentSubscriptionToAll(db.ctx, group, options)
}

func (db database) updateGroupOfAll(group string, change func(*settings)) error {
	options := kurrentdb.PersistentAllSubscriptionOptions{Settings: changed(change)}
	return db.UpdatePersistentSubscriptionToAll(db.ctx, group, options)
}

func (db database) deleteGroup(stream, group string) error {
	return db.DeletePersistentSubscription(db.ctx, stream, group, kurrentdb.DeletePersistentSubscriptionOptions{})
}

func (db database) deleteGroupOfAll(group string) error {
	return db.DeletePersistentSubscriptionToAll(db.ctx, group, kurrentdb.DeletePersistentSubscriptionOptions{})
}

func (db database) group(stream, group string) (*kurrentdb.PersistentSubscriptionInfo, error) {
	return db.GetPersistentSubscriptionInfo(db.ctx, stream, group, kurrentdb.GetPersistentSubscriptionOptions{})
}

func (db database) groupOfAll(group string) (*kurrentdb.PersistentSubscriptionInfo, error) {
	return db.GetPersistentSubscriptionInfoToAll(db.ctx, group, kurrentdb.GetPersistentSubscriptionOptions{})
}

func unchanged(*settings) {}

// Three consumers, one of which leaves with events in hand: each event is acknowledged, by more than one of them.
func sharedGroup(db database) {
	done(db.createGroup("work", "team", kurrentdb.Start{}, func(settings *settings) {
		settings.ConsumerStrategyName = kurrentdb.ConsumerStrategyRoundRobin
		settings.MessageTimeout = 60_000
	}))
	// All are there before the first event, so each gets its share.
	stayers, leaver := []consumer{db.consumer("work", "team"), db.consumer("work", "team")}, db.consumer("work", "team")
	type taken struct{ by, number int }
	handled, ends := make(chan taken, 400), make(chan error, len(stayers))
	for by, stayer := range stayers {
		go func() {
			for {
				sent := stayer.Recv()
				if sent.SubscriptionDropped != nil {
					ends <- sent.SubscriptionDropped.Error
					return
				}
				if err := stayer.Ack(sent.EventAppeared.Event); err != nil {
					ends <- err
					return
				}
				handled <- taken{by, number(sent.EventAppeared.Event)}
			}
		}()
	}
	db.write("work", events(span(0, 200))...)
	finished := map[int]bool{}
	for range 5 {
		finished[leaver.take()] = true
	}
	// This one and what else was sent to it are not acknowledged.
	leaver.next()
	leaver.close()
	for first := 200; first < 400; first += 20 {
		db.write("work", events(span(first, first+20))...)
	}
	byStayers, counts := map[int]bool{}, []int{0, 0}
	for late := time.After(60 * time.Second); len(finished) < 400; {
		select {
		case it := <-handled:
			truth(!byStayers[it.number], "%d is acknowledged twice by those who stay", it.number)
			byStayers[it.number], finished[it.number] = true, true
			counts[it.by]++
		case err := <-ends:
			panic(err)
		case <-late:
			panic(fmt.Sprintf("only %d events within a minute", len(finished)))
		}
	}
	truth(counts[0] > 0 && counts[1] > 0, "both who stay got events: %v", counts)

	within("two connections and nothing in flight", func() bool {
		info := must(db.group("work", "team"))
		idle := info.Stats.TotalInFlightMessages == 0 && info.Stats.RetryBufferCount == 0
		return idle && len(info.Connections) == 2
	})
	info := must(db.group("work", "team"))
	equal([]string{info.EventSource, info.GroupName}, []string{"work", "team"}, "whose information it is")
	equal(info.Settings.ConsumerStrategyName, kurrentdb.ConsumerStrategyRoundRobin, "the strategy")
	equal(*info.Stats.LastKnownEventRevision, 399, "the last event that it knows")
	done(db.deleteGroup("work", "team"))
	for range stayers {
		equal(status.Code(<-ends), codes.NotFound, "a consumer is told that its group is gone")
	}
}

func retriedAndParked(db database) {
	db.write("hard", events(span(0, 6))...)
	done(db.createGroup("hard", "hard-ones", kurrentdb.Start{}, func(settings *settings) {
		settings.MaxRetryCount = 2
		settings.MessageTimeout = 60_000
	}))
	parked := func(count int64) func() bool {
		return func() bool { return must(db.group("hard", "hard-ones")).Stats.ParkedMessagesCount == count }
	}
	// What a consumer is sent while it answers so, until it was sent as many events.
	consume := func(by consumer, count int, answer func(number, retries int, event *kurrentdb.ResolvedEvent) error) string {
		seen := []string{}
		for range count {
			sent := by.next()
			seen = append(seen, fmt.Sprintf("%d/%d", number(sent.Event), sent.RetryCount))
			done(answer(number(sent.Event), sent.RetryCount, sent.Event))
		}
		slices.Sort(seen)
		return strings.Join(seen, " ")
	}
	first := db.consumer("hard", "hard-ones")
	seen := consume(first, 9, func(number, retries int, event *kurrentdb.ResolvedEvent) error {
		switch {
		case number == 1 && retries == 0:
			return first.Nack("again", kurrentdb.NackActionRetry, event)
		case number == 2 || number == 4:
			return first.Nack("later", kurrentdb.NackActionPark, event)
		case number == 3:
			return first.Nack("never", kurrentdb.NackActionSkip, event)
		case number == 5:
			// Once more than it may be retried: it is parked.
			return first.Nack("again", kurrentdb.NackActionRetry, event)
		default:
			return first.Ack(event)
		}
	})
	equal(seen, "0/0 1/0 1/1 2/0 3/0 4/0 5/0 5/1 5/2", "what was sent")
	within("three parked events", parked(3))
	first.close()
	links := kurrentdb.ReadStreamOptions{ResolveLinkTos: true}
	found := numbers(must(db.read("$persistentsubscription-hard::hard-ones-parked", links, everything)))
	slices.Sort(found)
	equal(found, []int{2, 4, 5}, "what is parked")

	done(db.ReplayParkedMessages(db.ctx, "hard", "hard-ones", kurrentdb.ReplayParkedMessagesOptions{}))
	second := db.consumer("hard", "hard-ones")
	again := consume(second, 3, func(_, _ int, event *kurrentdb.ResolvedEvent) error { return second.Ack(event) })
	equal(again, "2/0 4/0 5/0", "what was replayed")
	within("no parked event", parked(0))
	second.close()
	done(db.deleteGroup("hard", "hard-ones"))
}

func groupOfAll(db database) {
	start := db.write("wide-1", typed("wide.Wanted", 0))
	db.write("wide-2", typed("wide.Other", 1))
	db.write("wide-2", typed("wide.Wanted", 2), typed("wide.Wanted", 3))
	done(db.CreatePersistentSubscriptionToAll(db.ctx, "wide", kurrentdb.PersistentAllSubscriptionOptions{
		StartFrom: start,
		Filter:    &kurrentdb.SubscriptionFilter{Type: kurrentdb.EventFilterType, Regex: "^wide.Wanted$"},
		Settings: changed(func(settings *settings) {
			settings.CheckpointAfter = 100
			settings.CheckpointLowerBound = 1
		}),
	}))
	one := db.consumerOfAll("wide")
	equal([]int{one.take(), one.take(), one.take()}, []int{0, 2, 3}, "with the event that it starts from")
	db.write("wide-3", typed("wide.Wanted", 4))
	equal(one.take(), 4, "an event of the present")
	within("nothing in flight", func() bool { return must(db.groupOfAll("wide")).Stats.TotalInFlightMessages == 0 })
	one.close()
	// Another consumer goes on behind what was acknowledged.
	db.write("wide-3", typed("wide.Wanted", 5))
	two := db.consumerOfAll("wide")
	equal(two.take(), 5, "what is new")
	two.close()
	info := must(db.groupOfAll("wide"))
	equal([]string{info.EventSource, info.GroupName}, []string{"$all", "wide"}, "whose information it is")
	equal(info.Settings.StartFrom, any(&start), "where it was told to start")
	done(db.deleteGroupOfAll("wide"))
}

func listedAndChanged(db database) {
	named := func(infos []kurrentdb.PersistentSubscriptionInfo, err error) string {
		names := each(must(infos, err), func(it kurrentdb.PersistentSubscriptionInfo) string {
			return it.EventSource + "/" + it.GroupName
		})
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	options := kurrentdb.ListPersistentSubscriptionsOptions{}
	equal(named(db.ListAllPersistentSubscriptions(db.ctx, options)), "", "no group yet")
	db.write("listed", events(span(0, 3))...)
	done(db.createGroup("listed", "first", kurrentdb.End{}, func(settings *settings) {
		settings.MessageTimeout = 20_000
		settings.MaxRetryCount = 3
	}))
	done(db.createGroup("listed", "second", kurrentdb.Revision(1), func(settings *settings) {
		settings.ConsumerStrategyName = kurrentdb.ConsumerStrategyPinned
	}))
	done(db.createGroupOfAll("third", func(settings *settings) {
		settings.ConsumerStrategyName = kurrentdb.ConsumerStrategyDispatchToSingle
	}))
	equal(named(db.ListAllPersistentSubscriptions(db.ctx, options)), "$all/third listed/first listed/second", "all")
	equal(named(db.ListPersistentSubscriptionsForStream(db.ctx, "listed", options)), "listed/first listed/second", "a stream's")
	equal(named(db.ListPersistentSubscriptionsToAll(db.ctx, options)), "$all/third", "those of all")
	first := must(db.group("listed", "first")).Settings
	equal(first.StartFrom, any(kurrentdb.End{}), "from the end")
	equal([]int32{first.MessageTimeout, first.MaxRetryCount}, []int32{20_000, 3}, "as it was created")
	second := must(db.group("listed", "second")).Settings
	equal(second.ConsumerStrategyName, kurrentdb.ConsumerStrategyPinned, "the strategy")

	done(db.updateGroup("listed", "first", kurrentdb.Revision(2), func(settings *settings) { settings.MaxRetryCount = 7 }))
	first = must(db.group("listed", "first")).Settings
	equal(first.StartFrom, any(kurrentdb.Revision(2)), "another place to start")
	equal([]int32{first.MessageTimeout, first.MaxRetryCount}, []int32{30_000, 7}, "as it was changed")
	consumer := db.consumer("listed", "first")
	equal(consumer.take(), 2, "it starts where it was told to")
	consumer.close()
	done(db.updateGroupOfAll("third", func(settings *settings) { settings.MaxSubscriberCount = 9 }))
	equal(must(db.groupOfAll("third")).Settings.MaxSubscriberCount, 9, "as it was changed")
	done(db.deleteGroup("listed", "first"))
	done(db.deleteGroup("listed", "second"))
	done(db.deleteGroupOfAll("third"))
	equal(named(db.ListAllPersistentSubscriptions(db.ctx, options)), "", "no group any more")
}
