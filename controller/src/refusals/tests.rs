use super::*;

fn refusal(object: &str, message: &str) -> Refusal {
    Refusal { object: object.to_owned(), quota: true, message: message.to_owned() }
}

/// One object, and a clock. It stands for the pass around the core.
struct Passes {
    refusals: Refusals,
    now: Instant,
    generation: Option<i64>,
}

/// What a pass came to: what was tried, and the pause after it.
#[derive(Debug, PartialEq)]
struct Pass {
    tried: Vec<&'static str>,
    shown: Vec<String>,
    pause: Option<Duration>,
}

impl Passes {
    fn new() -> Self {
        Self { refusals: Refusals::default(), now: Instant::now(), generation: Some(1) }
    }

    /// A pass of a core that leaves out `before` while it knows that it was refused, and never leaves out `after`. `admitted` are not
    /// refused.
    fn pass(
        &self,
        before: &[&'static str],
        after: &[&'static str],
        admitted: &[&str],
        message: &str,
    ) -> Pass {
        let shown = self.refusals.show("1", self.generation, self.now);
        let shown: Vec<String> = shown.into_iter().map(|refusal| refusal.object).collect();
        let mut tried = Vec::new();
        let first = before.iter().filter(|object| !shown.iter().any(|known| known == *object));
        let first = first.map(|object| (*object, When::BeforeStatus));
        let then = after.iter().map(|object| (*object, When::AfterStatus));
        let mut is_recorded = false;
        for (object, when) in first.chain(then) {
            if when == When::AfterStatus && !is_recorded {
                is_recorded = true;
                self.refusals.recorded("1");
            }
            tried.push(object);
            if !admitted.contains(&object) {
                let refusal = refusal(object, message);
                let pause = self.refusals.add("1", self.generation, &refusal, when, self.now, 1.0);
                let pause = pause.min(self.refusals.retry_in("1", self.now).unwrap_or(pause));
                return Pass { tried, shown, pause: Some(pause) };
            }
        }
        if !is_recorded {
            self.refusals.recorded("1");
        }
        self.refusals.done("1");
        Pass { tried, shown, pause: self.refusals.retry_in("1", self.now) }
    }

    /// The objects that are tried in each of the next passes, and how many passes there are in `time`.
    fn run(&mut self, time: Duration, mut pass: impl FnMut(&Self, usize) -> Pass) -> Vec<Pass> {
        let end = self.now + time;
        let mut passes = Vec::new();
        while self.now < end {
            assert!(passes.len() < 1000, "runs hot: {:?}", &passes[990..]);
            let done = pass(self, passes.len());
            let pause = done.pause;
            passes.push(done);
            let Some(pause) = pause else { break };
            self.now += pause;
        }
        passes
    }
}

#[test]
fn two_kinds_of_refusals_do_not_chase_each_other() {
    let mut passes = Passes::new();
    let hour = Duration::from_hours(1);
    let seen = passes.run(hour, |passes, _| passes.pass(&["Secret a"], &["Claim a"], &[], "no"));
    assert_eq!(seen[0].tried, ["Secret a"]);
    assert_eq!((&seen[1].tried[..], &seen[1].shown[..]), (&["Claim a"][..], &["Secret a".to_owned()][..]));
    assert_eq!(seen[2].shown, ["Secret a", "Claim a"]);
    // Two passes for each try of the Secret, one for each of the claim; the pauses add up to an hour.
    assert!(seen.len() < 80, "{} passes", seen.len());
    let tried = |object| seen.iter().filter(|pass| pass.tried.contains(&object)).count();
    assert!(tried("Secret a") > 10, "the Secret is not tried again: {seen:?}");
}

#[test]
fn a_write_that_is_left_out_is_tried_again_while_another_is_refused() {
    let mut passes = Passes::new();
    let seen = passes.run(Duration::from_secs(60), |passes, number| {
        let admitted: &[&str] = if number < 4 { &[] } else { &["Secret a"] };
        passes.pass(&["Secret a"], &["Claim a"], admitted, "no")
    });
    let made = seen.iter().position(|pass| pass.tried == ["Secret a", "Claim a"]);
    let made = made.expect("the Secret is tried again");
    assert!(seen[made + 1..].iter().all(|pass| pass.shown == ["Claim a"]), "{seen:?}");
}

#[test]
fn words_that_always_change_are_no_news_and_the_newest_are_shown() {
    let mut passes = Passes::new();
    let seen = passes.run(Duration::from_hours(1), |passes, number| {
        passes.pass(&[], &["Claim a"], &[], &format!("used: {number}"))
    });
    assert!(seen.len() < 40, "{} passes", seen.len());
    let shown = passes.refusals.show("1", Some(1), passes.now);
    assert_eq!(shown, [refusal("Claim a", &format!("used: {}", seen.len() - 1))]);
}

#[test]
fn a_pass_that_something_else_triggers_neither_hastens_nor_delays_the_next_try() {
    let mut passes = Passes::new();
    let try_claim = |passes: &Passes| passes.pass(&[], &["Claim a"], &[], "no").pause;
    assert_eq!(try_claim(&passes), Some(Duration::ZERO));
    assert_eq!(try_claim(&passes), Some(BASE));
    passes.now += BASE / 2;
    assert_eq!(try_claim(&passes), Some(BASE / 2));
    passes.now += BASE / 2;
    assert_eq!(try_claim(&passes), Some(BASE * 2));
}

#[test]
fn a_refusal_that_has_passed_is_not_shown_any_more() {
    let passes = Passes::new();
    passes.pass(&[], &["Snapshot a", "Service a"], &[], "no");
    assert_eq!(passes.pass(&[], &["Snapshot a", "Service a"], &["Snapshot a"], "no").shown, ["Snapshot a"]);
    assert_eq!(passes.pass(&[], &["Snapshot a", "Service a"], &["Snapshot a"], "no").shown, ["Service a"]);
    assert_eq!(passes.pass(&[], &[], &[], "no").shown, ["Service a"]);
    assert!(passes.refusals.show("1", Some(1), passes.now).is_empty());
    assert!(passes.refusals.all().is_empty());
}

#[test]
fn another_kind_of_refusal_begins_anew() {
    let mut passes = Passes::new();
    passes.run(Duration::from_mins(30), |passes, _| passes.pass(&[], &["Claim a"], &[], "no"));
    let denied = Refusal { quota: false, ..refusal("Claim a", "denied") };
    passes.refusals.show("1", Some(1), passes.now);
    assert_eq!(passes.refusals.add("1", Some(1), &denied, When::AfterStatus, passes.now, 1.0), BASE);
}

#[test]
fn a_changed_spec_makes_everything_moot() {
    let mut passes = Passes::new();
    passes.pass(&["Secret a"], &["Claim a"], &[], "no");
    passes.pass(&["Secret a"], &["Claim a"], &[], "no");
    passes.generation = Some(2);
    assert!(passes.refusals.show("1", Some(2), passes.now).is_empty());
    let pass = passes.pass(&["Secret a"], &["Claim a"], &[], "no");
    assert_eq!(pass, Pass { tried: vec!["Secret a"], shown: Vec::new(), pause: Some(Duration::ZERO) });
    assert_eq!(passes.pass(&["Secret a"], &[], &[], "no").shown, ["Secret a"]);
    passes.refusals.forget("1");
    assert!(passes.refusals.show("1", Some(2), passes.now).is_empty());
}

#[test]
fn what_is_remembered_of_an_object_is_bounded() {
    let passes = Passes::new();
    for number in 0..100 {
        let refusal = refusal(&format!("Secret {number}"), "no");
        passes.refusals.add("1", Some(1), &refusal, When::BeforeStatus, passes.now, 1.0);
    }
    let shown = passes.refusals.show("1", Some(1), passes.now);
    assert_eq!((shown.len(), shown[MOST - 1].object.as_str()), (MOST, "Secret 99"));
}

#[test]
fn what_is_admitted_leaves_nothing_behind() {
    let mut passes = Passes::new();
    let try_both =
        |passes: &Passes, admitted: &[&str]| passes.pass(&["Secret a"], &["Claim a"], admitted, "no");
    try_both(&passes, &[]);
    try_both(&passes, &[]);
    // The Secret is still left out, so this is not the end of it.
    assert_eq!(try_both(&passes, &["Claim a"]).pause, Some(BASE));
    assert_eq!(try_both(&passes, &["Claim a"]).shown, ["Secret a"]);
    passes.now += BASE;
    let last = try_both(&passes, &["Secret a", "Claim a"]);
    assert_eq!(last, Pass { tried: vec!["Secret a", "Claim a"], shown: Vec::new(), pause: None });
    assert!(passes.refusals.all().is_empty());
}

#[test]
fn each_refusal_has_a_pace_of_its_own() {
    let mut passes = Passes::new();
    passes.run(Duration::from_mins(30), |passes, _| passes.pass(&["Secret a"], &["Claim a"], &[], "no"));
    let all = passes.refusals.all();
    let entry = &all["1"];
    let tries: Vec<u32> = entry.left_out.iter().chain(&entry.tried).map(|known| known.tries).collect();
    assert!(tries.iter().all(|tries| *tries > 8), "{tries:?}");
}

#[test]
fn a_write_that_becomes_due_during_a_pass_is_tried_right_after_it() {
    let (refusals, now) = (Refusals::default(), Instant::now());
    refusals.add("1", Some(1), &refusal("Secret a", "no"), When::BeforeStatus, now, 1.0);
    let due = refusals.show("1", Some(1), now);
    assert_eq!(due.len(), 1);
    let rest = refusals.retry_in("1", now).expect("a time to try it again");
    let later = now + rest + Duration::from_millis(1);
    // The pass was told to leave it out, and ends when it is due already.
    refusals.recorded("1");
    refusals.done("1");
    assert_eq!(refusals.retry_in("1", later), Some(Duration::ZERO));
    assert!(refusals.show("1", Some(1), later).is_empty(), "the next pass is to try it");
}
