// The server is found by discovery, and killed under appends: the test that runs this program kills it at `KILL ME` and
// says `killed` on standard input once it is there again.
"use strict";

const { NO_STREAM, WrongExpectedVersionError } = require("@kurrent/kurrentdb-client");
const { all, client, equal, event, idOf, number, numbers, pause, range, truth } = require("./checking");

// Appends that are acknowledged before the kill, and once more behind it.
const [BEFORE, BEHIND] = [200, 200];

async function discovered(_, address) {
  const targets = [`kdb+discover://${address}`, `kurrentdb+discover://${address}`, `kurrentdb://127.0.0.1:1,${address}`];
  for (const [index, target] of targets.entries()) {
    const db = client(`${target}?tls=false&maxDiscoverAttempts=3&discoveryInterval=100`);
    await db.appendToStream(`found-${index}`, event(1), { streamState: NO_STREAM });
    equal(await numbers(db.readStream(`found-${index}`)), [1], target);
    await db.dispose();
  }
  const nowhere = client("kurrentdb+discover://127.0.0.1:1?tls=false&maxDiscoverAttempts=2&discoveryInterval=10");
  const found = await nowhere.appendToStream("found-nowhere", event(1)).catch((error) => error);
  truth(/Failed to discover/.test(found.message), `nobody is found where nobody is: ${found}`);
}

async function killed(db) {
  let back = false;
  process.stdin.once("data", (line) => { back = line.toString().trim() === "killed"; });
  const end = Date.now() + 100_000;
  let [acknowledged, failures, behind] = [0, 0, 0];
  while (behind < BEHIND) {
    truth(Date.now() < end, `100 s are over: ${acknowledged} acknowledged, ${failures} failed`);
    const streamState = acknowledged === 0 ? NO_STREAM : BigInt(acknowledged - 1);
    try {
      // A repetition has the same id, so it is written once, whatever became of the one before.
      const one = event(acknowledged, undefined, idOf(1000 + acknowledged));
      const { nextExpectedRevision } = await db.appendToStream("killed", one, { streamState, deadline: 5000 });
      equal(nextExpectedRevision, BigInt(acknowledged), "the revision");
    } catch (error) {
      // The client's errors have a type, those of gRPC a code; others are a mistake here or a check that failed.
      const ours = error.type === undefined && error.code === undefined;
      if (ours || error instanceof WrongExpectedVersionError) throw error;
      failures += 1;
      await pause(50);
      continue;
    }
    acknowledged += 1;
    behind += back ? 1 : 0;
    if (acknowledged === BEFORE) console.log("KILL ME");
  }
  process.stdin.pause();
  const read = await all(db.readStream("killed"));
  equal(read.map(number), range(0, acknowledged), "every acknowledged event, once, in order");
  equal(read.map((it) => it.event.id), range(1000, acknowledged).map(idOf), "their ids");
}

module.exports = { discovered, killed };
