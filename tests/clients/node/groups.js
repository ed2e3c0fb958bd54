// Persistent subscriptions: consumers that share a group, retries, parked events, groups of $all, what is told of them.
"use strict";

const {
  DISPATCH_TO_SINGLE, END, PARK, PINNED, PersistentSubscriptionDoesNotExistError, RETRY, ROUND_ROBIN, SKIP, START,
  eventTypeFilter, persistentSubscriptionToAllSettingsFromDefaults, persistentSubscriptionToStreamSettingsFromDefaults,
} = require("@kurrent/kurrentdb-client");
const {
  all, ending, equal, event, events, number, numbers, range, refused, soon, truth, within,
} = require("./checking");

const settings = (changes) => persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, ...changes });
const allSettings = persistentSubscriptionToAllSettingsFromDefaults;

// Three consumers, one of which leaves with events in hand: each event is acknowledged, by more than one of them.
async function shared(db) {
  await db.createPersistentSubscriptionToStream("work", "team",
    settings({ consumerStrategyName: ROUND_ROBIN, messageTimeout: 60_000 }));
  const [handled, done] = [[], new Set()];
  let whole;
  const everything = new Promise((resolve) => { whole = resolve; });
  const consume = (name, leavesAfter) => {
    const subscription = db.subscribeToPersistentSubscriptionToStream("work", "team", { bufferSize: 10 });
    let mine = 0;
    const left = new Promise((resolve) => {
      subscription.on("data", (found) => {
        // The one that leaves does not acknowledge this event and what else was sent to it.
        if (mine === leavesAfter) return void subscription.unsubscribe().then(resolve);
        if (mine > leavesAfter) return;
        mine += 1;
        subscription.ack(found);
        handled.push([name, number(found)]);
        done.add(number(found));
        if (done.size === 400) whole();
      });
    });
    const confirmed = new Promise((resolve) => subscription.once("confirmation", resolve));
    return { subscription, left, confirmed };
  };
  const consumers = [consume("one", Infinity), consume("two", Infinity), consume("three", 5)];
  // All are there before the first event, so each gets its share.
  await soon(Promise.all(consumers.map((it) => it.confirmed)), "three confirmations");
  await db.appendToStream("work", events(0, 200));
  await soon(consumers[2].left, "the one that leaves");
  for (const first of range(0, 10)) await db.appendToStream("work", events(200 + first * 20, 20));
  await soon(everything, "all events").catch((error) => {
    throw new Error(`missing: ${range(0, 400).filter((it) => !done.has(it))}`, { cause: error });
  });
  for (const name of ["one", "two", "three"]) {
    truth(handled.some(([who]) => who === name), `consumer ${name} got events`);
  }
  const byStayers = handled.filter(([who]) => who !== "three").map(([, what]) => what);
  equal(byStayers.length, new Set(byStayers).size, "no event is acknowledged twice by those who stay");

  const info = await within("two connections and nothing in flight", async () => {
    const it = await db.getPersistentSubscriptionToStreamInfo("work", "team");
    const idle = it.stats.totalInFlightMessages === 0 && it.stats.retryBufferCount === 0;
    return idle && it.connections.length === 2 && it;
  });
  equal([info.eventSource, info.groupName], ["work", "team"], "whose information it is");
  equal(info.settings.consumerStrategyName, ROUND_ROBIN, "the strategy");
  equal(info.stats.lastKnownEventRevision, 399n, "the last event that it knows");
  const dropped = consumers.slice(0, 2).map(({ subscription }) =>
    refused(PersistentSubscriptionDoesNotExistError, soon(ending(subscription), "the end")));
  await db.deletePersistentSubscriptionToStream("work", "team");
  await Promise.all(dropped);
}

async function retriedAndParked(db) {
  await db.appendToStream("hard", events(0, 6));
  await db.createPersistentSubscriptionToStream("hard", "hard-ones", settings({ maxRetryCount: 2, messageTimeout: 60_000 }));
  const parked = async () => (await db.getPersistentSubscriptionToStreamInfo("hard", "hard-ones")).stats.parkedMessageCount;
  // What a consumer is sent while it answers so, until it was sent `count` events.
  const consume = async (count, answer) => {
    const seen = [];
    const subscription = db.subscribeToPersistentSubscriptionToStream("hard", "hard-ones");
    const enough = (async () => {
      for await (const found of subscription) {
        seen.push([number(found), found.retryCount]);
        await answer(subscription, found);
        if (seen.length === count) break;
      }
    })();
    await soon(enough, `${count} events`);
    return { seen: seen.sort(([a, i], [b, j]) => a - b || i - j), subscription };
  };
  const first = await consume(9, (subscription, found) => {
    const what = number(found);
    if (what === 1 && found.retryCount === 0) return subscription.nack(RETRY, "again", found);
    if (what === 2 || what === 4) return subscription.nack(PARK, "later", found);
    if (what === 3) return subscription.nack(SKIP, "never", found);
    // Once more than it may be retried: it is parked.
    if (what === 5) return subscription.nack(RETRY, "again", found);
    return subscription.ack(found);
  });
  equal(first.seen, [[0, 0], [1, 0], [1, 1], [2, 0], [3, 0], [4, 0], [5, 0], [5, 1], [5, 2]], "what was sent");
  await within("three parked events", async () => (await parked()) === 3n);
  await first.subscription.unsubscribe();
  const links = db.readStream("$persistentsubscription-hard::hard-ones-parked", { resolveLinkTos: true });
  equal((await numbers(links)).sort(), [2, 4, 5], "what is parked");

  await db.replayParkedMessagesToStream("hard", "hard-ones");
  const again = await consume(3, (subscription, found) => subscription.ack(found));
  equal(again.seen, [[2, 0], [4, 0], [5, 0]], "what was replayed");
  await within("no parked event", async () => (await parked()) === 0n);
  await again.subscription.unsubscribe();
  await db.deletePersistentSubscriptionToStream("hard", "hard-ones");
}

async function allEvents(db) {
  const { position } = await db.appendToStream("wide-1", event(0, "wide.Wanted"));
  await db.appendToStream("wide-2", event(1, "wide.Other"));
  await db.appendToStream("wide-2", events(2, 2, "wide.Wanted"));
  const quick = allSettings({ startFrom: position, checkPointAfter: 100, checkPointLowerBound: 1 });
  const filter = eventTypeFilter({ regex: "^wide.Wanted$" });
  await db.createPersistentSubscriptionToAll("wide", quick, { filter });
  const take = async (count, then = () => {}) => {
    const found = [];
    const subscription = db.subscribeToPersistentSubscriptionToAll("wide");
    const enough = (async () => {
      for await (const it of subscription) {
        await subscription.ack(it);
        found.push(number(it));
        if (found.length === count) break;
        await then(found.length);
      }
    })();
    await soon(enough, `${count} events`);
    equal(subscription.id, "$all::wide", "its id");
    await within("nothing in flight", async () => {
      const { stats } = await db.getPersistentSubscriptionToAllInfo("wide");
      return stats.totalInFlightMessages === 0;
    });
    await subscription.unsubscribe();
    return found;
  };
  const append = (number) => db.appendToStream("wide-3", event(number, "wide.Wanted"));
  equal(await take(4, (count) => count === 3 && append(4)), [0, 2, 3, 4], "with the event that it starts from");
  // Another consumer goes on behind what was acknowledged.
  await append(5);
  equal(await take(1), [5], "what is new");
  const info = await db.getPersistentSubscriptionToAllInfo("wide");
  equal([info.eventSource, info.groupName, info.settings.startFrom], ["$all", "wide", position], "what is told of it");
  await db.deletePersistentSubscriptionToAll("wide");
}

async function listedAndChanged(db) {
  equal(await db.listAllPersistentSubscriptions(), [], "no group yet");
  await db.appendToStream("listed", events(0, 3));
  const first = { startFrom: END, messageTimeout: 20_000, maxRetryCount: 3 };
  await db.createPersistentSubscriptionToStream("listed", "first", settings(first));
  await db.createPersistentSubscriptionToStream("listed", "second", settings({ consumerStrategyName: PINNED, startFrom: 1n }));
  await db.createPersistentSubscriptionToAll("third", allSettings({ consumerStrategyName: DISPATCH_TO_SINGLE }));
  const named = (infos) => infos.map((it) => `${it.eventSource}/${it.groupName}`).sort();
  equal(named(await db.listAllPersistentSubscriptions()), ["$all/third", "listed/first", "listed/second"], "all");
  equal(named(await db.listPersistentSubscriptionsToStream("listed")), ["listed/first", "listed/second"], "a stream's");
  equal(named(await db.listPersistentSubscriptionsToAll()), ["$all/third"], "those of all");
  const told = async (group) => (await db.getPersistentSubscriptionToStreamInfo("listed", group)).settings;
  const { messageTimeout, maxRetryCount, startFrom } = await told("first");
  equal({ startFrom, messageTimeout, maxRetryCount }, first, "as it was created");
  equal((await told("second")).consumerStrategyName, PINNED, "the strategy");

  await db.updatePersistentSubscriptionToStream("listed", "first", settings({ ...first, maxRetryCount: 7, startFrom: 2n }));
  const changed = await told("first");
  equal([changed.messageTimeout, changed.maxRetryCount, changed.startFrom], [20_000, 7, 2n], "as it was changed");
  for await (const found of db.subscribeToPersistentSubscriptionToStream("listed", "first")) {
    equal(number(found), 2, "it starts where it was told to");
    break;
  }
  await db.updatePersistentSubscriptionToAll("third", allSettings({ maxSubscriberCount: 9 }));
  const third = await db.getPersistentSubscriptionToAllInfo("third");
  equal(third.settings.maxSubscriberCount, 9, "as it was changed");
  for (const group of ["first", "second"]) await db.deletePersistentSubscriptionToStream("listed", group);
  await db.deletePersistentSubscriptionToAll("third");
  equal(await db.listAllPersistentSubscriptions(), [], "no group any more");
}

module.exports = { shared, retriedAndParked, allEvents, listedAndChanged, settings, allSettings };
