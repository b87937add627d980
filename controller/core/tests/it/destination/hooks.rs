//! A Retention hook over several passes: nothing goes without its word, and it is not asked twice about the same.

use super::world::World;
use crate::hooks::{Modules, Said};
use scribe_crds::names;
use scribe_crds::v1alpha1::DestinationHook;
use scribe_hooks_contract::points::Point;
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::retention::Keep;

/// With as many replicas, an hour apart, the first of them at midnight.
fn with_replicas(count: u32, change: impl FnOnce(&mut DestinationHook)) -> World {
    let mut world = World::listening();
    world.modules(|modules| *modules = Modules::one("keep", &[Point::Retention]));
    world.spec(|spec| {
        let hook = serde_json::json!({"module": "keep", "points": ["Retention"]});
        let mut hook = serde_json::from_value(hook).unwrap();
        change(&mut hook);
        spec.hooks = vec![hook];
    });
    for hour in 0..count {
        publish(&mut world, hour);
    }
    world
}

fn publish(world: &mut World, hour: u32) {
    world.sync(&format!("s{hour}"), &format!("2026-03-04T{hour:02}:00:00Z"));
    world.settle();
}

fn id(hour: u32) -> String {
    format!("db-20260304t{hour:02}0000z")
}

fn keeps(world: &mut World, hours: &[u32]) {
    let keep = hours.iter().map(|hour| Keep { id: id(*hour), reason: "wanted".to_owned() }).collect();
    world.modules(|modules| modules.says.choose = Some(Said::Answers(keep)));
}

fn left(world: &World) -> Vec<String> {
    let mut names: Vec<_> = world.seen.snapshots.iter().filter_map(|it| it.metadata.name.clone()).collect();
    names.sort();
    names
}

#[test]
fn without_an_answer_everything_stays() {
    let mut world = with_replicas(5, |_| {});
    assert_eq!(left(&world).len(), 5);
    let broken = Said::Fails { reason: Reason::HookTrap, message: "trap".to_owned() };
    world.modules(|modules| modules.says.choose = Some(broken));
    world.settle();
    assert_eq!(left(&world).len(), 5);
    assert_eq!(world.status().hooks[0].problem.as_ref().unwrap().reason, "HookTrap");
}

#[test]
fn what_is_dropped_is_no_reason_to_ask_again() {
    let mut world = with_replicas(6, |_| {});
    let before = world.asked;
    keeps(&mut world, &[4, 2]);
    world.settle();
    assert_eq!(left(&world), [id(2), id(4), id(5)]);
    assert_eq!(world.asked, before);
    // Another process, which remembers nothing, and a hook that would now keep less.
    world.seen.hooks.calls.clear();
    keeps(&mut world, &[]);
    world.settle();
    assert_eq!((left(&world).len(), world.asked), (3, before));
    publish(&mut world, 7);
    assert_eq!((left(&world), world.asked), (vec![id(7)], before + 1));
}

#[test]
fn a_pin_is_a_reason_to_ask_again_and_saves_what_was_to_go() {
    let mut world = with_replicas(3, |_| {});
    keeps(&mut world, &[]);
    let decision = world.decide();
    let deletes = decision.then.iter().filter(|action| format!("{action:?}").contains("Delete")).count();
    assert_eq!(deletes, 0, "there is an answer only in the next pass");
    world.pass();
    world
        .snapshot(&id(0))
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(names::PINNED.to_owned(), "true".to_owned());
    world.settle();
    assert_eq!(left(&world), [id(0), id(2)]);
}

#[test]
fn no_more_than_the_limit_goes_for_each_replica_that_is_published() {
    let mut world = with_replicas(5, |hook| hook.max_delete_per_run = Some(2));
    keeps(&mut world, &[]);
    world.settle();
    assert_eq!(left(&world), [id(2), id(3), id(4)]);
    publish(&mut world, 6);
    assert_eq!(left(&world), [id(4), id(6)]);
}

#[test]
fn a_dry_run_deletes_nothing_and_the_real_one_that_follows_asks_anew() {
    let mut world = with_replicas(4, |hook| hook.dry_run = true);
    keeps(&mut world, &[1]);
    world.settle();
    assert_eq!(left(&world).len(), 4);
    let shown =
        |world: &World| world.status().replicas.iter().map(|it| it.kept_because.clone()).collect::<Vec<_>>();
    let would_go = "dry run: keep does not keep it";
    assert_eq!(shown(&world), ["the newest that is ready", would_go, "keep: wanted", would_go]);
    world.spec(|spec| spec.hooks[0].dry_run = false);
    world.settle();
    assert_eq!(left(&world), [id(1), id(3)]);
}
