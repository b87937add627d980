"""Does not sync while the object has a label. componentize-py makes a module of this; it looks for these two classes."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.decision import Verdict, Verdict_Proceed, Verdict_Skip
from wit_world.exports.settings import Info
from wit_world.imports import types

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"label": {"description": "The label's key.", "type": "string", "minLength": 1}},
    "required": ["label"],
    "additionalProperties": False,
}


class Settings(exports.Settings):
    def describe(self) -> Info:
        return Info(name="{{name}}", version="0.1.0", settings_schema=json.dumps(SCHEMA))

    def validate(self, settings_json: str) -> None:
        problems = judge(json.loads(settings_json))
        if problems:
            raise Err(problems)


class Decision(exports.Decision):
    def decide(self, ctx: types.Context) -> Verdict:
        label = json.loads(ctx.settings_json)["label"]
        if any(key == label for key, _ in ctx.replication.labels):
            return Verdict_Skip(f"the object is labelled {label}")
        return Verdict_Proceed()


def judge(settings: dict) -> list[types.Problem]:
    """All that is wrong with the settings, each with its place as a JSON pointer."""
    problems = [
        types.Problem(path=f"/{name}", message="is not known: use label") for name in settings if name != "label"
    ]
    label = settings.get("label")
    if not isinstance(label, str) or not label:
        problems.append(types.Problem(path="/label", message="is missing: name a label"))
    return problems
