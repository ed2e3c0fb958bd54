// Subscriptions: the switch from the past to the present under load, checkpoints, the word that it has caught up, ends.
"use strict";

const {
  DeadlineExceededError, END, NO_STREAM, StreamNotFoundError, eventTypeFilter, streamNameFilter,
} = require("@kurrent/kurrentdb-client");
const { all, client, equal, event, events, number, pause, refused, soon, truth } = require("./checking");

const EVENTS = 10_000;

// Two subscriptions begin amid the appends of another client: no gap, no double, the order held.
async function liveUnderLoad(db, address) {
  const writer = client(`kurrentdb://${address}?tls=false`);
  const half = EVENTS / 2;
  await writer.appendToStream("load", events(0, half), { streamState: NO_STREAM });
  const append = async () => {
    for (let first = half; first < EVENTS; first += 10) {
      await writer.appendToStream("load", events(first, 10), { streamState: BigInt(first - 1) });
    }
  };
  const follow = async (subscription) => {
    let [expected, place] = [0, -1n];
    for await (const found of subscription) {
      equal([number(found), Number(found.event.revision)], [expected, expected], "the next event");
      truth(found.event.position.commit > place, "positions rise");
      place = found.event.position.commit;
      if (++expected === EVENTS) break;
    }
    equal(expected, EVENTS, "all came before the end");
  };
  const filter = streamNameFilter({ regex: "^load$" });
  const followed = [follow(db.subscribeToStream("load")), follow(db.subscribeToAll({ filter }))];
  await soon(Promise.all([append(), ...followed]), "all events");
  await writer.dispose();
}

async function checkpoints(db) {
  const { position } = await db.appendToStream("marked", event(0, "mark.Wanted"));
  await db.appendToStream("marked", events(0, 1000, "mark.Other"));
  await db.appendToStream("marked", event(1, "mark.Wanted"));
  const filtered = (checkpointReached) => eventTypeFilter({
    regex: "^mark.Wanted$", maxSearchWindow: 10, checkpointInterval: 1, checkpointReached,
  });
  const [wanted, marks] = [[], []];
  const enough = new Promise((resolve) => {
    const look = () => wanted.length && marks.length && marks.at(-1).commit > position.commit + 1000n && resolve();
    const filter = filtered((_, mark) => { marks.push(mark); look(); });
    db.subscribeToAll({ fromPosition: position, filter }).on("data", (found) => { wanted.push(number(found)); look(); });
  });
  await soon(enough, "a checkpoint behind all");
  equal(wanted, [1], "behind the first");
  truth(marks.every((it, index) => index === 0 || it.commit > marks[index - 1].commit), "checkpoints rise");
  await db.appendToStream("marked", event(0, "mark.Other"));
  await db.appendToStream("marked", event(2, "mark.Wanted"));
  const subscription = db.subscribeToAll({ fromPosition: marks.at(-1), filter: filtered(undefined) });
  for await (const found of subscription) {
    equal(number(found), 2, "what came behind the last checkpoint");
    break;
  }
}

async function caughtUp(db) {
  const { position } = await db.appendToStream("caught-up", events(0, 5));
  const watch = (subscription) => {
    const told = [];
    let wake = () => {};
    const note = (what) => { told.push(what); wake(); };
    subscription.on("data", (found) => note(number(found))).on("caughtUp", (info) => note(info));
    const several = async (count) => {
      while (told.length < count) await new Promise((resolve) => { wake = resolve; });
      return told.splice(0, count);
    };
    return (count) => soon(several(count), `${count} words of a subscription`, 30);
  };
  const stream = watch(db.subscribeToStream("caught-up"));
  const past = await stream(6);
  // The client hands out events one step behind the word, so only what was said is compared, not when.
  const word = past.find((it) => typeof it === "object");
  equal(past.filter((it) => typeof it === "number"), [0, 1, 2, 3, 4], "five events");
  equal(word.revision, 4n, "how far it has come");
  truth(Math.abs(Date.now() - word.date.getTime()) < 60_000, "when");
  await db.appendToStream("caught-up", event(5), { streamState: 4n });
  equal(await stream(1), [5], "an event of the present");

  const everything = watch(db.subscribeToAll({ fromPosition: position }));
  const both = await everything(2);
  truth(both.includes(5) && both.some((it) => it.position?.commit > position.commit), "$all says its position");

  const later = watch(db.subscribeToStream("not-yet"));
  equal((await later(1))[0].revision, undefined, "a stream that is not there yet");
  await db.appendToStream("not-yet", event(7), { streamState: NO_STREAM });
  equal(await later(1), [7], "its first event");

  const fromEnd = watch(db.subscribeToStream("caught-up", { fromRevision: END }));
  equal(typeof (await fromEnd(1))[0], "object", "from the end");
  await db.appendToStream("caught-up", event(6), { streamState: 5n });
  equal(await fromEnd(1), [6], "only what comes later");
}

async function cancelledAndLate(db) {
  const subscription = db.subscribeToAll({ fromPosition: END });
  const ended = all(subscription);
  await soon(new Promise((resolve) => subscription.once("confirmation", resolve)), "a confirmation");
  await pause(100);
  await subscription.unsubscribe();
  equal(await soon(ended, "the end of a cancelled subscription", 10), [], "nothing comes");

  const late = db.appendToStream("silent", event(1), { deadline: -1000 });
  await refused(DeadlineExceededError, soon(late, "an append that is late already"));
  await refused(StreamNotFoundError, all(db.readStream("silent")));
  await db.appendToStream("silent", event(2), { streamState: NO_STREAM });
  equal((await all(db.readStream("silent"))).map(number), [2], "the connection goes on");
}

module.exports = { liveUnderLoad, checkpoints, caughtUp, cancelledAndLate };
