// Keeps the newest replicas. componentize-qjs makes a module of this: what it exports are the interfaces.

const schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: { last: { description: "How many.", type: "integer", minimum: 1 } },
  required: ["last"],
  additionalProperties: false,
};

export const settings = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", settingsSchema: JSON.stringify(schema) };
  },

  validate(text) {
    const found = problems(JSON.parse(text));
    // What is thrown is the error of the result.
    if (found.length) throw found;
  },
};

export const retention = {
  choose(ctx, points) {
    const { last } = JSON.parse(ctx.settingsJson);
    const ready = points.filter((point) => point.ready).reverse();
    return ready.slice(0, last).map(({ id }) => ({ id, reason: "one of the newest" }));
  },
};

/** All that is wrong with the settings, each with its place as a JSON pointer. */
function problems(given) {
  const found = Object.keys(given)
    .filter((name) => name !== "last")
    .map((name) => ({ path: `/${name}`, message: "is not known: use last" }));
  if (!Number.isInteger(given.last) || given.last < 1) {
    found.push({ path: "/last", message: "is not a whole number from 1" });
  }
  return found;
}
