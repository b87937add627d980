//! A model of everything that there is apart from the core: two clusters, their storage, the movers and the network. The core decides for
//! both sides; what happens is chosen by chance, a crash, a lost answer or an old view at any point included. After every step the
//! invariants are asked for, and in the end whether all came to rest as if nothing had gone wrong.

mod api;
mod apply;
mod controller;
mod dice;
mod events;
mod faults;
mod hooks;
mod lies;
mod observe;
mod receiver;
mod refusals;
mod rest;
mod sender;
mod settle;
mod storage;
mod truth;
mod world;

use lies::Lie;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use world::World;

/// Random steps of one run.
const STEPS: u64 = 600;
/// Runs in a test of the usual length.
const RUNS: u64 = 120;
/// This environment variable names the one run that is to be repeated.
const SEED: &str = "SCRIBE_MODEL_SEED";

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    steps: u64,
    passes: u64,
    sessions: u64,
    replicas: u64,
    /// Replicas of an application at rest.
    quiesced: u64,
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { steps, passes, sessions, replicas, quiesced } = self;
        write!(
            f,
            "{steps} steps, {passes} passes, {sessions} sessions, {replicas} replicas, {quiesced} of an application at rest"
        )
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.passes += other.passes;
        self.sessions += other.sessions;
        self.replicas += other.replicas;
        self.quiesced += other.quiesced;
    }
}

/// One run. The words of the first objection, if there is one, with what happened before.
fn run(seed: u64, lie: Option<Lie>, longest_trace: usize) -> Result<Sums, String> {
    let mut world = World::new(seed, lie);
    world.longest_trace = longest_trace;
    let sums = |world: &World| {
        let (sessions, replicas) = world.truth.counts();
        let quiesced = world.truth.quiesced;
        Sums { steps: world.steps, passes: world.passes, sessions, replicas, quiesced }
    };
    let told = |world: &World, objection: &str| {
        let trace: Vec<&str> = world.trace.iter().map(String::as_str).collect();
        format!("{}\nseed {seed} ({SEED}={seed} repeats it and tells all): {objection}", trace.join("\n"))
    };
    world.make_objects();
    while world.steps < STEPS {
        let Some(what) = world.event() else { continue };
        world.log(what);
        truth::check(&mut world);
        if let Some(objection) = &world.truth.objection {
            return Err(told(&world, objection));
        }
    }
    if lie.is_some() {
        // A bug is to show while things happen; that they never come to an end would say less.
        return Ok(sums(&world));
    }
    let ended = world.settle().and_then(|()| world.delete_everything());
    if let Some(objection) = &world.truth.objection {
        return Err(told(&world, objection));
    }
    ended.map_err(|objection| told(&world, &objection))?;
    Ok(sums(&world))
}

#[allow(clippy::disallowed_methods, reason = "which runs are tried is no decision")]
fn seeds() -> std::ops::Range<u64> {
    let one = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    one.map_or(crate::seeds(RUNS), |seed| seed..seed + 1)
}

/// Runs, on both cores, until one objects.
fn search(seeds: std::ops::Range<u64>, lie: Option<Lie>) -> Result<Sums, String> {
    let longest_trace = if seeds.end - seeds.start == 1 { usize::MAX } else { 60 };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sums = Sums::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(sums);
            }
            sums +=
                run(seed, lie, longest_trace).inspect_err(|_| next.store(seeds.end, Ordering::Relaxed))?;
        }
    };
    let results: [Result<Sums, String>; 2] = std::thread::scope(|scope| {
        [scope.spawn(work), scope.spawn(work)].map(|thread| thread.join().unwrap())
    });
    results.into_iter().try_fold(Sums::default(), |mut all, sums| {
        all += sums?;
        Ok(all)
    })
}

#[test]
fn whatever_happens_the_invariants_hold_and_it_settles() {
    let seeds = seeds();
    let sums = search(seeds.clone(), None).unwrap_or_else(|objection| panic!("{objection}"));
    let runs = seeds.end - seeds.start;
    // Not println!: whoever runs the tests should see it, also if they pass.
    let _ = writeln!(std::io::stderr(), "model: {runs} runs, {sums}");
    assert!(runs == 1 || sums.steps >= 100_000, "only {} steps", sums.steps);
}

/// A test of the test: with this bug, some run of the usual number objects, and with some of these words.
fn finds(lie: Lie, words: &[&str]) {
    match search(0..RUNS, Some(lie)) {
        Ok(sums) => panic!("{lie:?} was not found: {sums}"),
        Err(objection) => {
            let last = objection.lines().last().unwrap_or_default();
            eprintln!("{lie:?}: {last}");
            assert!(words.iter().any(|words| last.contains(words)), "{objection}");
        }
    }
}

#[test]
fn publishing_before_ready_is_found() {
    finds(Lie::PublishBeforeReady, &["is published before it is ready"]);
}

#[test]
fn unsealing_before_the_cut_is_found() {
    finds(Lie::UnsealBeforeCut, &["unsealed while"]);
}

#[test]
fn pruning_before_publication_is_found() {
    finds(Lie::PruneBeforePublish, &["latestImage", "the last good replica"]);
}

#[test]
fn a_remembered_rest_is_found() {
    finds(Lie::RememberedRest, &["is said to be of an application at rest, and is not"]);
}

#[test]
fn an_applied_cut_is_found() {
    finds(
        Lie::AppliedCut,
        &["the claim is not what was received", "is not what was cut", "is not the recovery point"],
    );
}

#[test]
fn a_commit_repeated_after_a_new_session_is_found() {
    finds(
        Lie::RepeatedCommit,
        &["the claim is not what was received", "is not what was cut", "is not the recovery point"],
    );
}
