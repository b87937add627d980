//! Two clusters, the network between them, the movers in their pods, and the controllers of both sides.

use super::api::{Api, WriteError, at, is_leaving, label, name, uid};
use super::controller::{Controller, DestinationSide, SourceSide};
use super::dice::{Dice, Serial};
use super::lies::Lie;
use super::receiver::Receiver;
use super::rest::Application;
use super::sender::Sender;
use super::storage::{Content, File, Storage, claim_of, is_bound, phase};
use super::truth::Truth;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, PersistentVolumeClaim, Pod, PodStatus, Secret,
};
use scribe_core::build::pod::CONTAINER;
use scribe_core::settings::Settings;
use scribe_crds::names;
use scribe_mover_contract::job::{JOB_VARIABLE, Job, SourceJob, Termination};
use std::collections::{BTreeMap, VecDeque};

/// The Secret that the source's user has carried over.
pub const KEYS: &str = "db-keys";
/// The claim that is replicated.
pub const CLAIM: &str = "data";
/// The name of the ReplicationSource, and of the ReplicationDestination.
pub const NAME: &str = "db";

/// One cluster.
pub struct Cluster {
    pub api: Api,
    pub storage: Storage,
    /// How far its clock is ahead, in seconds.
    pub skew: i64,
}

/// Everything.
pub struct World {
    /// The true time, in seconds since the epoch.
    pub now: i64,
    pub west: Cluster,
    pub east: Cluster,
    pub sources: Vec<Controller<SourceSide>>,
    pub destinations: Vec<Controller<DestinationSide>>,
    /// By the uid of the pod.
    pub senders: BTreeMap<String, Sender>,
    pub receivers: BTreeMap<String, Receiver>,
    /// Whether the clusters reach each other.
    pub link: bool,
    /// Whether anything may go wrong by chance.
    pub faults: bool,
    pub truth: Truth,
    pub application: Application,
    pub settings: Settings,
    pub chance: Serial,
    pub dice: Dice,
    pub lie: Option<Lie>,
    /// What happened lately, for whoever has to understand a failure.
    pub trace: VecDeque<String>,
    /// How much of it.
    pub longest_trace: usize,
    pub steps: u64,
    pub writes: u64,
    pub passes: u64,
    /// The cut that was made last, for those who make it again.
    pub last_cut: Option<PersistentVolumeClaim>,
    written: u32,
    tags: u32,
}

impl World {
    pub fn new(seed: u64, lie: Option<Lie>) -> Self {
        let mut dice = Dice(seed);
        let cluster = |name, dice: &mut Dice| Cluster {
            api: Api::new(name),
            storage: Storage {
                waits_for_consumer: dice.one_in(2),
                retains: dice.one_in(2),
                ..Storage::default()
            },
            skew: 0,
        };
        let (west, east) = (cluster("west", &mut dice), cluster("east", &mut dice));
        let settings = Settings {
            mover_image: "mover:1".to_owned(),
            // With few attempts the next sync comes while the one before is still being published.
            max_attempts: u32::try_from(dice.roll(3)).unwrap_or_default() * 2 + 1,
            retry_base: if dice.one_in(2) { 2 } else { 10 },
            ..Settings::default()
        };
        let is_rest = lie == Some(Lie::RememberedRest);
        let controllers = if dice.one_in(2) && !is_rest { 2 } else { 1 };
        let mut world = Self {
            now: 1_772_582_400,
            west,
            east,
            sources: (0..controllers).map(|_| Controller::default()).collect(),
            destinations: (0..controllers).map(|_| Controller::default()).collect(),
            senders: BTreeMap::new(),
            receivers: BTreeMap::new(),
            link: true,
            faults: true,
            truth: Truth::default(),
            application: Application::default(),
            settings,
            chance: Serial::new(seed),
            dice,
            lie,
            trace: VecDeque::new(),
            longest_trace: 60,
            steps: 0,
            writes: 0,
            passes: 0,
            last_cut: None,
            written: 0,
            tags: 0,
        };
        if is_rest {
            world.west.storage.waits_for_consumer = false;
        }
        world.pass_time(0);
        world
    }

    /// Counts a step and writes it down.
    pub fn log(&mut self, what: impl Into<String>) {
        self.steps += 1;
        if self.trace.len() >= self.longest_trace {
            self.trace.pop_front();
        }
        let line = format!("{:6} {} {}", self.steps, at(self.now), what.into());
        self.trace.push_back(line);
    }

    /// Time passes, on every clock.
    pub fn pass_time(&mut self, seconds: i64) {
        self.now += seconds;
        for cluster in [&mut self.west, &mut self.east] {
            cluster.api.clock = self.now + cluster.skew;
        }
    }

    pub fn api(&mut self, in_west: bool) -> &mut Api {
        if in_west { &mut self.west.api } else { &mut self.east.api }
    }

    /// Changes with whatever a controller of this side can see.
    pub fn version_of(&self, in_west: bool) -> (u64, u64) {
        if in_west {
            (self.west.api.version, 0)
        } else {
            (self.east.api.version, self.receivers.values().map(|receiver| receiver.revision).sum())
        }
    }

    /// A cut was asked for.
    pub fn remember_cut(&mut self, claim: &PersistentVolumeClaim, is_new: bool) {
        self.last_cut = Some(claim.clone());
        if let Some(stored) = self.west.api.claims.get(&name(claim)).filter(|_| is_new) {
            let sync = label(&stored.metadata, names::SYNC).unwrap_or_default().to_owned();
            self.truth.cut_is_made(uid(stored), sync, at(self.west.api.clock));
        }
    }

    /// The application writes, or deletes, a file.
    pub fn write_source(&mut self) -> bool {
        if self.application.is_at_rest() {
            return false;
        }
        let Some(claim) = self.west.api.claims.get(CLAIM).filter(|claim| is_bound(claim)) else {
            return false;
        };
        let Some(volume) = self.west.storage.volumes.get_mut(&uid(claim)) else { return false };
        let Some(file) = self.dice.place(volume.len()) else { return false };
        self.written += 1;
        let version = if self.dice.one_in(6) { 0 } else { self.written };
        volume[file] = File { version, torn: false };
        true
    }

    pub fn next_tag(&mut self) -> String {
        self.tags += 1;
        format!("tag-{}", self.tags)
    }

    /// What the source claim holds.
    pub fn source_content(&self) -> Option<Content> {
        let claim = self.west.api.claims.get(CLAIM)?;
        self.west.storage.volumes.get(claim.metadata.uid.as_ref()?).copied()
    }

    /// The mover that a source reaches, if the network lets it.
    pub fn reachable(&mut self) -> Option<&mut Receiver> {
        if self.link { self.receivers.values_mut().next() } else { None }
    }

    /// The receiving volume, as a session sees it.
    pub fn received(&mut self, token: u64, instance: &str, sender: &str) -> Option<Content> {
        let receiver = self.reachable().filter(|receiver| receiver.instance == instance)?;
        let claim = receiver.connect(token, sender).then(|| receiver.claim_uid.clone())?;
        self.east.storage.volumes.get(&claim).copied()
    }

    /// A session writes a file. Whether it may.
    pub fn write_received(
        &mut self,
        token: u64,
        instance: &str,
        sender: &str,
        file: usize,
        to: File,
    ) -> bool {
        let Some(receiver) = self.receivers.values_mut().find(|receiver| receiver.instance == instance)
        else {
            return false;
        };
        let Some(volume) = self.east.storage.volumes.get_mut(&receiver.claim_uid) else { return false };
        receiver.write(token, sender, volume, file, to)
    }

    /// A source mover's process ends and leaves its last words.
    pub fn end_sender(&mut self, sender: &Sender, termination: &Termination) {
        let exit = i32::from(termination.result.exit_code());
        let words = serde_json::to_string(termination).unwrap_or_default();
        self.end_pod(true, &sender.pod_name, exit, &words);
        self.forget_sender(&sender.pod);
    }

    fn forget_sender(&mut self, pod: &str) {
        self.senders.remove(pod);
        for receiver in self.receivers.values_mut() {
            receiver.disconnect(pod);
        }
    }

    /// A pod's container ends.
    pub fn end_pod(&mut self, in_west: bool, pod: &str, exit: i32, words: &str) {
        let api = if in_west { &mut self.west.api } else { &mut self.east.api };
        let time = api.time();
        api.change(pod, |pod: &mut Pod| {
            let terminated = ContainerStateTerminated {
                exit_code: exit,
                finished_at: Some(time),
                message: Some(words.to_owned()),
                ..ContainerStateTerminated::default()
            };
            let state = ContainerState { terminated: Some(terminated), ..ContainerState::default() };
            let container = ContainerStatus {
                name: CONTAINER.to_owned(),
                state: Some(state),
                ..ContainerStatus::default()
            };
            pod.status = Some(PodStatus {
                phase: Some(if exit == 0 { "Succeeded" } else { "Failed" }.to_owned()),
                container_statuses: Some(vec![container]),
                ..PodStatus::default()
            });
        });
    }

    /// A pod is killed, its mover with it.
    pub fn kill_pod(&mut self, in_west: bool, pod: &str) {
        let api = if in_west { &self.west.api } else { &self.east.api };
        let Some(uid) = api.pods.get(pod).map(uid) else { return };
        self.end_pod(in_west, pod, 137, "");
        self.forget_sender(&uid);
        self.receivers.remove(&uid);
    }

    /// The kubelet's next step with a pod: start it when its claim and its Secrets are there, or let it go.
    pub fn kubelet(&mut self, in_west: bool, pod: &str) -> bool {
        let cluster = if in_west { &mut self.west } else { &mut self.east };
        let Some(found) = cluster.api.pods.get(pod) else { return false };
        let uid = uid(found);
        if is_leaving(found) {
            cluster.api.finalize::<Pod>(pod);
            self.forget_sender(&uid);
            self.receivers.remove(&uid);
            return true;
        }
        if phase(found) != "Pending" || !self.start_mover(in_west, pod) {
            return false;
        }
        let cluster = if in_west { &mut self.west } else { &mut self.east };
        cluster.api.change(pod, |pod: &mut Pod| {
            pod.status = Some(PodStatus { phase: Some("Running".to_owned()), ..PodStatus::default() });
        });
        true
    }

    fn start_mover(&mut self, in_west: bool, pod: &str) -> bool {
        let cluster = if in_west { &self.west } else { &self.east };
        let Some(pod) = cluster.api.pods.get(pod) else { return false };
        let claim = cluster.api.claims.get(claim_of(pod)).filter(|claim| is_bound(claim));
        let Some(claim) = claim else { return false };
        let (pod_uid, pod_name, claim_uid) = (uid(pod), name(pod), uid(claim));
        if in_west {
            let Some(keys) = cluster.api.secrets.get(KEYS) else { return false };
            let Some(cut) = cluster.storage.volumes.get(&claim_uid) else { return false };
            let (key, relationship) = (entry(keys, "source.pub"), entry(keys, "relationship"));
            let sender = Sender::new(pod_uid.clone(), pod_name, job(pod), key, relationship, *cut, self.now);
            self.senders.insert(pod_uid, sender);
        } else {
            let Some(keys) = cluster.api.secrets.get(&names::destination_base(NAME)) else { return false };
            if !cluster.api.secrets.contains_key(&names::destination_control(NAME)) {
                return false;
            }
            let key = entry(keys, "source.pub");
            let owner = label(&pod.metadata, names::OWNER_UID).unwrap_or_default().to_owned();
            let instance = format!("instance-{pod_uid}");
            let receiver = Receiver::new(owner, claim_uid, key, instance);
            self.truth.begin_receiver(&receiver, self.receivers.values());
            self.receivers.insert(pod_uid, receiver);
        }
        true
    }

    /// The user carries the source's Secret over, once it is published. Whether there was anything to carry.
    pub fn carry_keys(&mut self) -> bool {
        let Some(destination) = self.east.api.destinations.get(NAME) else { return false };
        let published = destination.status.as_ref().and_then(|status| status.method_status.get("sshKeys"));
        let Some(secret) = published.and_then(|name| self.east.api.secrets.get(name)) else { return false };
        let mut copy = Secret { data: secret.data.clone(), ..Secret::default() };
        copy.metadata.name = Some(KEYS.to_owned());
        if entry(&copy, "source").is_empty() || entry(&copy, "address").is_empty() {
            self.truth.object("a Secret without keys or address is published");
        }
        if self.west.api.secrets.get(KEYS).is_some_and(|before| before.data == copy.data) {
            return false;
        }
        self.west.api.delete::<Secret>(KEYS, None, None);
        let posted: Result<bool, WriteError> = self.west.api.post(&copy);
        posted == Ok(true)
    }
}

/// One entry of a Secret.
pub fn entry(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
}

/// What a source's pod is told to do.
fn job(pod: &Pod) -> SourceJob {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut variables = containers.flat_map(|container| container.env.iter().flatten());
    let text =
        variables.find(|variable| variable.name == JOB_VARIABLE).and_then(|variable| variable.value.as_ref());
    match serde_json::from_str(text.map(String::as_str).unwrap_or_default()) {
        Ok(Job::Source(job)) => *job,
        other => panic!("a source's mover is told {other:?}"),
    }
}
