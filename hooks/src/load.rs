//! Bytes into modules: each once, however many ask for it.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker};

use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::engine::Engine;
use crate::error::LoadError;
use crate::inspect::{Origin, inspect, linker};
use crate::module::{Inner, Module};
use crate::state::CallState;
use crate::unpack::unpack;

/// The largest component that is taken by default, in bytes.
pub const DEFAULT_MODULE_BYTES: u64 = 32 << 20;
/// The largest that may be.
pub const MOST_MODULE_BYTES: u64 = 64 << 20;
/// Digests that are remembered. Beyond that those that nobody uses are forgotten.
const MOST_SLOTS: usize = 1024;

/// Loads modules. One for each process.
pub struct Loader {
    engine: Engine,
    linker: Linker<CallState>,
    compiler: Compiler,
    cache: Option<Arc<Cache>>,
    most: u64,
    compatibility: String,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

/// One digest. Whoever wants it waits for whoever is making it.
#[derive(Default)]
struct Slot {
    made: tokio::sync::Mutex<Made>,
    /// How often making it has failed.
    failures: AtomicU64,
}

#[derive(Default)]
enum Made {
    #[default]
    Not,
    There(Weak<Inner>),
    Failed(LoadError),
}

impl Loader {
    /// A loader that compiles with `compiler` and keeps the results in `cache`, if there is one. Takes components of up to `most` bytes.
    ///
    /// # Errors
    ///
    /// The engine does not take our own functions, which would be our mistake.
    pub fn new(
        engine: Engine,
        compiler: Compiler,
        cache: Option<Cache>,
        most: u64,
    ) -> Result<Self, LoadError> {
        let linker = linker(&engine.wasm).map_err(|error| LoadError::Unavailable(format!("{error:#}")))?;
        let compatibility = compatibility(&engine);
        Ok(Self {
            engine,
            linker,
            compiler,
            cache: cache.map(Arc::new),
            most: most.min(MOST_MODULE_BYTES),
            compatibility,
            slots: Mutex::new(HashMap::new()),
        })
    }

    /// Makes a module of a component, plain or as gzip. The same bytes are compiled once, and share one compiled copy as long as anybody has
    /// it.
    ///
    /// Safe to drop at any await: then the compiler is killed, and the next who wants the module begins anew.
    ///
    /// # Errors
    ///
    /// Says why the bytes cannot be used.
    pub async fn load(&self, bytes: impl Into<Vec<u8>>) -> Result<Module, LoadError> {
        let (bytes, most) = (bytes.into(), self.most);
        let (wasm, digest) = blocking(move || {
            let wasm = unpack(&bytes, most)?;
            let digest = hex(&Sha256::digest(&wasm));
            Ok((wasm, digest))
        })
        .await?;
        let slot = self.slot(&digest);
        let failures = slot.failures.load(Ordering::Acquire);
        let mut made = slot.made.lock().await;
        match &*made {
            Made::There(inner) => {
                if let Some(inner) = inner.upgrade() {
                    return Ok(Module { inner });
                }
            }
            // What cannot be used stays so. What failed while we waited has failed for us as well: else a queue of
            // a hundred would try it a hundred times.
            Made::Failed(error)
                if !error.is_transient() || slot.failures.load(Ordering::Acquire) > failures =>
            {
                return Err(error.clone());
            }
            Made::Not | Made::Failed(_) => {}
        }
        let result = self.make(&wasm, digest).await;
        match &result {
            Ok(module) => *made = Made::There(Arc::downgrade(&module.inner)),
            Err(error) => {
                slot.failures.fetch_add(1, Ordering::AcqRel);
                *made = Made::Failed(error.clone());
            }
        }
        result
    }

    fn slot(&self, digest: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST_SLOTS {
            // Those that somebody holds a module of, or waits for, stay.
            slots.retain(|_, slot| {
                let is_waited_for = Arc::strong_count(slot) > 1;
                is_waited_for
                    || slot
                        .made
                        .try_lock()
                        .is_ok_and(|made| matches!(&*made, Made::There(inner) if inner.strong_count() > 0))
            });
        }
        slots.entry(digest.to_owned()).or_default().clone()
    }

    async fn make(&self, wasm: &[u8], digest: String) -> Result<Module, LoadError> {
        let name = hex(&Sha256::digest(format!("{digest} {}", self.compatibility)));
        if let Some(compiled) = self.cached(&name).await? {
            match self.use_compiled(compiled, wasm, &digest).await {
                // Sealed by us and yet of no use: made by another build of this engine.
                Err(LoadError::Unavailable(_)) => self.forget(&name).await?,
                other => return other,
            }
        }
        let compiled = self.compiler.compile(wasm).await?;
        let compiled = self.keep(name, compiled).await?;
        self.use_compiled(compiled, wasm, &digest).await
    }

    async fn use_compiled(&self, compiled: Vec<u8>, wasm: &[u8], digest: &str) -> Result<Module, LoadError> {
        let engine = self.engine.wasm.clone();
        let compiled_size = compiled.len() as u64;
        let component = blocking(move || {
            // SAFETY: `deserialize` runs whatever machine code it is given. This was written by our own compiler process a moment ago, or was
            // read from a directory that only we can write to and carries a seal that only we can make.
            #[allow(unsafe_code, reason = "there is no other way to use code that was compiled elsewhere")]
            let component = unsafe { Component::deserialize(&engine, &compiled) };
            component.map_err(|error| LoadError::Unavailable(format!("use the compiled module: {error:#}")))
        })
        .await?;
        let origin = Origin { digest: format!("sha256:{digest}"), size: wasm.len() as u64, compiled_size };
        inspect(&self.engine, &self.linker, component, origin).await
    }

    async fn cached(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        let Some(cache) = self.cache.clone() else { return Ok(None) };
        let name = name.to_owned();
        blocking(move || Ok(cache.get(&name))).await
    }

    async fn forget(&self, name: &str) -> Result<(), LoadError> {
        let Some(cache) = self.cache.clone() else { return Ok(()) };
        let name = name.to_owned();
        blocking(move || {
            cache.remove(&name);
            Ok(())
        })
        .await
    }

    /// Keeps it for next time. If that does not work, next time it is compiled again.
    async fn keep(&self, name: String, compiled: Vec<u8>) -> Result<Vec<u8>, LoadError> {
        let Some(cache) = self.cache.clone() else { return Ok(compiled) };
        blocking(move || {
            if let Err(error) = cache.put(&name, &compiled) {
                tracing::warn!(error = %error, "a compiled module was not kept");
            }
            Ok(compiled)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(LoadError::Unavailable(error.to_string())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// All that compiled code depends on besides its source.
fn compatibility(engine: &Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.wasm.precompile_compatibility_hash().hash(&mut hasher);
    hex(&hasher.0.finalize())
}
