//! The mover pod of either side: restricted in the sense of the Pod Security Standards, unless it runs as root.

use super::meta::Owner;
use crate::settings::Settings;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, PersistentVolumeClaimVolumeSource,
    Pod, PodSecurityContext, PodSpec, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scribe_crds::names;
use scribe_crds::v1alpha1::MoverConfig;
use scribe_mover_contract::job::{JOB_VARIABLE, Job};
use scribe_mover_contract::{
    CONTROL_DIR, CONTROL_PORT, DATA_DIR, KEYS_DIR, PRIVILEGED_DESTINATION_CAPABILITIES,
    PRIVILEGED_SOURCE_CAPABILITIES, RUN_DIR, SSH_PORT,
};

/// The user and the group of a mover for which none is given: the conventional `nonroot`.
pub const DEFAULT_USER: i64 = 65532;
/// The name of the mover's container.
pub const CONTAINER: &str = "mover";
/// The key in the control Secret: its file is `token` under [`CONTROL_DIR`].
pub const TOKEN_KEY: &str = "token";

/// Keys, sockets and sshd's configuration are a few kilobytes; memory counts against the container's limit.
const RUN_SIZE: &str = "16Mi";
/// A mover flushes nothing at its end that a later attempt would not do again, so there is little to wait for.
const GRACE_SECONDS: i64 = 5;

/// What a mover pod is made from.
#[derive(Clone, Copy, Debug)]
pub struct PodPlan<'a> {
    /// Whom it belongs to.
    pub owner: &'a Owner,
    /// Its name.
    pub name: &'a str,
    /// The sync that it is for; a destination's serves many, and has none.
    pub sync: Option<&'a str>,
    /// What it is to do. A source's claim is mounted read-only.
    pub job: &'a Job,
    /// The claim with the data.
    pub claim: &'a str,
    /// The Secret with the ssh keys.
    pub keys: &'a str,
    /// The Secret with the control token.
    pub control: &'a str,
    /// How the user wants it to run.
    pub mover: &'a MoverConfig,
    /// The image, and so on.
    pub settings: &'a Settings,
}

/// SELinux types that confine a container no less than the default does, as the Pod Security Standards list them.
const CONFINED_TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];

/// What in this configuration needs the namespace's leave, if anything: a field of `moverSecurityContext` and what is wrong with it, in
/// words. The controller makes pods for whoever may write its objects, and must not lend them more than they could do themselves.
pub fn privilege(mover: &MoverConfig) -> Option<String> {
    let context = mover.mover_security_context.as_ref()?;
    let unconfined = |profile: Option<&str>| profile == Some("Unconfined");
    let labels = context.se_linux_options.as_ref();
    let label_type = labels.and_then(|labels| labels.type_.as_deref()).unwrap_or_default();
    if runs_as_root(mover) {
        Some("runAsUser is 0".to_owned())
    } else if context.run_as_non_root == Some(false) {
        Some("runAsNonRoot is false".to_owned())
    } else if unconfined(context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str())) {
        Some("seccompProfile.type is Unconfined".to_owned())
    } else if unconfined(context.app_armor_profile.as_ref().map(|profile| profile.type_.as_str())) {
        Some("appArmorProfile.type is Unconfined".to_owned())
    } else if !CONFINED_TYPES.contains(&label_type) {
        Some(format!("seLinuxOptions.type is {label_type}"))
    } else if labels.is_some_and(|labels| !is_empty(labels.user.as_ref()) || !is_empty(labels.role.as_ref()))
    {
        Some("seLinuxOptions sets a user or a role".to_owned())
    } else if context.windows_options.is_some() {
        Some("windowsOptions is set".to_owned())
    } else if context.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty()) {
        Some("sysctls are set".to_owned())
    } else {
        None
    }
}

fn is_empty(field: Option<&String>) -> bool {
    field.is_none_or(String::is_empty)
}

/// Whether movers of this configuration run as root, which their namespace has to allow.
pub fn runs_as_root(mover: &MoverConfig) -> bool {
    mover.mover_security_context.as_ref().and_then(|context| context.run_as_user) == Some(0)
}

/// Builds a mover pod.
///
/// *Guarantees*: the same plan gives the same pod. A source's pod never has an `fsGroup` and mounts the data read-only.
/// *Assumptions*: whether the namespace allows root was asked before (see [`privilege`]).
pub fn mover_pod(plan: &PodPlan<'_>) -> Pod {
    let mover = plan.mover;
    let mut metadata = plan.owner.child(plan.name.to_owned(), plan.sync);
    let labels = metadata.labels.get_or_insert_default();
    if let Job::Source(job) = plan.job {
        labels.insert(names::ATTEMPT.to_owned(), job.attempt.to_string());
    }
    for (key, value) in &mover.mover_pod_labels {
        // Ours win: by them the pod is found again.
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Pod {
        metadata,
        spec: Some(PodSpec {
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            // A namespace with thousands of Services would fill the environment.
            enable_service_links: Some(false),
            service_account_name: mover.mover_service_account.clone(),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            security_context: Some(pod_security(plan)),
            affinity: mover.mover_affinity.clone(),
            tolerations: Some(mover.mover_tolerations.clone()).filter(|tolerations| !tolerations.is_empty()),
            containers: vec![container(plan)],
            volumes: Some(volumes(plan)),
            ..PodSpec::default()
        }),
        status: None,
    }
}

fn is_source(plan: &PodPlan<'_>) -> bool {
    matches!(plan.job, Job::Source(_))
}

/// The user's own security context, and what has to be so whatever it says.
fn pod_security(plan: &PodPlan<'_>) -> PodSecurityContext {
    let given = plan.mover.mover_security_context.clone().unwrap_or_default();
    let user = given.run_as_user.unwrap_or(DEFAULT_USER);
    let group = given.run_as_group.unwrap_or(user);
    // A destination as root writes everything anyway, and keeps the attributes of the volume's root: an fsGroup would have the kubelet
    // change the whole tree at every start.
    let fs_group = match (is_source(plan), given.fs_group) {
        (true, _) => None,
        (false, Some(group)) => Some(group),
        (false, None) => Some(group).filter(|_| user != 0),
    };
    PodSecurityContext {
        run_as_user: Some(user),
        run_as_group: Some(group),
        run_as_non_root: Some(user != 0),
        fs_group,
        fs_group_change_policy: fs_group.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: given.seccomp_profile.clone().or_else(|| {
            Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() })
        }),
        ..given
    }
}

fn container(plan: &PodPlan<'_>) -> Container {
    let source = is_source(plan);
    let added: &[&str] = match (runs_as_root(plan.mover), source) {
        (false, _) => &[],
        (true, true) => PRIVILEGED_SOURCE_CAPABILITIES,
        (true, false) => PRIVILEGED_DESTINATION_CAPABILITIES,
    };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(plan.settings.mover_image.clone()),
        image_pull_policy: plan.settings.mover_image_pull_policy.clone(),
        command: Some(vec!["scribe-mover".to_owned(), "run".to_owned()]),
        env: Some(vec![EnvVar {
            name: JOB_VARIABLE.to_owned(),
            // Numbers, strings and times with string keys: this cannot fail.
            value: Some(serde_json::to_string(plan.job).unwrap_or_default()),
            ..EnvVar::default()
        }]),
        ports: Some(vec![port("ssh", SSH_PORT), port("control", CONTROL_PORT)]),
        resources: plan.mover.mover_resources.clone(),
        security_context: Some(SecurityContext {
            // Not needed for root's capabilities either: they are there from the start.
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: Some(added.iter().map(|name| (*name).to_owned()).collect())
                    .filter(|add: &Vec<String>| !add.is_empty()),
            }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(vec![
            mount("data", DATA_DIR, source),
            mount("keys", KEYS_DIR, true),
            mount("control", CONTROL_DIR, true),
            mount("run", RUN_DIR, false),
            mount("tmp", "/tmp", false),
        ]),
        ..Container::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true).filter(|_| read_only),
        ..VolumeMount::default()
    }
}

fn volumes(plan: &PodPlan<'_>) -> Vec<Volume> {
    let named = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let secret = |name: &str, secret: &str| Volume {
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            // A source has no fsGroup, so without the bits for others its user could not read them. The pod has no other user; the
            // mover makes copies with mode 0600, which ssh insists on.
            default_mode: Some(0o444),
            ..SecretVolumeSource::default()
        }),
        ..named(name)
    };
    let empty = |name: &str, medium: Option<&str>, size: Option<&str>| Volume {
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: size.map(|size| Quantity(size.to_owned())),
        }),
        ..named(name)
    };
    vec![
        Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: plan.claim.to_owned(),
                read_only: Some(true).filter(|_| is_source(plan)),
            }),
            ..named("data")
        },
        secret("keys", plan.keys),
        secret("control", plan.control),
        empty("run", Some("Memory"), Some(RUN_SIZE)),
        empty("tmp", None, None),
    ]
}
