//! The source's mover: one attempt to bring one cut over and to see it published, a step at a time.

use super::api::at;
use super::receiver::Sealed;
use super::storage::{Content, File};
use super::world::World;
use jiff::Timestamp;
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::control::{Activity, Answer, CommitVerdict, MoverState, QuestionKind};
use scribe_mover_contract::job::{Outcome, SourceJob, Termination};
use scribe_mover_contract::peer::{
    Commit, CommitAnswer, Comparison, Counts, Handshake, HandshakeAnswer, PublicationState, Published,
    Verdict, VolumeMode,
};

/// How often a session, or a connection, may be lost before an attempt ends.
const MAX_LOST: u32 = 5;
/// How long a destination may say nothing but "wait", in seconds.
const PATIENCE: i64 = 600;

/// What a sender is at.
#[derive(Clone, Debug)]
enum Stage {
    Connect,
    Asked {
        question: u64,
        since: i64,
    },
    Pause {
        until: i64,
    },
    Send {
        token: u64,
        clean: bool,
        file: usize,
        torn: bool,
        differs: bool,
    },
    Commit {
        token: u64,
        commit: Commit,
        asked: Option<u64>,
        since: i64,
    },
    Publish {
        deadline: i64,
        asked: Option<(u64, i64)>,
        pause: i64,
    },
    /// It has said its last words, and the pod has not ended yet.
    Leave {
        termination: Box<Termination>,
    },
}

/// A source mover.
#[derive(Clone, Debug)]
pub struct Sender {
    pub pod: String,
    pub pod_name: String,
    pub job: SourceJob,
    /// The source's public key, from the Secret as it was when the pod started.
    key: String,
    relationship: String,
    cut: Content,
    stage: Stage,
    /// Since when it tries to reach its destination.
    since: i64,
    instance: String,
    lost: u32,
    waits_since: Option<i64>,
    recovery_point: Option<(Timestamp, String)>,
}

/// How an attempt ends.
struct End {
    outcome: Outcome,
    reason: Option<String>,
    message: String,
    unchanged: bool,
}

type Step = Result<&'static str, End>;

fn failed(outcome: Outcome, reason: &str, message: &str) -> End {
    End { outcome, reason: Some(reason.to_owned()), message: message.to_owned(), unchanged: false }
}

impl Sender {
    pub fn new(
        pod: String,
        pod_name: String,
        job: SourceJob,
        key: String,
        relationship: String,
        cut: Content,
        now: i64,
    ) -> Self {
        Self {
            pod,
            pod_name,
            job,
            key,
            relationship,
            cut,
            stage: Stage::Connect,
            since: now,
            instance: String::new(),
            lost: 0,
            waits_since: None,
            recovery_point: None,
        }
    }

    /// What its controller is told.
    pub fn state(&self) -> MoverState {
        let activity = match self.stage {
            Stage::Connect | Stage::Asked { .. } => Activity::Connecting,
            Stage::Pause { .. } => Activity::Waiting,
            Stage::Send { .. } => Activity::Transferring,
            Stage::Commit { .. } => Activity::Committing,
            Stage::Publish { .. } => Activity::AwaitingPublication,
            Stage::Leave { .. } => Activity::Finished,
        };
        let ended = match &self.stage {
            Stage::Leave { termination } => Some(termination.clone()),
            _ => None,
        };
        MoverState {
            protocol: PROTOCOL,
            instance: self.pod.clone(),
            revision: 1,
            activity,
            seal: None,
            session: None,
            waiting: None,
            progress: None,
            questions: Vec::new(),
            abilities: None,
            free_bytes: None,
            capacity_bytes: None,
            last_failure: None,
            ended,
        }
    }

    /// Takes one step; `None` if it has to wait for something.
    pub fn step(&mut self, world: &mut World) -> Option<&'static str> {
        if let Stage::Leave { termination } = self.stage.clone() {
            world.end_sender(self, &termination);
            return Some("ends");
        }
        match self.advance(world)? {
            Ok(what) => Some(what),
            Err(end) => {
                let termination = Termination {
                    protocol: PROTOCOL,
                    sync_id: self.job.sync_id.clone(),
                    result: end.outcome,
                    reason: end.reason,
                    message: end.message,
                    counts: Counts::default(),
                    published: end.outcome == Outcome::Done,
                    unchanged: end.unchanged,
                    fidelity: Vec::new(),
                    warnings: Vec::new(),
                    recovery_point: self.recovery_point.clone(),
                    guarded: None,
                    guards_passed: false,
                };
                self.stage = Stage::Leave { termination: Box::new(termination) };
                Some("says its last words")
            }
        }
    }

    fn advance(&mut self, world: &mut World) -> Option<Step> {
        let now = world.now;
        match self.stage.clone() {
            Stage::Connect => self.connect(world),
            Stage::Pause { until } => (now >= until).then(|| {
                (self.stage, self.since) = (Stage::Connect, now);
                Ok("comes back")
            }),
            Stage::Asked { question, since } => {
                let heard = self.hear(world, question, since)?;
                Some(match heard {
                    Heard::Answer(Answer::Handshake(answer)) => self.heed(*answer, now),
                    Heard::Answer(_) | Heard::Lost => self.reconnect(now),
                    Heard::Silence => self.told_to_wait(now, 5, "the controller does not answer"),
                })
            }
            Stage::Send { token, clean, file, torn, differs } => {
                Some(self.send(world, token, clean, file, torn, differs))
            }
            Stage::Commit { token, commit, asked, since } => self.commit(world, token, commit, asked, since),
            Stage::Publish { deadline, asked, pause } => self.publish(world, deadline, asked, pause),
            Stage::Leave { .. } => None,
        }
    }

    fn connect(&mut self, world: &mut World) -> Option<Step> {
        let (now, relationship) = (world.now, self.relationship.clone());
        let clock = at(world.west.api.clock);
        let asked_at = at(world.east.api.clock);
        let Some(receiver) = world.reachable() else {
            let over = now - self.since >= i64::try_from(self.job.timeouts.unreachable).unwrap_or(60);
            let end = || Err(failed(Outcome::Transient, "DestinationUnreachable", "nobody answers"));
            return over.then(end);
        };
        if receiver.key != self.key {
            return Some(Err(failed(Outcome::Permanent, "ClientKeyRejected", "another key")));
        }
        let hello = QuestionKind::Handshake(Box::new(self.hello(relationship, clock)));
        self.instance.clone_from(&receiver.instance);
        let question = receiver.ask(hello, asked_at);
        self.stage = Stage::Asked { question, since: now };
        Some(Ok("shakes hands"))
    }

    fn hello(&self, relationship: String, sent_at: Timestamp) -> Handshake {
        let job = &self.job;
        Handshake {
            protocol: PROTOCOL,
            sync_id: job.sync_id.clone(),
            attempt: job.attempt,
            cluster_id: job.cluster_id.clone(),
            claim_uid: job.claim_uid.clone(),
            cut_uid: job.cut_uid.clone(),
            data_time: job.data_time,
            consistency: job.consistency,
            comparison: job.comparison,
            relationship,
            generation: job.generation,
            source_name: job.source_name.clone(),
            rpo_seconds: job.rpo_seconds,
            schedule: job.schedule.clone(),
            time_zone: job.time_zone.clone(),
            volume_mode: VolumeMode::Filesystem,
            expected_bytes: 1000,
            expected_files: 4,
            sent_at,
        }
    }

    /// What has come of a question, if anything.
    fn hear(&self, world: &mut World, question: u64, since: i64) -> Option<Heard> {
        let (now, lost) = (world.now, world.faults && world.dice.one_in(25));
        let Some(receiver) = world.reachable().filter(|receiver| receiver.instance == self.instance) else {
            return Some(Heard::Lost);
        };
        match receiver.hear(question) {
            Some(_) if lost => Some(Heard::Lost),
            Some(answer) => Some(Heard::Answer(answer)),
            None if !receiver.is_open(question) => Some(Heard::Lost),
            None if now - since >= i64::try_from(self.job.timeouts.answer).unwrap_or(60) => {
                receiver.close(question);
                Some(Heard::Silence)
            }
            None => None,
        }
    }

    fn heed(&mut self, answer: HandshakeAnswer, now: i64) -> Step {
        self.lost = 0;
        if answer.published.is_some() {
            self.recovery_point = answer.published;
        }
        match answer.verdict {
            Verdict::Send { token, clean, .. } => {
                self.stage = Stage::Send { token, clean, file: 0, torn: false, differs: false };
                Ok("may send")
            }
            Verdict::Received { publish_deadline } => {
                self.await_publication(now, publish_deadline);
                Ok("hears that it is there already")
            }
            Verdict::Wait { seconds, message } => self.told_to_wait(now, seconds, &message),
            Verdict::Refused { reason, message, permanent } => {
                let outcome = if permanent { Outcome::Refused } else { Outcome::Transient };
                Err(failed(outcome, &reason, &message))
            }
        }
    }

    fn told_to_wait(&mut self, now: i64, seconds: u64, message: &str) -> Step {
        if now - *self.waits_since.get_or_insert(now) >= PATIENCE {
            return Err(failed(Outcome::Transient, "DestinationUnreachable", message));
        }
        self.stage = Stage::Pause { until: now + i64::try_from(seconds).unwrap_or(60).clamp(1, 60) };
        Ok("is told to wait")
    }

    fn reconnect(&mut self, now: i64) -> Step {
        self.lost += 1;
        if self.lost >= MAX_LOST {
            return Err(failed(Outcome::Transient, "ConnectionLost", "again and again"));
        }
        (self.stage, self.since, self.waits_since) = (Stage::Connect, now, None);
        Ok("has lost the connection")
    }

    fn send(
        &mut self,
        world: &mut World,
        token: u64,
        clean: bool,
        file: usize,
        torn: bool,
        differs: bool,
    ) -> Step {
        if world.faults && world.dice.one_in(60) {
            return Err(failed(Outcome::Transient, "TransferFailed", "rsync ended with 10"));
        }
        let Some(wanted) = self.cut.get(file).copied() else {
            let commit = self.commitment(clean, !differs);
            self.stage = Stage::Commit { token, commit, asked: None, since: world.now };
            return Ok("has sent all");
        };
        // A claim that was written to and not committed can hold anything under the right size and time.
        let by_content = !clean || self.job.comparison == Comparison::Content;
        let is_equal = |has: File| has == wanted || (!by_content && has.version == wanted.version);
        let Some(has) = world.received(token, &self.instance, &self.pod).map(|volume| volume[file]) else {
            return self.reconnect(world.now);
        };
        let (next, to) = if is_equal(has) && !torn {
            (Stage::Send { token, clean, file: file + 1, torn: false, differs }, has)
        } else if torn || wanted.version == 0 {
            (Stage::Send { token, clean, file: file + 1, torn: false, differs: true }, wanted)
        } else {
            let half = File { version: wanted.version, torn: true };
            (Stage::Send { token, clean, file, torn: true, differs: true }, half)
        };
        if !world.write_received(token, &self.instance, &self.pod, file, to) {
            return self.reconnect(world.now);
        }
        self.stage = next;
        Ok("sends")
    }

    fn commitment(&self, clean: bool, same: bool) -> Commit {
        let job = &self.job;
        Commit {
            sync_id: job.sync_id.clone(),
            attempt: job.attempt,
            claim_uid: job.claim_uid.clone(),
            cut_uid: job.cut_uid.clone(),
            data_time: job.data_time,
            consistency: job.consistency,
            comparison: if clean { job.comparison } else { Comparison::Content },
            unchanged: clean && same,
            counts: Counts::default(),
        }
    }

    fn commit(
        &mut self,
        world: &mut World,
        token: u64,
        commit: Commit,
        asked: Option<u64>,
        since: i64,
    ) -> Option<Step> {
        let now = world.now;
        let Some(question) = asked else {
            let clock = at(world.east.api.clock);
            let receiver = world.reachable().filter(|receiver| receiver.instance == self.instance);
            let sealed = receiver.map(|receiver| receiver.commit(token, &commit, &self.pod, clock));
            return Some(match sealed {
                Some(Sealed::Asked(question)) => {
                    self.stage = Stage::Commit { token, commit, asked: Some(question), since: now };
                    Ok("commits")
                }
                Some(Sealed::Answered(answer)) => self.committed(world, answer),
                Some(Sealed::NotNow) | None => self.reconnect(now),
            });
        };
        Some(match self.hear(world, question, since)? {
            Heard::Answer(Answer::Commit(verdict)) => {
                let answer = match verdict {
                    CommitVerdict::Recorded { claim_uid, publish_deadline, published } => {
                        CommitAnswer::Received { claim_uid, publish_deadline, published }
                    }
                    CommitVerdict::Refused { reason, message } => CommitAnswer::Refused { reason, message },
                };
                self.committed(world, answer)
            }
            Heard::Answer(_) | Heard::Lost | Heard::Silence => {
                self.stage = Stage::Commit { token, commit, asked: None, since: now };
                Ok("commits once more")
            }
        })
    }

    fn committed(&mut self, world: &mut World, answer: CommitAnswer) -> Step {
        if let Some(receiver) = world.reachable() {
            receiver.disconnect(&self.pod);
        }
        match answer {
            CommitAnswer::Received {
                published: Some(PublicationState::Yes { data_time, unchanged }),
                ..
            } => Err(self.published(data_time, unchanged)),
            CommitAnswer::Received { publish_deadline, .. } => {
                self.await_publication(world.now, publish_deadline);
                Ok("has committed")
            }
            CommitAnswer::Wait { .. } => Ok("commits later"),
            CommitAnswer::Refused { reason, message } => Err(failed(Outcome::Refused, &reason, &message)),
        }
    }

    fn published(&mut self, data_time: Timestamp, unchanged: bool) -> End {
        self.recovery_point = Some((data_time, self.job.sync_id.clone()));
        End { outcome: Outcome::Done, reason: None, message: String::new(), unchanged }
    }

    fn await_publication(&mut self, now: i64, seconds: u64) {
        let deadline = now.saturating_add(i64::try_from(seconds).unwrap_or(3600));
        self.stage = Stage::Publish { deadline, asked: None, pause: now };
    }

    fn publish(
        &mut self,
        world: &mut World,
        deadline: i64,
        asked: Option<(u64, i64)>,
        pause: i64,
    ) -> Option<Step> {
        let now = world.now;
        if now >= deadline {
            return Some(Err(failed(Outcome::Transient, "PublicationTimeout", "not published in time")));
        }
        let Some((question, since)) = asked else {
            if now < pause {
                return None;
            }
            let clock = at(world.east.api.clock);
            let about = Published { sync_id: self.job.sync_id.clone(), attempt: self.job.attempt };
            let receiver = world.reachable()?;
            if receiver.key != self.key {
                return Some(Err(failed(Outcome::Permanent, "ClientKeyRejected", "another key")));
            }
            self.instance.clone_from(&receiver.instance);
            let question = receiver.ask(QuestionKind::Published(about), clock);
            self.stage = Stage::Publish { deadline, asked: Some((question, now)), pause };
            return Some(Ok("asks whether it is published"));
        };
        let heard = self.hear(world, question, since)?;
        self.stage = Stage::Publish { deadline, asked: None, pause: now + 1 };
        let Heard::Answer(Answer::Published(state)) = heard else { return Some(Ok("hears nothing")) };
        Some(match state {
            PublicationState::Yes { data_time, unchanged } => Err(self.published(data_time, unchanged)),
            PublicationState::NotYet { .. } => Ok("hears that it is not published yet"),
            PublicationState::GaveUp { message } => {
                Err(failed(Outcome::Transient, "PublicationFailed", &message))
            }
            PublicationState::Unknown => Err(failed(Outcome::Transient, "PublicationFailed", "unknown")),
        })
    }

    /// When it will do something by itself, if nothing happens before, in seconds.
    pub fn wakes(&self) -> Option<i64> {
        let answer = i64::try_from(self.job.timeouts.answer).unwrap_or(60);
        Some(match self.stage {
            Stage::Connect => self.since + i64::try_from(self.job.timeouts.unreachable).unwrap_or(60),
            Stage::Pause { until } => until,
            Stage::Asked { since, .. } | Stage::Commit { since, .. } => since + answer,
            Stage::Publish { deadline, asked: Some((_, since)), .. } => deadline.min(since + answer),
            Stage::Publish { deadline, asked: None, pause } => deadline.min(pause),
            Stage::Send { .. } | Stage::Leave { .. } => return None,
        })
    }
}

/// What has come of a question.
enum Heard {
    Answer(Answer),
    Lost,
    Silence,
}
