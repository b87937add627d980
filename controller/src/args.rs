//! The command line. Every flag can also be set in the environment, as `SCRIBE_` and the flag's name.

use crate::telemetry::LogFormat;
use clap::{Args as ClapArgs, Parser};
use ipnet::IpNet;
use scribe_core::settings::Settings;
use scribe_core::slots::Limits;
use scribe_mover_contract::job::Timeouts;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The first argument of a process that compiles a module, and does nothing else.
pub const COMPILE_HOOK: &str = "compile-hook";

/// The control plane of Scribe, which replicates persistent volumes.
///
/// Durations are written as in Go: 90s, 10m, 1h30m.
#[derive(Debug, Parser)]
#[command(name = "scribe-controller", version)]
pub struct Args {
    /// The kubeconfig to use; default: $KUBECONFIG, or the pod's own service account
    #[arg(long, env = "SCRIBE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the controller
    #[arg(long, env = "SCRIBE_NAMESPACE", default_value = "scribe-system")]
    pub namespace: String,
    /// The name of this controller in Events and in the Lease: no other one may bear it at the same time, so usually that of its pod
    #[arg(long, env = "SCRIBE_INSTANCE", default_value = "scribe-controller")]
    pub instance: String,
    /// Where health and metrics are served
    #[arg(long, env = "SCRIBE_ADMIN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub admin_address: SocketAddr,
    /// What is logged, in the syntax of tracing-subscriber's EnvFilter
    #[arg(long, env = "SCRIBE_LOG_FILTER", default_value = "info")]
    pub log_filter: String,
    /// The form of log lines
    #[arg(long, env = "SCRIBE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// The Lease that is held by the one controller that works, in the controller's namespace
    #[arg(long, env = "SCRIBE_LEASE_NAME", default_value = "scribe-controller-leader")]
    pub lease_name: String,
    /// How long another controller waits before it takes the place of one that is not heard of any more
    #[arg(long, env = "SCRIBE_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// How often a controller that waits for its turn looks at the Lease
    #[arg(long, env = "SCRIBE_LEASE_RETRY", default_value = "2s", value_parser = duration)]
    pub lease_retry: Duration,
    /// How many objects of each kind are worked on at the same time
    #[arg(long, env = "SCRIBE_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// The file with the key from which the movers' tokens are derived, mounted from the Secret
    #[arg(long, env = "SCRIBE_CONTROL_KEY_FILE", default_value = "/etc/scribe/control-key/key")]
    pub control_key_file: PathBuf,
    /// The Secret behind that file: made, if the file is not there
    #[arg(long, env = "SCRIBE_CONTROL_KEY_SECRET", default_value = "scribe-control-key")]
    pub control_key_secret: String,
    /// How long to wait for that file when the Secret exists but is not mounted yet
    #[arg(long, env = "SCRIBE_CONTROL_KEY_TIMEOUT", default_value = "3m", value_parser = duration)]
    pub control_key_timeout: Duration,
    /// How long a request to the API server may take
    #[arg(long, env = "SCRIBE_API_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub api_timeout: Duration,
    /// The longest pause after a failure of the API server or of a mover's control API
    #[arg(long, env = "SCRIBE_API_RETRY_MAX", default_value = "30s", value_parser = duration)]
    pub api_retry_max: Duration,
    /// How often an object is looked at, at least, while one of its children is not what it should be
    #[arg(long, env = "SCRIBE_PENDING_INTERVAL", default_value = "30s", value_parser = duration)]
    pub pending_interval: Duration,
    /// How often progress is written to a status, at most
    #[arg(long, env = "SCRIBE_PROGRESS_INTERVAL", default_value = "10s", value_parser = duration)]
    pub progress_interval: Duration,
    /// How long a mover holds back the answer to the question for its state while nothing changes
    #[arg(long, env = "SCRIBE_MOVER_POLL", default_value = "30s", value_parser = duration)]
    pub mover_poll: Duration,
    /// Where modules of hooks come from, and what they may use.
    #[command(flatten)]
    pub hooks: HookArgs,
    /// What decisions depend on.
    #[command(flatten)]
    pub replication: ReplicationArgs,
}

/// Modules of hooks.
#[derive(Debug, ClapArgs)]
pub struct HookArgs {
    /// The folder below which HookModules find their files; default: none, and spec.file is of no use
    #[arg(long, env = "SCRIBE_HOOK_MODULES_DIR")]
    pub hook_modules_dir: Option<PathBuf>,
    /// A folder of the controller's own, mode 0700, for compiled modules; default: none, and they are compiled at every start
    #[arg(long, env = "SCRIBE_HOOK_CACHE_DIR")]
    pub hook_cache_dir: Option<PathBuf>,
    /// How much compiled modules may take there, in MiB
    #[arg(long, env = "SCRIBE_HOOK_CACHE_SIZE", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    pub hook_cache_size: u64,
    /// Hosts that modules are downloaded from although their addresses are not public, separated by commas
    #[arg(long, env = "SCRIBE_HOOK_MODULE_HOSTS", value_delimiter = ',')]
    pub hook_module_hosts: Vec<String>,
    /// Ranges of addresses that are not public and that hooks may send HTTP requests to, where their HookModules name them too, separated by commas:
    /// 10.20.0.0/16. Requests leave from the controller's pod
    #[arg(long, env = "SCRIBE_HOOK_PRIVATE_RANGES", value_delimiter = ',')]
    pub hook_private_ranges: Vec<IpNet>,
    /// A file with PEM certificates of authorities that are trusted for downloads, and by hooks, besides those of the system
    #[arg(long, env = "SCRIBE_HOOK_AUTHORITIES_FILE")]
    pub hook_authorities_file: Option<PathBuf>,
    /// The largest module, decompressed, in MiB; at most 64
    #[arg(long, env = "SCRIBE_HOOK_MODULE_SIZE", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub hook_module_size: u64,
    /// How much address space compiling a module may take, in MiB: the container's memory limit has to bear it
    #[arg(long, env = "SCRIBE_HOOK_COMPILE_MEMORY", default_value_t = 768, value_parser = clap::value_parser!(u64).range(128..=8192))]
    pub hook_compile_memory: u64,
    /// How much memory compiled modules may take, in MiB; each that there is a HookModule of is held, once. Those of one namespace get half of it at most
    #[arg(long, env = "SCRIBE_HOOK_CODE_MEMORY", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=65536))]
    pub hook_code_memory: u32,
    /// How much memory calls of hooks together may take, in MiB, by the limits of their modules: others wait for their turn. Calls that only compute,
    /// calls that have effects, and releases each have as much. One namespace gets half of it at most, and so does one module
    #[arg(long, env = "SCRIBE_HOOK_MEMORY", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    pub hook_memory: u32,
}

/// Limits of a sync.
#[derive(Debug, ClapArgs)]
pub struct ReplicationArgs {
    /// The image of mover pods; default: that of the controller's own pod, with its pull policy
    #[arg(long, env = "SCRIBE_MOVER_IMAGE")]
    pub mover_image: Option<String>,
    /// The pull policy of that image: Always, IfNotPresent or Never; default: Kubernetes' own
    #[arg(long, env = "SCRIBE_MOVER_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub mover_image_pull_policy: Option<String>,
    /// How long a cut may take where spec.rsync.cutTimeout is not set
    #[arg(long, env = "SCRIBE_CUT_TIMEOUT", default_value = "10m", value_parser = seconds)]
    pub cut_timeout: i64,
    /// How long a snapshot may take where spec.rsync.publishTimeout is not set
    #[arg(long, env = "SCRIBE_PUBLISH_TIMEOUT", default_value = "10m", value_parser = seconds)]
    pub publish_timeout: i64,
    /// How long a mover pod may take to start
    #[arg(long, env = "SCRIBE_MOVER_START_TIMEOUT", default_value = "5m", value_parser = seconds)]
    pub mover_start_timeout: i64,
    /// How many mover attempts a sync has
    #[arg(long, env = "SCRIBE_MAX_ATTEMPTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,
    /// The pause before the second attempt; it doubles each time
    #[arg(long, env = "SCRIBE_RETRY_BASE", default_value = "10s", value_parser = seconds)]
    pub retry_base: i64,
    /// The longest pause between two attempts
    #[arg(long, env = "SCRIBE_RETRY_MAX", default_value = "5m", value_parser = seconds)]
    pub retry_max: i64,
    /// How long a manual or continuous sync looks for its peer before it ends with DestinationUnreachable
    #[arg(long, env = "SCRIBE_UNREACHABLE_TIMEOUT", default_value = "1h", value_parser = seconds)]
    pub unreachable_timeout: i64,
    /// The time between the starts of two syncs of a continuous source that sets none
    #[arg(long, env = "SCRIBE_MIN_INTERVAL", default_value = "30s", value_parser = seconds)]
    pub min_interval: i64,
    /// How many source movers may run in the cluster; 0: no limit. Syncs beyond it wait, the one with the least time left of its
    /// objective in front
    #[arg(long, env = "SCRIBE_MAX_MOVERS", default_value_t = 50)]
    pub max_movers: u32,
    /// How many of them in one namespace; 0: no limit
    #[arg(long, env = "SCRIBE_MAX_MOVERS_PER_NAMESPACE", default_value_t = 20)]
    pub max_movers_per_namespace: u32,
    /// How many of them on one node; 0: no limit
    #[arg(long, env = "SCRIBE_MAX_MOVERS_PER_NODE", default_value_t = 10)]
    pub max_movers_per_node: u32,
    /// How long one attempt of a mover to connect may take
    #[arg(long, env = "SCRIBE_MOVER_CONNECT_TIMEOUT", default_value = "30s", value_parser = seconds)]
    pub mover_connect_timeout: i64,
    /// How long a mover's peer may be silent before the connection counts as lost; at most 2m
    #[arg(long, env = "SCRIBE_MOVER_SILENCE_TIMEOUT", default_value = "60s", value_parser = silence)]
    pub mover_silence_timeout: i64,
    /// How long a destination mover waits for the controller's answer before it tells its peer to come back
    #[arg(long, env = "SCRIBE_MOVER_ANSWER_TIMEOUT", default_value = "60s", value_parser = seconds)]
    pub mover_answer_timeout: i64,
    /// How long a source mover tries to reach its destination before it ends with DestinationUnreachable
    #[arg(long, env = "SCRIBE_MOVER_UNREACHABLE_TIMEOUT", default_value = "60s", value_parser = seconds)]
    pub mover_unreachable_timeout: i64,
    /// How often a source mover asks whether its sync is published
    #[arg(long, env = "SCRIBE_MOVER_PUBLISHED_INTERVAL", default_value = "1s", value_parser = seconds)]
    pub mover_published_interval: i64,
}

/// The image that movers are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoverImage {
    /// Its name.
    pub name: String,
    /// When it is pulled, where no flag says.
    pub pull_policy: Option<String>,
}

impl ReplicationArgs {
    /// What the core wants to know of it.
    pub fn settings(&self, image: MoverImage) -> Settings {
        let whole = |seconds: i64| u64::try_from(seconds).unwrap_or_default();
        Settings {
            mover_image: image.name,
            mover_image_pull_policy: self.mover_image_pull_policy.clone().or(image.pull_policy),
            cut_timeout: self.cut_timeout,
            publish_timeout: self.publish_timeout,
            mover_start_timeout: self.mover_start_timeout,
            max_attempts: self.max_attempts,
            retry_base: self.retry_base,
            retry_max: self.retry_max,
            unreachable_timeout: self.unreachable_timeout,
            min_interval: self.min_interval,
            limits: Limits {
                cluster: self.max_movers,
                namespace: self.max_movers_per_namespace,
                node: self.max_movers_per_node,
            },
            mover_timeouts: Timeouts {
                connect: whole(self.mover_connect_timeout),
                silence: whole(self.mover_silence_timeout),
                answer: whole(self.mover_answer_timeout),
                unreachable: whole(self.mover_unreachable_timeout),
                poll: whole(self.mover_published_interval),
            },
        }
    }
}

/// A duration above zero.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: scribe_crds::Duration =
        text.parse().map_err(|error| format!("`{text}` is not a duration such as 90s or 10m: {error}"))?;
    if parsed.is_negative() || parsed == Duration::ZERO {
        return Err(format!("`{text}` must be above zero"));
    }
    Ok(parsed.into())
}

/// It is renewed three times, and stands in the Lease in whole seconds.
fn lease_duration(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        3.. => duration(text),
        _ => Err(format!("`{text}` is below 3s")),
    }
}

/// A duration in whole seconds: decisions are made by the clock of the API server, which knows no less.
fn seconds(text: &str) -> Result<i64, String> {
    let parsed = duration(text)?;
    if parsed.subsec_nanos() != 0 {
        return Err(format!("`{text}` must be a whole number of seconds"));
    }
    i64::try_from(parsed.as_secs()).map_err(|_| format!("`{text}` is too long"))
}

/// A dead peer has to be noticed within two minutes.
fn silence(text: &str) -> Result<i64, String> {
    match seconds(text)? {
        seconds if seconds <= 120 => Ok(seconds),
        _ => Err(format!("`{text}` is above 2m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_defaults_are_those_of_the_core() {
        let args = Args::try_parse_from(["scribe-controller"]).unwrap();
        let image = MoverImage { name: "i".to_owned(), pull_policy: None };
        let expected = Settings { mover_image: "i".to_owned(), ..Settings::default() };
        assert_eq!(args.replication.settings(image), expected);
    }

    #[test]
    fn every_flag_is_well_formed_and_has_its_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let flag = argument.get_long().unwrap();
            if matches!(flag, "help" | "version") {
                continue;
            }
            let variable = format!("SCRIBE_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        }
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        assert_eq!(seconds("1h30m"), Ok(5400));
        for text in ["0s", "-1s", "1500ms", "ten", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(lease_duration("3s"), Ok(Duration::from_secs(3)));
        assert!(lease_duration("2s").is_err() && lease_duration("3500ms").is_err());
        assert_eq!(silence("2m"), Ok(120));
        assert!(silence("121s").is_err());
    }
}
