"""The settings: judged by their schema, then by what a schema cannot say."""

import io
import json
from dataclasses import dataclass
from datetime import time
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import fastjsonschema

from windows import Window

# All of this is read while the module is built: later it has no files.
SCHEMA = Path(__file__).with_name("settings.schema.json").read_text(encoding="utf-8")
READ = fastjsonschema.compile(json.loads(SCHEMA))
ZONE_FILES = resources.files("tzdata").joinpath("zoneinfo")
ZONE_NAMES = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
ZONES = {name: ZONE_FILES.joinpath(name).read_bytes() for name in ZONE_NAMES}


class Invalid(Exception):
    """Settings that are wrong: the path as a JSON pointer, or None for all of it, and the message."""

    def __init__(self, path: str | None, message: str):
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


@dataclass(frozen=True)
class Settings:
    zone: ZoneInfo
    windows: list[Window]
    outside: str
    always: list[str]


def read(text: str) -> Settings:
    """Reads settings. Raises Invalid."""
    try:
        raw = READ(json.loads(text))
    except json.JSONDecodeError as error:
        raise Invalid(None, f"is not JSON: {error.msg}") from error
    except fastjsonschema.JsonSchemaValueException as error:
        # Its first word stands for the document.
        path = "".join(f"/{escaped(word)}" for word in error.path[1:])
        raise Invalid(path or None, error.message.removeprefix(error.name).strip()) from error
    return Settings(
        zone=read_zone(raw["timeZone"]),
        windows=[read_window(index, window) for index, window in enumerate(raw["windows"])],
        outside=raw["outside"],
        always=raw["always"],
    )


def read_zone(name: str) -> ZoneInfo:
    if name not in ZONES:
        raise Invalid("/timeZone", "is no time zone: use an IANA name such as Europe/Vienna")
    return ZoneInfo.from_file(io.BytesIO(ZONES[name]), key=name)


def read_window(index: int, raw: dict) -> Window:
    begins, ends = time.fromisoformat(raw["from"]), time.fromisoformat(raw["to"])
    if begins == ends:
        raise Invalid(f"/windows/{index}/to", "is when it begins: use 00:00 and 23:59 for a whole day")
    return Window(begins, ends, tuple(raw["days"]))


def escaped(word) -> str:
    return str(word).replace("~", "~0").replace("/", "~1")
