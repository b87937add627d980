//! Two controllers at once, each with its own view of what was: the old one of a Deployment that is being replaced lives on for a while.

use super::chaos::Dice;
use super::world::{OWN, RD, SOURCE, World};
use scribe_core::decision::Action;
use scribe_core::destination::{are_keys_open, decide};
use scribe_core::observed::{DestinationObserved, KeySecrets, SecretSeen};
use scribe_crds::v1alpha1::DestinationStatus;
use std::collections::VecDeque;

/// Where a controller is in its pass.
#[derive(Default)]
enum Pass {
    #[default]
    None,
    Read(Box<DestinationObserved>),
    LookedAtOwn(Box<DestinationObserved>, SecretSeen),
    LookedAtBoth(Box<DestinationObserved>),
    Writing {
        version: Option<String>,
        steps: VecDeque<Step>,
    },
}

enum Step {
    Act(Action),
    Status(Box<DestinationStatus>),
}

/// A controller that is stopped after every read and every write.
#[derive(Default)]
struct Controller(Pass);

impl Controller {
    /// One step. Whether it had nothing to do.
    fn step(&mut self, world: &mut World) -> bool {
        match std::mem::take(&mut self.0) {
            Pass::None => self.0 = Pass::Read(Box::new(world.seen.clone())),
            Pass::Read(seen) => self.0 = Pass::LookedAtOwn(seen, world.look_at(OWN)),
            Pass::LookedAtOwn(mut seen, own) => {
                let source = world.look_at(SOURCE);
                seen.key_secrets = are_keys_open(&seen.destination).then_some(KeySecrets { own, source });
                self.0 = Pass::LookedAtBoth(seen);
            }
            Pass::LookedAtBoth(seen) => {
                let now = &world.seen.destination.metadata.resource_version;
                if *now == seen.destination.metadata.resource_version {
                    return self.begin(world, &seen);
                }
            }
            Pass::Writing { mut version, mut steps } => {
                let written = match steps.pop_front() {
                    None => return false,
                    Some(Step::Act(action)) => world.act_under(&mut version, &action),
                    Some(Step::Status(status)) => world.write_status_under(&mut version, *status),
                };
                if written == Ok(()) {
                    self.0 = Pass::Writing { version, steps };
                }
            }
        }
        false
    }

    fn begin(&mut self, world: &mut World, seen: &DestinationObserved) -> bool {
        let decision = decide(seen, &world.settings, world.now, &mut world.chance);
        let status = decision.status.filter(|status| seen.destination.status.as_ref() != Some(status));
        let mut steps: VecDeque<Step> = decision.first.into_iter().map(Step::Act).collect();
        steps.extend(status.map(|status| Step::Status(Box::new(status))));
        steps.extend(decision.then.into_iter().map(Step::Act));
        let idle = steps.is_empty();
        let version = seen.destination.metadata.resource_version.clone();
        self.0 = Pass::Writing { version, steps };
        idle
    }
}

/// The made-up cluster objects as soon as keys are published that do not belong together, or change once they are.
#[test]
fn two_controllers_never_publish_halves_of_different_keys() {
    for seed in crate::seeds(600) {
        let mut dice = Dice(seed);
        let mut world = World::new(RD);
        world.pass();
        // A third one died before.
        let decision = world.decide();
        world.carry_out(&decision, usize::try_from(dice.roll(5)).unwrap());
        let mut rivals = [Controller::default(), Controller::default()];
        for _ in 0..dice.roll(30) {
            let one = &mut rivals[usize::try_from(dice.roll(2)).unwrap()];
            // Now and then one of them is held up until the other has nothing left to do.
            let steps = if dice.roll(4) == 0 { 60 } else { dice.roll(4) };
            for _ in 0..steps {
                if one.step(&mut world) {
                    break;
                }
            }
        }
        // One of them dies; the write that it was about then arrives late.
        let [mut late, mut survivor] = rivals;
        for _ in 0..100 {
            if survivor.step(&mut world) {
                break;
            }
        }
        late.step(&mut world);
        world.settle();
        assert!(world.status().method_status.contains_key("sshKeys"), "seed {seed}: nothing was published");
    }
}
