// The settings' schema. It is a module and not a file of JSON because a hook has no files to read it from.
export const schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Settings",
  description: "What the user sets. What no rule keeps may be deleted.",
  type: "object",
  properties: {
    newest: { description: "How many of the newest.", type: "integer", minimum: 0, default: 0 },
    daily: {
      description: "The newest of each day (UTC), for so many days; today is the first.",
      type: "integer",
      minimum: 0,
      maximum: 36500,
      default: 0,
    },
    labels: {
      description: "What is labelled.",
      type: "array",
      default: [],
      items: {
        type: "object",
        properties: {
          key: { description: "The label.", type: "string", minLength: 1 },
          value: { description: "Its value; whatever it is, if left out.", type: "string" },
          days: { description: "For how long; for ever, if left out.", type: "integer", minimum: 1, maximum: 36500 },
        },
        required: ["key"],
        additionalProperties: false,
      },
    },
  },
  additionalProperties: false,
};
