//! The cluster's processes: started detached, told apart from others that reuse their id, found again after a crash.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::components::Component;
use super::layout::Layout;
use crate::command::tail;

/// How long killed processes may take to be gone; one in uninterruptible sleep waits for its disk.
const DEATH: Duration = Duration::from_secs(30);

/// Starts a component in the cluster's network namespace. It outlives this process.
///
/// # Errors
/// Its log cannot be created, or `nsenter` cannot be started.
pub fn start(layout: &Layout, component: &Component, path: &str) -> Result<()> {
    let log = layout.log(component.name);
    let output = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("open {}", log.display()))?;
    let errors = output.try_clone().with_context(|| format!("share {}", log.display()))?;
    let mut command = Command::new("nsenter");
    // `setsid` neither forks nor returns here, so the child's id is the component's.
    command.arg(format!("--net={}", layout.netns().display())).arg("setsid");
    command.arg(&component.program).args(&component.args);
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .envs(component.env.iter().cloned());
    command.current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    let child = command.spawn().with_context(|| format!("start {}", component.name))?;
    let pid = child.id();
    let started = start_time(pid).with_context(|| {
        format!("{} ended at once:\n{}", component.name, log_tail(layout, component.name))
    })?;
    let file = layout.pid_file(component.name);
    fs::write(&file, format!("{pid} {started}")).with_context(|| format!("write {}", file.display()))
}

/// The process id of a component that runs. A process that merely got the id of a dead one does not count.
#[must_use]
pub fn running(layout: &Layout, component: &str) -> Option<u32> {
    let text = fs::read_to_string(layout.pid_file(component)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid: u32 = pid.parse().ok()?;
    (start_time(pid)?.to_string() == started).then_some(pid)
}

/// Kills one component and waits until it is gone. One that does not run is not an error.
///
/// # Errors
/// It does not die.
pub fn stop(layout: &Layout, component: &str) -> Result<()> {
    if let Some(pid) = running(layout, component) {
        kill(pid);
        let deadline = Instant::now() + DEATH;
        while running(layout, component).is_some() {
            ensure!(Instant::now() < deadline, "{component} (process {pid}) does not die");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let _ = fs::remove_file(layout.pid_file(component));
    Ok(())
}

/// Kills every process of the cluster, whether it was recorded or not, and waits until all are gone.
///
/// A process belongs to the cluster if it is in its network namespace (components, shims, pods on the host network) or in its
/// cgroup (all other pods). Nothing else is ever killed.
///
/// # Errors
/// Some do not die.
pub fn kill_all(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + DEATH;
    loop {
        let pids = members(layout);
        if pids.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "processes {pids:?} of cluster {} do not die", layout.name);
        pids.into_iter().for_each(kill);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The end of a component's log.
#[must_use]
pub fn log_tail(layout: &Layout, component: &str) -> String {
    let path = layout.log(component);
    let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    format!("--- end of {}\n{}", path.display(), tail(&text, 15))
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Already gone is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn members(layout: &Layout) -> Vec<u32> {
    let netns = fs::metadata(layout.netns()).ok().map(|meta| (meta.dev(), meta.ino()));
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let scope = layout.scope();
    pids.filter(|pid| {
        *pid != own && (in_netns(*pid, netns) || in_cgroup(*pid, &scope)) && start_time(*pid).is_some()
    })
    .collect()
}

fn in_netns(pid: u32, netns: Option<(u64, u64)>) -> bool {
    let of_process = fs::metadata(proc_file(pid, "ns/net")).ok().map(|meta| (meta.dev(), meta.ino()));
    netns.is_some() && of_process == netns
}

fn in_cgroup(pid: u32, scope: &str) -> bool {
    fs::read_to_string(proc_file(pid, "cgroup")).is_ok_and(|text| names_cgroup(&text, scope))
}

fn names_cgroup(proc_cgroup: &str, scope: &str) -> bool {
    let paths = proc_cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|path| path.strip_prefix('/')).any(|path| path.split('/').next() == Some(scope))
}

/// Clock ticks since boot at which the process started; `None` if there is none, or only a zombie.
fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(proc_file(pid, "stat")).ok()?)
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The name stands in brackets and may hold spaces and brackets itself.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn proc_file(pid: u32, file: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_of_a_process_with_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time(&stat.replace(") S", ") Z")), None);
        assert!(start_time(std::process::id()).is_some());
    }

    #[test]
    fn only_the_whole_name_of_a_cgroup_matches() {
        let text = "5:devices:/scribe-west/kubepods/x\n0::/\n";
        assert!(names_cgroup(text, "scribe-west"));
        assert!(!names_cgroup(text, "scribe-we"));
        assert!(!names_cgroup("5:devices:/a/scribe-west\n", "scribe-west"));
    }
}
