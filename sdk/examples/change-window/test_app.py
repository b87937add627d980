"""The whole hook, natively: componentize-py's bindings stand in for the module's boundary. README.md says how to run it."""

import json
import unittest
from datetime import datetime

from componentize_py_types import Err
from wit_world.exports.decision import Verdict_Defer, Verdict_Proceed, Verdict_Skip
from wit_world.imports.types import Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger

import app

NIGHTS = {"timeZone": "Europe/Vienna", "windows": [{"days": ["mon"], "from": "22:00", "to": "05:00"}]}


def context(settings, now, trigger=Trigger.SCHEDULE):
    millis = int(datetime.fromisoformat(now).timestamp() * 1000)
    ref = ObjectRef("scribe.dev/v1alpha1", "ReplicationSource", "default", "db", None)
    return Context(
        replication=Replication(ref, Role.SOURCE, 1, None, None, CopyMethod.CLONE, []),
        attempt=Attempt("00000000-0000-0000-0000-000000000001", 1, trigger, millis, millis + 2000),
        last=LastSync(None, 0),
        settings_json=json.dumps(settings),
    )


def decide(settings, now, trigger=Trigger.SCHEDULE):
    return app.Decision().decide(context(settings, now, trigger))


def problems(settings):
    try:
        app.Settings().validate(settings if isinstance(settings, str) else json.dumps(settings))
    except Err as error:
        return [(problem.path, problem.message) for problem in error.value]
    return []


class Decisions(unittest.TestCase):
    def test_within_a_window_it_proceeds_by_the_clock_on_the_wall(self):
        # A Monday in winter and one in summer.
        for now in ("2026-01-05T21:00:00Z", "2026-01-06T03:59:59Z", "2026-07-06T20:00:00Z", "2026-07-07T02:59:59Z"):
            self.assertEqual(decide(NIGHTS, now), Verdict_Proceed(), now)

    def test_outside_it_waits_until_one_opens(self):
        why = "outside of the windows; the next opens at 2026-07-06 22:00 CEST"
        self.assertEqual(decide(NIGHTS, "2026-07-06T19:59:30.500Z"), Verdict_Defer((30, why)))
        why = "outside of the windows; the next opens at 2026-07-13 22:00 CEST"
        self.assertEqual(decide(NIGHTS, "2026-07-07T03:00:00Z"), Verdict_Defer((6 * 86400 + 17 * 3600, why)))

    def test_or_for_the_next_trigger(self):
        verdict = decide(NIGHTS | {"outside": "skip"}, "2026-07-06T19:59:59Z")
        self.assertEqual(verdict, Verdict_Skip("outside of the windows; the next opens at 2026-07-06 22:00 CEST"))

    def test_what_a_user_has_started_need_not_wait(self):
        self.assertEqual(decide(NIGHTS, "2026-07-06T12:00:00Z", Trigger.MANUAL), Verdict_Proceed())
        verdict = decide(NIGHTS | {"always": []}, "2026-07-06T12:00:00Z", Trigger.MANUAL)
        self.assertIsInstance(verdict, Verdict_Defer)

    def test_a_window_that_the_clock_jumps_into_opens_with_the_jump(self):
        # On 2026-03-29 two o'clock is followed by three, at 01:00 UTC.
        settings = {"timeZone": "Europe/Vienna", "windows": [{"from": "02:30", "to": "03:10"}]}
        verdict = decide(settings, "2026-03-29T00:59:00Z")
        self.assertEqual(verdict.value[0], 60)
        self.assertEqual(decide(settings, "2026-03-29T01:00:00Z"), Verdict_Proceed())

    def test_a_window_that_it_jumps_over_opens_the_next_day(self):
        settings = {"timeZone": "Europe/Vienna", "windows": [{"from": "02:10", "to": "02:50"}]}
        verdict = decide(settings, "2026-03-29T00:59:00Z")
        self.assertEqual(verdict.value[1], "outside of the windows; the next opens at 2026-03-30 02:10 CEST")

    def test_an_hour_that_comes_twice_opens_it_at_the_first(self):
        settings = {"timeZone": "Europe/Vienna", "windows": [{"from": "02:30", "to": "02:40"}]}
        self.assertEqual(decide(settings, "2026-10-25T00:29:59Z").value[0], 1)
        self.assertEqual(decide(settings, "2026-10-25T00:30:00Z"), Verdict_Proceed())


class Judgements(unittest.TestCase):
    def test_good_settings(self):
        self.assertEqual(problems(NIGHTS), [])

    def test_what_is_wrong_is_told_with_its_place(self):
        window = NIGHTS["windows"][0]
        cases = [
            ({}, None),
            ("{", None),
            ([], None),
            ({"windows": []}, "/windows"),
            ({"windows": [window, window | {"from": "8 pm"}]}, "/windows/1/from"),
            ({"windows": [window | {"from": "08:00\n"}]}, "/windows/0/from"),
            ({"windows": [window | {"to": "22:00"}]}, "/windows/0/to"),
            ({"windows": [window | {"days": ["mon", "someday"]}]}, "/windows/0/days/1"),
            (NIGHTS | {"timeZone": "../etc/passwd"}, "/timeZone"),
            (NIGHTS | {"outside": "wait"}, "/outside"),
        ]
        for settings, path in cases:
            with self.subTest(settings=settings):
                found = problems(settings)
                self.assertEqual([path], [where for where, _ in found], found)
                self.assertTrue(found[0][1])

    def test_it_says_what_it_is(self):
        info = app.Settings().describe()
        self.assertEqual((info.name, info.version), ("change-window", "0.1.0"))
        self.assertIn("windows", json.loads(info.settings_schema)["properties"])


if __name__ == "__main__":
    unittest.main()
