// Deletions and tombstones, told apart by their errors, and the metadata that hides events.
"use strict";

const {
  ANY, BACKWARDS, END, NO_STREAM, STREAM_EXISTS, StreamDeletedError, StreamNotFoundError, WrongExpectedVersionError,
} = require("@kurrent/kurrentdb-client");
const { all, ending, equal, event, events, number, numbers, range, refused, revisions, soon } = require("./checking");

async function deletedAndTombstoned(db) {
  const credentials = { username: "any", password: "any" };
  await db.appendToStream("gone", events(0, 3));
  const wrong = await refused(WrongExpectedVersionError, db.deleteStream("gone", { expectedRevision: 0n }));
  equal([wrong.streamName, wrong.expectedState, wrong.actualState], ["gone", 0n, 2n], "what it says");
  await db.deleteStream("gone", { expectedRevision: 2n });
  await refused(StreamNotFoundError, all(db.readStream("gone")));
  for (const options of [{}, { credentials }]) {
    const append = db.appendToStream("gone", event(3), { streamState: STREAM_EXISTS, ...options });
    equal((await refused(StreamDeletedError, append)).streamName, "gone", "the stream");
  }
  await db.appendToStream("gone", event(3), { streamState: NO_STREAM });
  equal(await numbers(db.readStream("gone")), [3], "a revived stream");
  equal(await revisions(db.readStream("gone")), [3], "it goes on");

  await db.appendToStream("buried", events(0, 3));
  await refused(WrongExpectedVersionError, db.tombstoneStream("buried", { expectedRevision: 1n }));
  await db.tombstoneStream("buried", { expectedRevision: 2n });
  await refused(StreamDeletedError, all(db.readStream("buried")));
  await refused(StreamDeletedError, all(db.readStream("buried", { direction: BACKWARDS, fromRevision: END })));
  await refused(StreamDeletedError, soon(ending(db.subscribeToStream("buried")), "a subscription"));
  for (const options of [{}, { credentials }]) {
    const append = db.appendToStream("buried", event(3), { streamState: ANY, ...options });
    equal((await refused(StreamDeletedError, append)).streamName, "buried", "the stream");
  }
  equal((await refused(StreamDeletedError, db.deleteStream("buried"))).streamName, "buried", "the stream");
  await refused(StreamDeletedError, db.tombstoneStream("buried"));
  await refused(StreamDeletedError, db.getStreamMetadata("buried"));
  await db.tombstoneStream("never-there");
  await refused(StreamDeletedError, all(db.readStream("never-there")));
}

async function metadata(db) {
  const first = await db.appendToStream("hidden", event(0), { streamState: NO_STREAM });
  await db.appendToStream("hidden", events(1, 9), { streamState: 0n });
  const read = (options) => numbers(db.readStream("hidden", options));
  // The client hands its options on to an append, which knows the expectation by this name.
  const set = (it, streamState = ANY) => db.setStreamMetadata("hidden", it, { streamState });
  await set({ maxCount: 3, owner: "me" }, NO_STREAM);
  equal((await db.getStreamMetadata("hidden")).metadata, { maxCount: 3, owner: "me" }, "the metadata");
  equal(await read(), [7, 8, 9], "three are left");
  equal(await read({ direction: BACKWARDS, fromRevision: END }), [9, 8, 7], "three backwards");
  await refused(WrongExpectedVersionError, set({}, 5n));
  await set({ truncateBefore: 4 }, 0n);
  equal(await read(), range(4, 6), "from the fifth on");
  await set({ truncateBefore: 10 });
  equal(await read(), [], "none is left, yet the stream is there");
  const everything = await all(db.readAll({ fromPosition: first.position }));
  const mine = everything.filter((it) => it.event.streamId === "hidden");
  equal(mine.map(number), range(0, 10), "all of them stay in $all");
  await set({});
  equal(await read(), range(0, 10), "they come back");
}

module.exports = { deletedAndTombstoned, metadata };
