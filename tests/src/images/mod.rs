//! Container images without a container engine: Debian packages unpacked by mmdebstrap, layers stacked by umoci.

mod builder;

use std::path::PathBuf;

use anyhow::Result;

pub use builder::{Config, Image};

use crate::cluster::{PAUSE_IMAGE, cache_dir};

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
    let archive = archives_dir()?.join("pause.tar");
    if !archive.exists() {
        let image = Image {
            name: PAUSE_IMAGE.into(),
            packages: Vec::new(),
            overlay: None,
            files: vec![(PathBuf::from("/usr/bin/catatonit"), "pause".into())],
            config: Config {
                entrypoint: vec!["/pause".into(), "-P".into()],
                user: Some("65535:65535".into()),
                ..Config::default()
            },
        };
        image.build(&archive)?;
    }
    Ok(archive)
}
