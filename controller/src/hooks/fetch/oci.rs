//! A module in an OCI registry.

use super::{Dialer, FetchError};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use scribe_crds::v1alpha1::{OciModule, PublicKeys};
use scribe_hooks_kube::{Identities, chain};
use scribe_hooks_oci::{Credentials, OciError, Options, PublicKey, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The key of a Secret of type kubernetes.io/dockerconfigjson.
const DOCKER_CONFIG: &str = ".dockerconfigjson";
/// How long a module may take from beginning to end.
const TOTAL: Duration = Duration::from_mins(2);

/// Pulls modules.
pub struct Oci {
    registry: Registry,
    identities: Identities,
}

impl Oci {
    /// Trusts the system's authorities and those in `certificates`, as PEM. Secrets are read as the ServiceAccounts that users name.
    ///
    /// # Errors
    /// The certificates are none.
    pub fn new(
        certificates: Option<Vec<u8>>,
        dialer: Dialer,
        identities: Identities,
    ) -> Result<Self, OciError> {
        let options = Options { plain_http: false, certificates, network: Some(Arc::new(dialer)) };
        Ok(Self { registry: Registry::new(options)?, identities })
    }

    /// Pulls a module of no more than `most` bytes, after its signature was looked at, if it has to have one.
    ///
    /// # Errors
    /// Says what went wrong.
    pub async fn read(&self, namespace: &str, module: &OciModule, most: u64) -> Result<Vec<u8>, FetchError> {
        let late =
            |_| FetchError::Wrong(format!("{}: it took longer than {} s", module.reference, TOTAL.as_secs()));
        timeout(TOTAL, self.pull(namespace, module, most)).await.map_err(late)?
    }

    async fn pull(&self, namespace: &str, module: &OciModule, most: u64) -> Result<Vec<u8>, FetchError> {
        let OciModule { reference, pull_secret, public_keys, service_account_name } = module;
        let account = service_account_name.as_deref().unwrap_or_default();
        let credentials = match pull_secret {
            None => Credentials::Anonymous,
            Some(name) => {
                let config = self.secret(namespace, account, name, DOCKER_CONFIG).await?;
                let host = Registry::registry_of(reference).map_err(failed)?;
                Credentials::from_docker_config(&config, &host)
                    .map_err(|error| FetchError::Wrong(format!("Secret {name}: {error}")))?
            }
        };
        if let Some(PublicKeys { secret, key }) = public_keys {
            let keys = self.secret(namespace, account, secret, key).await?;
            let wrong = |error| FetchError::Wrong(format!("Secret {secret}, key {key}: {error}"));
            let keys = PublicKey::from_pem(&keys).map_err(|error| wrong(error.to_string()))?;
            // The reference holds it: what is pulled is what was verified.
            let digest = reference.rsplit_once('@').map_or("", |(_, digest)| digest);
            self.registry.verify(reference, digest, &credentials, &keys).await.map_err(failed)?;
        }
        Ok(self.registry.pull(reference, &credentials, most).await.map_err(failed)?.wasm)
    }

    /// One key of a Secret, read with the rights of that ServiceAccount.
    async fn secret(
        &self,
        namespace: &str,
        account: &str,
        name: &str,
        key: &str,
    ) -> Result<Vec<u8>, FetchError> {
        let what = format!("Secret {name}, as ServiceAccount {account}");
        let client = self.identities.client(namespace, account);
        let client = client.map_err(|error| FetchError::Wrong(error.to_string()))?;
        let found = Api::<Secret>::namespaced(client, namespace).get_opt(name).await;
        let found = found.map_err(|error| FetchError::Api { what, why: chain(&error) })?;
        let secret = found.ok_or_else(|| FetchError::Missing(format!("Secret {name} does not exist")))?;
        let value = secret.data.and_then(|mut data| data.remove(key));
        value
            .map(|value| value.0)
            .ok_or_else(|| FetchError::Missing(format!("Secret {name} has no key {key}")))
    }
}

fn failed(error: OciError) -> FetchError {
    match error {
        error @ OciError::NotFound { .. } => FetchError::Missing(error.to_string()),
        error => FetchError::Wrong(error.to_string()),
    }
}
