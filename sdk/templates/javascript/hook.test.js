import assert from "node:assert/strict";
import { test } from "node:test";
import { retention, settings } from "./hook.js";

const point = (id, created) => ({
  id,
  created,
  sizeBytes: null,
  labels: [],
  pinned: false,
  inUse: false,
  ready: true,
});

test("the newest are kept", () => {
  const kept = retention.choose({ settingsJson: '{"last":2}' }, [point("a", 1), point("b", 2), point("c", 3)]);
  assert.deepEqual(kept.map(({ id }) => id), ["c", "b"]);
});

test("settings are judged", () => {
  settings.validate('{"last":1}');
  assert.throws(
    () => settings.validate('{"lats":1}'),
    (problems) => assert.deepEqual(problems.map(({ path }) => path), ["/lats", "/last"]) ?? true,
  );
});
