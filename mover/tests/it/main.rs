//! Both ends as processes on this machine: a real sshd, a real rsync, real file systems, and a controller that is played by
//! the test. They need root, for loop mounts and for becoming other users, and the packages that `harness::need` names; a
//! missing one fails the tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod connections;
mod fidelity;
mod guards;
mod harness;
mod live;
mod sessions;
mod surveys;
mod transfers;
