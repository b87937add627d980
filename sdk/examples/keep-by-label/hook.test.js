import assert from "node:assert/strict";
import { test } from "node:test";
import { Validator } from "@cfworker/json-schema";
import { retention, settings } from "./hook.js";

const at = (text) => Date.parse(text);
const NOW = at("2026-01-10T12:00:00Z");

const point = (id, created, more = {}) => ({
  id,
  created: at(created),
  sizeBytes: null,
  labels: [],
  pinned: false,
  inUse: false,
  ready: true,
  ...more,
});

const POINTS = [
  point("old-gold", "2025-11-01T00:00:00Z", { labels: [["tier", "gold"]] }),
  point("old", "2025-12-01T00:00:00Z"),
  point("jan8-a", "2026-01-08T01:00:00Z"),
  point("jan8-b", "2026-01-08T23:59:59.999Z"),
  point("jan9", "2026-01-09T00:00:00Z", { labels: [["tier", "silver"]] }),
  point("jan10-a", "2026-01-10T01:00:00Z"),
  point("jan10-b", "2026-01-10T02:00:00Z"),
  point("jan10-c", "2026-01-10T03:00:00Z", { ready: false }),
];

const choose = (given, points = POINTS) =>
  retention.choose({ settingsJson: JSON.stringify(given), attempt: { now: NOW } }, points);
const ids = (given, points) => choose(given, points).map(({ id }) => id).sort();

test("the newest that are ready", () => {
  assert.deepEqual(ids({ newest: 2 }), ["jan10-a", "jan10-b"]);
  assert.equal(ids({ newest: 100 }).length, 7);
  assert.deepEqual(ids({ newest: 1 }, []), []);
});

test("the newest of each day, by UTC, and today is the first", () => {
  assert.deepEqual(choose({ daily: 1 }), [{ id: "jan10-b", reason: "the newest of 2026-01-10" }]);
  assert.deepEqual(ids({ daily: 3 }), ["jan10-b", "jan8-b", "jan9"]);
});

test("what is labelled, by key or value, for ever or for some days", () => {
  assert.deepEqual(ids({ labels: [{ key: "tier" }] }), ["jan9", "old-gold"]);
  assert.deepEqual(ids({ labels: [{ key: "tier", value: "gold" }] }), ["old-gold"]);
  assert.deepEqual(ids({ labels: [{ key: "tier", days: 30 }] }), ["jan9"]);
});

test("each is named once, with the first reason", () => {
  const kept = choose({ newest: 1, daily: 2, labels: [{ key: "tier" }] });
  assert.deepEqual(kept, [
    { id: "jan10-b", reason: "one of the newest" },
    { id: "jan9", reason: "the newest of 2026-01-09" },
    { id: "old-gold", reason: "labelled tier" },
  ]);
});

test("wrong settings keep everything: choose is an error", () => {
  assert.throws(() => choose({ newest: -1 }), /\/newest/);
});

const KEEPS_NOTHING = [{}, { newest: 0, labels: [] }];

const JUDGED = [
  [{ newest: 1 }, []],
  [{ daily: 36500, labels: [{ key: "a", value: "", days: 1 }] }, []],
  [[], [null]],
  [null, [null]],
  [{ newest: 1.5, daily: "x" }, ["/newest", "/daily"]],
  [{ newest: -1 }, ["/newest"]],
  [{ daily: 36501 }, ["/daily"]],
  [{ labels: [{ key: "a", days: 36501 }] }, ["/labels/0/days"]],
  [{ newest: 1, weekly: 1, "a/b": 1 }, ["/weekly", "/a~1b"]],
  [{ newest: null }, ["/newest"]],
  [{ labels: {} }, ["/labels"]],
  [{ labels: [{ key: "a" }, { days: 0 }, "x"] }, ["/labels/1/key", "/labels/1/days", "/labels/2", "/labels/2/key"]],
  [{ labels: [{ key: "", value: 1 }] }, ["/labels/0/key", "/labels/0/value"]],
];

const paths = (text) => {
  try {
    settings.validate(text);
    return [];
  } catch (problems) {
    assert.ok(problems.every(({ message }) => message.length > 0));
    return problems.map(({ path }) => path);
  }
};

test("settings are judged, each problem with its place", () => {
  for (const [given, expected] of JUDGED) assert.deepEqual(paths(JSON.stringify(given)), expected, JSON.stringify(given));
  for (const given of KEEPS_NOTHING) assert.deepEqual(paths(JSON.stringify(given)), [null]);
  assert.deepEqual(paths("{"), [null]);
});

test("the schema says the same", () => {
  const schema = new Validator(JSON.parse(settings.describe().settingsSchema), "2020-12");
  for (const [given, expected] of JUDGED) {
    assert.equal(schema.validate(given).valid, expected.length === 0, JSON.stringify(given));
  }
});

test("it says what it is", () => {
  const { name, version, settingsSchema } = settings.describe();
  assert.deepEqual([name, version], ["keep-by-label", "0.1.0"]);
  assert.ok(JSON.parse(settingsSchema).properties.newest);
});
