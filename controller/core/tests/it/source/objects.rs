//! The objects that are made, whole.

use super::world::{World, job, to_yaml};
use k8s_openapi::api::core::v1::Pod;
use scribe_core::build::meta::Owner;
use scribe_core::build::pod::{PodPlan, mover_pod};
use scribe_core::decision::{Action, Child};
use scribe_core::settings::Settings;
use scribe_crds::v1alpha1::MoverConfig;
use scribe_mover_contract::job::{DestinationJob, Job, Timeouts};

const FULL: &str = "
sourcePVC: data
rpo: 30m
trigger: {schedule: '*/15 * * * *', timeZone: Europe/Berlin}
rsync:
  sshKeys: db-keys
  capacity: 20Gi
  storageClassName: other
  accessModes: [ReadOnlyMany]
  address: 2001:db8::1
  port: 2222
  comparison: Metadata
  fidelity: Strict
  bandwidthLimit: 10Mi
  excludes: ['/tmp/*', '*.log']
  moverSecurityContext: {runAsUser: 999, runAsGroup: 990, supplementalGroups: [5]}
  moverServiceAccount: mover
  moverPodLabels: {team: shop, scribe.dev/sync: forged}
  moverResources: {limits: {memory: 256Mi}}
  moverTolerations: [{key: dedicated, operator: Exists}]
";

#[test]
fn a_cut_is_like_its_claim_unless_told_otherwise() {
    let mut world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    world.pass("new");
    insta::assert_snapshot!("cut", to_yaml(world.cut()));
    let mut world = World::new(FULL);
    world.pass("new");
    insta::assert_snapshot!("cut_with_everything", to_yaml(world.cut()));
}

#[test]
fn a_cut_is_as_large_as_the_claim_has_become() {
    let mut world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    let claim = world.seen.claim.as_mut().unwrap();
    let capacity = claim.status.as_mut().unwrap().capacity.as_mut().unwrap();
    capacity.get_mut("storage").unwrap().0 = "15Gi".to_owned();
    world.pass("new");
    let requests = world.cut().spec.as_ref().unwrap().resources.as_ref().unwrap().requests.as_ref().unwrap();
    assert_eq!(requests["storage"].0, "15Gi");
}

#[test]
fn a_movers_pod_is_restricted() {
    let mut world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    world.settle("new");
    insta::assert_snapshot!("pod", readable(world.pod().clone()));
    let mut world = World::new(FULL);
    world.settle("new");
    insta::assert_snapshot!("pod_with_everything", readable(world.pod().clone()));
}

/// The job is JSON within YAML: shown apart from it.
fn readable(mut pod: Pod) -> String {
    let job = job(&pod);
    pod.spec.as_mut().unwrap().containers[0].env = None;
    format!("{}---\n{}", to_yaml(&pod), to_yaml(&job))
}

#[test]
fn the_token_is_in_a_secret_and_nowhere_else() {
    let mut world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    // Once before the pod, while there is time for it, and once with it, in case that was never done.
    let decision = world.decide();
    assert!(matches!(decision.then.as_slice(), [Action::Create(_), Action::Apply(Child::Secret(_))]));
    world.pass("new");
    let decision = world.decide();
    let [Action::Create(Child::Pod(pod)), Action::Apply(Child::Secret(secret))] = decision.then.as_slice()
    else {
        panic!("the pod, then the Secret: {:?}", decision.then);
    };
    assert_eq!(secret.0.data.as_ref().unwrap()["token"].0, b"a secret token");
    assert!(!format!("{decision:?}").contains("secret token"));
    assert!(!serde_json::to_string(pod).unwrap().contains("secret token"));
}

fn destination(mover: &str) -> Pod {
    let world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    let owner = Owner { side: "destination", ..Owner::source(&world.seen.source) };
    let mover: MoverConfig = super::world::yaml(mover);
    let job = Job::Destination(DestinationJob {
        protocol: 1,
        claim_uid: "claim-uid".to_owned(),
        timeouts: Timeouts::default(),
    });
    mover_pod(&PodPlan {
        owner: &owner,
        name: "scribe-dst-db",
        sync: None,
        job: &job,
        claim: "scribe-dst-db",
        keys: "scribe-dst-db",
        control: "scribe-dst-db-control",
        mover: &mover,
        settings: &Settings::default(),
    })
}

#[test]
fn a_destination_writes_through_its_group() {
    let security = |mover: &str| {
        let pod = destination(mover).spec.unwrap();
        let context = pod.security_context.unwrap();
        let container = pod.containers[0].security_context.clone().unwrap();
        (
            context.run_as_user,
            context.run_as_group,
            context.fs_group,
            context.run_as_non_root,
            container.capabilities,
        )
    };
    let (user, group, fs_group, non_root, capabilities) = security("{}");
    assert_eq!((user, group, fs_group, non_root), (Some(65532), Some(65532), Some(65532), Some(true)));
    assert_eq!(capabilities.unwrap().add, None);
    assert_eq!(security("{moverSecurityContext: {runAsUser: 999}}").2, Some(999));
    assert_eq!(security("{moverSecurityContext: {runAsUser: 999, fsGroup: 7}}").2, Some(7));
    let (user, _, fs_group, non_root, capabilities) = security("{moverSecurityContext: {runAsUser: 0}}");
    assert_eq!((user, fs_group, non_root), (Some(0), None, Some(false)));
    let capabilities = capabilities.unwrap();
    assert_eq!(capabilities.drop.unwrap(), ["ALL"]);
    assert!(capabilities.add.unwrap().contains(&"MKNOD".to_owned()));
    insta::assert_snapshot!("destination_pod", to_yaml(&destination("{}")));
}

#[test]
fn a_source_as_root_may_read_and_not_write() {
    let spec =
        "{sourcePVC: data, rsync: {sshKeys: db-keys, moverSecurityContext: {runAsUser: 0, fsGroup: 3}}}";
    let mut world = World::new(spec);
    world.seen.around.privileged_movers = true;
    world.settle("new");
    let pod = world.pod().spec.clone().unwrap();
    assert_eq!(pod.security_context.unwrap().fs_group, None, "the kubelet would rewrite the tree");
    let data = pod.volumes.unwrap().into_iter().find(|volume| volume.name == "data").unwrap();
    assert_eq!(data.persistent_volume_claim.unwrap().read_only, Some(true));
    let container = &pod.containers[0];
    let mount = container.volume_mounts.iter().flatten().find(|mount| mount.name == "data").unwrap();
    assert_eq!(mount.read_only, Some(true));
    let capabilities = container.security_context.as_ref().unwrap().capabilities.as_ref().unwrap();
    assert_eq!(capabilities.add.as_deref().unwrap(), ["DAC_OVERRIDE"]);
}
