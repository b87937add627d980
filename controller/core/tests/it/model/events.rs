//! What happens: the application writes, clocks and clusters move on, controllers take their steps, and things go wrong.

use super::api::{Kind, WriteError, is_leaving, name, uid};
use super::controller::{Controller, Side};
use super::hooks::MODULE;
use super::lies::Lie;
use super::world::{CLAIM, NAME, World};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{DeletionPolicy, ReplicationDestination, ReplicationSource};
use serde_json::json;

/// What the sources of a run are like: most of them replicate all the time or by hand.
const TRIGGERS: [&str; 8] = [
    "null",
    "null",
    r#"{"minInterval": "5s"}"#,
    r#"{"minInterval": "5s"}"#,
    r#"{"manual": "tag-0"}"#,
    r#"{"manual": "tag-0"}"#,
    r#"{"manual": "tag-0"}"#,
    r#"{"schedule": "*/5 * * * *", "jitter": "30s"}"#,
];

impl World {
    /// What users make at the beginning, or anew if it is gone. Whether there was anything to make.
    pub fn make_objects(&mut self) -> bool {
        let claim: PersistentVolumeClaim = made(json!({
            "metadata": {"name": CLAIM},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeMode": "Filesystem",
                "resources": {"requests": {"storage": "10Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
        }));
        let trigger = self.dice.place(TRIGGERS.len()).map_or("null", |place| TRIGGERS[place]);
        let trigger: serde_json::Value = serde_json::from_str(trigger).unwrap();
        let comparison = if self.dice.one_in(2) { "Metadata" } else { "Content" };
        // Tests of the test are to be as short as without hooks.
        let is_rest = self.lie == Some(Lie::RememberedRest);
        let is_hooked = is_rest || (self.lie.is_none() && self.dice.one_in(3));
        let on_error = if self.dice.one_in(2) { "Fail" } else { "Continue" };
        let mut points = vec!["Decision", "Transfer", "Lifecycle", "Failure"];
        // What one controller does for another that was stopped in the middle is not for the core to know; and nobody uses the claim, so that a copy
        // that waits for a pod would wait for ever.
        if self.sources.len() == 1 && !self.west.storage.waits_for_consumer {
            points.push("Quiesce");
        }
        if is_rest {
            points = vec!["Quiesce"];
        }
        let asks = json!([{"module": MODULE, "points": points, "onError": on_error}]);
        let hooks = if is_hooked { asks } else { json!([]) };
        let source: ReplicationSource = made(json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationSource",
            "metadata": {"name": NAME, "namespace": "shop"},
            "spec": {"sourcePVC": CLAIM, "trigger": trigger, "hooks": hooks, "rsync": {"sshKeys": super::world::KEYS,
                "comparison": comparison, "cutTimeout": "20s"}},
        }));
        let timeout = if self.dice.one_in(2) { "20s" } else { "5m" };
        let last = self.dice.roll(3) + 1;
        let policy = if self.dice.one_in(3) { "Delete" } else { "Retain" };
        let most = self.dice.roll(3) + 1;
        let keeps = json!([{"module": MODULE, "points": ["Retention"], "maxDeletePerRun": most}]);
        let is_hooked = self.lie.is_none() && self.dice.one_in(3);
        let (hooks, retain) =
            if is_hooked { (keeps, json!(null)) } else { (json!([]), json!({"last": last})) };
        let destination: ReplicationDestination = made(json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationDestination",
            "metadata": {"name": NAME, "namespace": "east"},
            "spec": {"rsync": {"capacity": "10Gi", "accessModes": ["ReadWriteOnce"], "publishTimeout": timeout},
                "retain": retain, "hooks": hooks, "deletionPolicy": policy},
        }));
        // None of them is refused.
        let mut any = self.west.api.post(&claim) == Ok(true);
        if any && let Some(claim) = self.west.api.claims.get(CLAIM) {
            let claim = uid(claim);
            self.west.storage.volumes.insert(claim, super::storage::Content::default());
            self.write_source();
        }
        any |= self.west.api.post(&source) == Ok(true);
        any | (self.east.api.post(&destination) == Ok(true))
    }

    /// One thing that can happen, if what the dice choose is possible now.
    pub fn event(&mut self) -> Option<String> {
        // What brings a bug to light that was put in by hand may happen more often.
        match self.lie {
            Some(Lie::RepeatedCommit) if self.dice.one_in(30) => return self.commit_again(),
            Some(Lie::AppliedCut) if self.dice.one_in(30) => {
                return self.take_away::<PersistentVolumeClaim>(true);
            }
            Some(Lie::RememberedRest) if self.application.is_at_rest() && self.dice.one_in(30) => {
                return self.kill_controller();
            }
            // It lasts for a moment only.
            None if self.faults && self.application.is_at_rest() && self.dice.one_in(40) => {
                return self.meddle().then(|| "somebody undoes what a quiesce did".to_owned());
            }
            _ => {}
        }
        match self.dice.roll(1000) {
            0..=29 => self.write_source().then(|| "the application writes".to_owned()),
            30..=79 => {
                let seconds = match self.dice.roll(60) {
                    0 => i64::try_from(self.dice.roll(900)).unwrap(),
                    1..=4 => 30,
                    _ => i64::try_from(self.dice.roll(4)).unwrap() + 1,
                };
                self.pass_time(seconds);
                Some(format!("{seconds} s pass"))
            }
            80..=229 => self.step_controller(true),
            230..=429 => self.step_controller(false),
            430..=639 => self.step_sender(),
            640..=919 => (0..6).find_map(|_| self.environment()),
            920..=929 => self.carry_keys().then(|| "the keys are carried over".to_owned()),
            930..=939 => self.make_objects().then(|| "users make what is gone".to_owned()),
            940..=949 => self.collect_garbage(),
            950..=957 => self.user(),
            958..=982 => (0..3).find_map(|_| self.relief()),
            _ if self.faults => self.fault(),
            _ => None,
        }
    }

    /// Something that was wrong for a while is well again.
    fn relief(&mut self) -> Option<String> {
        let relieved = match self.dice.roll(5) {
            0 => !std::mem::replace(&mut self.link, true),
            1 => self.west.api.exhausted.take().is_some(),
            2 => self.east.api.exhausted.take().is_some(),
            3 => std::mem::take(&mut self.east.storage.fails),
            _ => self.unpause(),
        };
        relieved.then(|| "something that was wrong is well again".to_owned())
    }

    /// Nothing is paused. Whether anything was.
    pub fn unpause(&mut self) -> bool {
        let source = self.west.api.sources.get(NAME).is_some_and(|it| it.spec.paused);
        let destination = self.east.api.destinations.get(NAME).is_some_and(|it| it.spec.paused);
        if source {
            spec(&mut self.west.api, |it: &mut ReplicationSource| it.spec.paused = false);
        }
        if destination {
            spec(&mut self.east.api, |it: &mut ReplicationDestination| it.spec.paused = false);
        }
        source || destination
    }

    /// A step of one of the controllers of a side, mostly of one that has something to do.
    pub fn step_controller(&mut self, of_west: bool) -> Option<String> {
        let count = if of_west { self.sources.len() } else { self.destinations.len() };
        let place = self.dice.place(count)?;
        let any = self.dice.one_in(10);
        let side = if of_west { "source" } else { "destination" };
        let what = if of_west {
            with(self, |world| &mut world.sources, place, |world, it| step(it, world, any))
        } else {
            with(self, |world| &mut world.destinations, place, |world, it| step(it, world, any))
        };
        what.map(|what| format!("{side} controller {place}: {what}"))
    }

    /// A step of a source's mover.
    pub fn step_sender(&mut self) -> Option<String> {
        let place = self.dice.place(self.senders.len())?;
        let pod = self.senders.keys().nth(place)?.clone();
        let mut sender = self.senders.get(&pod)?.clone();
        let what = sender.step(self)?;
        let called = sender.pod_name.clone();
        if let Some(stored) = self.senders.get_mut(&pod) {
            *stored = sender;
        }
        Some(format!("{called} {what}"))
    }

    /// A step of the storage or of a kubelet.
    pub fn environment(&mut self) -> Option<String> {
        let in_west = self.dice.one_in(2);
        let cluster = if in_west { &mut self.west } else { &mut self.east };
        let claim = pick(&mut self.dice, cluster.api.claims.keys());
        let pod = pick(&mut self.dice, cluster.api.pods.keys());
        let snapshot = pick(&mut self.dice, cluster.api.snapshots.keys());
        let content = pick(&mut self.dice, cluster.api.contents.keys());
        let said = |done: bool, what: &str, name: &str| done.then(|| format!("{what} {name}"));
        match self.dice.roll(9) {
            0 => self.cut_clone(in_west, &claim?),
            1 => {
                let claim = claim?;
                said(cluster.storage.bind(&mut cluster.api, &claim), "binds", &claim)
            }
            2 => {
                let claim = claim?;
                said(cluster.storage.release(&mut cluster.api, &claim), "lets go", &claim)
            }
            3 | 4 => {
                let pod = pod?;
                said(self.kubelet(in_west, &pod), "kubelet sees to", &pod)
            }
            5 => {
                let snapshot = snapshot?;
                let is_new = cluster.storage.make_content(&mut cluster.api, &snapshot);
                if is_new && self.dice.one_in(3) {
                    let slow = cluster.api.snapshots.get(&snapshot).map(uid)?;
                    cluster.storage.slow.insert(format!("snapcontent-{slow}"));
                }
                let any = is_new || cluster.storage.show(&mut cluster.api, &snapshot);
                said(any, "snapshot controller sees to", &snapshot)
            }
            6 => {
                let content = content?;
                // A slow one is cut late, and perhaps when its time is over.
                if cluster.storage.slow.contains(&content) && !self.dice.one_in(40) {
                    return None;
                }
                let what = cluster.storage.snapshotter(&mut cluster.api, &content)?;
                Some(format!("snapshotter {what} {content}"))
            }
            7 => {
                let snapshot = snapshot?;
                said(cluster.storage.drop_snapshot(&mut cluster.api, &snapshot), "drops", &snapshot)
            }
            _ => {
                let content = content?;
                said(cluster.storage.drop_content(&mut cluster.api, &content), "drops", &content)
            }
        }
    }

    /// A clone takes the content of this moment.
    pub fn cut_clone(&mut self, in_west: bool, claim: &str) -> Option<String> {
        let cluster = if in_west { &mut self.west } else { &mut self.east };
        let (uid, content) = cluster.storage.cut_clone(&cluster.api, claim)?;
        self.truth.cut_is_taken(&uid, content, self.application.is_at_rest());
        Some(format!("clones {claim}: {content:?}"))
    }

    /// What belongs to an owner that is gone goes too; of one that goes in the foreground, before it.
    pub fn collect_garbage(&mut self) -> Option<String> {
        let collected = [true, false].map(|in_west| {
            let cluster = if in_west { &mut self.west } else { &mut self.east };
            let api = &mut cluster.api;
            let mut owners: Vec<String> = api.sources.values().map(uid).collect();
            owners.extend(api.destinations.values().map(uid));
            collect::<Pod>(api, &owners)
                + collect::<PersistentVolumeClaim>(api, &owners)
                + collect::<Service>(api, &owners)
                + collect::<k8s_openapi::api::core::v1::Secret>(api, &owners)
                + collect::<VolumeSnapshot>(api, &owners)
        });
        let count: usize = collected.into_iter().sum();
        (count > 0).then(|| format!("{count} objects without an owner are collected"))
    }

    /// Something that a user may do at any time.
    fn user(&mut self) -> Option<String> {
        match self.dice.roll(24) {
            0 => {
                spec(&mut self.west.api, |source: &mut ReplicationSource| source.spec.paused = true);
                Some("the source is paused".to_owned())
            }
            1 => {
                spec(&mut self.east.api, |it: &mut ReplicationDestination| it.spec.paused = true);
                Some("the destination is paused".to_owned())
            }
            2..=15 => self.tag(),
            16 if self.dice.one_in(2) => {
                self.west.api.delete::<ReplicationSource>(NAME, None, None);
                Some("the source is deleted".to_owned())
            }
            17 if self.dice.one_in(2) => {
                self.east.api.delete::<ReplicationDestination>(NAME, None, None);
                Some("the destination is deleted".to_owned())
            }
            18 if self.dice.one_in(3) => {
                self.west.api.delete::<PersistentVolumeClaim>(CLAIM, None, None);
                Some("the source claim is deleted".to_owned())
            }
            19 => {
                let policy =
                    if self.dice.one_in(2) { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
                let change = |it: &mut ReplicationDestination| it.spec.deletion_policy = policy;
                let is_there = self.east.api.destinations.get(NAME).is_some_and(|it| !is_leaving(it));
                is_there.then(|| spec(&mut self.east.api, change))?;
                Some(format!("deletionPolicy is {policy:?}"))
            }
            _ => None,
        }
    }

    /// A new tag, if the source takes any.
    pub fn tag(&mut self) -> Option<String> {
        let takes = self.west.api.sources.get(NAME)?.spec.trigger.as_ref()?.manual.is_some();
        let tag = takes.then(|| self.next_tag())?;
        let words = format!("{tag} is asked for");
        let change = |source: &mut ReplicationSource| {
            if let Some(trigger) = &mut source.spec.trigger {
                trigger.manual = Some(tag);
            }
        };
        spec(&mut self.west.api, change);
        Some(words)
    }
}

fn made<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub fn pick<'a>(
    dice: &mut super::dice::Dice,
    names: impl ExactSizeIterator<Item = &'a String>,
) -> Option<String> {
    let place = dice.place(names.len())?;
    let mut names = names;
    names.nth(place).cloned()
}

/// Lends a controller out together with the world that it stands in.
pub fn with<S: Side, T>(
    world: &mut World,
    all: impl Fn(&mut World) -> &mut Vec<Controller<S>>,
    place: usize,
    work: impl FnOnce(&mut World, &mut Controller<S>) -> T,
) -> T {
    let mut controller = std::mem::take(&mut all(world)[place]);
    let result = work(world, &mut controller);
    all(world)[place] = controller;
    result
}

fn step<S: Side>(controller: &mut Controller<S>, world: &mut World, any: bool) -> Option<String> {
    if world.steps < controller.stopped_until {
        return None;
    }
    if any || controller.is_due(world) { controller.step(world) } else { None }
}

/// A change of a spec.
pub fn spec<K: Kind>(api: &mut super::api::Api, change: impl FnOnce(&mut K)) {
    api.change(NAME, |object: &mut K| {
        change(object);
        let meta = object.meta_mut();
        meta.generation = meta.generation.map(|generation| generation + 1);
    });
}

fn collect<K: Kind>(api: &mut super::api::Api, owners: &[String]) -> usize {
    let is_orphan = |object: &&K| {
        let mut references = object.meta().owner_references.iter().flatten();
        !is_leaving(*object) && references.any(|reference| !owners.contains(&reference.uid))
    };
    let orphans: Vec<String> = K::store(api).values().filter(is_orphan).map(name).collect();
    for orphan in &orphans {
        api.delete::<K>(orphan, None, None);
    }
    orphans.len()
}

/// Posts a cut anew that is gone.
pub fn post_again(world: &mut World, claim: &PersistentVolumeClaim) {
    let posted: Result<bool, WriteError> = world.west.api.post(claim);
    if posted == Ok(true) {
        world.remember_cut(claim, true);
    }
}
