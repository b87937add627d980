//! Many modules: what they take, and how soon they are there.

use std::fs;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use scribe_hooks::contract::limits::Effective;
use scribe_hooks::{Loader, Module};
use wasm_encoder::{ComponentSection, CustomSection};

use crate::process::{code, resident};
use crate::{Numbers, Setting, loader};

/// Hooks in Rust, of five points.
const RUST: [&str; 5] = ["keep-last", "notify-http", "postgres-quiesce", "scale-deployment", "tune-rsync"];
const MODULES: usize = 50;
/// HookModules that have the same bytes.
const SHARERS: usize = 1000;
/// What the controller reads at a time.
const READS: usize = 2;
const MIB: f64 = 1024.0 * 1024.0;

/// Modules of different digests: what is added to each means nothing.
fn many(setting: &Setting) -> Vec<Vec<u8>> {
    let plain = RUST.map(|name| fs::read(setting.folder.join(format!("{name}.wasm"))).unwrap());
    let one = |number: usize| {
        let mut bytes = plain[number % plain.len()].clone();
        let number = number.to_le_bytes();
        let section = CustomSection { name: "copy".into(), data: number.as_slice().into() };
        section.append_to_component(&mut bytes);
        bytes
    };
    (0..MODULES).map(one).collect()
}

async fn load(loader: &Loader, modules: Vec<Vec<u8>>) -> Vec<Module> {
    let loads = stream::iter(modules).map(|bytes| loader.load(bytes));
    loads.buffer_unordered(READS).try_collect().await.unwrap()
}

/// Compiles all of them into the cache.
pub async fn fill(setting: &Setting) -> Numbers {
    load(&loader(&setting.cache, true), many(setting)).await;
    Numbers::new()
}

/// Memory that stays resident for each module when it has been loaded and called, in MiB.
pub async fn memory(setting: &Setting) -> Numbers {
    let loader = loader(&setting.cache, false);
    let mut bytes = many(setting);
    // What the first takes is for all that come after.
    let first = load(&loader, vec![bytes.remove(0)]).await;
    idle(&first).await;
    let before = resident();
    let (count, most) = (bytes.len(), bytes.iter().map(Vec::len).sum::<usize>());
    let modules = load(&loader, bytes).await;
    idle(&modules).await;
    let each = |bytes: f64| vec![bytes / MIB / f64::from(u32::try_from(count).unwrap())];
    let compiled: u64 = modules.iter().map(Module::compiled_size).sum();
    #[allow(clippy::cast_precision_loss, reason = "far less than 2^53")]
    let (wasm, compiled) = (most as f64, compiled as f64);
    Numbers::from([
        ("resident".to_owned(), each(resident() - before)),
        ("wasm-size".to_owned(), each(wasm)),
        ("compiled-size".to_owned(), each(compiled)),
    ])
}

/// Calls each once, so that it is not idle for having never been used.
async fn idle(modules: &[Module]) {
    for module in modules {
        module.pure(Effective::default()).describe().await.outcome.unwrap();
    }
}

/// How many compiled copies there are of one module that many have loaded, and what all but the first of them take together, in MiB.
pub async fn share(setting: &Setting) -> Numbers {
    let loader = loader(&setting.cache, false);
    let bytes = many(setting).remove(0);
    let without = code();
    let one = load(&loader, vec![bytes.clone()]).await;
    idle(&one).await;
    let (code_of_one, before) = (code() - without, resident());
    assert!(code_of_one > 0.0, "a loaded module has code");
    let loads = stream::iter(0..SHARERS).map(|_| loader.load(bytes.clone()));
    let all: Vec<Module> = loads.buffer_unordered(READS).try_collect().await.unwrap();
    let (code_of_all, after) = (code() - without, resident());
    assert_eq!(all.len(), SHARERS);
    Numbers::from([
        ("copies".to_owned(), vec![code_of_all / code_of_one]),
        ("sharers".to_owned(), vec![(after - before) / MIB]),
    ])
}

/// From nothing to an engine with all modules, in seconds.
pub async fn start(setting: &Setting) -> Numbers {
    let modules = many(setting);
    let began = Instant::now();
    let loader = loader(&setting.cache, false);
    let modules = load(&loader, modules).await;
    let took = began.elapsed().as_secs_f64();
    assert_eq!(modules.len(), MODULES);
    Numbers::from([("start".to_owned(), vec![took])])
}
