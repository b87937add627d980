//! Bytes that are a module, and bytes that are not.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use scribe_hooks::contract::points::Point;
use scribe_hooks::contract::reason::Reason;
use scribe_hooks::{CompileLimits, LoadError, Loader};
use wasm_encoder::ComponentValType;

use crate::guest::guest;
use crate::setup::{caching_loader, compiler, context, engine, limits, loader};

async fn refused(bytes: Vec<u8>) -> LoadError {
    let error = loader().load(bytes).await.unwrap_err();
    assert_eq!(error.reason(), Reason::HookModuleInvalid, "{error}");
    error
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A component that takes seconds to compile.
pub fn bomb() -> Vec<u8> {
    bomb_of(300, 4000)
}

/// Functions, each of so many steps, of which every one needs the one before.
pub fn bomb_of(count: u32, steps: i64) -> Vec<u8> {
    use wasm_encoder::{
        CodeSection, Component, Function, FunctionSection, Module, ModuleSection, TypeSection, ValType,
    };
    let mut body = Function::new([]);
    body.instructions().local_get(0);
    for number in 0..steps {
        body.instructions()
            .i64_const(number)
            .i64_add()
            .local_get(0)
            .i64_mul()
            .local_tee(0)
            .i64_const(7)
            .i64_rotl();
    }
    body.instructions().end();
    let (mut types, mut functions, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([ValType::I64], [ValType::I64]);
    for _ in 0..count {
        functions.function(0);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&code);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    component.finish()
}

#[tokio::test]
async fn a_module_says_what_it_is() {
    let bytes = guest("all-hooks").build();
    let module = loader().load(bytes.clone()).await.unwrap();
    assert_eq!(module.points(), Point::ALL);
    assert_eq!((module.info().name.as_str(), module.info().version.as_str()), ("test", "1"));
    assert_eq!(module.size(), bytes.len() as u64);
    assert!(module.compiled_size() > module.size());
    assert_eq!(module.api_version(), "0.1.0");
    assert!(module.digest().starts_with("sha256:") && module.digest().len() == 71);
    assert!(module.exports().contains(&"scribe:hooks/settings@0.1.0".to_owned()), "{:?}", module.exports());
    let compressed = loader().load(gzip(&bytes)).await.unwrap();
    assert_eq!(compressed.digest(), module.digest());
}

#[tokio::test]
async fn a_core_module_is_refused_with_the_way_out() {
    let error = refused(wat::parse_str("(module)").unwrap()).await;
    assert!(error.to_string().contains("build it for wasm32-wasip2"), "{error}");
}

#[tokio::test]
async fn broken_components_are_refused() {
    let whole = guest("decision-hook").build();
    for cut in [5, 8, 20, 100, whole.len() / 2, whole.len() - 1] {
        let error = refused(whole[..cut].to_vec()).await;
        assert!(
            matches!(error, LoadError::Invalid(_) | LoadError::NotWasm | LoadError::NotAHook { .. }),
            "{cut}: {error}"
        );
    }
    let mut spoilt = whole.clone();
    for byte in &mut spoilt[200..260] {
        *byte ^= 0x55;
    }
    assert!(matches!(refused(spoilt).await, LoadError::Invalid(_)));
}

#[tokio::test]
async fn machine_code_is_refused() {
    let mut config = wasmtime::Config::new();
    config.consume_fuel(true);
    let engine = wasmtime::Engine::new(&config).unwrap();
    let compiled = engine.precompile_component(&guest("decision-hook").build()).unwrap();
    assert_eq!(refused(compiled.clone()).await, LoadError::Precompiled);
    assert_eq!(refused(gzip(&compiled)).await, LoadError::Precompiled);
}

#[tokio::test]
async fn text_is_refused() {
    assert_eq!(refused(b"(component)".to_vec()).await, LoadError::NotWasm);
}

#[tokio::test]
async fn a_component_that_is_no_hook_is_refused_with_what_a_hook_is() {
    let error = refused(wat::parse_str("(component)").unwrap()).await;
    assert!(
        error.to_string().starts_with(
            "the module does not export scribe:hooks/settings: it exports nothing; a hook exports"
        ),
        "{error}"
    );
    let world = "package test:w; world hook { export scribe:hooks/settings@0.1.0; }";
    let error = refused(guest("hook").wit(world).build()).await;
    assert!(matches!(error, LoadError::NotAHook { missing: "a point", .. }), "{error}");
    let world = "package test:w; world hook { export scribe:hooks/decision@0.1.0; }";
    let error = refused(guest("hook").wit(world).build()).await;
    assert!(matches!(error, LoadError::NotAHook { missing: "scribe:hooks/settings", .. }), "{error}");
}

#[tokio::test]
async fn exports_that_are_unknown_are_tolerated() {
    let world = "package test:w; interface other { other: func() -> u32; }
        world hook { export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0; export other; }";
    let module = loader().load(guest("hook").wit(world).build()).await.unwrap();
    assert_eq!(module.points(), [Point::Decision]);
    assert!(module.exports().contains(&"test:w/other".to_owned()), "{:?}", module.exports());
}

#[tokio::test]
async fn imports_that_are_unknown_are_refused_by_name() {
    let world = "package test:w; interface other { other: func(); } interface more { more: func(); }
        world hook { import other; import more; export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0; }";
    let hook = guest("hook").wit(world).imports("test:w/other", "other", "other", "").imports(
        "test:w/more",
        "more",
        "more",
        "",
    );
    let error = refused(hook.build()).await;
    assert!(
        error.to_string().starts_with("the module imports test:w/more, test:w/other, which is not there"),
        "{error}"
    );
}

#[tokio::test]
async fn another_version_is_refused_with_the_one_that_is_known() {
    let world = "package test:w; world hook { export scribe:hooks/decision@0.9.0; }
        package scribe:hooks@0.9.0 { interface decision { decide: func() -> u32; } }";
    let error = refused(guest("hook").wit(world).build_as("(result i32) i32.const 1")).await;
    assert_eq!(
        error.to_string(),
        "the module was made for another version: it exports scribe:hooks/decision@0.9.0, and this host knows scribe:hooks@0.1.0"
    );
}

#[tokio::test]
async fn an_export_of_another_type_is_refused_with_its_name() {
    let world = "package test:w; world hook { export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.1; }
        package scribe:hooks@0.1.1 { interface decision { decide: func() -> u32; } }";
    let error = refused(guest("hook").wit(world).build_as("(result i32) i32.const 1")).await;
    assert!(matches!(&error, LoadError::WrongType { interface, .. } if interface == "decision"), "{error}");
}

#[tokio::test]
async fn a_module_that_does_not_say_what_it_is_is_refused() {
    let error = refused(guest("decision-hook").does("describe", "unreachable").build()).await;
    assert!(error.to_string().starts_with("the module cannot be used: describe trapped"), "{error}");
    let error = refused(guest("decision-hook").does("describe", "i32.const 512").build()).await;
    assert!(error.to_string().contains("name must be between 1 and 253 bytes long"), "{error}");
}

/// So many types, each made of the one before it.
fn nested(
    count: u32,
    next: impl Fn(wasm_encoder::ComponentDefinedTypeEncoder<'_>, ComponentValType),
) -> Vec<u8> {
    use wasm_encoder::{Component, ComponentTypeSection, PrimitiveValType};
    let mut types = ComponentTypeSection::new();
    types.defined_type().list(PrimitiveValType::U8);
    for number in 0..count {
        next(types.defined_type(), ComponentValType::Type(number));
    }
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

#[tokio::test]
async fn types_that_nest_without_end_are_refused() {
    // Ten million bytes of them.
    let deep = nested(2_000_000, |encoder, before| encoder.list(before));
    assert!(deep.len() > 8 << 20);
    // Each twice what the one before is: to write the last out would take years.
    let wide = nested(60, |encoder, before| encoder.tuple([before, before]));
    for bytes in [deep, wide] {
        refused(bytes).await;
    }
}

#[tokio::test]
async fn an_import_of_another_version_is_refused_with_the_one_that_is_known() {
    let world = "package test:w; world hook { import scribe:hooks/log@0.9.0; export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0; }
        package scribe:hooks@0.9.0 { interface log { log: func(); } }";
    let hook = guest("hook").wit(world).imports("scribe:hooks/log@0.9.0", "log", "log", "");
    let error = refused(hook.build()).await;
    let words = "the module imports scribe:hooks/log@0.9.0, which is not there: there are scribe:hooks@0.1.0";
    assert!(error.to_string().starts_with(words), "{error}");
}

#[tokio::test]
async fn what_many_ask_for_is_compiled_once_and_shared() {
    let directory = tempfile::tempdir().unwrap();
    // Writes a line for each time that it is called.
    let count = directory.path().join("count");
    let script = directory.path().join("compiler");
    let text = format!("#!/bin/sh\necho >> {}\nexec {}\n", count.display(), crate::setup::COMPILER);
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let compiler = scribe_hooks::Compiler::new(&script, [], CompileLimits::default());
    let loader = Loader::new(engine(), compiler, None, 1 << 20).unwrap();
    let bytes = guest("decision-hook").build();
    let modules = futures::future::join_all((0..50).map(|_| loader.load(bytes.clone()))).await;
    assert!(modules.iter().all(Result::is_ok));
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 1);
    // Also what cannot be used is found out once.
    let broken = wat::parse_str("(component (core module (func (result i32))))");
    let broken = broken.unwrap_or_else(|_| wat::parse_str("(component)").unwrap());
    let errors = futures::future::join_all((0..50).map(|_| loader.load(broken.clone()))).await;
    assert!(errors.iter().all(Result::is_err));
    assert_eq!(std::fs::read_to_string(&count).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn a_restart_finds_what_was_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = guest("decision-hook").build();
    caching_loader(directory.path()).load(bytes.clone()).await.unwrap();
    let cache = scribe_hooks::Cache::open(directory.path().join("cache"), 1 << 30, None).unwrap();
    let without = scribe_hooks::Compiler::new("/nonexistent", [], CompileLimits::default());
    let again = Loader::new(engine(), without, Some(cache), 1 << 20).unwrap();
    let module = again.load(bytes).await.unwrap();
    assert!(module.pure(limits()).decide(context()).await.outcome.is_ok());
}

#[tokio::test]
async fn a_spoilt_cache_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = guest("decision-hook").build();
    caching_loader(directory.path()).load(bytes.clone()).await.unwrap();
    for entry in std::fs::read_dir(directory.path().join("cache")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "compiled") {
            let mut content = std::fs::read(&path).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 1;
            std::fs::write(&path, content).unwrap();
        }
    }
    let module = caching_loader(directory.path()).load(bytes).await.unwrap();
    assert!(module.pure(limits()).decide(context()).await.outcome.is_ok());
}

#[tokio::test]
async fn a_cache_that_is_full_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let cache = scribe_hooks::Cache::open(directory.path().join("cache"), 100, None).unwrap();
    let loader = Loader::new(engine(), compiler(CompileLimits::default()), Some(cache), 1 << 20).unwrap();
    assert!(loader.load(guest("decision-hook").build()).await.is_ok());
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let small = Loader::new(engine(), compiler(CompileLimits::default()), None, 100).unwrap();
    assert_eq!(
        small.load(guest("decision-hook").build()).await.unwrap_err(),
        LoadError::TooLarge { most: 100 }
    );
}
