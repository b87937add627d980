//! What a Scribe mover and its controller, and two movers, say to each other.
//!
//! Three conversations, and nothing but data:
//!
//! * [`job`]: the controller tells a mover what to do, once, in the environment variable `SCRIBE_JOB`; a source mover leaves a
//!   [`job::Termination`] behind.
//! * [`control`]: while the mover runs, the controller reads its [`control::MoverState`] by long poll, answers its
//!   questions and gives it orders, over HTTP with a bearer token.
//! * [`peer`]: a source mover talks to a destination mover, over ssh: handshake, rsync (and how far it is), commit, `published?`.
//!
//! A destination mover judges nothing by itself. What a peer asks becomes a [`control::Question`]; the controller decides, records
//! its decision in the status of its object, and only then answers. So whatever dies, the record is never behind the deed.
#![warn(missing_docs)]

pub mod control;
pub mod guards;
pub mod job;
pub mod peer;

/// The newest version of the protocols in this crate. A mover and a controller also speak the one before.
pub const PROTOCOL: u32 = 1;
/// The oldest version that is still spoken.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Where the keys of a mover are mounted, read-only.
pub const KEYS_DIR: &str = "/scribe/keys";
/// Where the control token is mounted, as the file `token`.
pub const CONTROL_DIR: &str = "/scribe/control";
/// Where the volume is mounted.
pub const DATA_DIR: &str = "/data";
/// A writable folder of the pod's own, in memory: copies of keys, sockets, sshd's configuration.
pub const RUN_DIR: &str = "/scribe/run";
/// The name that a source logs in with. Whatever uid a destination mover runs as, this is its name for sshd.
pub const LOGIN: &str = "scribe";
/// What the forced command exits with when it refuses a request: a stale token, a sealed volume, something that is not allowed.
pub const REFUSED_EXIT: i32 = 77;
/// The port that a destination's sshd listens on.
pub const SSH_PORT: u16 = 8022;
/// The port of the control API, on both ends.
pub const CONTROL_PORT: u16 = 8023;

/// What a source mover may do as root, and no more: read every file. Its volume is mounted read-only, so it cannot write with it.
/// (`DAC_READ_SEARCH` would say just that, but the Pod Security level `baseline` does not allow it.)
pub const PRIVILEGED_SOURCE_CAPABILITIES: &[&str] = &["DAC_OVERRIDE"];
/// What a destination mover may do as root: keep owners, modes, set-id bits, devices and `security.capability` of any file, and
/// run sshd with its own privilege separation. All of it is within the Pod Security level `baseline`.
pub const PRIVILEGED_DESTINATION_CAPABILITIES: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID", "SYS_CHROOT", "MKNOD", "SETFCAP"];
