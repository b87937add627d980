//! What a source mover and a destination mover say to each other, over ssh.
//!
//! The destination's forced command understands six requests:
//!
//! | Request | Standard input | Standard output |
//! |---|---|---|
//! | `scribe handshake` | [`Handshake`] | [`HandshakeAnswer`] |
//! | `scribe rsync TOKEN …` | the rsync protocol | the rsync protocol |
//! | `scribe progress TOKEN` | [`Progress`] | [`ProgressNoted`] |
//! | `scribe guarded TOKEN` | [`Guarded`](crate::guards::Guarded) | [`GuardedAnswer`](crate::guards::GuardedAnswer) |
//! | `scribe commit TOKEN` | [`Commit`] | [`CommitAnswer`] |
//! | `scribe published` | [`Published`] | [`PublicationState`] |
//!
//! `TOKEN` is the fencing token of an accepted handshake; a request with any other is refused. JSON documents are at most
//! [`MAX_DOCUMENT`] bytes. `progress` is for those who look at the destination, while rsync runs; nothing depends on it. Before the first
//! write, rsync runs once with `--dry-run`; if a guard finds fault with what it would do, `guarded` ends the session.

use crate::control::Progress;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest JSON document that either side reads.
pub const MAX_DOCUMENT: usize = 64 * 1024;

/// How changed files are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Comparison {
    /// By content.
    Content,
    /// By size and modification time.
    Metadata,
}

/// What a cut can be relied upon to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Consistency {
    /// The application was quiesced.
    Application,
    /// The file system was frozen.
    Filesystem,
    /// What a power failure would have left behind.
    Crash,
    /// Files were read while they were written.
    None,
}

/// A source wants to begin a sync, or to go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// The newest protocol version that the source speaks.
    pub protocol: u32,
    /// The id of the sync.
    pub sync_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The uid of the namespace kube-system of the source's cluster.
    pub cluster_id: String,
    /// The uid of the source claim.
    pub claim_uid: String,
    /// The uid of the cut.
    pub cut_uid: String,
    /// The time of the data.
    pub data_time: Timestamp,
    /// What the cut can be relied upon to be.
    pub consistency: Consistency,
    /// How changed files are found.
    pub comparison: Comparison,
    /// The relationship, from the Secret.
    pub relationship: String,
    /// The generation of the relationship.
    pub generation: u64,
    /// Namespace and name of the ReplicationSource, for people.
    pub source_name: String,
    /// The recovery point objective, in seconds.
    #[serde(default)]
    pub rpo_seconds: Option<i64>,
    /// The schedule.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// File system or block.
    pub volume_mode: VolumeMode,
    /// Bytes in use on the source volume; 0 if nobody knows what of them will be sent.
    pub expected_bytes: u64,
    /// Inodes in use on the source volume; 0 if nobody knows what of them will be sent.
    pub expected_files: u64,
    /// The source's clock, to measure the skew.
    pub sent_at: Timestamp,
}

/// The longest uid or relationship: a uid has 36 characters.
const MAX_UID: usize = 64;
/// The longest sync id: it becomes the value of a label.
const MAX_SYNC_ID: usize = 63;
/// The longest text for people, in bytes. Namespace and name of an object have 317 at most.
const MAX_TEXT: usize = 512;

impl Handshake {
    /// Checks what the source chose freely: it becomes names, labels and a status at the destination. An empty cut uid or
    /// relationship is for the controller to judge.
    ///
    /// # Errors
    /// Names the field that cannot be accepted, and never quotes it.
    pub fn check(&self) -> Result<(), String> {
        let is_sync_id = !self.sync_id.is_empty()
            && self.sync_id.len() <= MAX_SYNC_ID
            && self.sync_id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !is_sync_id {
            return Err(format!("the sync id is not 1 to {MAX_SYNC_ID} characters of a-z, 0-9 and -"));
        }
        let is_uid = |text: &str| {
            text.len() <= MAX_UID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        for (name, text, may_be_empty) in [
            ("cluster id", &self.cluster_id, false),
            ("uid of the source claim", &self.claim_uid, false),
            ("uid of the cut", &self.cut_uid, true),
            ("relationship", &self.relationship, true),
        ] {
            if !is_uid(text) || (text.is_empty() && !may_be_empty) {
                return Err(format!("the {name} is not up to {MAX_UID} letters, digits and -"));
            }
        }
        for (name, text) in [
            ("name of the source", Some(&self.source_name)),
            ("schedule", self.schedule.as_ref()),
            ("time zone", self.time_zone.as_ref()),
        ] {
            if text.is_some_and(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control)) {
                return Err(format!(
                    "the {name} is longer than {MAX_TEXT} bytes or has control characters in it"
                ));
            }
        }
        Ok(())
    }
}

/// What kind of volume it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VolumeMode {
    /// A tree of files.
    Filesystem,
    /// Raw blocks.
    Block,
}

/// The destination's answer to a handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandshakeAnswer {
    /// The protocol version to speak from here on.
    pub protocol: u32,
    /// What the destination wants the source to do.
    pub verdict: Verdict,
    /// The newest published replica's data time and sync id: a recovery point that the source may adopt if it is of its own claim.
    #[serde(default)]
    pub published: Option<(Timestamp, String)>,
    /// What the destination's file system can keep (filled in by the mover).
    #[serde(default)]
    pub abilities: Option<Abilities>,
    /// The size of all files that the last commit into this claim named, in bytes; nothing if there was none. What a sync would
    /// delete is measured by it, since rsync does not tell the size of what it deletes.
    #[serde(default)]
    pub received_bytes: Option<u64>,
    /// Whether the receiving claim holds nothing at all (filled in by the mover). An older one does not say, and takes no dry run.
    #[serde(default)]
    pub is_empty: Option<bool>,
    /// Free bytes (filled in by the mover).
    #[serde(default)]
    pub free_bytes: Option<u64>,
    /// Free inodes (filled in by the mover).
    #[serde(default)]
    pub free_files: Option<u64>,
    /// The destination's clock (filled in by the mover).
    #[serde(default)]
    pub answered_at: Option<Timestamp>,
}

/// What a destination wants a source to do after a handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Verdict {
    /// Send. The destination has recorded that its claim is dirty.
    Send {
        /// The fencing token of this session.
        token: u64,
        /// Whether the receiving claim equalled, when the session began, the newest published and still existing replica.
        /// Only then may the commit say that nothing changed.
        clean: bool,
        /// How long to go on asking `published?` after the commit, in seconds.
        publish_deadline: u64,
    },
    /// This sync was received already: go on with `published?`.
    Received {
        /// How long to go on asking, in seconds.
        publish_deadline: u64,
    },
    /// Come back later: something is being published, or the controller is away. This uses no attempt.
    Wait {
        /// When to come back, in seconds.
        seconds: u64,
        /// What it waits for.
        message: String,
    },
    /// No.
    Refused {
        /// The name of a reason in `scribe_crds::conditions`.
        reason: String,
        /// In words, for the status of the source.
        message: String,
        /// Whether another attempt of the same sync is of no use.
        permanent: bool,
    },
}

/// What a file system, mounted as it is and written by the user that the mover is, can keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abilities {
    /// POSIX ACLs.
    pub acls: bool,
    /// Extended attributes in the namespace `user`.
    pub user_xattrs: bool,
    /// `security.capability`.
    pub file_capabilities: bool,
    /// Owners and groups of any file.
    pub owners: bool,
    /// Device nodes.
    pub devices: bool,
    /// Hard links.
    pub hard_links: bool,
    /// Symbolic links.
    pub symlinks: bool,
    /// Holes in files.
    pub holes: bool,
    /// The finest time stamp, in nanoseconds.
    pub time_grain: u64,
    /// Names that differ only in case are different files.
    pub case_sensitive: bool,
}

/// What a source says when it has sent everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// The sync.
    pub sync_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The uid of the source claim.
    pub claim_uid: String,
    /// The uid of the cut.
    pub cut_uid: String,
    /// The time of the data.
    pub data_time: Timestamp,
    /// What the cut can be relied upon to be.
    pub consistency: Consistency,
    /// How changed files were found.
    pub comparison: Comparison,
    /// Whether the transfer found no difference at all.
    pub unchanged: bool,
    /// What was moved.
    pub counts: Counts,
}

/// What a transfer amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// The size of all files, in bytes.
    pub bytes_total: u64,
    /// What went over the wire, both directions, in bytes.
    pub bytes_sent: u64,
    /// Content that had to be sent, in bytes.
    pub bytes_literal: u64,
    /// All entries.
    pub files_total: u64,
    /// Regular files sent, wholly or in part.
    pub files_sent: u64,
    /// Entries deleted at the destination.
    pub files_deleted: u64,
}

impl Counts {
    /// The progress of a transfer that has come to its end.
    pub fn all_done(&self) -> Progress {
        Progress {
            bytes_done: self.bytes_total,
            bytes_total: self.bytes_total,
            files_done: self.files_total,
            files_total: self.files_total,
            rate: 0,
        }
    }
}

/// The destination's answer to a progress of its session: it shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressNoted {}

/// The destination's answer to a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum CommitAnswer {
    /// Recorded, flushed and sealed.
    Received {
        /// The uid of the receiving claim.
        claim_uid: String,
        /// How long to go on asking `published?`, in seconds.
        publish_deadline: u64,
        /// The answer to `published?`, if that is yes already: nothing had changed, or it was committed and published before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        published: Option<PublicationState>,
    },
    /// Not recorded yet: ask again (the controller is away).
    Wait {
        /// When to ask again, in seconds.
        seconds: u64,
    },
    /// Refused for good.
    Refused {
        /// The name of a reason in `scribe_crds::conditions`.
        reason: String,
        /// In words.
        message: String,
    },
}

/// A source asks what has become of a sync. This changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The sync.
    pub sync_id: String,
    /// The attempt that asks.
    pub attempt: u32,
}

/// What has become of a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum PublicationState {
    /// Published.
    Yes {
        /// The time of the data.
        data_time: Timestamp,
        /// Nothing had changed: the newest replica is what the source was at this time, too, and no new one was made.
        #[serde(default)]
        unchanged: bool,
    },
    /// Not yet.
    NotYet {
        /// What it waits for.
        message: String,
    },
    /// No snapshot could be made. The next attempt of this sync publishes what was received without sending it again.
    GaveUp {
        /// In the snapshotter's words.
        message: String,
    },
    /// This destination does not know that sync (any more).
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake {
            protocol: 1,
            sync_id: "sync-1".to_owned(),
            attempt: 1,
            cluster_id: "5f0a8c1e-6f4e-4b1c-9d52-0a4f9a1f6f0e".to_owned(),
            claim_uid: "claim".to_owned(),
            cut_uid: "cut".to_owned(),
            data_time: Timestamp::UNIX_EPOCH,
            consistency: Consistency::Crash,
            comparison: Comparison::Content,
            relationship: "relationship".to_owned(),
            generation: 1,
            source_name: "shop/orders-nächtlich".to_owned(),
            rpo_seconds: None,
            schedule: Some("*/5 * * * *".to_owned()),
            time_zone: Some("Europe/Berlin".to_owned()),
            volume_mode: VolumeMode::Filesystem,
            expected_bytes: 0,
            expected_files: 0,
            sent_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_a_legitimate_source_says_is_accepted() {
        let plain = handshake();
        let longest = Handshake { sync_id: "s".repeat(63), claim_uid: "U".repeat(64), ..handshake() };
        let bare = Handshake {
            cut_uid: String::new(),
            relationship: String::new(),
            schedule: None,
            time_zone: None,
            ..handshake()
        };
        for good in [plain, longest, bare] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_or_a_status_is_not_accepted() {
        type Change = fn(&mut Handshake);
        let cases: [(&str, Change); 13] = [
            ("sync id", |it| it.sync_id = String::new()),
            ("sync id", |it| it.sync_id = "s".repeat(64)),
            ("sync id", |it| it.sync_id = "Sync".to_owned()),
            ("sync id", |it| it.sync_id = "../sync".to_owned()),
            ("cluster id", |it| it.cluster_id = String::new()),
            ("cluster id", |it| it.cluster_id = "a b".to_owned()),
            ("source claim", |it| it.claim_uid = "u".repeat(65)),
            ("the cut", |it| it.cut_uid = "é".to_owned()),
            ("relationship", |it| it.relationship = "a\n".to_owned()),
            ("name of the source", |it| it.source_name = "n".repeat(513)),
            ("name of the source", |it| it.source_name = "a\u{1b}[2J".to_owned()),
            ("schedule", |it| it.schedule = Some("* * * * *\n".to_owned())),
            ("time zone", |it| it.time_zone = Some("z".repeat(513))),
        ];
        for (name, change) in cases {
            let mut bad = handshake();
            change(&mut bad);
            let error = bad.check().expect_err(name);
            assert!(error.contains(name), "{name}: {error}");
        }
    }
}
