//! What effectful calls are made with: the rights of their ServiceAccount, and the host that does what they ask for.

use super::kept::Found;
use super::runner::unavailable;
use kube::Client;
use scribe_core::hooks::{HookAnswer, HookFailure};
use scribe_hooks::Effectful;
use scribe_hooks::contract::context::Context;
use scribe_hooks::contract::undo::Undo;
use scribe_hooks_kube::http::HttpClient;
use scribe_hooks_kube::{Call, Identities, IdentityError, Journal, Platform, Sessions, Subject, UndoOutcome};
use std::sync::Arc;

/// What effectful calls are made with.
pub struct Effects {
    own: Client,
    platform: Platform,
    identities: Identities,
    /// Of a hook without a ServiceAccount.
    nobody: Client,
}

/// One call, as it is begun.
pub struct Begun<'a> {
    /// The ServiceAccount.
    pub acts_as: Option<String>,
    /// The HookModule.
    pub module: &'a str,
    /// Where what undoes a change is written down.
    pub journal: Option<Arc<dyn Journal>>,
}

impl Effects {
    /// `instance` names the controller in Events.
    ///
    /// # Errors
    /// Fails if no client can be made.
    pub fn new(
        identities: Identities,
        own: Client,
        instance: &str,
        http: HttpClient,
    ) -> Result<Self, IdentityError> {
        let nobody = identities.nobody()?;
        Ok(Self { platform: Platform::new(own.clone(), instance, http), own, identities, nobody })
    }

    /// The controller's own client.
    pub fn own(&self) -> Client {
        self.own.clone()
    }

    /// The sessions that this process holds.
    pub fn sessions(&self) -> &Sessions {
        self.platform.sessions()
    }

    fn client(&self, namespace: &str, acts_as: Option<&str>) -> Result<Client, HookFailure> {
        let Some(account) = acts_as else { return Ok(self.nobody.clone()) };
        self.identities.client(namespace, account).map_err(|error| unavailable(error.to_string()))
    }

    /// A module that can be called with what it was granted, about the object of that context.
    pub fn hook(&self, found: &Found, about: &Context, begun: Begun<'_>) -> Result<Effectful, HookFailure> {
        let object = &about.replication.object;
        let acting = self.client(&object.namespace, begun.acts_as.as_deref())?;
        let subject = Subject {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone().unwrap_or_default(),
        };
        let call = Call { acting, subject, module: begun.module.to_owned(), journal: begun.journal };
        let host = Arc::new(self.platform.host(call));
        Ok(found.module.effectful(found.limits, found.grants.clone(), host))
    }

    /// Undoes these entries, in their order. What cannot be undone keeps no other from being tried.
    pub async fn undo(
        &self,
        namespace: &str,
        module: &str,
        log: &[Undo],
        acts_as: Option<&str>,
    ) -> Result<HookAnswer, HookFailure> {
        let client = self.client(namespace, acts_as)?;
        let (mut left, mut words) = (Vec::new(), Vec::new());
        for entry in log {
            match self.platform.undo(&client, namespace, entry).await {
                Ok(outcome @ (UndoOutcome::Undone | UndoOutcome::AsBefore)) => {
                    tracing::info!(namespace, module, %entry, %outcome, "undo what a hook has done");
                }
                Ok(outcome) => {
                    tracing::warn!(namespace, module, %entry, %outcome, "undo what a hook has done");
                }
                Err(error) => {
                    tracing::warn!(namespace, module, %entry, %error, "undo what a hook has done");
                    words.push(format!("{entry}: {error}"));
                    left.push(entry.clone());
                }
            }
        }
        left.reverse();
        Ok(HookAnswer::Undone { left, words: words.join("; ") })
    }

    /// What of these entries is not frozen any more. That it cannot be told is an error.
    pub async fn lost(
        &self,
        namespace: &str,
        log: &[Undo],
        acts_as: Option<&str>,
    ) -> Result<HookAnswer, HookFailure> {
        let client = self.client(namespace, acts_as)?;
        let mut lost = Vec::new();
        for entry in log {
            let found = self.platform.lost(&client, namespace, entry).await;
            lost.extend(found.map_err(|error| unavailable(format!("{entry}: {error}")))?);
        }
        Ok(HookAnswer::Lost(lost))
    }
}
