//! What a compiled component is: looked at, linked, and asked what it is.

use std::sync::Arc;

use scribe_hooks_contract::limits::{Effective, MOST_MEMORY};
use scribe_hooks_contract::points::{Info, Point};
use wasmtime::component::{Component, Linker};

use crate::check;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::fault::Limits;
use crate::module::{Facts, Inner, Module};
use crate::run::{Setup, Work, run, ticks};
use crate::sanitize;
use crate::state::{CallState, Start};
use crate::v0_1;

const PACKAGE: &str = "scribe:hooks/";
const IMPORTS: [&str; 9] = ["types", "log", "events", "state", "time", "kube", "exec", "freeze", "http"];
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
/// Names that are shown, and bytes of each: they are the module's.
const SHOWN_NAMES: usize = 100;
const NAME_BYTES: usize = 128;

/// What there is to know of the bytes.
pub(crate) struct Origin {
    pub digest: String,
    pub size: u64,
    pub compiled_size: u64,
}

/// What a module may link to.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    v0_1::link(&mut linker)?;
    Ok(linker)
}

/// Looks at a component, and asks it what it is.
pub(crate) async fn inspect(
    engine: &Engine,
    linker: &Linker<CallState>,
    component: Component,
    origin: Origin,
) -> Result<Module, LoadError> {
    let supported = v0_1::VERSION;
    let shape = component.component_type();
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<_> =
            names.take(SHOWN_NAMES).map(|name| sanitize::line(name, NAME_BYTES)).collect();
        names.sort();
        names
    };
    let imports = names(&mut shape.imports(&engine.wasm).map(|(name, _)| name));
    let exports = names(&mut shape.exports(&engine.wasm).map(|(name, _)| name));
    let unknown: Vec<_> =
        shape.imports(&engine.wasm).map(|(name, _)| name).filter(|name| !is_offered(name)).collect();
    if !unknown.is_empty() {
        return Err(LoadError::UnknownImports { names: names(&mut unknown.into_iter()), supported });
    }
    let points = points(shape.exports(&engine.wasm).map(|(name, _)| name), &exports)?;
    let pre = linker.instantiate_pre(&component).map_err(|error| LoadError::WrongImport(one_line(&error)))?;
    let exported = v0_1::Exports::find(&pre, &points).map_err(|error| LoadError::WrongType {
        interface: "*".to_owned(),
        detail: one_line(&error),
        supported,
    })?;
    let Origin { digest, size, compiled_size } = origin;
    let info = Info { name: String::new(), version: String::new(), settings_schema: None };
    let facts = Facts { digest, size, compiled_size, imports, exports, info };
    let mut inner = Arc::new(Inner { engine: engine.clone(), pre, exports: exported, points, facts });
    let info = introduce(&inner).await?;
    if let Some(inner) = Arc::get_mut(&mut inner) {
        inner.facts.info = info;
    }
    Ok(Module { inner })
}

/// Instantiates it for once: only then can the types be compared, and it must be able to say what it is.
async fn introduce(inner: &Arc<Inner>) -> Result<Info, LoadError> {
    let Effective { fuel, pure_timeout: time, .. } = Effective::default();
    // Its own limits are not known yet.
    let memory = MOST_MEMORY;
    let limits = Limits { fuel, memory, time, time_name: None, cpu: time, is_pure: true };
    let start = Start { memory, time_limit: time, cpu: ticks(time), now: 0, effects: None };
    let module = inner.clone();
    let work: Work<Result<Info, LoadError>> = Box::new(move |store, instance| {
        Box::pin(async move {
            if let Err((interface, error)) = module.exports.check(store, instance) {
                let (interface, detail) = (interface.to_owned(), one_line(&error));
                return Ok(Err(LoadError::WrongType { interface, detail, supported: v0_1::VERSION }));
            }
            module.exports.describe(store, instance).await.map(Ok)
        })
    });
    let setup = Setup { function: "describe", limits, start };
    let called = run(&inner.engine, &inner.pre, setup, work).await;
    let described = called.outcome.map_err(LoadError::Start)??;
    check::info(described).map_err(|detail| {
        LoadError::Start(crate::outcome::CallError::Output { function: "describe", detail })
    })
}

fn one_line(error: &wasmtime::Error) -> String {
    sanitize::line(&format!("{error:#}"), 1024)
}

/// The points among the exports. What we do not know may be there too: some languages' tools add exports of their own.
fn points<'a>(exports: impl Iterator<Item = &'a str>, shown: &[String]) -> Result<Vec<Point>, LoadError> {
    let supported = v0_1::VERSION;
    let mut found = Vec::new();
    let mut other = Vec::new();
    let mut has_settings = false;
    for name in exports {
        let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@'))
        else {
            continue;
        };
        let point = Point::ALL.into_iter().find(|point| point.interface() == interface);
        match point {
            _ if point.is_none() && interface != "settings" => {}
            _ if !is_supported(version) => other.push(sanitize::line(name, NAME_BYTES)),
            Some(point) => found.push(point),
            None => has_settings = true,
        }
    }
    other.truncate(SHOWN_NAMES);
    let missing = match (has_settings, found.is_empty()) {
        (true, false) => {
            found.sort();
            return Ok(found);
        }
        _ if !other.is_empty() => return Err(LoadError::Version { found: other, supported }),
        (false, _) => "scribe:hooks/settings",
        (true, true) => "a point",
    };
    Err(LoadError::NotAHook { missing, found: shown.to_vec(), supported })
}

/// Whether it is a version that we can call: 0.1 and whatever corrects it.
fn is_supported(version: &str) -> bool {
    let patch = version.strip_prefix("0.1.").unwrap_or_default();
    !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_offered(import: &str) -> bool {
    if let Some((interface, version)) = import.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) {
        return IMPORTS.contains(&interface) && is_supported(version);
    }
    let is_0_2 = import.split_once('@').is_some_and(|(_, version)| version.starts_with("0.2."));
    is_0_2 && WASI.iter().any(|package| import.starts_with(package))
}
