//! The way to the destination: ssh's configuration, and a connection that is tried until it stands.

use crate::args::RunArgs;
use crate::environment::utf8;
use crate::keys::{Keys, write_private};
use crate::reason::{Failure, Reason};
use crate::rsync::arguments::DESTINATION;
use anyhow::{Context, Result, ensure};
use openssh::{KnownHosts, Session, SessionBuilder};
use scribe_mover_contract::LOGIN;
use scribe_mover_contract::job::{SourceJob, Timeouts};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the destination is, and how to prove who is who.
#[derive(Debug)]
pub struct Route {
    /// ssh's configuration: the destination is the host [`DESTINATION`] in it.
    pub config: PathBuf,
    /// The relationship that the keys belong to.
    pub relationship: String,
    known_hosts: PathBuf,
    private: PathBuf,
    timeouts: Timeouts,
    address: String,
}

impl Route {
    /// Copies the keys and writes ssh's configuration.
    ///
    /// # Errors
    /// A key is missing.
    pub fn prepare(args: &RunArgs, job: &SourceJob) -> Result<Self> {
        let keys = Keys::new(args.keys_dir.clone());
        let private = args.private_dir();
        let (identity, known_hosts, config) =
            (private.join("identity"), private.join("known_hosts"), private.join("ssh_config"));
        keys.copy_private("source", &identity)?;
        let line = format!("{DESTINATION} {}\n", keys.public("destination.pub")?);
        write_private(&known_hosts, line.as_bytes())?;
        let address = job.address.clone().map_or_else(|| keys.text("address"), Ok)?;
        let port = match job.port {
            Some(port) => port,
            None => keys.text("port")?.parse().context("parse the Secret's port")?,
        };
        ensure!(is_host(&address), "the address {address:?} is not a host name or an IP address");
        let text = configuration(&address, port, utf8(&identity)?, utf8(&known_hosts)?, &job.timeouts);
        write_private(&config, text.as_bytes())?;
        let address = format!("{address} port {port}");
        let relationship = keys.text("relationship")?;
        Ok(Self { config, relationship, known_hosts, private, timeouts: job.timeouts.clone(), address })
    }

    /// Connects; tries again while the destination does not answer.
    ///
    /// # Errors
    /// It has not answered for as long as the timeouts allow, or one side does not accept the other's key.
    pub async fn connect(&self) -> Result<Session, Failure> {
        let deadline = Instant::now() + Duration::from_secs(self.timeouts.unreachable);
        loop {
            let error = match self.connect_once().await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let words = chain(&error);
            if let Some(failure) = key_failure(&words) {
                return Err(failure);
            }
            tracing::info!("{} does not answer: {words}", self.address);
            if Instant::now() + PAUSE >= deadline {
                return Err(Failure::transient(
                    Reason::DestinationUnreachable,
                    format!("{}: {words}", self.address),
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn connect_once(&self) -> Result<Session, openssh::Error> {
        SessionBuilder::default()
            .known_hosts_check(KnownHosts::Strict)
            .user_known_hosts_file(&self.known_hosts)
            .connect_timeout(Duration::from_secs(self.timeouts.connect))
            .control_directory(&self.private)
            // Those of a mover that was killed.
            .clean_history_control_directory(true)
            .config_file(&self.config)
            .connect(DESTINATION)
            .await
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words.replace(['\r', '\n'], " ").chars().take(512).collect()
}

/// A failure that trying again does not mend.
fn key_failure(words: &str) -> Option<Failure> {
    let says = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
    if says(&["Host key verification failed", "HOST IDENTIFICATION HAS CHANGED", "no matching host key type"])
    {
        let message = "what answers at the address has another host key than the destination";
        return Some(Failure::permanent(Reason::HostKeyMismatch, message));
    }
    if says(&["Permission denied (publickey", "Too many authentication failures"]) {
        let message = "the destination does not accept the source's key";
        return Some(Failure::permanent(Reason::ClientKeyRejected, message));
    }
    None
}

/// What becomes a line of a configuration must not be able to become two.
fn is_host(address: &str) -> bool {
    !address.is_empty()
        && address.len() <= 253
        && !address.starts_with('-')
        && address.chars().all(|c| c.is_ascii_alphanumeric() || ".:-_%".contains(c))
}

fn configuration(address: &str, port: u16, identity: &str, known_hosts: &str, timeouts: &Timeouts) -> String {
    // A peer is given up after this many questions without an answer, plus the one interval before the first.
    let interval = (timeouts.silence.min(120) / 3).max(1);
    let address = address.replace('%', "%%");
    format!(
        "Host {DESTINATION}\n\
         HostName {address}\n\
         Port {port}\n\
         User {LOGIN}\n\
         HostKeyAlias {DESTINATION}\n\
         IdentityFile {identity}\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         UserKnownHostsFile {known_hosts}\n\
         GlobalKnownHostsFile /dev/null\n\
         UpdateHostKeys no\n\
         StrictHostKeyChecking yes\n\
         PreferredAuthentications publickey\n\
         BatchMode yes\n\
         ForwardAgent no\n\
         ClearAllForwardings yes\n\
         Compression no\n\
         Ciphers {ciphers}\n\
         ConnectTimeout {connect}\n\
         ServerAliveInterval {interval}\n\
         ServerAliveCountMax 2\n\
         LogLevel ERROR\n",
        ciphers = ciphers(has_aes()),
        connect = timeouts.connect,
    )
}

/// The fastest first. All of them authenticate what they encrypt.
fn ciphers(has_aes: bool) -> &'static str {
    if has_aes {
        "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
    } else {
        "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
    }
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = false;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_add_lines() {
        for good in ["10.0.0.1", "fd00::1", "fe80::1%eth0", "replica.example.org"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a b", "a\nProxyCommand id", "-oProxyCommand=id", "a\"b", "a#b"] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_not_tried_again() {
        let reason = |words: &str| key_failure(words).map(|failure| failure.reason);
        assert_eq!(
            reason("scribe@10.0.0.1: Permission denied (publickey)."),
            Some("ClientKeyRejected".to_owned())
        );
        assert_eq!(reason("Host key verification failed."), Some("HostKeyMismatch".to_owned()));
        assert_eq!(reason("connect to host 10.0.0.1 port 8022: Connection refused"), None);
        assert_eq!(reason("Connection closed by 10.0.0.1 port 8022"), None);
    }

    #[test]
    fn a_dead_peer_is_noticed_within_two_minutes() {
        let timeouts = Timeouts { silence: 10_000, ..Timeouts::default() };
        assert!(
            configuration("a", 1, "/i", "/k", &timeouts)
                .contains("ServerAliveInterval 40\nServerAliveCountMax 2\n")
        );
    }
}
