// A module has neither files nor a network, and QuickJS no `URL`, which validators of JSON schemas ask for: so this judges by hand, and a
// test holds it to the schema.

const MAX_DAYS = 36500;

/** All that is wrong with the settings: `{ path, message }`, the path a JSON pointer, or null for the settings as a whole. */
export function problems(text) {
  let raw;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    return [{ path: null, message: `is not JSON: ${error.message}` }];
  }
  const found = [];
  const { newest, daily, labels } = fields(raw, "", ["newest", "daily", "labels"], found);
  count(newest, "/newest", 0, Number.MAX_SAFE_INTEGER, found);
  count(daily, "/daily", 0, MAX_DAYS, found);
  if (Array.isArray(labels)) labels.forEach((rule, index) => label(rule, `/labels/${index}`, found));
  else if (labels !== undefined) found.push({ path: "/labels", message: "is not a list of rules" });
  if (found.length === 0 && !newest && !daily && !labels?.length) {
    found.push({ path: null, message: "keep nothing: set newest, daily or labels" });
  }
  return found;
}

/** Reads settings; throws a string where they are wrong. */
export function read(text) {
  const [first] = problems(text);
  if (first) throw `settings: ${first.path ?? ""} ${first.message}`;
  return { newest: 0, daily: 0, labels: [], ...JSON.parse(text) };
}

function label(rule, path, found) {
  const { key, value, days } = fields(rule, path, ["key", "value", "days"], found);
  if (typeof key !== "string" || key === "") found.push({ path: `${path}/key`, message: "is missing: name a label" });
  if (value !== undefined && typeof value !== "string") found.push({ path: `${path}/value`, message: "is not a string" });
  count(days, `${path}/days`, 1, MAX_DAYS, found);
}

/** The object's fields, none of which may be another than these. */
function fields(raw, path, names, found) {
  if (raw === null || typeof raw !== "object" || Array.isArray(raw)) {
    found.push({ path: path || null, message: "is not an object" });
    return {};
  }
  for (const name of Object.keys(raw).filter((name) => !names.includes(name))) {
    const escaped = name.replaceAll("~", "~0").replaceAll("/", "~1");
    found.push({ path: `${path}/${escaped}`, message: `is not known: use ${names.join(", ")}` });
  }
  return raw;
}

function count(value, path, min, max, found) {
  if (value === undefined || (Number.isInteger(value) && min <= value && value <= max)) return;
  found.push({ path, message: `is not a whole number from ${min} to ${max}` });
}
