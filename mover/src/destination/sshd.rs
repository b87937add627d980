//! sshd as the mover's own user: one key may log in, and gets one forced command.

use crate::args::RunArgs;
use crate::environment::utf8;
use crate::keys::{Keys, write_private};
use anyhow::{Context, Result};
use scribe_mover_contract::LOGIN;
use scribe_mover_contract::job::Timeouts;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// sshd starts itself again for each connection, and refuses to without the whole path.
const SSHD: &str = "/usr/sbin/sshd";

/// Writes sshd's configuration and starts it.
///
/// # Errors
/// A key is missing, or sshd is.
pub fn start(args: &RunArgs, timeouts: &Timeouts, socket: &Path) -> Result<Child> {
    let private = args.private_dir();
    let keys = Keys::new(args.keys_dir.clone());
    let (host_key, authorized, config) =
        (private.join("host_key"), private.join("authorized_keys"), private.join("sshd_config"));
    keys.copy_private("destination", &host_key)?;
    write_private(&authorized, authorized_keys(args, socket, &keys.public("source.pub")?)?.as_bytes())?;
    write_private(&config, configuration(args, timeouts, &host_key, &authorized)?.as_bytes())?;
    let mut child = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start sshd")?;
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(async move {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::info!("sshd: {line}");
            }
        });
    }
    Ok(child)
}

fn authorized_keys(args: &RunArgs, socket: &Path, source: &str) -> Result<String> {
    let this = std::env::current_exe().context("find the mover's own executable")?;
    let (this, socket, data) = (utf8(&this)?, utf8(socket)?, utf8(&args.data_dir)?);
    Ok(format!("restrict,command=\"exec {this} session --socket {socket} --data-dir {data}\" {source}\n"))
}

fn configuration(args: &RunArgs, timeouts: &Timeouts, host_key: &Path, authorized: &Path) -> Result<String> {
    let listen = match args.listen {
        Some(address) => format!("ListenAddress {address}\n"),
        None => String::new(),
    };
    // A peer is dropped after this many questions without an answer, plus the one interval before the first.
    let interval = (timeouts.silence.min(120) / 3).max(1);
    Ok(format!(
        "{listen}Port {port}\n\
         HostKey {host_key}\n\
         AuthorizedKeysFile {authorized}\n\
         AllowUsers {LOGIN}\n\
         AuthenticationMethods publickey\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin forced-commands-only\n\
         # The folder is ours alone, but those above it belong to the kubelet, which sshd would object to.\n\
         StrictModes no\n\
         UsePAM no\n\
         PidFile none\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         DisableForwarding yes\n\
         PermitTTY no\n\
         PermitUserRC no\n\
         PermitUserEnvironment no\n\
         Compression no\n\
         Ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com\n\
         MaxAuthTries 3\n\
         # Of one connection: a commit, and beside it what is left of a progress.\n\
         MaxSessions 16\n\
         # Whoever has no key must not fill the pod with processes; our source has two connections at most.\n\
         PerSourceMaxStartups 4\n\
         MaxStartups 16:50:64\n\
         LoginGraceTime 20\n\
         ClientAliveInterval {interval}\n\
         ClientAliveCountMax 2\n\
         LogLevel INFO\n",
        port = args.ssh_port,
        host_key = utf8(host_key)?,
        authorized = utf8(authorized)?,
    ))
}
