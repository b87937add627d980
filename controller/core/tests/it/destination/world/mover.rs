//! The made-up mover, and the source that speaks to it.

use super::{START, World, is_ours};
use scribe_mover_contract::control::{
    Activity, Answer, CommitVerdict, MoverState, Order, Question, QuestionKind, SessionState,
};
use scribe_mover_contract::guards::{Forecast, Guard, Guarded};
use scribe_mover_contract::peer::{
    Abilities, Commit, Comparison, Consistency, Counts, Handshake, PublicationState, Published, Verdict,
    VolumeMode,
};

impl World {
    pub fn start_mover(&mut self) {
        self.serial += 1;
        let name = self.seen.pods[0].metadata.name.clone().unwrap();
        let state = MoverState {
            protocol: 1,
            instance: format!("instance-{}", self.serial),
            revision: 1,
            activity: Activity::Listening,
            seal: Some(1),
            session: None,
            waiting: None,
            progress: None,
            questions: Vec::new(),
            abilities: Some(abilities()),
            free_bytes: None,
            capacity_bytes: Some(10 << 30),
            last_failure: None,
            ended: None,
        };
        self.seen.mover = Some((name, state));
    }

    pub fn mover(&mut self) -> &mut MoverState {
        &mut self.seen.mover.as_mut().expect("a mover").1
    }

    pub fn ask(&mut self, about: QuestionKind) -> u64 {
        self.serial += 1;
        if let QuestionKind::Handshake(hello) = &about {
            // What is offered was cut before.
            self.now = self.now.max(hello.data_time);
        }
        let (id, asked_at) = (self.serial, self.now);
        self.mover().questions.push(Question { id, asked_at, about });
        id
    }

    /// A source shakes hands; the world settles; the answer.
    pub fn shake(&mut self, hello: Handshake) -> Verdict {
        let id = self.ask(QuestionKind::Handshake(Box::new(hello)));
        self.settle();
        self.verdict(id)
    }

    pub fn is_answered(&self, id: u64) -> bool {
        self.answers.iter().any(|(question, _)| *question == id)
    }

    pub fn answer_to(&self, id: u64) -> &Answer {
        let answer = self.answers.iter().rev().find(|(question, _)| *question == id);
        &answer.unwrap_or_else(|| panic!("question {id} was not answered: {:?}", self.answers)).1
    }

    pub fn verdict(&self, id: u64) -> Verdict {
        match self.answer_to(id) {
            Answer::Handshake(answer) => answer.verdict.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The mover has flushed and sealed, and asks to have the commit recorded.
    pub fn commit(&mut self, commit: Commit) -> CommitVerdict {
        let id = self.ask_commit(commit);
        self.settle();
        match self.answer_to(id) {
            Answer::Commit(verdict) => verdict.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A guard keeps the source of the session from sending.
    pub fn guarded(&mut self, sync: &str, guard: Guard) -> u64 {
        self.guarded_after(sync, guard, false)
    }

    /// And whether nothing was written before it did.
    pub fn guarded_after(&mut self, sync: &str, guard: Guard, untouched: bool) -> u64 {
        let forecast = Forecast {
            source_files: 40,
            files: 1000,
            deleted_files: 960,
            rewritten_files: 0,
            bytes: Some(1 << 30),
            deleted_bytes: 1 << 29,
        };
        let guarded = Guarded {
            sync_id: sync.into(),
            attempt: 1,
            claim_uid: "west-claim".into(),
            guard,
            percent: 50,
            forecast,
        };
        let id = self.ask(QuestionKind::Guarded { guarded, untouched });
        self.settle();
        assert_eq!(self.answer_to(id), &Answer::Guarded);
        id
    }

    pub fn ask_commit(&mut self, commit: Commit) -> u64 {
        self.serial += 1;
        let seal = self.serial;
        self.mover().seal = Some(seal);
        self.mover().activity = Activity::Committing;
        self.ask(QuestionKind::Commit { commit, seal })
    }

    pub fn published(&mut self, sync: &str) -> PublicationState {
        let id = self.ask(QuestionKind::Published(Published { sync_id: sync.into(), attempt: 1 }));
        self.settle();
        if !self.is_answered(id) {
            // "Not yet" is not said at once.
            self.pass_time(10);
            self.settle();
        }
        match self.answer_to(id) {
            Answer::Published(state) => state.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// A whole sync, from handshake to publication.
    pub fn sync(&mut self, id: &str, data_time: &str) {
        assert!(matches!(self.shake(hello(id, 1, data_time)), Verdict::Send { .. }));
        assert!(matches!(self.commit(commit(id, 1, data_time)), CommitVerdict::Recorded { .. }));
        self.snapshots_ready();
        self.settle();
        assert!(matches!(self.published(id), PublicationState::Yes { .. }));
    }

    /// The mover pod ends.
    pub fn kill_mover(&mut self, exit: i32) {
        let finished = self.now;
        let pod = self.seen.pods.first_mut().expect("a pod");
        let status = serde_json::json!({"phase": "Failed", "containerStatuses": [{
            "name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": exit, "reason": "Error", "finishedAt": finished}}}]});
        pod.status = serde_json::from_value(status).unwrap();
        self.seen.mover = None;
    }

    pub(super) fn answered(&mut self, instance: &str, question: u64, answer: &Answer) {
        let status = self.status().clone();
        let highest = self.highest_token;
        let Some((_, mover)) = self.seen.mover.as_mut().filter(|(_, mover)| mover.instance == instance)
        else {
            return;
        };
        let Some(at) = mover.questions.iter().position(|open| open.id == question) else { return };
        let open = mover.questions.remove(at);
        match (&open.about, answer) {
            (QuestionKind::Handshake(hello), Answer::Handshake(answer)) => {
                if let Verdict::Send { token, clean, .. } = &answer.verdict {
                    let dirty = status
                        .dirty
                        .as_ref()
                        .expect("sending was allowed before the claim was recorded as dirty");
                    assert_eq!(dirty.sync_id, hello.sync_id);
                    assert_eq!(status.source.as_ref().expect("a pin").claim_uid, hello.claim_uid);
                    assert!(*token > highest, "the fencing token does not rise");
                    assert_eq!(mover.seal, None, "sending was allowed to a sealed mover");
                    assert_eq!(status.sessions.last().unwrap().clean, *clean);
                    self.highest_token = *token;
                    mover.activity = Activity::Transferring;
                    mover.session = Some(SessionState {
                        sync_id: hello.sync_id.clone(),
                        attempt: hello.attempt,
                        token: *token,
                        connected: true,
                    });
                }
            }
            (QuestionKind::Commit { commit, .. }, Answer::Commit(verdict)) => {
                mover.activity = Activity::Listening;
                if let Some(session) = &mut mover.session {
                    session.connected = false;
                }
                if let CommitVerdict::Recorded { .. } = verdict {
                    let received = status.received.as_ref().expect("answered before it was recorded");
                    assert_eq!((&received.sync_id, &received.cut), (&commit.sync_id, &commit.cut_uid));
                    assert!(status.dirty.is_none());
                }
            }
            (QuestionKind::Published(_), Answer::Published(_)) => {}
            // The mover ends the session when it has heard that it is recorded.
            (QuestionKind::Guarded { guarded, .. }, Answer::Guarded) => {
                let known = status.guarded.as_ref().is_some_and(|known| known.sync_id == guarded.sync_id);
                let session = mover.session.as_ref().filter(|_| mover.seal.is_none());
                if session.is_some_and(|session| session.sync_id == guarded.sync_id) {
                    assert!(known, "answered before it was recorded");
                    mover.session = None;
                    mover.activity = Activity::Listening;
                    mover.seal = Some(98);
                }
            }
            (about, answer) => panic!("{about:?} was answered with {answer:?}"),
        }
        self.answers.push((question, answer.clone()));
    }

    pub(super) fn ordered(&mut self, order: &Order) {
        let uncut = self
            .seen
            .snapshots
            .iter()
            .filter(|snapshot| is_ours(&snapshot.metadata))
            .any(|snapshot| snapshot.status.as_ref().is_none_or(|status| status.creation_time.is_none()));
        let Some((_, mover)) = &mut self.seen.mover else { return };
        match order {
            Order::Unseal { seal } if mover.seal == Some(*seal) => {
                assert!(!uncut, "unsealed while a snapshot of ours is not cut");
                mover.seal = None;
                mover.session = None;
                mover.activity = Activity::Listening;
            }
            Order::EndSession { token }
                if mover.session.as_ref().is_none_or(|session| session.token == *token) =>
            {
                mover.session = None;
                mover.activity = Activity::Listening;
                mover.seal = Some(99);
            }
            Order::Unseal { .. } | Order::EndSession { .. } => {}
        }
    }
}

fn abilities() -> Abilities {
    Abilities {
        acls: true,
        user_xattrs: true,
        file_capabilities: false,
        owners: false,
        devices: false,
        hard_links: true,
        symlinks: true,
        holes: true,
        time_grain: 1,
        case_sensitive: true,
    }
}

/// A handshake of the right source.
pub fn hello(sync: &str, attempt: u32, data_time: &str) -> Handshake {
    Handshake {
        protocol: 1,
        sync_id: sync.into(),
        attempt,
        cluster_id: "west-cluster".into(),
        claim_uid: "west-claim".into(),
        cut_uid: format!("cut-of-{sync}"),
        data_time: data_time.parse().unwrap(),
        consistency: Consistency::Crash,
        comparison: Comparison::Content,
        relationship: "relationship-3".into(),
        generation: 1,
        source_name: "west/db".into(),
        rpo_seconds: Some(900),
        schedule: Some("*/5 * * * *".into()),
        time_zone: None,
        volume_mode: VolumeMode::Filesystem,
        expected_bytes: 1 << 30,
        expected_files: 1000,
        sent_at: START.parse().unwrap(),
    }
}

/// The commit that goes with [`hello`].
pub fn commit(sync: &str, attempt: u32, data_time: &str) -> Commit {
    Commit {
        sync_id: sync.into(),
        attempt,
        claim_uid: "west-claim".into(),
        cut_uid: format!("cut-of-{sync}"),
        data_time: data_time.parse().unwrap(),
        consistency: Consistency::Crash,
        comparison: Comparison::Content,
        unchanged: false,
        counts: Counts {
            bytes_total: 1 << 30,
            bytes_sent: 1000,
            bytes_literal: 500,
            files_total: 1000,
            files_sent: 2,
            files_deleted: 0,
        },
    }
}
