//! A cgroup of the cluster's own, in every hierarchy, for the kubelet's pods.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where cgroup hierarchies are mounted: one per controller with version 1, a single one with version 2.
#[derive(Debug, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mount points of version 1.
    pub v1: Vec<PathBuf>,
    /// The mount point of version 2; beside version 1 it holds no controllers.
    pub v2: Option<PathBuf>,
}

impl Hierarchies {
    /// # Errors
    /// The mount table cannot be read.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("read the mount table")?;
        Ok(Self::parse(&mounts))
    }

    fn parse(mounts: &str) -> Self {
        let of_type = |wanted: &str| -> Vec<PathBuf> {
            let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let matching = fields.filter(|fields| fields.get(2) == Some(&wanted));
            matching.filter_map(|fields| fields.get(1).map(PathBuf::from)).collect()
        };
        Self { v1: of_type("cgroup"), v2: of_type("cgroup2").into_iter().next() }
    }

    /// Makes the group `name` in every hierarchy.
    ///
    /// # Errors
    /// A group cannot be made.
    pub fn create(&self, name: &str) -> Result<()> {
        for root in &self.v1 {
            let group = root.join(name);
            fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
            // A new cpuset is empty, and an empty one accepts no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                copy_if_there(&root.join(file), &group.join(file))?;
            }
        }
        match &self.v2 {
            Some(root) if self.v1.is_empty() => create_v2(root, name),
            _ => Ok(()),
        }
    }

    /// Removes the group `name` and all below it. The processes in it are gone already.
    ///
    /// # Errors
    /// A group still holds a process.
    pub fn remove(&self, name: &str) -> Result<()> {
        for root in self.v1.iter().chain(&self.v2) {
            remove_tree(&root.join(name))?;
        }
        Ok(())
    }
}

fn create_v2(root: &Path, name: &str) -> Result<()> {
    let group = root.join(name);
    fs::create_dir_all(&group).with_context(|| format!("create {}", group.display()))?;
    let available = root.join("cgroup.controllers");
    let controllers =
        fs::read_to_string(&available).with_context(|| format!("read {}", available.display()))?;
    for level in [root, group.as_path()] {
        let file = level.join("cgroup.subtree_control");
        for controller in controllers.split_whitespace() {
            fs::write(&file, format!("+{controller}"))
                .with_context(|| format!("enable {controller} in {}", file.display()))?;
        }
    }
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> Result<()> {
    match fs::read_to_string(from) {
        Ok(value) => fs::write(to, value.trim()).with_context(|| format!("write {}", to.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("read {}", from.display())),
    }
}

fn remove_tree(group: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(group) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path())?;
    }
    // The files in a cgroup cannot be removed, and need not be.
    fs::remove_dir(group).with_context(|| format!("remove the cgroup {}", group.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = Hierarchies::parse(mounts);
        assert_eq!(found.v1, [PathBuf::from("/sys/fs/cgroup/cpu")]);
        assert_eq!(found.v2, Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn version_two_alone() {
        let found = Hierarchies::parse("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!((found.v1.len(), found.v2), (0, Some(PathBuf::from("/sys/fs/cgroup"))));
    }
}
