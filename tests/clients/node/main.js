// KurrentDB's Node client against the server at HOST:PORT: every check in turn, with a line `ok NAME` for each that passes.
// At the first one that fails it says why and ends with 1. With a word behind the address, only the checks with it in their
// names. Where the client is found says NODE_PATH.
"use strict";

const appends = require("./appends");
const deletions = require("./deletions");
const groupErrors = require("./group_errors");
const groups = require("./groups");
const outage = require("./outage");
const reads = require("./reads");
const subscriptions = require("./subscriptions");
const transactions = require("./transactions");
const { client } = require("./checking");

const CHECKS = [
  ["appends meet what they expect", appends.expectations],
  ["wrong expectations are told", appends.wrongExpectations],
  ["repetitions write nothing twice", appends.repetitions],
  ["an append of many events is one", appends.manyEvents],
  ["many appends run at once", appends.manyAppends],
  ["large events come back whole", appends.largeEvents],
  ["streams are read both ways", reads.streams],
  ["all events are read both ways", reads.allEvents],
  ["links are followed", reads.links],
  ["filters choose by type and stream", reads.filters],
  ["missing streams are told", reads.missingStreams],
  ["deleted streams are told from tombstones", deletions.deletedAndTombstoned],
  ["metadata hides events", deletions.metadata],
  ["a subscription goes live under load", subscriptions.liveUnderLoad],
  ["a filtered subscription goes on behind its checkpoint", subscriptions.checkpoints],
  ["a subscription says when it has caught up", subscriptions.caughtUp],
  ["a cancelled or late call ends", subscriptions.cancelledAndLate],
  ["consumers of a group share its events", groups.shared],
  ["events are retried, parked and replayed", groups.retriedAndParked],
  ["a group reads all events", groups.allEvents],
  ["groups are listed, changed and deleted", groups.listedAndChanged],
  ["a group's errors are told", groupErrors.told],
  ["appends over several streams are one", transactions.severalStreams],
  ["the server is discovered", outage.discovered],
  ["nothing acknowledged is lost with the server killed", outage.killed],
  ["conditions hold over several streams", transactions.conditions],
];

async function main(address, word = "") {
  for (const [name, check] of CHECKS.filter(([name]) => name.includes(word))) {
    const db = client(`kurrentdb://${address}?tls=false`);
    try {
      await check(db, address);
      await db.dispose();
    } catch (error) {
      console.error(error);
      console.error(`FAILED ${name}`);
      process.exit(1);
    }
    console.log(`ok ${name}`);
  }
  process.exit(0);
}

main(...process.argv.slice(2));
