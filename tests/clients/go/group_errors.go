// The errors of persistent subscriptions: what exists, what does not, too many consumers, consumers that are dropped.

package main

import (
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func groupErrors(db database) {
	named := func(code kurrentdb.ErrorCode, text string, err error) {
		equal(status.Convert(refused(code, err).Err()).Message(), text, "what it says")
	}
	db.write("guarded", events(span(0, 3))...)
	done(db.createGroup("guarded", "group", kurrentdb.Start{}, func(settings *settings) { settings.MaxSubscriberCount = 1 }))
	done(db.createGroupOfAll("group", unchanged))
	named(kurrentdb.ErrorCodeResourceAlreadyExists, "Subscription group group on stream guarded exists.",
		db.createGroup("guarded", "group", kurrentdb.Start{}, unchanged))
	named(kurrentdb.ErrorCodeResourceAlreadyExists, "Subscription group group on stream $all exists.",
		db.createGroupOfAll("group", unchanged))
	odd := refused(kurrentdb.ErrorCodeUnknown, db.createGroup("guarded", "odd", kurrentdb.Start{}, func(settings *settings) {
		settings.ReadBatchSize = 600
		settings.HistoryBufferSize = 500
	}))
	equal(status.Code(odd.Err()), codes.Internal, "a group that cannot be")

	subscribe := kurrentdb.SubscribeToPersistentSubscriptionOptions{}
	replay := kurrentdb.ReplayParkedMessagesOptions{}
	for _, err := range []error{
		failing(db.group("guarded", "no-group")),
		db.updateGroup("guarded", "no-group", kurrentdb.Start{}, unchanged),
		db.ReplayParkedMessages(db.ctx, "guarded", "no-group", replay),
		db.deleteGroup("guarded", "no-group"),
		failing(db.SubscribeToPersistentSubscription(db.ctx, "guarded", "no-group", subscribe)),
	} {
		named(kurrentdb.ErrorCodeResourceNotFound, "Subscription group no-group on stream guarded does not exist.", err)
	}
	for _, err := range []error{
		failing(db.groupOfAll("no-group")),
		db.updateGroupOfAll("no-group", unchanged),
		db.ReplayParkedMessagesToAll(db.ctx, "no-group", replay),
		db.deleteGroupOfAll("no-group"),
		failing(db.SubscribeToPersistentSubscriptionToAll(db.ctx, "no-group", subscribe)),
	} {
		named(kurrentdb.ErrorCodeResourceNotFound, "Subscription group no-group on stream $all does not exist.", err)
	}
	refused(kurrentdb.ErrorCodeResourceNotFound, failing(db.ListPersistentSubscriptionsForStream(
		db.ctx, "no-groups-here", kurrentdb.ListPersistentSubscriptionsOptions{})))

	one := db.consumer("guarded", "group")
	defer one.close()
	for expected := range 3 {
		equal(number(one.next().Event), expected, "the one consumer's events")
	}
	refusedWith(codes.FailedPrecondition, "Maximum subscriptions reached for subscription group group on stream guarded.",
		failing(db.SubscribeToPersistentSubscription(db.ctx, "guarded", "group", subscribe)))
	done(db.updateGroup("guarded", "group", kurrentdb.Start{}, func(settings *settings) { settings.MaxRetryCount = 5 }))
	// What a consumer ends with the client hands on as it is.
	dropped := status.Convert(one.end())
	equal(dropped.Code(), codes.Canceled, "a consumer that is dropped")
	equal(dropped.Message(), "Subscription group group on stream guarded was dropped.", "what it says")

	all := db.consumerOfAll("group")
	defer all.close()
	done(db.deleteGroupOfAll("group"))
	gone := status.Convert(all.end())
	equal(gone.Code(), codes.NotFound, "a consumer whose group is gone")
	equal(gone.Message(), "Subscription group group on stream $all does not exist.", "what it says")
	done(db.deleteGroup("guarded", "group"))
}
