"""Lets syncs begin only within windows. componentize-py makes a module of this; it looks for these two classes."""

import math
from datetime import UTC, datetime

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import decision
from wit_world.exports.settings import Info
from wit_world.imports import types

import settings
from windows import is_open, next_opening

NAME = "change-window"
VERSION = "0.1.0"


class Settings(exports.Settings):
    def describe(self) -> Info:
        return Info(name=NAME, version=VERSION, settings_schema=settings.SCHEMA)

    def validate(self, settings_json: str) -> None:
        try:
            settings.read(settings_json)
        except settings.Invalid as invalid:
            raise Err([types.Problem(path=invalid.path, message=invalid.message)]) from invalid


class Decision(exports.Decision):
    def decide(self, ctx: types.Context) -> decision.Verdict:
        # What is raised here ends the call: `onError` then says what follows.
        given = settings.read(ctx.settings_json)
        if ctx.attempt.trigger.name.lower() in given.always:
            return decision.Verdict_Proceed()
        now = datetime.fromtimestamp(ctx.attempt.now / 1000, UTC)
        if is_open(given.windows, given.zone, now):
            return decision.Verdict_Proceed()
        opening = next_opening(given.windows, given.zone, now)
        if opening is None:
            return decision.Verdict_Skip("no window opens within a week")
        why = f"outside of the windows; the next opens at {opening.astimezone(given.zone):%Y-%m-%d %H:%M %Z}"
        if given.outside == "skip":
            return decision.Verdict_Skip(why)
        # Up, so that it is not asked a moment too early.
        return decision.Verdict_Defer((math.ceil((opening - now).total_seconds()), why))
