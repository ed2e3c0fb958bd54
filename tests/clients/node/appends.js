// Appends: every expectation, right and wrong, repetitions, many events at once, many appends at once, large events.
"use strict";

const { randomBytes } = require("crypto");
const {
  ANY, NO_STREAM, STREAM_EXISTS, WrongExpectedVersionError, binaryEvent,
} = require("@kurrent/kurrentdb-client");
const { all, equal, event, events, idOf, numbers, range, refused, revisions, truth } = require("./checking");

async function expectations(db) {
  const positions = [];
  for (const [number, streamState] of [NO_STREAM, ANY, STREAM_EXISTS, 2n, 3n].entries()) {
    const written = await db.appendToStream("expected", event(number), { streamState });
    truth(written.success, `expecting ${streamState}`);
    equal(written.nextExpectedRevision, BigInt(number), `the revision of one that expects ${streamState}`);
    equal(written.position.commit, written.position.prepare, "both positions");
    positions.push(written.position.commit);
  }
  const read = await all(db.readStream("expected"));
  equal(read.map((it) => it.event.data.number), range(0, 5), "the events");
  equal(read.map((it) => it.event.revision), [0n, 1n, 2n, 3n, 4n], "their revisions");
  equal(read.map((it) => it.event.position.commit), positions, "their positions");
  // Credentials of a call's own lead the client to Append instead of BatchAppend.
  const credentials = { username: "any", password: "any" };
  const single = await db.appendToStream("expected", event(5), { streamState: 4n, credentials });
  equal(single.nextExpectedRevision, 5n, "the revision of an append by itself");
  equal(await numbers(db.readStream("expected")), range(0, 6), "with it");
}

async function wrongExpectations(db) {
  const credentials = { username: "any", password: "any" };
  for (const options of [{}, { credentials }]) {
    const append = (stream, streamState) => db.appendToStream(stream, event(2), { streamState, ...options });
    for (const streamState of [STREAM_EXISTS, 0n, 7n]) {
      const error = await refused(WrongExpectedVersionError, append("never-written", streamState));
      equal(error.actualState, NO_STREAM, `what is there instead of ${streamState}`);
    }
    const last = (await db.appendToStream("wrong", event(1))).nextExpectedRevision;
    for (const streamState of [NO_STREAM, last + 1n, 99n]) {
      const error = await refused(WrongExpectedVersionError, append("wrong", streamState));
      equal(error.actualState, last, `what is there instead of ${streamState}`);
      equal(error.expectedState, streamState, "what was expected");
      equal(error.streamName, "wrong", "the stream");
    }
  }
  equal(await numbers(db.readStream("wrong")), [1, 1], "nothing that was refused is written");
}

async function repetitions(db) {
  const [first, second, third] = [1, 2, 3].map((number) => event(number, undefined, idOf(number)));
  const one = await db.appendToStream("repeated", first, { streamState: NO_STREAM });
  const two = await db.appendToStream("repeated", [second, third], { streamState: 0n });
  for (const streamState of [NO_STREAM, ANY]) {
    equal(await db.appendToStream("repeated", first, { streamState }), one, `again, expecting ${streamState}`);
  }
  for (const streamState of [0n, ANY, STREAM_EXISTS]) {
    const again = await db.appendToStream("repeated", [second, third], { streamState });
    equal(again, two, `both again, expecting ${streamState}`);
  }
  const other = db.appendToStream("repeated", [second, event(9)], { streamState: 0n });
  await refused(WrongExpectedVersionError, other);
  equal(await numbers(db.readStream("repeated")), [1, 2, 3], "each event once");
}

async function manyEvents(db) {
  // The client sends this in several pieces.
  const options = { streamState: NO_STREAM, batchAppendSize: 20_000 };
  const written = await db.appendToStream("many", events(0, 3000), options);
  equal(written.nextExpectedRevision, 2999n, "the last revision");
  const read = await all(db.readStream("many"));
  equal(read.map((it) => it.event.data.number), range(0, 3000), "every event in order");
  equal(read[2999].event.position, written.position, "the position is that of the last event");
  const wrong = db.appendToStream("many", events(3000, 3000), { ...options, streamState: 17n });
  await refused(WrongExpectedVersionError, wrong);
  equal(await revisions(db.readStream("many", { direction: "backwards", fromRevision: "end", maxCount: 1 })), [2999],
    "a refused batch writes none of its events");
}

async function manyAppends(db) {
  const written = await Promise.all(
    range(0, 1000).map((number) => db.appendToStream(`crowd-${number % 10}`, event(number))),
  );
  const positions = written.map((it) => it.position.commit);
  equal(new Set(positions).size, 1000, "positions of their own");
  for (const stream of range(0, 10)) {
    const read = await all(db.readStream(`crowd-${stream}`));
    const found = read.map((it) => it.event.data.number);
    const expected = range(0, 100).map((index) => index * 10 + stream);
    equal([...found].sort((a, b) => a - b), expected, `crowd-${stream}`);
    equal(read.map((it) => Number(it.event.revision)), range(0, 100), `revisions of crowd-${stream}`);
    equal(read.map((it) => it.event.position.commit), found.map((number) => positions[number]),
      `positions of crowd-${stream}`);
  }
}

async function largeEvents(db) {
  const written = [0, 1 << 20, 5 << 20].map((size) =>
    binaryEvent({ type: "blob", data: new Uint8Array(randomBytes(size)), metadata: new Uint8Array([1, 0, 255]) }));
  for (const it of written) await db.appendToStream("large", it);
  await db.appendToStream("large-batch", written, { streamState: NO_STREAM });
  for (const stream of ["large", "large-batch"]) {
    const read = await all(db.readStream(stream));
    equal(read.length, written.length, `the events of ${stream}`);
    for (const [index, { event: found }] of read.entries()) {
      const expected = written[index];
      truth(Buffer.compare(found.data, expected.data) === 0, `${expected.data.length} bytes of ${stream}`);
      equal([...found.metadata], [1, 0, 255], "the metadata");
      equal([found.isJson, found.id], [false, expected.id], "the content type and the id");
    }
  }
}

module.exports = { expectations, wrongExpectations, repetitions, manyEvents, manyAppends, largeEvents };
