//! Modules from files, loaded as the controller loads them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use scribe_hooks::{Cache, CompileLimits, Compiler, DEFAULT_MODULE_BYTES, Engine, LoadError, Loader, Module};

/// Compiled modules that are kept, in bytes.
const CACHE_BYTES: u64 = 1 << 30;

/// Loads modules, each once.
pub struct Modules {
    loader: Loader,
    loaded: HashMap<PathBuf, Module>,
    /// Held as long as the cache is used: it is for one process at a time.
    _lock: Option<File>,
}

impl Modules {
    /// With the cache of the user, if nobody else is using it.
    pub fn new() -> Result<Self> {
        let (cache, lock) = cache().unzip();
        let loader = loader(cache)?;
        Ok(Self { loader, loaded: HashMap::new(), _lock: lock })
    }

    /// The module in a file.
    pub async fn load(&mut self, path: &Path) -> Result<Module> {
        if let Some(module) = self.loaded.get(path) {
            return Ok(module.clone());
        }
        let bytes = read(path)?;
        let module = self.load_bytes(bytes).await.with_context(|| path.display().to_string())?;
        self.loaded.insert(path.to_owned(), module.clone());
        Ok(module)
    }

    /// The module in these bytes.
    pub async fn load_bytes(&self, bytes: Vec<u8>) -> Result<Module, LoadError> {
        self.loader.load(bytes).await
    }
}

/// A loader that compiles in processes of this program.
pub fn loader(cache: Option<Cache>) -> Result<Loader> {
    let program = std::env::current_exe().context("find this program's own file")?;
    let compiler = Compiler::new(program, [super::COMPILER.into()], CompileLimits::default());
    let engine = Engine::new().context("start the WASM engine")?;
    Ok(Loader::new(engine, compiler, cache, DEFAULT_MODULE_BYTES)?)
}

/// A module's file, as it is.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        bail!("{} is not a file", path.display());
    }
    let mut bytes = Vec::new();
    // One byte more than there may be: the loader says what is too large.
    file.take(DEFAULT_MODULE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

/// Compiling takes seconds where an interpreter is in the module, so what was compiled is kept; without a place for it, it is not.
fn cache() -> Option<(Cache, File)> {
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(home)?;
    let directory = base.join("kubectl-scribe");
    fs::create_dir_all(&directory).ok()?;
    let lock = File::create(directory.join("modules.lock")).ok()?;
    lock.try_lock().ok()?;
    let cache = Cache::open(directory.join("modules"), CACHE_BYTES, None).ok()?;
    Some((cache, lock))
}
