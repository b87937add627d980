import json
import unittest

from componentize_py_types import Err
from wit_world.exports.decision import Verdict_Proceed, Verdict_Skip
from wit_world.imports.types import Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger

import app


def context(labels):
    ref = ObjectRef("scribe.dev/v1alpha1", "ReplicationSource", "default", "db", None)
    return Context(
        replication=Replication(ref, Role.SOURCE, 1, None, None, CopyMethod.CLONE, labels),
        attempt=Attempt("00000000-0000-0000-0000-000000000001", 1, Trigger.SCHEDULE, 0, 2000),
        last=LastSync(None, 0),
        settings_json=json.dumps({"label": "hold"}),
    )


class Tests(unittest.TestCase):
    def test_a_label_holds_it_back(self):
        self.assertEqual(app.Decision().decide(context([])), Verdict_Proceed())
        held = app.Decision().decide(context([("hold", "yes")]))
        self.assertEqual(held, Verdict_Skip("the object is labelled hold"))

    def test_settings_are_judged(self):
        app.Settings().validate('{"label": "hold"}')
        with self.assertRaises(Err) as raised:
            app.Settings().validate('{"lable": "hold"}')
        self.assertEqual(["/lable", "/label"], [problem.path for problem in raised.exception.value])


if __name__ == "__main__":
    unittest.main()
