"""Keeps the newest replicas: what `keep-last` of the template for Rust does, in Python, to be measured next to it."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.retention import Keep, Point
from wit_world.exports.settings import Info
from wit_world.imports import types


class Settings(exports.Settings):
    def describe(self) -> Info:
        return Info(name="keep-last-python", version="0.1.0", settings_schema=None)

    def validate(self, settings_json: str) -> None:
        last = json.loads(settings_json).get("last")
        if not isinstance(last, int) or last < 1:
            raise Err([types.Problem(path="/last", message="is not a whole number from 1")])


class Retention(exports.Retention):
    def choose(self, ctx: types.Context, points: list[Point]) -> list[Keep]:
        last = json.loads(ctx.settings_json)["last"]
        ready = [point for point in reversed(points) if point.ready]
        return [Keep(id=point.id, reason="one of the newest") for point in ready[:last]]
