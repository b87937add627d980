//! Modules, and what came of calling them.

use super::{ObserveError, Seen, failed, identity};
use crate::context::Context;
use crate::router::Followed;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use scribe_core::hook_module::HookModuleObserved;
use scribe_core::hooks::{HooksSeen, ModuleSeen};
use scribe_crds::v1alpha1::{HookModule, ReplicationSource};
use scribe_hooks::contract::undo::Change;
use std::collections::{BTreeMap, BTreeSet};

/// What the hooks of a source depend on, and what is left of a quiesce of a hook that it has no longer.
///
/// # Errors
/// Fails if the API server does.
pub async fn of_source(
    ctx: &Context,
    namespace: &str,
    uid: &str,
    source: &ReplicationSource,
) -> Result<HooksSeen, ObserveError> {
    let quiesce = source.status.as_ref().and_then(|status| status.quiesce.as_ref());
    let hooks = source.spec.hooks.iter().map(|hook| hook.module.as_str());
    let mut uids = BTreeMap::new();
    let names = hooks.chain(quiesce.map(|quiesce| quiesce.module.as_str()));
    let mut seen = look(ctx, namespace, uid, names, &mut uids).await?;
    let acting = source.spec.hooks.iter().filter(|hook| hook.points.iter().any(|point| point.has_effects()));
    let acting = acting.filter_map(|hook| {
        Some((uids.get(&hook.module)?.as_str(), hook.service_account_name.clone(), hook.module.clone()))
    });
    seen.missing_rights = ctx.hooks.missing_rights(uid, namespace, acting);
    let log = quiesce.into_iter().flat_map(|quiesce| &quiesce.undo);
    let sessions = log.filter(|entry| matches!(entry.change, Change::Session { .. }));
    seen.ended_sessions = ctx.hooks.ended_sessions(sessions.map(|entry| entry.id.as_str()));
    Ok(seen)
}

/// What the hooks of an object depend on, `names` being those of its HookModules.
pub async fn of(
    ctx: &Context,
    namespace: &str,
    uid: &str,
    names: impl Iterator<Item = &str>,
) -> Result<HooksSeen, ObserveError> {
    look(ctx, namespace, uid, names, &mut BTreeMap::new()).await
}

/// `uids`: takes those of the HookModules, by name.
async fn look(
    ctx: &Context,
    namespace: &str,
    uid: &str,
    names: impl Iterator<Item = &str>,
    uids: &mut BTreeMap<String, String>,
) -> Result<HooksSeen, ObserveError> {
    let mut modules = BTreeMap::new();
    let api: Api<HookModule> = Api::namespaced(ctx.client.clone(), namespace);
    for name in names.collect::<BTreeSet<_>>() {
        ctx.router.follow(uid, Followed::Module, namespace, name);
        let meta = api.get_metadata_opt(name).await;
        let meta = meta.map_err(failed(format!("HookModule {namespace}/{name}")))?;
        // One that is on its way out is as good as gone: its users are not to find out later.
        let Some(meta) = meta.filter(|meta| meta.metadata.deletion_timestamp.is_none()) else { continue };
        let seen = meta.uid().map_or(ModuleSeen::Loading, |uid| ctx.hooks.module(&uid));
        uids.extend(meta.uid().map(|uid| (name.to_owned(), uid)));
        modules.insert(name.to_owned(), seen);
    }
    // Last: a call that was answered is of a module that was there.
    Ok(HooksSeen { modules, calls: ctx.hooks.calls(uid), ..HooksSeen::default() })
}

/// Looks at a HookModule. What its source holds is read elsewhere, and compiled; here it is only found out whether it is another one now.
///
/// # Errors
/// Fails if the API server does.
pub async fn hook_module(
    ctx: &Context,
    module: &HookModule,
) -> Result<Seen<HookModuleObserved>, ObserveError> {
    let (namespace, uid) = identity(&module.metadata);
    let version = match &module.spec.config_map {
        None => None,
        Some(source) => {
            ctx.router.follow(uid, Followed::ConfigMap, namespace, &source.name);
            let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), namespace);
            let meta = api.get_metadata_opt(&source.name).await;
            let meta = meta.map_err(failed(format!("ConfigMap {namespace}/{}", source.name)))?;
            meta.and_then(|meta| meta.metadata.resource_version)
        }
    };
    let load = ctx.hooks.follow(uid, namespace, module, version);
    Ok(Seen { observed: HookModuleObserved { module: module.clone(), load }, pending_since: None })
}
