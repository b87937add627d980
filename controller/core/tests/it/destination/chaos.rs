//! Random events, crashes between any two writes, and repetitions: the made-up cluster objects to whatever breaks an invariant, and in the
//! end everything settles.

use super::world::{World, commit, hello};
use scribe_mover_contract::control::{Activity, QuestionKind};
use scribe_mover_contract::peer::{PublicationState, Verdict};

/// SplitMix64: a seed that fails can be written down.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn time(number: u64) -> String {
    format!("2026-03-04T{:02}:{:02}:00Z", 5 + number / 60, number % 60)
}

/// One thing that happens in the cluster.
fn event(world: &mut World, dice: &mut Dice, sync: &mut u64, attempt: &mut u32) {
    let has_mover = world.seen.mover.is_some();
    let id = format!("s{sync}");
    match dice.roll(12) {
        0 if has_mover => {
            *attempt += u32::try_from(dice.roll(2)).unwrap();
            world.ask(QuestionKind::Handshake(Box::new(hello(&id, *attempt, &time(*sync)))));
        }
        1 if has_mover => {
            *sync += 1;
            *attempt = 1;
            world.ask(QuestionKind::Handshake(Box::new(hello(&format!("s{sync}"), 1, &time(*sync)))));
        }
        2 | 3 if has_mover => {
            let session = world.mover().session.clone();
            let is_transferring = world.mover().activity == Activity::Transferring;
            if let Some(session) = session.filter(|_| is_transferring) {
                let number = session.sync_id[1..].parse().unwrap();
                let mut commit = commit(&session.sync_id, session.attempt, &time(number));
                commit.unchanged =
                    world.status().sessions.last().is_some_and(|last| last.clean) && dice.roll(2) == 0;
                world.ask_commit(commit);
            }
        }
        4 | 5 => world.snapshots_ready(),
        6 => world.contents_go(),
        7 => world.pass_time(i64::try_from(dice.roll(700)).unwrap()),
        8 if !world.seen.pods.is_empty() => world.kill_mover(1),
        // Peers go away before they are answered, perhaps in the middle of a commit.
        9 if has_mover => {
            let mover = world.mover();
            mover.questions.clear();
            if let Some(session) = &mut mover.session {
                session.connected = false;
            }
        }
        10 => {
            let waiting: Vec<String> =
                world.snapshots().into_iter().filter(|name| !name.ends_with('*')).collect();
            for name in waiting {
                world.set_snapshot(&name, true, false, Some("slow"));
            }
        }
        11 => world.seen.snapshots.retain(|_| dice.roll(20) != 0),
        _ => {}
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_it_settles() {
    for seed in crate::seeds(120) {
        let mut dice = Dice(seed);
        let mut world = World::listening();
        world.contents_linger = dice.roll(2) == 0;
        world.content_policy = if dice.roll(2) == 0 { "Retain" } else { "Delete" };
        let (mut sync, mut attempt) = (0, 1);
        for _ in 0..80 {
            event(&mut world, &mut dice, &mut sync, &mut attempt);
            for _ in 0..dice.roll(3) {
                let decision = world.decide();
                // The process dies after a few writes, every other time.
                let steps =
                    if dice.roll(2) == 0 { usize::MAX } else { usize::try_from(dice.roll(5)).unwrap() };
                world.carry_out(&decision, steps);
            }
        }
        heal(&mut world);
        let last = format!("s{}", sync + 1);
        finish(&mut world, &last, &time(sync + 1), seed);
        world.start_deletion();
        for _ in 0..4 {
            world.contents_go();
            world.settle();
        }
        assert!(world.is_gone, "seed {seed}");
    }
}

/// The faults are over.
fn heal(world: &mut World) {
    world.contents_linger = false;
    for _ in 0..6 {
        world.snapshots_ready();
        world.contents_go();
        world.pass_time(700);
        world.settle();
    }
}

/// Another sync goes through as if nothing had happened.
fn finish(world: &mut World, id: &str, time: &str, seed: u64) {
    let mut verdict = world.shake(hello(id, 1, time));
    for _ in 0..5 {
        if !matches!(verdict, Verdict::Wait { .. }) {
            break;
        }
        heal(world);
        verdict = world.shake(hello(id, 1, time));
    }
    assert!(matches!(verdict, Verdict::Send { .. }), "seed {seed}: {verdict:?}");
    world.commit(commit(id, 1, time));
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.published(id), PublicationState::Yes { .. }), "seed {seed}");
    assert_eq!(world.status().recovery_point.as_ref().unwrap().sync_id, id, "seed {seed}");
    assert!(world.status().replicas.len() <= 3, "seed {seed}");
    assert_eq!(world.status().consecutive_failures, 0);
}
