// Appends over several streams, which are written together or not at all, and conditions on streams that are not written.
"use strict";

const {
  ANY, AppendConsistencyViolationError, NO_STREAM, STREAM_EXISTS, STREAM_STATE, StreamNotFoundError, StreamTombstonedError,
  WrongExpectedVersionError, jsonEvent,
} = require("@kurrent/kurrentdb-client");
const { all, equal, event, events, idOf, number, numbers, refused, truth } = require("./checking");

async function severalStreams(db) {
  const append = (...parts) => db.multiStreamAppend(parts.map(([streamName, expectedState, ...sent]) => ({
    streamName, expectedState, events: sent.map((it) => event(it, undefined, idOf(2000 + it))),
  })));
  const first = await append(["both-1", NO_STREAM, 1, 2], ["both-2", ANY, 3]);
  equal(first.responses, [{ streamName: "both-1", revision: 1n }, { streamName: "both-2", revision: 0n }], "revisions");
  const [last] = await all(db.readStream("both-2"));
  equal(last.event.position.commit, first.position, "the position is that of the last event");
  equal(await append(["both-1", NO_STREAM, 1, 2], ["both-2", ANY, 3]), first, "a repetition");
  truth((await append(["both-1", 1n, 4], ["both-2", STREAM_EXISTS, 5])).position > first.position, "positions rise");
  const wrong = await refused(WrongExpectedVersionError, append(["both-1", 2n, 6], ["both-2", 7n, 7]));
  equal([wrong.streamName, wrong.expectedState, wrong.actualState], ["both-2", 7n, 1n], "what it says");
  const twice = await append(["both-1", ANY, 8], ["both-1", ANY, 9]).then(() => undefined, (error) => error);
  truth(twice !== undefined, "a stream stands in such an append once");
  await db.appendToStream("both-3", event(1));
  await db.tombstoneStream("both-3");
  const buried = await refused(StreamTombstonedError, append(["both-1", ANY, 6], ["both-3", ANY, 7]));
  equal(buried.stream, "both-3", "the stream");
  equal(await numbers(db.readStream("both-1")), [1, 2, 4], "nothing that was refused is written");
  equal(await numbers(db.readStream("both-2")), [3, 5], "nothing of it in the other stream");
}

async function conditions(db) {
  const record = (streamName, number) =>
    ({ streamName, record: jsonEvent({ type: "note.Taken", data: { number }, metadata: { who: "me" } }) });
  const check = (streamName, expectedState) => ({ type: STREAM_STATE, streamName, expectedState });
  await db.appendToStream("asked", events(0, 3));
  const mixed = [record("held-1", 1), record("held-2", 2), record("held-1", 3)];
  const written = await db.appendRecords(mixed, [check("asked", 2n)]);
  const revisions = Object.fromEntries(written.responses.map((it) => [it.streamName, it.revision]));
  equal(revisions, { "held-1": 1n, "held-2": 0n }, "revisions");
  const inOrder = (await all(db.readAll())).filter((it) => it.event.streamId.startsWith("held-"));
  equal(inOrder.map(number), [1, 2, 3], "in the order of the records, one stream's beside another's");
  equal(inOrder[2].event.position.commit, written.position, "the position is that of the last event");
  equal(inOrder[0].event.metadata.who, "me", "its metadata");
  const checks = [check("held-1", STREAM_EXISTS), check("asked", 1n), check("held-2", NO_STREAM)];
  const error = await refused(AppendConsistencyViolationError, db.appendRecords([record("held-3", 4)], checks));
  equal(error.violations.map((it) => [it.checkIndex, it.streamName, it.expectedState, it.actualState]),
    [[1, "asked", 1n, 2n], [2, "held-2", NO_STREAM, 0n]], "the checks that fail, all of them");
  await refused(StreamNotFoundError, all(db.readStream("held-3")));
}

module.exports = { severalStreams, conditions };
