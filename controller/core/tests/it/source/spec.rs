//! Specs that cannot be carried out, and claims that cannot be copied.

use super::world::{World, yaml};
use scribe_core::decision::Decision;
use scribe_crds::v1alpha1::Phase;

fn rsync(fields: &str) -> String {
    format!("{{sourcePVC: data, rsync: {{sshKeys: db-keys, {fields}}}}}")
}

#[test]
fn a_refusal_names_the_field_and_the_way_out() {
    let cases = [
        (
            "{sourcePVC: data, trigger: {schedule: '61 * * * *'}, rsync: {sshKeys: k}}".to_owned(),
            "spec.trigger.schedule: `61 * * * *` is not a cron expression",
        ),
        (
            "{sourcePVC: data, trigger: {schedule: '0 0 30 2 *'}, rsync: {sshKeys: k}}".to_owned(),
            "spec.trigger.schedule: `0 0 30 2 *` never comes to pass",
        ),
        (
            "{sourcePVC: data, trigger: {schedule: '@daily', timeZone: Mars/Olympus}, rsync: {sshKeys: k}}"
                .to_owned(),
            "spec.trigger.timeZone: `Mars/Olympus` is not in the IANA time zone database",
        ),
        (
            "{sourcePVC: data, trigger: {minInterval: 0s}, rsync: {sshKeys: k}}".to_owned(),
            "spec.trigger.minInterval: `0ns` is not between 1s and ten years",
        ),
        ("{sourcePVC: data, rpo: -5m, rsync: {sshKeys: k}}".to_owned(), "spec.rpo: "),
        (
            "{sourcePVC: Data!, rsync: {sshKeys: k}}".to_owned(),
            "spec.sourcePVC: `Data!` cannot be the name of a claim",
        ),
        ("{sourcePVC: data, rsync: {sshKeys: ../x}}".to_owned(), "spec.rsync.sshKeys: `../x`"),
        (
            "{sourcePVC: data, trigger: {schedule: '@daily', jitter: 0s}, rsync: {sshKeys: k}}".to_owned(),
            "spec.trigger.jitter: ",
        ),
        (rsync("capacity: lots"), "spec.rsync.capacity: not a size"),
        (rsync("capacity: '0'"), "spec.rsync.capacity: not a size"),
        (rsync("capacity: 9Gi"), "spec.rsync.capacity: 9Gi is less than claim data has (10.0 GiB)"),
        (
            rsync("accessModes: [ReadWriteTwice]"),
            "spec.rsync.accessModes: `ReadWriteTwice` is none of ReadWriteOnce",
        ),
        (rsync("bandwidthLimit: '10'"), "spec.rsync.bandwidthLimit: "),
        (rsync("cutTimeout: 0s"), "spec.rsync.cutTimeout: "),
        (rsync("cutTimeout: 2562047h"), "spec.rsync.cutTimeout: "),
        (rsync("port: 70000"), "spec.rsync.port: 70000 is not between 1 and 65535"),
        (rsync("excludes: ['']"), "spec.rsync.excludes: "),
        (rsync("storageClassName: Fast"), "spec.rsync.storageClassName: "),
        (rsync("moverServiceAccount: -x"), "spec.rsync.moverServiceAccount: "),
    ];
    for (spec, words) in cases {
        let mut world = World::new(&spec);
        let decision = world.pass("new");
        assert_eq!(
            (world.condition().as_str(), world.status().phase),
            ("False InvalidSpec", Some(Phase::Failed)),
            "{spec}"
        );
        assert!(world.message().contains(words), "{spec}: {}", world.message());
        assert_eq!((decision.wake, decision.then.len(), decision.events.len()), (None, 0, 1), "{spec}");
        assert_eq!(world.pass("nothing").events, [], "told once");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let mut world = World::new(
        "{sourcePVC: data, rpo: 0s, trigger: {schedule: x, timeZone: UTC}, rsync: {sshKeys: K, port: 0}}",
    );
    world.settle("new");
    insta::assert_snapshot!(world.message());
}

#[test]
fn a_sync_that_runs_ends_although_the_spec_was_broken_meanwhile() {
    let mut world = World::new("{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}");
    world.start_sync();
    world.seen.source.spec.rsync.as_mut().unwrap().port = Some(70_000);
    world.settle("broken");
    assert_eq!(world.condition(), "True SyncInProgress");
    world.finish_sync();
    assert_eq!(world.condition(), "False InvalidSpec");
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("one"));
}

#[test]
fn root_needs_the_namespaces_leave() {
    let mut world = World::new(&rsync("moverSecurityContext: {runAsUser: 0}"));
    world.settle("new");
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False PrivilegedMoversNotAllowed", Some(Phase::Failed))
    );
    assert!(world.message().contains("scribe.dev/privileged-movers=true"), "{}", world.message());
    world.seen.around.privileged_movers = true;
    world.settle("annotated");
    assert_eq!(world.seen.pods.len(), 1);
}

#[test]
fn whatever_loosens_a_mover_needs_the_namespaces_leave() {
    let refused = |context: &str| {
        let mut world = World::new(&rsync(&format!("moverSecurityContext: {{{context}}}")));
        world.settle("new");
        (world.condition() == "False PrivilegedMoversNotAllowed").then(|| world.message())
    };
    for (context, words) in [
        ("runAsNonRoot: false", "runAsNonRoot is false"),
        ("seccompProfile: {type: Unconfined}", "seccompProfile.type is Unconfined"),
        ("appArmorProfile: {type: Unconfined}", "appArmorProfile.type is Unconfined"),
        ("seLinuxOptions: {type: spc_t}", "seLinuxOptions.type is spc_t"),
        ("seLinuxOptions: {user: system_u}", "seLinuxOptions sets a user or a role"),
        ("windowsOptions: {hostProcess: true}", "windowsOptions is set"),
        ("sysctls: [{name: kernel.msgmax, value: '1'}]", "sysctls are set"),
    ] {
        let message = refused(context).unwrap_or_else(|| panic!("{context} is allowed"));
        assert!(message.starts_with(&format!("spec.rsync.moverSecurityContext.{words}, ")), "{message}");
    }
    for context in [
        "runAsUser: 1000, runAsNonRoot: true, supplementalGroups: [3]",
        "seccompProfile: {type: Localhost, localhostProfile: a}",
        "seLinuxOptions: {type: container_t, level: 's0:c1,c2'}",
        "sysctls: []",
    ] {
        assert_eq!(refused(context), None, "{context}");
    }
}

#[test]
fn claims_that_cannot_be_copied() {
    let spec = rsync("");
    type Case = (fn(&mut World), &'static str, Phase, &'static str);
    let cases: [Case; 4] = [
        (|world| world.seen.claim = None, "SourceMissing", Phase::Idle, "Claim data does not exist."),
        (
            |world| {
                world.seen.claim.as_mut().unwrap().metadata.deletion_timestamp =
                    Some(yaml("2026-03-01T00:00:00Z"))
            },
            "SourceMissing",
            Phase::Idle,
            "Claim data is being deleted.",
        ),
        (
            |world| {
                world.seen.claim.as_mut().unwrap().spec.as_mut().unwrap().volume_mode =
                    Some("Block".to_owned())
            },
            "UnsupportedVolumeMode",
            Phase::Failed,
            "Use a claim with volumeMode Filesystem.",
        ),
        (
            |world| world.seen.claim.as_mut().unwrap().status = Some(yaml("{phase: Pending}")),
            "ClaimPending",
            Phase::Waiting,
            "Claim data is not bound",
        ),
    ];
    for (happens, reason, phase, words) in cases {
        let mut world = World::new(&spec);
        happens(&mut world);
        let decision = world.pass("new");
        assert_eq!((world.condition(), world.status().phase), (format!("False {reason}"), Some(phase)));
        assert!(world.message().contains(words), "{}", world.message());
        assert_eq!((decision.then.len(), decision.first.len(), decision.wake), (0, 0, None));
        world.seen.claim = World::new(&spec).seen.claim;
        world.settle("the claim is as it should be");
        assert_eq!(world.seen.cuts.len(), 1);
    }
}

#[test]
fn an_external_source_is_left_alone() {
    let mut world = World::new("{sourcePVC: data, external: {provider: storage.example.com/mirror}}");
    assert_eq!(world.decide(), Decision::default());
    world.seen.source.metadata.deletion_timestamp = Some(yaml("2026-03-01T00:00:00Z"));
    world.seen.source.metadata.finalizers = Some(vec!["storage.example.com/mirror".to_owned()]);
    assert_eq!(world.decide(), Decision::default());
}
