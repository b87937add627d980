//! A HookModule as it is kept: what it is to be, what it is, and what it may touch.

use super::budget::Budget;
use super::fetch::Source;
use scribe_core::hook_module::{Load, LoadTrouble};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::HookModuleSpec;
use scribe_hooks::Module;
use scribe_hooks::contract::grants::Grants;
use scribe_hooks::contract::limits::Effective;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is; or why that cannot be known.
    pub source: Result<Source, String>,
    /// Of the ConfigMap that it is in.
    pub version: Option<String>,
}

/// One HookModule, and what has become of it.
pub struct Kept {
    pub namespace: String,
    pub name: String,
    pub wanted: watch::Sender<Wanted>,
    pub load: Load,
    pub module: Option<Module>,
    /// As what, and with which grants, that module was loaded. It keeps them until it is another one, which takes effect with its own.
    pub loaded_as: Option<(Wanted, Arc<Grants>)>,
    /// What a call may use and touch; or what is wrong with that.
    pub terms: Result<Terms, String>,
    pub task: AbortHandle,
}

/// What a call of a module may use and touch.
#[derive(Clone)]
pub struct Terms {
    pub limits: Effective,
    pub grants: Arc<Grants>,
}

impl Terms {
    /// As a spec says, within that budget.
    ///
    /// # Errors
    /// Names the field that cannot be, and the way out.
    pub fn of(spec: &HookModuleSpec, budget: Budget) -> Result<Self, String> {
        let memory = budget.calls_of_one();
        let limits = spec.limits.clone().unwrap_or_default().limits().effective();
        let limits = limits.map_err(|error| format!("spec.{error}"))?;
        if limits.memory > u64::from(memory) << 20 {
            return Err(format!(
                "spec.limits.memory: this controller has {memory}Mi for the calls of one namespace, which is half of its --hook-memory"
            ));
        }
        let grants = spec.capabilities.clone().unwrap_or_default();
        grants.validate().map_err(|error| format!("spec.capabilities.{error}"))?;
        Ok(Self { limits, grants: Arc::new(grants) })
    }
}

/// A module to be called.
pub struct Found {
    /// The module.
    pub module: Module,
    /// What a call may use.
    pub limits: Effective,
    /// What it may touch.
    pub grants: Arc<Grants>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kept {
    /// Takes the terms of a spec with that source. Grants that change alone hold at once for the module that is there; where it is to become
    /// another one, only as far as they were its own.
    pub fn take(&mut self, terms: Result<Terms, String>, wanted: &Wanted) {
        let is_same_source = *self.wanted.borrow() == *wanted;
        if let (Ok(now), Some((loaded, grants))) = (&terms, &mut self.loaded_as) {
            let is_changed = self.terms.as_ref().map_or(true, |before| before.grants != now.grants);
            if loaded == wanted {
                grants.clone_from(&now.grants);
            } else if is_same_source && is_changed {
                *grants = Arc::new(grants.common(&now.grants));
            }
        }
        self.terms = terms;
    }

    /// Takes a module that was loaded as this.
    pub fn replace(&mut self, module: Module, wanted: &Wanted) {
        self.module = Some(module);
        let grants = self.terms.as_ref().map(|terms| terms.grants.clone()).unwrap_or_default();
        self.loaded_as = Some((wanted.clone(), grants));
    }

    /// What the module that is there may touch. What is granted to the one that it is to become is not for it.
    pub fn grants(&self) -> Option<Arc<Grants>> {
        self.terms.as_ref().ok()?;
        self.loaded_as.as_ref().map(|(_, grants)| grants.clone())
    }

    /// What became of it, as its terms are.
    pub fn load(&self) -> Load {
        match &self.terms {
            Ok(_) => self.load.clone(),
            Err(message) => {
                let trouble = LoadTrouble { reason: Reason::InvalidSpec, message: message.clone() };
                Load { loaded: None, is_loading: false, trouble: Some(trouble) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Wanted {
        let source = Source::ConfigMap {
            namespace: "shop".into(),
            name: name.into(),
            key: "hook.wasm".into(),
            sha256: None,
        };
        Wanted { source: Ok(source), version: None }
    }

    fn terms(programs: &[&str]) -> Result<Terms, String> {
        let exec = programs.iter().map(|program| {
            serde_json::json!({ "podSelector": { "app": "db" }, "containers": ["db"], "commands": [[program]] })
        });
        let spec = serde_json::json!({ "capabilities": { "exec": exec.collect::<Vec<_>>() } });
        Terms::of(&serde_json::from_value(spec).unwrap(), Budget { calls: 128, code: 1 })
    }

    fn programs(kept: &Kept) -> Vec<String> {
        kept.grants().unwrap().exec.iter().map(|grant| grant.commands[0][0].clone()).collect()
    }

    /// What is granted to a module that cannot be had yet is not for the one before it.
    #[tokio::test]
    async fn a_module_gains_nothing_that_is_granted_to_the_next_one() {
        let old = terms(&["a", "b"]);
        let mut kept = Kept {
            namespace: "shop".to_owned(),
            name: "m".to_owned(),
            wanted: watch::channel(wanted("one")).0,
            load: Load::default(),
            module: None,
            loaded_as: Some((wanted("one"), old.clone().unwrap().grants)),
            terms: old,
            task: tokio::spawn(async {}).abort_handle(),
        };
        // The same module, with other grants.
        kept.take(terms(&["a", "b", "c"]), &wanted("one"));
        assert_eq!(programs(&kept), ["a", "b", "c"]);
        // Another one, which is not there yet, with its own. Looked at twice: nothing is new then.
        for _ in 0..2 {
            kept.take(terms(&["b", "c", "d"]), &wanted("two"));
            kept.wanted.send_replace(wanted("two"));
            assert_eq!(programs(&kept), ["a", "b", "c"]);
        }
        // Grants that change alone: what is taken away is, at once, and nothing is gained.
        kept.take(terms(&["c", "d", "e"]), &wanted("two"));
        assert_eq!(programs(&kept), ["c"]);
        kept.take(Err("wrong".to_owned()), &wanted("two"));
        assert!(kept.grants().is_none());
        kept.take(terms(&["d"]), &wanted("two"));
        assert_eq!(programs(&kept), Vec::<String>::new());
    }

    #[test]
    fn a_module_wants_no_more_memory_than_a_namespace_gets() {
        let spec = serde_json::json!({ "limits": { "memory": "128Mi" } });
        let of = |calls| Terms::of(&serde_json::from_value(spec.clone()).unwrap(), Budget { calls, code: 1 });
        assert!(of(256).is_ok());
        let told = of(254).map(|_| ()).unwrap_err();
        assert!(told.contains("spec.limits.memory") && told.contains("--hook-memory"), "{told}");
    }
}
