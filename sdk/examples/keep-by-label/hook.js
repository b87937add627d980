// Keeps the newest replicas, one a day, and what is labelled. componentize-qjs makes a module of this: what it exports are the interfaces.

import { keep } from "./rules.js";
import { schema } from "./schema.js";
import { problems, read } from "./settings.js";

export const settings = {
  describe() {
    return { name: "keep-by-label", version: "0.1.0", settingsSchema: JSON.stringify(schema) };
  },

  validate(text) {
    const found = problems(text);
    // What is thrown is the error of the result.
    if (found.length) throw found;
  },
};

export const retention = {
  choose(ctx, points) {
    return keep(read(ctx.settingsJson), points, ctx.attempt.now);
  },
};
