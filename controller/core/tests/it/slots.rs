//! Who may run a mover: the limits hold, whoever waits gets a turn, and the one with the least time left is the first.

use jiff::Timestamp;
use proptest::prelude::*;
use scribe_core::slots::{Candidate, Limited, Limits, Node, Slots, Verdict};
use std::collections::{BTreeMap, BTreeSet};

type Names = BTreeSet<String>;

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const NAMESPACES: [&str; 3] = ["shop", "bank", "lab"];
const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn open(cluster: u32, namespace: u32, node: u32) -> Slots {
    let limits = Limits { cluster, namespace, node };
    let nodes = NODES.map(|name| (name.to_owned(), Node::default())).into();
    Slots { limits, nodes, ..Slots::default() }
}

fn candidate(uid: &str, since: i64, deadline: Option<i64>) -> Candidate {
    let uid = uid.to_owned();
    Candidate { uid, namespace: "shop".to_owned(), deadline: deadline.map(at), since: at(since), nodes: None }
}

fn pod(uid: &str, attempt: u32) -> (String, String) {
    ("shop".to_owned(), format!("{uid}-{attempt}"))
}

fn words(slots: &Slots, me: &Candidate) -> String {
    match slots.judge(me) {
        Verdict::Admitted { full } => format!("admitted, away from {full:?}"),
        Verdict::Waits(limited) => limited.to_string(),
    }
}

#[test]
fn the_least_time_left_goes_first_and_what_is_late_waits_in_line() {
    let mut slots = open(1, 0, 0);
    slots.pod_runs(pod("x", 1), None);
    // Without an objective one is as patient as an hour.
    let line = [
        candidate("without", 100, None),
        candidate("late", 110, Some(50)),
        candidate("urgent", 120, Some(200)),
        candidate("later", 115, Some(90)),
        candidate("relaxed", 100, Some(9000)),
    ];
    for one in &line {
        assert!(matches!(slots.judge(one), Verdict::Waits(_)));
        slots.wait(&one.uid, Some(one));
    }
    assert!(slots.admitted().is_empty());
    assert_eq!(words(&slots, &line[0]), "1 of 1 movers of this cluster run; 3 syncs go first");
    let mut turns = Vec::new();
    slots.pod_ended(&pod("x", 1));
    while let Some(uid) = slots.admitted().first().cloned() {
        let one = slots.waiting[&uid].clone();
        for other in slots.waiting.values().filter(|other| other.uid != uid) {
            assert!(matches!(slots.judge(other), Verdict::Waits(_)), "{other:?} goes before {uid}");
        }
        assert_eq!(slots.take(&one, &pod(&uid, 1)), Some(true));
        slots.pod_runs(pod(&uid, 1), None);
        assert!(slots.admitted().is_empty());
        slots.pod_ended(&pod(&uid, 1));
        turns.push(uid);
    }
    assert_eq!(turns, ["late", "later", "urgent", "without", "relaxed"]);
}

#[test]
fn what_is_waited_for_is_said_in_numbers() {
    let mut slots = open(3, 2, 1);
    let me = candidate("me", 0, Some(100));
    assert_eq!(words(&slots, &me), "admitted, away from {}");
    slots.is_uncounted = true;
    assert_eq!(words(&slots, &me), "the movers that run are being counted");
    assert!(slots.admitted().is_empty());
    slots.is_uncounted = false;
    slots.pod_runs(pod("x", 1), Some("n1".to_owned()));
    slots.pod_runs(pod("y", 1), Some("n2".to_owned()));
    assert_eq!(words(&slots, &me), "2 of 2 movers of this namespace run; it is the next");
    let elsewhere = Candidate { namespace: "bank".to_owned(), ..me.clone() };
    let on = |nodes: &[&str]| Some(nodes.iter().map(|node| (*node).to_owned()).collect::<BTreeSet<_>>());
    let bound = Candidate { nodes: on(&["n1"]), ..elsewhere.clone() };
    assert_eq!(words(&slots, &bound), "1 of 1 movers of node n1 run; it is the next");
    let choosy = Candidate { nodes: on(&["n1", "n2"]), ..elsewhere.clone() };
    assert_eq!(words(&slots, &choosy), "1 of 1 movers of each of 2 nodes run; it is the next");
    let free = Candidate { nodes: on(&["n1", "n2", "n3"]), ..elsewhere.clone() };
    assert_eq!(words(&slots, &free), "admitted, away from {\"n1\", \"n2\"}");
    // A pod that has no node yet may go to any.
    slots.pod_ended(&pod("y", 1));
    slots.pod_runs(("lab".to_owned(), "z-1".to_owned()), None);
    assert_eq!(words(&slots, &free), "1 of 1 movers of each of 3 nodes run; it is the next");
    slots.pod_runs(("lab".to_owned(), "z-1".to_owned()), Some("n3".to_owned()));
    assert_eq!(words(&slots, &free), "admitted, away from {\"n1\", \"n3\"}");
    // Without a node that fits, the scheduler has the words.
    assert_eq!(words(&slots, &Candidate { nodes: on(&[]), ..elsewhere }), "admitted, away from {}");
}

/// Two limits that are never free at the same moment: whoever needs both is not passed by for ever by those that need one.
#[test]
fn who_waits_for_a_node_keeps_the_place_in_his_namespace() {
    let mut slots = open(0, 1, 1);
    let on = |node: &str| Some(BTreeSet::from([node.to_owned()]));
    slots.pod_runs(pod("x", 1), Some("n2".to_owned()));
    slots.pod_runs(("bank".to_owned(), "y-1".to_owned()), Some("n1".to_owned()));
    let first = Candidate { nodes: on("n1"), ..candidate("first", 0, Some(0)) };
    let second = Candidate { nodes: on("n2"), ..candidate("second", 1, Some(1)) };
    slots.wait("first", Some(&first));
    slots.wait("second", Some(&second));
    slots.pod_ended(&pod("x", 1));
    assert!(slots.admitted().is_empty());
    assert_eq!(words(&slots, &second), "0 of 1 movers of this namespace run; 1 sync goes first");
    slots.pod_ended(&("bank".to_owned(), "y-1".to_owned()));
    assert_eq!(slots.admitted(), ["first"]);
}

#[test]
fn a_grant_is_one_for_each_source_and_is_kept_until_the_pod_is_seen() {
    let mut slots = open(2, 0, 0);
    let me = candidate("me", 0, None);
    assert_eq!(slots.take(&me, &pod("me", 1)), Some(true));
    assert_eq!(slots.take(&me, &pod("me", 2)), Some(false));
    assert_eq!(slots.grants.len(), 1);
    let other = candidate("other", 0, None);
    assert_eq!(slots.take(&other, &pod("other", 1)), Some(true));
    assert_eq!(slots.take(&candidate("third", 0, None), &pod("third", 1)), None);
    // An old pod of the same source is not the one that was granted.
    slots.pod_runs(pod("me", 1), None);
    assert_eq!((slots.grants.len(), slots.pods.len()), (2, 1));
    slots.pod_runs(pod("me", 2), None);
    assert_eq!((slots.grants.len(), slots.pods.len()), (1, 2));
    slots.give_back("other");
    slots.pod_ended(&pod("me", 1));
    slots.pod_ended(&pod("me", 2));
    assert!(slots.grants.is_empty() && slots.pods.is_empty());
}

/// A source as it behaves: how urgent it is, where it may go, how long its movers run, and how long it is content after one.
#[derive(Clone, Debug)]
struct Source {
    namespace: &'static str,
    objective: i64,
    nodes: Option<Names>,
    runs: i64,
    rests: i64,
    /// Its recovery point never moves: it is ever later.
    fails: bool,
}

fn source() -> impl Strategy<Value = Source> {
    let nodes = prop::sample::subsequence(NODES.to_vec(), 1..=3);
    let nodes =
        prop::option::of(nodes.prop_map(|nodes| nodes.into_iter().map(str::to_owned).collect::<Names>()));
    (prop::sample::select(NAMESPACES.to_vec()), 1_i64..100, nodes, 1_i64..20, 0_i64..20, any::<bool>())
        .prop_map(|(namespace, objective, nodes, runs, rests, fails)| Source {
            namespace,
            objective,
            nodes,
            runs,
            rests,
            fails,
        })
}

/// A scheduler that takes its time: where each pod of the given ones ends up.
fn choose(slots: &Slots, pod: &(String, String), full: &Names, nodes: Option<&Names>) -> String {
    let fits = |node: &str| !full.contains(node) && nodes.is_none_or(|nodes| nodes.contains(node));
    let mut fitting: Vec<&str> = NODES.into_iter().filter(|node| fits(node)).collect();
    // Where most are already: the worst choice there is.
    fitting
        .sort_by_key(|node| slots.pods.values().filter(|held| held.node.as_deref() == Some(*node)).count());
    (*fitting.last().unwrap_or_else(|| panic!("{pod:?} can go nowhere"))).to_owned()
}

type Unscheduled = ((String, String), Names, Option<Names>);

#[derive(Default)]
struct Running {
    ends: BTreeMap<usize, (i64, (String, String))>,
    /// With the nodes that are full, and those that fit.
    unscheduled: Vec<Unscheduled>,
    syncs: BTreeMap<usize, u32>,
    points: BTreeMap<usize, i64>,
    wakes: BTreeMap<usize, i64>,
}

fn keeps_the_limits(slots: &Slots) {
    let Limits { cluster, namespace, node } = slots.limits;
    let within = |used: usize, limit: u32| {
        assert!(limit == 0 || used <= limit as usize, "{used} of {limit}: {slots:?}")
    };
    let held = || slots.pods.values().chain(slots.grants.values().map(|grant| &grant.holder));
    within(held().count(), cluster);
    for name in NAMESPACES {
        within(held().filter(|one| one.namespace == name).count(), namespace);
    }
    for name in NODES {
        within(slots.pods.values().filter(|one| one.node.as_deref() == Some(name)).count(), node);
    }
}

fn step(slots: &mut Slots, sources: &[Source], world: &mut Running, now: i64) {
    let ended: Vec<usize> =
        world.ends.iter().filter(|(_, (end, _))| *end <= now).map(|(index, _)| *index).collect();
    for index in ended {
        let (_, pod) = world.ends.remove(&index).unwrap();
        slots.pod_ended(&pod);
        if !sources[index].fails {
            world.points.insert(index, now);
        }
        world.wakes.insert(index, now + sources[index].rests);
    }
    for (pod, full, nodes) in std::mem::take(&mut world.unscheduled) {
        if slots.pods.contains_key(&pod) {
            let node = choose(slots, &pod, &full, nodes.as_ref());
            slots.pod_runs(pod, Some(node));
        }
    }
    keeps_the_limits(slots);
    for (index, source) in sources.iter().enumerate() {
        if world.ends.contains_key(&index) || world.wakes.get(&index).is_some_and(|at| *at > now) {
            continue;
        }
        let point = world.points.get(&index).copied().unwrap_or_default();
        let me = Candidate {
            uid: NAMES[index].to_owned(),
            namespace: source.namespace.to_owned(),
            deadline: Some(at(point + source.objective)),
            since: slots.since(NAMES[index]).unwrap_or(at(now)),
            nodes: source.nodes.clone().or_else(|| Some(NODES.map(str::to_owned).into())),
        };
        let sync = world.syncs.entry(index).or_default();
        let pod = (source.namespace.to_owned(), format!("{}-{}", NAMES[index], *sync + 1));
        let verdict = slots.judge(&me);
        let first = slots.admitted();
        match slots.take(&me, &pod) {
            Some(_) => {
                let Verdict::Admitted { full } = verdict else { panic!("taken without leave") };
                *sync += 1;
                keeps_the_limits(slots);
                slots.pod_runs(pod.clone(), None);
                world.unscheduled.push((pod.clone(), full, me.nodes.clone()));
                world.ends.insert(index, (now + source.runs, pod));
            }
            None => {
                let Verdict::Waits(Limited::By { running, limit, ahead, .. }) = verdict else {
                    panic!("{verdict:?}")
                };
                assert!(running == limit || ahead > 0, "waits for nothing: {me:?} {slots:?}");
                assert!(!first.contains(&me.uid));
                slots.wait(&me.uid, Some(&me));
            }
        }
    }
}

fn config() -> ProptestConfig {
    let cases = u32::try_from(crate::seeds(64).end).unwrap();
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_limits_hold_and_nobody_starves(
        sources in prop::collection::vec(source(), 2..12),
        cluster in 0_u32..4, namespace in 0_u32..3, node in 1_u32..3,
    ) {
        let mut slots = open(cluster, namespace, node);
        let mut world = Running::default();
        // Whoever begins to wait has at most his objective of patience; then there are eleven others in front of him, each for the time that
        // its mover runs and is scheduled.
        let longest = 100 + 12 * 25;
        for now in 0..longest * 2 {
            step(&mut slots, &sources, &mut world, now);
            for waiting in slots.waiting.values() {
                let waited = now - waiting.since.as_second();
                prop_assert!(waited <= longest, "{waiting:?} waits for {waited}s: {slots:?}");
            }
        }
        for index in 0..sources.len() {
            prop_assert!(world.syncs.get(&index).is_some_and(|syncs| *syncs > 0), "{index} never ran");
        }
    }
}
