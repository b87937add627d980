//! What goes wrong, for a moment or until it is relieved.

use super::api::{Kind, label, name, uid};
use super::events::{pick, with};
use super::storage::{is_published, phase};
use super::world::World;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;

impl World {
    /// Something goes wrong.
    pub fn fault(&mut self) -> Option<String> {
        match self.dice.roll(22) {
            0 | 18 => {
                let minutes = i64::try_from(self.dice.roll(41)).unwrap() - 20;
                let in_west = self.dice.one_in(2);
                let cluster = if in_west { &mut self.west } else { &mut self.east };
                cluster.skew = minutes * 10;
                self.pass_time(0);
                Some(format!("the clock of west ({in_west}) is {} s ahead", minutes * 10))
            }
            1 => {
                self.link = false;
                Some("the clusters do not reach each other".to_owned())
            }
            2 => {
                let in_west = self.dice.one_in(2);
                let cluster = if in_west { &mut self.west } else { &mut self.east };
                let kinds = ["Pod", "PersistentVolumeClaim", "VolumeSnapshot", "Secret"];
                let kind = self.dice.place(kinds.len()).map(|place| kinds[place]);
                cluster.api.exhausted = kind;
                Some(format!("the quota for {kind:?} is used up"))
            }
            3..=5 => {
                self.east.storage.fails = true;
                Some("snapshots fail".to_owned())
            }
            6 | 7 => {
                let in_west = self.dice.one_in(2);
                let cluster = if in_west { &self.west } else { &self.east };
                let running = cluster.api.pods.values().filter(|pod| phase(pod) == "Running").map(name);
                let pod = pick(&mut self.dice, running.collect::<Vec<_>>().iter())?;
                self.kill_pod(in_west, &pod);
                Some(format!("{pod} is killed"))
            }
            8 => self.take_away::<Pod>(true),
            9 => self.take_away::<PersistentVolumeClaim>(true),
            10 => self.take_away::<Pod>(false),
            11 if self.dice.one_in(5) => self.take_away::<PersistentVolumeClaim>(false),
            12 => {
                let candidates = self.east.api.snapshots.values().filter(|snapshot| !is_published(snapshot));
                let snapshot = pick(&mut self.dice, candidates.map(name).collect::<Vec<_>>().iter())?;
                let uid = self.east.api.snapshots.get(&snapshot).map(uid)?;
                self.truth.take_snapshot(uid);
                self.east.api.delete::<VolumeSnapshot>(&snapshot, None, None);
                Some(format!("somebody deletes {snapshot}"))
            }
            13 if self.dice.one_in(5) => self.take_away::<Service>(false),
            14 => {
                let senders: Vec<String> = self.senders.keys().cloned().collect();
                let sender = pick(&mut self.dice, senders.iter())?;
                self.receivers.values_mut().for_each(|receiver| receiver.disconnect(&sender));
                Some("a connection is lost".to_owned())
            }
            15..=17 => self.stop_controller(),
            19 | 20 => self.lose_node(),
            21 => self.kill_controller(),
            _ => None,
        }
    }

    /// A node is given up: its pod is gone from the API server, and the source's mover on it lives on.
    fn lose_node(&mut self) -> Option<String> {
        let pods: Vec<String> = self.senders.values().map(|sender| sender.pod_name.clone()).collect();
        let pod = pick(&mut self.dice, pods.iter())?;
        let is_there = self.west.api.pods.contains_key(&pod);
        self.west.api.finalize::<Pod>(&pod);
        is_there.then(|| format!("the node of {pod} is given up, and the mover goes on"))
    }

    /// A controller is stopped for a while, wherever it is: what it goes on with then was decided long ago.
    fn stop_controller(&mut self) -> Option<String> {
        let until = self.steps + self.dice.roll(150);
        let place = self.dice.place(self.sources.len())?;
        let (side, controller) = if self.dice.one_in(2) {
            ("source", &mut self.sources[place].stopped_until)
        } else {
            ("destination", &mut self.destinations[place].stopped_until)
        };
        *controller = until;
        Some(format!("{side} controller {place} is stopped until step {until}"))
    }

    /// A source's controller dies, wherever it is.
    pub fn kill_controller(&mut self) -> Option<String> {
        let place = self.dice.place(self.sources.len())?;
        with(self, |world| &mut world.sources, place, |world, it| it.die(world));
        Some(format!("source controller {place} dies"))
    }

    /// What no mover does: a commit is put to the controller once more.
    pub fn commit_again(&mut self) -> Option<String> {
        let clock = super::api::at(self.east.api.clock);
        let again = self.receivers.values_mut().any(|receiver| receiver.commit_again(clock));
        again.then(|| "the last commit is heard once more".to_owned())
    }

    /// Somebody deletes an object of ours.
    pub fn take_away<K: Kind>(&mut self, in_west: bool) -> Option<String> {
        let cluster = if in_west { &mut self.west } else { &mut self.east };
        let ours = |object: &&K| label(object.meta(), names::MANAGED_BY).is_some();
        let names: Vec<String> = K::store(&mut cluster.api).values().filter(ours).map(name).collect();
        let name = pick(&mut self.dice, names.iter())?;
        cluster.api.delete::<K>(&name, None, None);
        Some(format!("somebody deletes {} {name}", K::kind(&())))
    }
}
