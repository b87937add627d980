//! The objects that most tests begin with.

use anyhow::Result;
use scribe_tests::site::Volume;
use scribe_tests::world::Pair;
use serde_json::{Value, json};

/// The uid of an application, and so of the movers that read its data.
pub const APP: u32 = 2000;

/// How a destination receives: over the network that its side of the pair needs.
pub fn destination(class: &str, size: &str) -> Value {
    json!({
        "rsync": {
            "capacity": size, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "serviceType": "NodePort",
            "moverSecurityContext": { "runAsUser": APP, "runAsGroup": APP, "fsGroup": APP }
        }
    })
}

/// A source that syncs when it is told to.
pub fn source(claim: &str) -> Value {
    json!({
        "sourcePVC": claim,
        "trigger": { "manual": "first" },
        "rsync": { "sshKeys": "keys", "moverSecurityContext": { "runAsUser": APP, "runAsGroup": APP } }
    })
}

/// `base` with `change` merged into it, as `kubectl patch --type merge` does.
pub fn with(mut base: Value, change: Value) -> Value {
    merge(&mut base, change);
    base
}

fn merge(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

/// A claim `data` in the source's namespace, mounted and filled; a destination `db` on the other side; its Secret carried over. The
/// source is left to the test.
pub async fn prepare(
    pair: &Pair,
    class: &str,
    destination: Value,
    fill: impl FnOnce(&std::path::Path) -> Result<()>,
) -> Result<Volume> {
    pair.source.claim("data", class, "1Gi").await?;
    let volume = pair.source.hold("data").await?;
    fill(&volume.path)?;
    volume.flush()?;
    pair.destination.destination("db", destination).await?;
    pair.destination.carry_secret("db", &pair.source, "keys").await?;
    Ok(volume)
}
