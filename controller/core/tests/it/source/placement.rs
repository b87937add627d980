//! Where a clone is made, and when its mover.

use super::world::World;
use scribe_crds::names::SELECTED_NODE;
use scribe_crds::v1alpha1::Phase;

const MANUAL: &str = "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}";

/// A claim that is in use on `west-1`, and its sync up to the cut's record.
fn cut_in_use() -> World {
    let mut world = World::new(MANUAL);
    world.seen.users = vec![super::copy_methods::user("db-0", "west-1", "Running")];
    world.settle("a sync starts");
    world
}

fn selected_node(world: &mut World) -> Option<String> {
    world.cut().metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE).cloned())
}

#[test]
fn a_clone_of_a_claim_in_use_is_made_where_it_is_used_and_waits_for_no_pod() {
    let mut world = cut_in_use();
    assert_eq!(selected_node(&mut world).as_deref(), Some("west-1"));
    assert!(world.seen.pods.is_empty());
    assert_eq!(world.status().phase, Some(Phase::Cutting));
    world.warn("uid-1", "ProvisioningFailed", "the pool is full");
    world.settle("the driver says why it takes long");
    assert!(world.message().contains("the pool is full"), "{}", world.message());
    world.bind_cut();
    world.settle("the clone is bound");
    assert_eq!(world.seen.pods.len(), 1);
}

#[test]
fn a_clone_that_cannot_be_made_for_that_node_waits_for_its_pod() {
    let mut world = cut_in_use();
    world.cut().metadata.annotations.as_mut().unwrap().remove(SELECTED_NODE);
    world.settle("the provisioner has taken the node away");
    assert_eq!(world.seen.pods.len(), 1);
}

#[test]
fn a_second_cut_leaves_the_choice_of_a_node_to_the_scheduler() {
    let mut world = cut_in_use();
    world.later(600);
    world.settle("the clone was not made in time");
    assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty());
    world.now = world.sync().retry_at.unwrap().0;
    world.settle("the pause is over");
    assert_eq!(selected_node(&mut world), None);
    assert_eq!((world.sync().attempt, world.seen.pods.len()), (2, 1));
}

#[test]
fn a_clone_of_a_claim_that_nobody_uses_is_made_together_with_its_pod() {
    let mut world = World::new(MANUAL);
    world.settle("a sync starts");
    assert_eq!(selected_node(&mut world), None);
    assert_eq!(world.seen.pods.len(), 1);
}
