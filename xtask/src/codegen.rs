//! `cargo xtask codegen`: writes the files that are generated from the API types.

use anyhow::Context;
use scribe_tests::cluster::repository;

/// Writes what differs, and says so.
pub fn run() -> anyhow::Result<()> {
    for (name, text) in scribe_crds::generated::files().context("write the definitions as YAML")? {
        let path = repository().join("crds").join(&name);
        if std::fs::read_to_string(&path).is_ok_and(|committed| committed == text) {
            tracing::info!("crds/{name} is as it should be");
            continue;
        }
        std::fs::write(&path, text).with_context(|| format!("write crds/{name}"))?;
        tracing::info!("crds/{name} written");
    }
    Ok(())
}
