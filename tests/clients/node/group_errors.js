// The errors of persistent subscriptions: what exists, what does not, too many consumers, consumers that are dropped.
"use strict";

const {
  PersistentSubscriptionDoesNotExistError, PersistentSubscriptionDroppedError, PersistentSubscriptionExistsError,
  PersistentSubscriptionFailedError, PersistentSubscriptionMaximumSubscribersReachedError,
} = require("@kurrent/kurrentdb-client");
const { allSettings, settings } = require("./groups");
const { ending, equal, events, number, refused, soon } = require("./checking");

async function told(db) {
  await db.appendToStream("guarded", events(0, 3));
  await db.createPersistentSubscriptionToStream("guarded", "group", settings({ maxSubscriberCount: 1 }));
  await db.createPersistentSubscriptionToAll("group", allSettings());
  const exists = await refused(PersistentSubscriptionExistsError,
    db.createPersistentSubscriptionToStream("guarded", "group", settings()));
  equal([exists.streamName, exists.groupName], ["guarded", "group"], "which one is there");
  await refused(PersistentSubscriptionExistsError, db.createPersistentSubscriptionToAll("group", allSettings()));
  const odd = settings({ readBatchSize: 600, historyBufferSize: 500 });
  const failed = await refused(PersistentSubscriptionFailedError,
    db.createPersistentSubscriptionToStream("guarded", "odd", odd));
  equal(failed.reason.length > 0, true, "a reason");

  const missing = [
    db.getPersistentSubscriptionToStreamInfo("guarded", "no-group"),
    db.updatePersistentSubscriptionToStream("guarded", "no-group", settings()),
    db.replayParkedMessagesToStream("guarded", "no-group"),
    db.deletePersistentSubscriptionToStream("guarded", "no-group"),
    db.getPersistentSubscriptionToAllInfo("no-group"),
    db.updatePersistentSubscriptionToAll("no-group", allSettings()),
    db.replayParkedMessagesToAll("no-group"),
    db.deletePersistentSubscriptionToAll("no-group"),
    soon(ending(db.subscribeToPersistentSubscriptionToStream("guarded", "no-group")), "an end"),
    soon(ending(db.subscribeToPersistentSubscriptionToAll("no-group")), "an end"),
    db.listPersistentSubscriptionsToStream("no-groups-here"),
  ];
  for (const it of await Promise.all(missing.map((it) => refused(PersistentSubscriptionDoesNotExistError, it)))) {
    equal(it.type, "persistent-subscription-does-not-exist", "the type");
  }

  const consumer = db.subscribeToPersistentSubscriptionToStream("guarded", "group");
  const dropped = ending(consumer);
  const found = [];
  await soon(new Promise((resolve) => consumer.on("data", (it) => found.push(number(it)) === 3 && resolve())), "three");
  equal(found, [0, 1, 2], "the one consumer's events");
  const second = db.subscribeToPersistentSubscriptionToStream("guarded", "group");
  const full = await refused(PersistentSubscriptionMaximumSubscribersReachedError, soon(ending(second), "an end"));
  equal([full.streamName, full.groupName], ["guarded", "group"], "which one is full");
  const end = refused(PersistentSubscriptionDroppedError, soon(dropped, "an end"));
  await db.updatePersistentSubscriptionToStream("guarded", "group", settings({ maxRetryCount: 5 }));
  await end;

  const everything = db.subscribeToPersistentSubscriptionToAll("group");
  await soon(new Promise((resolve) => everything.once("confirmation", resolve)), "a confirmation");
  const gone = refused(PersistentSubscriptionDoesNotExistError, soon(ending(everything), "an end"));
  await db.deletePersistentSubscriptionToAll("group");
  await gone;
  await db.deletePersistentSubscriptionToStream("guarded", "group");
}

module.exports = { told };
