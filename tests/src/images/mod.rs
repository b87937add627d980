//! Container images without a container engine: Debian packages unpacked by mmdebstrap, layers stacked by umoci.

mod builder;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use builder::{Config, Image};

use crate::cluster::{PAUSE_IMAGE, cache_dir, repository};

/// The image of the controller and the mover.
pub const SCRIBE_IMAGE: &str = "localhost/scribe:dev";
/// PostgreSQL 15 in `/usr/lib/postgresql/15/bin`, with uid and gid 999 for it.
pub const POSTGRES_IMAGE: &str = "localhost/scribe-postgres:dev";
/// Modules of hooks, to be mounted.
pub const HOOKS_IMAGE: &str = "localhost/scribe-hooks:dev";
/// A shell and the tools of a file system's user.
pub const WORKLOAD_IMAGE: &str = "localhost/scribe-workload:dev";

const PATH: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder for finished archives.
///
/// # Errors
/// There is no cache folder.
pub fn archives_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("images"))
}

/// The image that holds a pod's namespaces open: a static program that reaps and waits, and nothing else.
///
/// # Errors
/// It cannot be built.
pub fn pause() -> Result<PathBuf> {
    let config = Config {
        entrypoint: vec!["/pause".into(), "-P".into()],
        user: Some("65535:65535".into()),
        env: Vec::new(),
    };
    let files = vec![(PathBuf::from("/usr/bin/catatonit"), "pause".into())];
    Image { name: PAUSE_IMAGE.into(), packages: Vec::new(), overlay: None, files, config }.build()
}

/// [`SCRIBE_IMAGE`] with the given programs in `/usr/local/bin`, each under its own file name.
///
/// # Errors
/// A program does not exist, or the image cannot be built.
pub fn scribe(programs: &[PathBuf]) -> Result<PathBuf> {
    let place = |program: &PathBuf| {
        let name = program.file_name().with_context(|| format!("{} is no program", program.display()))?;
        Ok((program.clone(), format!("usr/local/bin/{}", name.to_string_lossy())))
    };
    let files = programs.iter().map(place).collect::<Result<Vec<_>>>()?;
    from_folder(SCRIBE_IMAGE, &repository().join("deploy/images/scribe"), files, Some("65532:65532"), PATH)
}

/// [`HOOKS_IMAGE`] with these modules in its root folder, each under its own file name.
///
/// # Errors
/// A module does not exist, or the image cannot be built.
pub fn hooks(modules: &[PathBuf]) -> Result<PathBuf> {
    let place = |module: &PathBuf| {
        let name = module.file_name().with_context(|| format!("{} is no module", module.display()))?;
        Ok((module.clone(), name.to_string_lossy().into_owned()))
    };
    let files = modules.iter().map(place).collect::<Result<Vec<_>>>()?;
    let config = Config::default();
    Image { name: HOOKS_IMAGE.into(), packages: Vec::new(), overlay: None, files, config }.build()
}

/// [`POSTGRES_IMAGE`].
///
/// # Errors
/// It cannot be built.
pub fn postgres() -> Result<PathBuf> {
    let path = format!("/usr/lib/postgresql/15/bin:{PATH}");
    from_folder(
        POSTGRES_IMAGE,
        &repository().join("tests/images/postgres"),
        Vec::new(),
        Some("999:999"),
        &path,
    )
}

/// [`WORKLOAD_IMAGE`].
///
/// # Errors
/// It cannot be built.
pub fn workload() -> Result<PathBuf> {
    from_folder(WORKLOAD_IMAGE, &repository().join("tests/images/workload"), Vec::new(), None, PATH)
}

/// An image from a folder with `packages.txt` and `rootfs/`.
fn from_folder(
    name: &str,
    folder: &Path,
    files: Vec<(PathBuf, String)>,
    user: Option<&str>,
    path: &str,
) -> Result<PathBuf> {
    let list = folder.join("packages.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let config = Config {
        entrypoint: Vec::new(),
        user: user.map(Into::into),
        env: vec![format!("PATH={path}"), "LANG=C.UTF-8".into()],
    };
    let overlay = Some(folder.join("rootfs"));
    Image { name: name.into(), packages: packages(&text), overlay, files, config }.build()
}

/// One package a line; `#` begins a comment.
fn packages(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_packages() {
        assert_eq!(packages("# a list\nrsync\n\n dash # a shell\n"), ["rsync", "dash"]);
    }
}
