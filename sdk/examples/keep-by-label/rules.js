// Which replicas are kept. Nothing here knows of WASM, or of a clock: the time comes with the call.

const DAY = 24 * 60 * 60 * 1000;

/** What the rules keep of the points, which are sorted from the oldest to the newest: `{ id, reason }`, each once. */
export function keep(settings, points, now) {
  const kept = new Map();
  const add = (point, reason) => {
    if (!kept.has(point.id)) kept.set(point.id, reason);
  };
  const ready = points.filter((point) => point.ready);
  // Not slice(-n): that is all of it where n is 0.
  for (const point of ready.slice(Math.max(0, ready.length - settings.newest))) add(point, "one of the newest");
  for (const point of daily(settings.daily, ready, now)) add(point, `the newest of ${date(point.created)}`);
  for (const point of points) {
    const rule = settings.labels.find((rule) => matches(rule, point, now));
    if (rule) add(point, `labelled ${rule.key}`);
  }
  return [...kept].map(([id, reason]) => ({ id, reason }));
}

/** The newest of each of the last days. */
function daily(days, ready, now) {
  const first = Math.floor(now / DAY) - days + 1;
  const newest = new Map();
  for (const point of ready) {
    const day = Math.floor(point.created / DAY);
    if (day >= first) newest.set(day, point);
  }
  return days === 0 ? [] : newest.values();
}

function matches(rule, point, now) {
  const young = rule.days === undefined || now - point.created < rule.days * DAY;
  const labelled = ([key, value]) => key === rule.key && (rule.value === undefined || value === rule.value);
  return young && point.labels.some(labelled);
}

function date(millis) {
  return new Date(millis).toISOString().slice(0, 10);
}
