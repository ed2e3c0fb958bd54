// What a subscription says, in order, and what the consumer of a persistent subscription is sent.

package main

import (
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

type follower struct{ *kurrentdb.Subscription }

func follow(subscription *kurrentdb.Subscription, err error) follower {
	return follower{must(subscription, err)}
}

func (follower follower) close() { done(follower.Close()) }

// What is said next, which is no end.
func (follower follower) next() *kurrentdb.SubscriptionEvent {
	said := follower.Recv()
	if said.SubscriptionDropped != nil {
		panic(said.SubscriptionDropped.Error)
	}
	return said
}

// The next event; what is said besides is passed over.
func (follower follower) event() *kurrentdb.ResolvedEvent {
	for {
		if said := follower.next(); said.EventAppeared != nil {
			return said.EventAppeared
		}
	}
}

// The events before it has caught up.
func (follower follower) past() []*kurrentdb.ResolvedEvent {
	events := []*kurrentdb.ResolvedEvent{}
	for {
		switch said := follower.next(); {
		case said.EventAppeared != nil:
			events = append(events, said.EventAppeared)
		case said.CaughtUp != nil:
			return events
		}
	}
}

// The word that it has caught up, which must be the next one.
func (follower follower) caughtUp(what string) *kurrentdb.CaughtUp {
	said := follower.next()
	truth(said.CaughtUp != nil, "%s: expected that it has caught up, found %+v", what, said)
	truth(time.Since(said.CaughtUp.Date).Abs() < time.Minute, "%s: when: %v", what, said.CaughtUp.Date)
	return said.CaughtUp
}

// The number of the event that must be the next word.
func (follower follower) number(what string) int {
	said := follower.next()
	truth(said.EventAppeared != nil, "%s: expected an event, found %+v", what, said)
	return number(said.EventAppeared)
}

type consumer struct {
	*kurrentdb.PersistentSubscription
}

func (db database) consumer(stream, group string) consumer {
	options := kurrentdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 10}
	return consumer{must(db.SubscribeToPersistentSubscription(db.ctx, stream, group, options))}
}

func (db database) consumerOfAll(group string) consumer {
	options := kurrentdb.SubscribeToPersistentSubscriptionOptions{BufferSize: 10}
	return consumer{must(db.SubscribeToPersistentSubscriptionToAll(db.ctx, group, options))}
}

func (consumer consumer) close() { done(consumer.Close()) }

// The next event, which is not acknowledged yet.
func (consumer consumer) next() *kurrentdb.EventAppeared {
	sent := consumer.Recv()
	if sent.SubscriptionDropped != nil {
		panic(sent.SubscriptionDropped.Error)
	}
	return sent.EventAppeared
}

// The number of the next event, which is acknowledged.
func (consumer consumer) take() int {
	sent := consumer.next()
	done(consumer.Ack(sent.Event))
	return number(sent.Event)
}

// The error that it ends with; what is sent before is passed over.
func (consumer consumer) end() error {
	for {
		if sent := consumer.Recv(); sent.SubscriptionDropped != nil {
			return sent.SubscriptionDropped.Error
		}
	}
}
