//! What the programs that the mover starts need to find: a private folder, and a name for whatever uid the pod runs as.

use crate::args::RunArgs;
use anyhow::{Context, Result, bail};
use rustix::process::{getgid, getuid};
use scribe_mover_contract::LOGIN;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The library that makes passwd entries out of a file of ours. ssh and sshd refuse a uid without a name, and a pod may run as any:
/// OpenShift assigns high ones, and whoever owns the data of a database often has a low one.
const NSS_WRAPPER: &str = "libnss_wrapper.so";
/// Where rsync, ssh and sshd are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The folder that Debian's sshd is compiled to lock its unprivileged half into, when it runs as root.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// Makes the private folder and the passwd file; returns the variables that every program of the mover is to have.
pub fn prepare(args: &RunArgs) -> Result<Vec<(&'static str, String)>> {
    let private = args.private_dir();
    make_private(&private)?;
    if getuid().is_root() {
        make_privilege_separation()?;
    }
    let (passwd, group) = (private.join("passwd"), private.join("group"));
    let home = utf8(&private)?;
    fs::write(&passwd, passwd_file(getuid().as_raw(), getgid().as_raw(), home))
        .with_context(|| format!("write {}", passwd.display()))?;
    fs::write(&group, format!("{LOGIN}:*:{}:\n", getgid().as_raw()))
        .with_context(|| format!("write {}", group.display()))?;
    Ok(vec![
        ("LD_PRELOAD", NSS_WRAPPER.to_owned()),
        ("NSS_WRAPPER_PASSWD", utf8(&passwd)?.to_owned()),
        ("NSS_WRAPPER_GROUP", utf8(&group)?.to_owned()),
        ("HOME", home.to_owned()),
        ("PATH", PATH.to_owned()),
        // Messages are read by us: they must be the untranslated ones, with odd bytes of names escaped.
        ("LC_ALL", "C".to_owned()),
    ])
}

/// Fails if ssh would not know the user that this process is.
///
/// # Errors
/// The library is not in the image.
pub async fn check_login() -> Result<()> {
    let output = tokio::process::Command::new("id").args(["-u", LOGIN]).output().await.context("run id")?;
    if String::from_utf8_lossy(&output.stdout).trim() != getuid().as_raw().to_string() {
        bail!(
            "the user {LOGIN} is not this process's; is {NSS_WRAPPER} (Debian: libnss-wrapper) in the image?"
        );
    }
    Ok(())
}

fn passwd_file(uid: u32, gid: u32, home: &str) -> String {
    let mut file = format!("{LOGIN}:*:{uid}:{gid}::{home}:/bin/sh\n");
    if uid == 0 {
        // sshd as root hands its unprivileged half to this user.
        file.push_str("sshd:*:65533:65533::/run/sshd:/usr/sbin/nologin\n");
    }
    file
}

fn make_private(private: &Path) -> Result<()> {
    // A container that is started again finds the folder of the one before.
    match fs::DirBuilder::new().mode(0o700).create(private) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.with_context(|| format!("create {}", private.display()))?,
    }
    fs::set_permissions(private, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("make {} private", private.display()))
}

fn make_privilege_separation() -> Result<()> {
    let path = Path::new(PRIVILEGE_SEPARATION);
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().mode(0o755).create(path).with_context(|| {
        format!("create {PRIVILEGE_SEPARATION}, which sshd needs as root; the image should have it")
    })
}

/// A path as it stands in configuration files of others, which know only text.
///
/// # Errors
/// It is not UTF-8, or would need quoting.
pub fn utf8(path: &Path) -> Result<&str> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !text.chars().all(plain) {
        bail!("{text} has characters that would need quoting");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_needs_the_user_of_sshd() {
        assert_eq!(passwd_file(70, 0, "/run"), "scribe:*:70:0::/run:/bin/sh\n");
        assert!(passwd_file(0, 0, "/run").contains("\nsshd:"));
    }

    #[test]
    fn paths_that_need_quoting_are_refused() {
        assert!(utf8(Path::new("/a b")).is_err());
        assert!(utf8(Path::new("/a\"b")).is_err());
        assert!(utf8(Path::new("/scribe/run-1/x.y_z")).is_ok());
    }
}
