//! From nothing to a destination that listens.

use super::world::{RD, World, commit, hello};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_core::decision::{Action, Child};
use scribe_core::observed::{Refusal, Warning};
use scribe_crds::v1alpha1::{Phase, ServiceType};
use scribe_mover_contract::peer::Verdict;

fn condition(world: &World) -> String {
    let all = &world.status().conditions;
    let found = all.iter().find(|condition| condition.type_ == "Synchronizing").unwrap();
    format!("{} {}: {}", found.status, found.reason, found.message)
}

fn claim(yaml: &str) -> PersistentVolumeClaim {
    serde_saphyr::from_str(yaml).unwrap()
}

const NAMED: &str = "
apiVersion: scribe.dev/v1alpha1
kind: ReplicationDestination
metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}
spec:
  rsync: {destinationPVC: mine}
";

#[test]
fn from_nothing_to_listening() {
    let mut world = World::new(RD);
    insta::assert_snapshot!(world.settle());
    let secrets: Vec<String> =
        world.secrets.iter().map(|(name, entries)| format!("{name}: {:?}", entries.keys())).collect();
    insta::assert_snapshot!(secrets.join("\n"), @r#"
    scribe-dst-db: ["destination", "destination.pub", "source.pub"]
    scribe-dst-db-control: ["token"]
    scribe-dst-db-source: ["address", "destination.pub", "port", "relationship", "source", "source.pub"]
    "#);
}

#[test]
fn keys_are_made_again_until_they_are_recorded() {
    let mut world = World::new(RD);
    world.pass();
    let decision = world.decide();
    // Dies after the source's Secret: the destination's own was not written.
    world.carry_out(&decision, 1);
    assert_eq!(world.secrets["scribe-dst-db-source"]["source"], "private-1");
    world.settle();
    let (own, carried) = (&world.secrets["scribe-dst-db"], &world.secrets["scribe-dst-db-source"]);
    assert_eq!(own["source.pub"], carried["source.pub"]);
    assert_eq!(own["destination.pub"], carried["destination.pub"]);
    let fingerprints = world.status().key_fingerprints.clone().unwrap();
    assert_eq!(carried["relationship"], fingerprints.relationship);
    assert_eq!(fingerprints.source, "SHA256:4");
}

#[test]
fn the_address_is_in_the_secret_before_it_is_in_the_status() {
    let mut world = World::new(RD);
    world.settle();
    world.seen.service.as_mut().unwrap().spec.as_mut().unwrap().cluster_ip = Some("10.0.0.77".into());
    let decision = world.decide();
    assert_eq!(
        decision.first,
        [Action::ApplyAddress {
            secret: "scribe-dst-db-source".into(),
            resource_version: None,
            address: "10.0.0.77".into(),
            port: 22
        }]
    );
    assert_eq!(decision.status.unwrap().method_status["address"], "10.0.0.77");
}

#[test]
fn keys_of_the_users_own() {
    let mut world = World::new(RD);
    world.spec(|spec| spec.rsync.as_mut().unwrap().ssh_keys = Some("mine".into()));
    world.settle();
    assert_eq!(world.status().key_fingerprints, None);
    assert_eq!(world.status().method_status.get("sshKeys"), None);
    assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["scribe-dst-db-control"]);
    let mut hello = hello("a", 1, "2026-03-04T05:00:00Z");
    hello.relationship = String::new();
    assert!(matches!(world.shake(hello), Verdict::Send { .. }));
}

#[test]
fn node_ports_and_load_balancers() {
    let mut world = World::new(RD);
    world.spec(|spec| spec.rsync.as_mut().unwrap().service_type = ServiceType::NodePort);
    world.settle();
    let method = &world.status().method_status;
    assert_eq!((method["address"].as_str(), method["port"].as_str()), ("192.0.2.7", "30022"));

    world.spec(|spec| {
        let rsync = spec.rsync.as_mut().unwrap();
        rsync.service_type = ServiceType::LoadBalancer;
        rsync.service_annotations.insert("example.com/internal".into(), "true".into());
        rsync.port = Some(2222);
    });
    world.settle();
    assert_eq!(world.status().method_status["address"], "192.0.2.7", "an old address is better than none");
    let uid = world.seen.service.as_ref().unwrap().metadata.uid.clone().unwrap();
    world.seen.around.warnings.push(Warning {
        about: uid,
        reason: "SyncLoadBalancerFailed".into(),
        message: "no address is free".into(),
    });
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False AddressPending: Service scribe-dst-db has no address from a load balancer yet (SyncLoadBalancerFailed: no address is free)");
    world.seen.around.warnings.clear();
    let ingress = serde_json::json!({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}});
    world.seen.service.as_mut().unwrap().status = serde_json::from_value(ingress).unwrap();
    world.settle();
    let method = &world.status().method_status;
    assert_eq!((method["address"].as_str(), method["port"].as_str()), ("lb.example.com", "2222"));
    assert_eq!(world.status().phase, Some(Phase::Listening));

    world.spec(|spec| spec.rsync.as_mut().unwrap().service_annotations.clear());
    let decision = world.decide();
    assert!(matches!(&decision.then[..], [Action::Apply(Child::Service(_))]), "{:?}", decision.then);
}

#[test]
fn a_foreign_service_is_left_alone() {
    let mut world = World::new(RD);
    let foreign = "{apiVersion: v1, kind: Service, metadata: {name: scribe-dst-db, namespace: east, uid: x}, spec: {clusterIP: 10.0.0.1}}";
    world.seen.service = Some(serde_saphyr::from_str(foreign).unwrap());
    let log = world.settle();
    assert!(!log.contains("apply Service"), "{log}");
    insta::assert_snapshot!(condition(&world), @"False ObjectRefused: Service scribe-dst-db exists and is not this object's: delete or rename it");
}

#[test]
fn a_named_claim_is_taken_before_a_mover_starts() {
    let mut world = World::new(NAMED);
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False ClaimMissing: claim mine, named in spec.rsync.destinationPVC, does not exist: make it");
    assert_eq!(world.status().phase, Some(Phase::Failed));
    world.seen.claim = Some(claim(
        "{metadata: {name: mine, uid: mine-uid, resourceVersion: '1'}, spec: {volumeMode: Filesystem}}",
    ));
    insta::assert_snapshot!(world.settle());
}

#[test]
fn a_claim_of_another_destination_is_refused() {
    let mut world = World::new(NAMED);
    world.seen.claim = Some(claim(
        "{metadata: {name: mine, uid: mine-uid, resourceVersion: '1', labels: {scribe.dev/owner-uid: other}}, spec: {}}",
    ));
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False ClaimInUse: claim mine belongs to the object with uid other: delete that, or, if it is gone, remove the label scribe.dev/owner-uid");
    assert!(world.seen.pods.is_empty());
}

#[test]
fn a_block_claim_is_refused() {
    let mut world = World::new(NAMED);
    world.seen.claim =
        Some(claim("{metadata: {name: mine, uid: u, resourceVersion: '1'}, spec: {volumeMode: Block}}"));
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False UnsupportedVolumeMode: claim mine has volumeMode Block: only file systems are received");
}

#[test]
fn a_claim_that_nobody_of_ours_made_is_left_alone() {
    let mut world = World::new(RD);
    world.seen.claim =
        Some(claim("{metadata: {name: scribe-dst-db, uid: u, resourceVersion: '1'}, spec: {}}"));
    world.settle();
    assert!(condition(&world).starts_with("False ClaimInUse"), "{}", condition(&world));
    assert!(world.seen.pods.is_empty());
}

#[test]
fn a_claim_grows_and_never_shrinks() {
    let mut world = World::listening();
    let capacity = |world: &mut World, size: &str| {
        let size = k8s_openapi::apimachinery::pkg::api::resource::Quantity(size.to_owned());
        world.spec(|spec| spec.rsync.as_mut().unwrap().capacity = Some(size));
    };
    capacity(&mut world, "20Gi");
    let log = world.settle();
    assert!(log.contains("apply Claim scribe-dst-db"), "{log}");
    capacity(&mut world, "30Gi");
    let words = "only dynamically provisioned pvc can be resized".to_owned();
    let refusal =
        Refusal { object: "PersistentVolumeClaim scribe-dst-db".into(), quota: false, message: words };
    world.seen.around.refusals.push(refusal);
    world.settle();
    world.seen.around.refusals.clear();
    // Nor later, when the refusal is forgotten.
    assert!(!world.settle().contains("apply Claim"));
    insta::assert_snapshot!(condition(&world), @"False ObjectRefused: spec.rsync.capacity: claim scribe-dst-db could not be given 30Gi: only dynamically provisioned pvc can be resized; set another size to have it tried again");
    assert!(
        matches!(world.shake(hello("a", 1, "2026-03-04T05:00:00Z")), Verdict::Send { .. }),
        "it receives all the same"
    );
    capacity(&mut world, "40Gi");
    assert!(world.settle().contains("apply Claim"));
    assert_eq!(world.status().refused_expansion, None);
    capacity(&mut world, "5Gi");
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False InvalidSpec: spec.rsync.capacity: claim scribe-dst-db cannot shrink from 40.0 GiB to 5Gi: set at least 40.0 GiB");
    assert_eq!(world.seen.pods.len(), 1, "what runs may run");
}

#[test]
fn a_claim_that_is_being_deleted_is_let_go_of() {
    let mut world = World::listening();
    world.sync("a", "2026-03-04T05:00:00Z");
    let now = world.now;
    world.seen.claim.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(now));
    world.settle();
    assert!(world.seen.pods.is_empty(), "the mover keeps the claim from going");
    insta::assert_snapshot!(condition(&world), @"False ClaimPending: claim scribe-dst-db is being deleted; what it held is received anew into the next one");
    world.seen.claim = None;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Listening));
    // A claim that was never received into is dirty: nothing can be unchanged there.
    let verdict = world.shake(hello("b", 1, "2026-03-04T05:05:00Z"));
    assert!(matches!(verdict, Verdict::Send { clean: false, .. }), "{verdict:?}");
}

#[test]
fn invalid_specs_name_the_field_and_the_way_out() {
    let cases: &[(&str, &str)] = &[
        (
            "{capacity: ten, accessModes: [ReadWriteOnce]}",
            "spec.rsync.capacity: `ten` is not a size: set for example 10Gi",
        ),
        (
            "{capacity: 10Gi, accessModes: [ReadOnlyMany]}",
            "spec.rsync.accessModes: the claim is written to: set for example ReadWriteOnce",
        ),
        (
            "{capacity: 10Gi}",
            "spec.rsync.accessModes: set capacity and accessModes for the receiving claim, or name an existing claim in destinationPVC",
        ),
        (
            "{destinationPVC: x, capacity: 10Gi}",
            "spec.rsync.destinationPVC: it names an existing claim: remove capacity, accessModes and storageClassName",
        ),
        (
            "{destinationPVC: UPPER}",
            "spec.rsync.destinationPVC: `UPPER` is not a name: use lower-case letters, digits, `-` and `.`",
        ),
        (
            "{destinationPVC: x, port: 70000}",
            "spec.rsync.port: set a port from 1 to 65535, or remove it for 22",
        ),
        (
            "{destinationPVC: x, publishTimeout: 0s}",
            "spec.rsync.publishTimeout: set at least 1s, for example 10m",
        ),
        (
            "{destinationPVC: x, sshKeys: 'a b'}",
            "spec.rsync.sshKeys: `a b` is not a name: use lower-case letters, digits, `-` and `.`",
        ),
    ];
    for (rsync, expected) in cases {
        let mut world = World::new(RD);
        world.seen.destination.spec.rsync = Some(serde_saphyr::from_str(rsync).unwrap());
        world.settle();
        assert_eq!(condition(&world), format!("False InvalidSpec: {expected}"));
        assert_eq!(world.status().phase, Some(Phase::Failed));
        assert!(world.secrets.is_empty() && world.seen.pods.is_empty());
    }
}

#[test]
fn root_needs_the_namespaces_leave() {
    let mut world = World::new(RD);
    world.seen.around.privileged_movers = true;
    world.spec(|spec| {
        let context = serde_json::from_value(serde_json::json!({"runAsUser": 0})).unwrap();
        spec.rsync.as_mut().unwrap().mover.mover_security_context = Some(context);
    });
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Listening));
    world.seen.around.privileged_movers = false;
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False PrivilegedMoversNotAllowed: spec.rsync.moverSecurityContext.runAsUser is 0: annotate namespace east with scribe.dev/privileged-movers=true, or change that");
    assert!(world.seen.pods.is_empty(), "root runs on");
}

#[test]
fn without_snapshots_everything_is_prepared_and_nothing_admitted() {
    let mut world = World::new(RD);
    world.seen.snapshots_available = false;
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False SnapshotsUnavailable: the cluster has no VolumeSnapshot API: install the snapshot CRDs and the snapshot controller");
    let verdict = world.shake(hello("a", 1, "2026-03-04T05:00:00Z"));
    assert!(matches!(verdict, Verdict::Wait { .. }), "{verdict:?}");
    world.seen.snapshots_available = true;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Listening));
}

#[test]
fn paused_makes_nothing() {
    let mut world = World::new(RD);
    world.spec(|spec| spec.paused = true);
    let log = world.settle();
    insta::assert_snapshot!(log, @r#"
    pass
      status Promotable=False NoReplica: nothing has been published yet
      status WithinRPO=Unknown NoObjective: there is no objective: a schedule has one, and spec.rpo of the ReplicationSource sets one
      status Degraded=False AsExpected: nothing is known to be wrong
      status Synchronizing=False Paused: spec.paused is true: syncs are refused
      status consecutiveFailures = 0
      status effective.timeout = "600s"
      status observedGeneration = 2
      status phase = "Paused"
    pass
    "#);
    assert_eq!(world.status().phase, Some(Phase::Paused));
}

#[test]
fn external_is_left_alone() {
    let mut world = World::new(
        "{metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}, spec: {external: {provider: storage.example.com/mirror}}}",
    );
    assert_eq!(world.decide(), scribe_core::decision::Decision::default());
    world.start_deletion();
    assert_eq!(world.decide(), scribe_core::decision::Decision::default());
}

#[test]
fn a_quota_is_named_and_the_write_stays_wanted() {
    let mut world = World::new(RD);
    world.pass();
    world.seen.around.refusals.push(Refusal {
        object: "PersistentVolumeClaim scribe-dst-db".into(),
        quota: true,
        message: "exceeded quota: storage".into(),
    });
    let decision = world.decide();
    world.carry_out(&decision, 3);
    insta::assert_snapshot!(condition(&world), @"False QuotaExceeded: PersistentVolumeClaim scribe-dst-db: exceeded quota: storage");
    // Whoever carries decisions out sets the pace: a wake of ours would only shorten it.
    assert_eq!(decision.wake, None);
    assert!(decision.then.iter().any(|action| matches!(action, Action::Create(Child::Claim(_)))));
}

#[test]
fn a_secret_that_is_refused_is_told() {
    let mut world = World::new(RD);
    world.pass();
    let decision = world.decide();
    // The first write is refused, so the pass ends before the status.
    world.carry_out(&decision, 0);
    let message = "exceeded quota: secrets".to_owned();
    world.seen.around.refusals.push(Refusal { object: "Secret scribe-dst-db".into(), quota: true, message });
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False QuotaExceeded: Secret scribe-dst-db: exceeded quota: secrets");
    assert_eq!(world.status().key_fingerprints, None);
    // Nothing is written into a Secret that is not there.
    assert!(!world.secrets.contains_key("scribe-dst-db-source"));
    let message = "exceeded quota: storage".to_owned();
    let object = "PersistentVolumeClaim scribe-dst-db".into();
    world.seen.around.refusals.push(Refusal { object, quota: true, message });
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False QuotaExceeded: Secret scribe-dst-db: exceeded quota: secrets; PersistentVolumeClaim scribe-dst-db: exceeded quota: storage");
    world.seen.around.refusals.clear();
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Listening));
}

#[test]
fn answers_do_not_wait_for_writes_that_may_be_refused() {
    let mut world = World::listening();
    world.shake(hello("a", 1, "2026-03-04T05:00:00Z"));
    let id = world.ask_commit(commit("a", 1, "2026-03-04T05:00:00Z"));
    world.spec(|spec| {
        let rsync = spec.rsync.as_mut().unwrap();
        rsync.capacity = Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity("20Gi".into()));
        rsync.service_annotations.insert("not/a/key".into(), String::new());
    });
    let log = crate::render::decision(&world.decide(), None);
    let then = log.lines().filter_map(|line| line.strip_prefix("  then   "));
    let then: Vec<String> = then.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(then, [&format!("answer {id}:"), "create Snapshot", "apply Service", "apply Claim"]);
}

#[test]
fn a_replica_that_may_not_be_deleted_does_not_hold_up_the_next() {
    let mut world = World::listening();
    world.sync("a", "2026-03-04T05:00:00Z");
    world.sync("b", "2026-03-04T05:05:00Z");
    world.shake(hello("c", 1, "2026-03-04T05:10:00Z"));
    world.ask_commit(commit("c", 1, "2026-03-04T05:10:00Z"));
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    let log = crate::render::decision(&world.decide(), None);
    let position = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what}: {log}"));
    assert!(position("create Snapshot") < position("delete Snapshot"));
}

#[test]
fn a_mover_that_dies_is_replaced_more_and_more_slowly() {
    let mut world = World::listening();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        world.pass_time(5);
        world.kill_mover(1);
        world.settle();
        let wake = world.decide().wake.expect("a time to look again");
        pauses.push(wake.duration_since(world.now).as_secs());
        assert!(condition(&world).starts_with("False MoverFailed"), "{}", condition(&world));
        world.now = wake;
        world.settle();
        assert_eq!(world.status().phase, Some(Phase::Listening));
    }
    assert_eq!(pauses, [10, 20, 40, 80]);
    world.pass_time(3600);
    world.kill_mover(1);
    assert_eq!(world.decide().wake.unwrap().duration_since(world.now).as_secs(), 10);
}

#[test]
fn a_new_image_waits_for_the_session_to_end() {
    let mut world = World::listening();
    world.shake(hello("a", 1, "2026-03-04T05:00:00Z"));
    let before = world.seen.pods[0].metadata.uid.clone();
    world.settings.mover_image = "mover:2".into();
    world.settle();
    assert_eq!(world.seen.pods[0].metadata.uid, before, "the session was ended for a new image");
    world.mover().session.as_mut().unwrap().connected = false;
    world.settle();
    assert_ne!(world.seen.pods[0].metadata.uid, before);
}

#[test]
fn a_claim_without_a_volume_is_told_in_the_provisioners_words() {
    let mut world = World::new(RD);
    world.settle();
    world.seen.mover = None;
    world.seen.pods[0].status = serde_json::from_value(serde_json::json!({"phase": "Pending"})).unwrap();
    let claim = world.seen.claim.as_mut().unwrap();
    claim.status = serde_json::from_value(serde_json::json!({"phase": "Pending"})).unwrap();
    world.seen.around.warnings.push(Warning {
        about: claim.metadata.uid.clone().unwrap(),
        reason: "ProvisioningFailed".into(),
        message: "the pool is full".into(),
    });
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False ClaimPending: claim scribe-dst-db is not bound yet (ProvisioningFailed: the pool is full)");
    world.bind();
    world.seen.around.warnings.clear();
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False Preparing: mover pod scribe-dst-db starts");
    world.now = world.decide().wake.unwrap();
    world.settle();
    insta::assert_snapshot!(condition(&world), @"False MoverStartTimeout: mover pod scribe-dst-db does not start");
}
