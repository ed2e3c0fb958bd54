// Reads: streams and all events in both directions, from places and with counts, links, filters, what is not there.
"use strict";

const {
  BACKWARDS, END, NO_STREAM, StreamNotFoundError, WrongExpectedVersionError, binaryEvent, eventTypeFilter,
  excludeSystemEvents, streamNameFilter,
} = require("@kurrent/kurrentdb-client");
const { all, equal, event, events, numbers, range, refused, revisions, truth } = require("./checking");

async function streams(db) {
  await db.appendToStream("both-ways", events(0, 100), { streamState: NO_STREAM });
  const read = (options) => revisions(db.readStream("both-ways", options));
  const backwards = (options) => read({ direction: BACKWARDS, fromRevision: END, ...options });
  equal(await read(), range(0, 100), "forwards");
  equal(await backwards(), range(0, 100).reverse(), "backwards");
  equal(await read({ maxCount: 3 }), [0, 1, 2], "three");
  equal(await backwards({ maxCount: 3 }), [99, 98, 97], "the last three");
  equal(await read({ fromRevision: 50n, maxCount: 2 }), [50, 51], "from 50");
  equal(await backwards({ fromRevision: 50n, maxCount: 2 }), [50, 49], "back from 50");
  equal(await read({ fromRevision: 100n }), [], "behind the end");
  equal(await backwards({ fromRevision: 500n, maxCount: 1 }), [99], "back from behind the end");
  for await (const first of db.readStream("both-ways")) {
    const { streamId, type, isJson, created } = first.event;
    equal([streamId, type, isJson], ["both-ways", "note.Taken", true], "an event of a read that is left early");
    truth(created.getFullYear() >= 2024, "a time");
    break;
  }
}

async function allEvents(db) {
  const written = [];
  for (const number of range(0, 20)) {
    written.push((await db.appendToStream(`everything-${number}`, event(number))).position);
  }
  const read = async (options) => (await all(db.readAll(options))).map((it) => it.event.position);
  const backwards = (options) => read({ direction: BACKWARDS, fromPosition: END, ...options });
  equal(await read({ fromPosition: written[0] }), written, "from an event on, with itself");
  equal(await read({ fromPosition: written[5], maxCount: 3 }), written.slice(5, 8), "three from the sixth");
  equal(await backwards({ maxCount: 20 }), [...written].reverse(), "backwards from the end");
  equal(await backwards({ fromPosition: written[5], maxCount: 2 }), [written[4], written[3]],
    "back from an event, without itself");
  const whole = await read();
  truth(whole.every((it, index) => index === 0 || it.commit > whole[index - 1].commit), "positions rise");
  equal(whole.slice(-20), written, "all");
  equal(await backwards(), whole.reverse(), "all backwards");
}

async function links(db) {
  await db.appendToStream("linked", [10, 11, 12].map((number) => event(number)));
  const to = [2, 0].map((n) => binaryEvent({ type: "$>", data: new Uint8Array(Buffer.from(`${n}@linked`)) }));
  await db.appendToStream("links", to);
  const plain = await all(db.readStream("links"));
  equal(plain.map((it) => [it.event.type, it.link]), [["$>", undefined], ["$>", undefined]], "links as they are");
  const read = await all(db.readStream("links", { resolveLinkTos: true }));
  equal(read.map((it) => it.event.data.number), [12, 10], "what the links name");
  equal(read.map((it) => [it.event.streamId, it.link.streamId, it.link.revision]),
    [["linked", "links", 0n], ["linked", "links", 1n]], "the streams of both");
  const back = db.readStream("links", { resolveLinkTos: true, direction: BACKWARDS, fromRevision: END });
  equal(await numbers(back), [10, 12], "backwards");
  const everything = await all(db.readAll({ resolveLinkTos: true }));
  equal(everything.filter((it) => it.link).map((it) => it.event.data.number), [12, 10], "links in $all");
  const subscription = db.subscribeToStream("links", { resolveLinkTos: true });
  for await (const found of subscription) {
    equal([found.event.revision, found.link.revision], [2n, 0n], "a subscription's link");
    break;
  }
}

async function filters(db) {
  const { position } = await db.appendToStream("apple-1", event(1, "fruit.Ripe"));
  await db.appendToStream("apple-2", event(2, "fruit.Rotten"));
  await db.appendToStream("pear-1", event(3, "fruit.Ripe"));
  await db.appendToStream("pear-1", event(4, "tree.Felled"));
  await db.setStreamMetadata("pear-1", { owner: "me" });
  const short = ({ event: it }) => (it.type.startsWith("$") ? it.type : it.data.number);
  const read = async (filter) => {
    const found = (await all(db.readAll({ fromPosition: position, filter }))).map(short);
    const back = { direction: BACKWARDS, fromPosition: END, maxCount: found.length, filter };
    equal((await all(db.readAll(back))).map(short).reverse(), found, "the same backwards");
    return found;
  };
  equal(await read(undefined), [1, 2, 3, 4, "$metadata"], "no filter");
  equal(await read(excludeSystemEvents()), [1, 2, 3, 4], "no system events");
  equal(await read(eventTypeFilter({ regex: "^(?!fruit\\.)" })), [4, "$metadata"], "types that do not match");
  equal(await read(eventTypeFilter({ regex: "^fruit.Ripe$" })), [1, 3], "a type");
  equal(await read(eventTypeFilter({ prefixes: ["fruit.Ro", "tree."] })), [2, 4], "types by prefix");
  equal(await read(streamNameFilter({ regex: "^(apple-\\d|\\$\\$pear-1)$" })), [1, 2, "$metadata"],
    "streams by expression");
  equal(await read(streamNameFilter({ prefixes: ["apple-1", "pear-"] })), [1, 3, 4], "streams by prefix");
  equal(await read(streamNameFilter({ regex: "^(?!apple-|\\$)" })), [3, 4], "streams that do not match");
}

async function missingStreams(db) {
  const error = await refused(StreamNotFoundError, all(db.readStream("nowhere")));
  equal(error.streamName, "nowhere", "the stream");
  await refused(StreamNotFoundError, all(db.readStream("nowhere", { direction: BACKWARDS, fromRevision: END })));
  await refused(WrongExpectedVersionError, db.deleteStream("nowhere", { expectedRevision: 3n }));
  await refused(WrongExpectedVersionError, db.tombstoneStream("nowhere", { expectedRevision: 3n }));
  equal((await db.getStreamMetadata("nowhere")).metadata, undefined, "the metadata");
}

module.exports = { streams, allEvents, links, filters, missingStreams };
