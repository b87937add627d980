//! What the source is told while the destination is not itself.

use super::world::{World, hello};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_mover_contract::control::QuestionKind;
use scribe_mover_contract::peer::Verdict;

const T1: &str = "2026-03-04T05:00:00Z";

#[test]
fn an_invalid_spec_lets_the_source_wait() {
    let mut world = World::listening();
    world.spec(|spec| spec.rsync.as_mut().unwrap().port = Some(0));
    let verdict = world.shake(hello("a", 1, T1));
    insta::assert_snapshot!(format!("{verdict:?}"), @r#"Wait { seconds: 30, message: "the destination cannot receive (InvalidSpec): spec.rsync.port: set a port from 1 to 65535, or remove it for 22" }"#);
    assert!(world.seen.pods.len() == 1 && world.status().dirty.is_none());
}

#[test]
fn who_one_is_comes_before_what_the_destination_lacks() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.spec(|spec| spec.rsync.as_mut().unwrap().port = Some(0));
    let mut intruder = hello("b", 1, T1);
    intruder.claim_uid = "other".into();
    assert!(
        matches!(world.shake(intruder), Verdict::Refused { reason, .. } if reason == "OtherSourcePinned")
    );
}

#[test]
fn a_mover_on_its_way_out_is_not_heard() {
    let mut world = World::listening();
    world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
    let now = world.now;
    world.seen.pods[0].metadata.deletion_timestamp = Some(Time(now));
    world.settle();
    assert!(world.answers.is_empty());
    assert_eq!(world.status().dirty, None);
}

#[test]
fn a_volume_that_is_too_small_is_named_with_numbers() {
    let mut world = World::listening();
    world.mover().capacity_bytes = None;
    let mut hello = hello("a", 1, T1);
    hello.expected_bytes = 20 << 30;
    let verdict = world.shake(hello);
    insta::assert_snapshot!(format!("{verdict:?}"), @r#"Refused { reason: "DestinationFull", message: "the source holds 20.0 GiB, the receiving volume has 10.0 GiB: raise spec.rsync.capacity of the ReplicationDestination", permanent: true }"#);
}
