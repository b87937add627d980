//! PostgreSQL on a claim, with a container beside it that may freeze the claim's file system.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::images::{POSTGRES_IMAGE, WORKLOAD_IMAGE};
use crate::kubectl::Kubectl;
use crate::site::Site;
use crate::wait::await_condition;

/// The uid of the server.
pub const UID: u32 = 999;
/// Where both containers have the claim.
pub const DIRECTORY: &str = "/volume";

/// Starts such a pod, labelled `app` with its name, and waits until the database answers. The containers are `postgres` and `freezer`.
///
/// # Errors
/// The API server refuses it, or it does not become ready.
pub async fn start(site: &Site, name: &str, claim: &str) -> Result<()> {
    let mut object = pod(name, claim);
    object["metadata"]["namespace"] = json!(site.namespace);
    Kubectl::of(&site.cluster).apply(&object.to_string())?;
    let is_ready = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
    };
    await_condition(&site.api::<Pod>(), name, "ready", is_ready).await?;
    Ok(())
}

fn pod(name: &str, claim: &str) -> Value {
    let start = "if [ ! -s \"$PGDATA/PG_VERSION\" ]; then initdb --username=postgres --auth=trust --data-checksums >&2; fi
        exec postgres -c listen_addresses= -c unix_socket_directories=/tmp -c max_wal_size=256MB";
    let mounts = json!([{ "name": "data", "mountPath": DIRECTORY }, { "name": "tmp", "mountPath": "/tmp" }]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "fsGroup": UID, "fsGroupChangePolicy": "OnRootMismatch" },
            "containers": [{
                "name": "postgres", "image": POSTGRES_IMAGE, "imagePullPolicy": "Never",
                "command": ["sh", "-euc", start],
                "env": [
                    { "name": "PGDATA", "value": "/volume/pgdata" }, { "name": "PGHOST", "value": "/tmp" },
                    { "name": "PGUSER", "value": "postgres" }, { "name": "PGDATABASE", "value": "postgres" }
                ],
                "readinessProbe": { "exec": { "command": ["pg_isready", "-q"] }, "periodSeconds": 1 },
                "securityContext": { "runAsUser": UID, "runAsGroup": UID },
                "volumeMounts": mounts
            }, {
                "name": "freezer", "image": WORKLOAD_IMAGE, "imagePullPolicy": "Never",
                "command": ["sleep", "infinity"],
                "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } },
                "volumeMounts": mounts
            }],
            "volumes": [
                { "name": "data", "persistentVolumeClaim": { "claimName": claim } },
                { "name": "tmp", "emptyDir": {} }
            ]
        }
    })
}
