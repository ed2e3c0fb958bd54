// What the checks share: a client, events whose number is in their data, and comparisons that say what was expected.
"use strict";

const { isDeepStrictEqual, inspect } = require("util");
const { KurrentDBClient, jsonEvent } = require("@kurrent/kurrentdb-client");

const client = (settings) => KurrentDBClient.connectionString(settings);

const event = (number, type = "note.Taken", id = undefined) =>
  jsonEvent({ type, data: { number }, ...(id && { id }) });

// `count` events from the number `first` on.
const events = (first, count, type = undefined) => range(first, count).map((number) => event(number, type));

const range = (first, count) => Array.from({ length: count }, (_, index) => first + index);

// The same event id for the same number, so that an append can be repeated.
const idOf = (number) => `00c11e47-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;

const number = (resolved) => resolved.event.data.number;

async function all(read) {
  const found = [];
  for await (const resolved of read) found.push(resolved);
  return found;
}

const numbers = async (read) => (await all(read)).map(number);

const revisions = async (read) => (await all(read)).map((resolved) => Number(resolved.event.revision));

const shortened = (value) => {
  const text = inspect(value, { breakLength: Infinity, maxArrayLength: 40 });
  return text.length < 400 ? text : `${text.slice(0, 200)} … ${text.slice(-200)}`;
};

function equal(found, expected, what) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what}: expected ${shortened(expected)}, found ${shortened(found)}`);
  }
}

function truth(value, what) {
  if (!value) throw new Error(what);
}

// The error of exactly this kind that the promise must end with.
async function refused(kind, promise) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    if (error.constructor === kind) return error;
    throw new Error(`expected ${kind.name}, found ${error.constructor.name}: ${error.message}`, { cause: error });
  }
  throw new Error(`expected ${kind.name}, but it was answered ${shortened(answer)}`);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// The promise, which must not take longer than this.
function soon(promise, what, seconds = 120) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What `look` gives, once it gives something true.
async function within(what, look, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    const found = await look();
    if (found) return found;
    await pause(20);
  }
  throw new Error(`${what}: not within ${seconds} s`);
}

// The error that a subscription ends with.
const ending = (subscription) => new Promise((_, reject) => subscription.once("error", reject));

module.exports = {
  all, client, ending, equal, event, events, idOf, number, numbers, pause, range, refused, revisions, soon, truth, within,
};
