//! Random events, crashes and repetitions: what must hold whatever happens.

use super::world::{World, time, yaml};
use jiff::Timestamp;
use scribe_core::decision::{Action, Child};
use serde_json::json;
use std::collections::BTreeMap;

/// Numbers that look random and are the same on every run (a linear congruential generator, Knuth's constants).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const SPECS: [&str; 3] = [
    "{sourcePVC: data, rsync: {sshKeys: db-keys}}",
    "{sourcePVC: data, trigger: {schedule: '*/5 * * * *'}, rsync: {sshKeys: db-keys}}",
    "{sourcePVC: data, trigger: {schedule: '@hourly', manual: one}, rsync: {sshKeys: db-keys}}",
];

/// What is known of the world apart from what the controller says about it.
#[derive(Default)]
struct Truth {
    /// Every cut that there was: uid and time.
    cuts: BTreeMap<String, Timestamp>,
    /// The data time of the newest replica that a mover reported as published.
    published: Option<Timestamp>,
}

#[test]
fn whatever_happens_nothing_is_claimed_that_is_not_so_and_all_ends_well() {
    for seed in crate::seeds(60) {
        let mut dice = Dice(seed);
        let mut world = World::new(SPECS[usize::try_from(seed % 3).unwrap()]);
        let mut truth = Truth::default();
        for _ in 0..60 {
            happen(&mut world, &mut dice, &mut truth);
            reconcile(&mut world, &mut dice, &mut truth);
        }
        ends_well(&mut world, &mut truth, seed);
    }
}

fn happen(world: &mut World, dice: &mut Dice, truth: &mut Truth) {
    let ended = |world: &World| {
        world.seen.pods.last().is_none_or(|pod| {
            !matches!(
                pod.status.as_ref().and_then(|status| status.phase.as_deref()),
                Some("Pending" | "Running")
            )
        })
    };
    match dice.roll(16) {
        0..=2 => world.later(i64::try_from(dice.roll(20)).unwrap()),
        3 => world.later(i64::try_from(dice.roll(1200)).unwrap()),
        4 | 5 => world.bind_cut(),
        6 | 7 if !ended(world) => world.run_pod(),
        8 | 9 if !ended(world) && world.status().current_sync.is_some() => end_mover(world, dice, truth),
        10 if !world.seen.pods.is_empty() && dice.roll(3) == 0 => world.seen.pods.clear(),
        11 if !world.seen.cuts.is_empty() && dice.roll(3) == 0 => {
            world.seen.cuts.clear();
            world.seen.pods.clear();
        }
        12 => world.seen.source.spec.paused = dice.roll(2) == 0,
        13 => world.slow_deletion = dice.roll(2) == 0,
        14 if dice.roll(4) == 0 => {
            let mut claim = World::new(SPECS[0]).seen.claim.unwrap();
            claim.metadata.uid = Some(format!("claim-{}", dice.roll(3)));
            world.seen.claim = Some(claim).filter(|_| dice.roll(2) == 0);
        }
        15 => world.sweep(),
        _ => {}
    }
}

fn end_mover(world: &mut World, dice: &mut Dice, truth: &mut Truth) {
    let name = world.pod().metadata.name.clone().unwrap();
    let sync = world.sync();
    if !name.contains(&sync.id) {
        return;
    }
    match dice.roll(6) {
        0 => world.end_mover(1, json!({"reason": "ConnectionLost"})),
        1 => world.end_mover(1, json!({"reason": "DestinationUnreachable"})),
        2 => world.end_mover(3, json!({"reason": "OtherSourcePinned"})),
        3 => world.end_pod(137, "{"),
        _ => {
            let data_time = world.jobs.last().unwrap().data_time;
            world.end_mover(0, json!({}));
            truth.published = truth.published.max(Some(data_time));
        }
    }
}

fn reconcile(world: &mut World, dice: &mut Dice, truth: &mut Truth) {
    let before = world.status();
    let decision = world.decide();
    for action in &decision.then {
        if let Action::Create(Child::Claim(_)) = action {
            let recorded = &decision.status.as_ref().unwrap().current_sync;
            assert!(recorded.is_some(), "a cut without a record");
            assert!(
                world.seen.cuts.iter().all(|cut| cut.metadata.deletion_timestamp.is_some()),
                "two cuts at a time"
            );
        }
    }
    // Sometimes the process dies before it has done what it wrote down, sometimes the API server refuses.
    let complete = dice.roll(4) != 0;
    world.carry_out(&decision, complete);
    world.seen.around.refusals.clear();
    if !complete && dice.roll(2) == 0 {
        let object = decision.then.iter().rev().find_map(|action| match action {
            Action::Create(Child::Claim(claim)) => claim.metadata.name.clone(),
            Action::Create(Child::Pod(pod)) => pod.metadata.name.clone(),
            _ => None,
        });
        let object = format!("Object {}", object.unwrap_or_else(|| "unknown".to_owned()));
        world.refuse(&object, dice.roll(2) == 0, "no");
    }
    for cut in &world.seen.cuts {
        truth
            .cuts
            .insert(cut.metadata.uid.clone().unwrap(), cut.metadata.creation_timestamp.as_ref().unwrap().0);
    }
    for job in &world.jobs {
        assert_eq!(
            truth.cuts.get(&job.cut_uid),
            Some(&job.data_time),
            "a mover is told a time that is not the cut's"
        );
    }
    let after = world.status();
    let point = after.recovery_point.as_ref().map(|point| point.data_time.0);
    assert!(point <= truth.published, "claims {point:?}, true is {:?}", truth.published);
    assert!(point >= before.recovery_point.map(|point| point.data_time.0), "the recovery point went back");
    if let Some(sync) = &after.current_sync {
        assert!(sync.attempt <= world.settings.max_attempts);
    }
}

/// When nothing goes wrong any more, the next sync succeeds, and only published data is left.
fn ends_well(world: &mut World, truth: &mut Truth, seed: u64) {
    world.seen.source.spec.paused = false;
    world.seen.around.refusals.clear();
    world.seen.claim = World::new(SPECS[0]).seen.claim;
    world.slow_deletion = false;
    world.sweep();
    let from = world.now;
    let mut dice = Dice(1);
    for _ in 0..300 {
        let last = world.status().last_attempt;
        let good = last.is_some_and(|last| last.failure.is_none() && last.started_at.0 > from);
        if good && world.status().current_sync.is_none() {
            for _ in 0..3 {
                let decision = world.decide();
                world.carry_out(&decision, true);
                if world.status().current_sync.is_some() {
                    break;
                }
            }
            assert!(
                world.seen.pods.is_empty() || world.status().current_sync.is_some(),
                "{seed}: a pod is left"
            );
            return delete_in_the_end(world, seed);
        }
        world.bind_cut();
        let current = world.status().current_sync.map(|sync| format!("-{}-", sync.id));
        let live = world.seen.pods.last().and_then(|pod| pod.metadata.name.clone());
        match (current, live) {
            (Some(id), Some(pod)) if pod.contains(&id) && world.sync().retry_at.is_none() => {
                let data_time = world.jobs.last().unwrap().data_time;
                world.end_mover(0, json!({}));
                truth.published = truth.published.max(Some(data_time));
            }
            _ => world.later(20),
        }
        let decision = world.decide();
        world.carry_out(&decision, true);
        dice.roll(2);
    }
    panic!("seed {seed} never succeeds: {:#?}", world.status());
}

fn delete_in_the_end(world: &mut World, seed: u64) {
    world.seen.source.metadata.deletion_timestamp = Some(yaml("2026-04-01T00:00:00Z"));
    assert!(world.now > time("2026-03-01T00:00:00Z"));
    for _ in 0..4 {
        let decision = world.decide();
        world.carry_out(&decision, true);
    }
    assert!(world.seen.pods.is_empty() && world.seen.cuts.is_empty(), "{seed}: something is left");
    assert_eq!(world.seen.source.metadata.finalizers, None, "{seed}");
}
