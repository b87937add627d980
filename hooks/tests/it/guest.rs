//! Components made of WebAssembly text: small, and as hostile as a case needs.

use std::collections::BTreeMap;
use std::fmt::Write;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where a guest may put its own data: below is what describes it, above is the heap.
pub const DATA: u32 = 1024;
const HEAP: u32 = 65536;

/// A component that is being made.
pub struct Guest {
    world: String,
    wit: Option<String>,
    imports: String,
    data: String,
    extra: String,
    pages: u32,
    bodies: BTreeMap<&'static str, String>,
    decide: Option<String>,
}

/// Every function of the interfaces: its export, and its parameters as the canonical ABI flattens them.
const FUNCTIONS: [(&str, &str, &str); 13] = [
    ("settings", "describe", ""),
    ("settings", "validate", "(param i32 i32)"),
    ("decision", "decide", "(param i32)"),
    ("transfer", "tune", "(param i32)"),
    ("retention", "choose", "(param i32)"),
    ("quiesce", "quiesce", "(param i32)"),
    ("quiesce", "release", "(param i32)"),
    ("lifecycle", "pre-sync", "(param i32)"),
    ("lifecycle", "post-sync", "(param i32)"),
    ("failure", "on-failure", "(param i32)"),
    ("promotion", "before-promotion", "(param i32)"),
    ("promotion", "after-promotion", "(param i32)"),
    ("other", "other", ""),
];

/// Says what it is, takes all settings, and answers `(ok)` with zeros behind it to everything else.
pub fn guest(world: &str) -> Guest {
    Guest {
        world: world.to_owned(),
        wit: None,
        imports: String::new(),
        data: String::new(),
        extra: String::new(),
        pages: 2,
        bodies: BTreeMap::new(),
        decide: None,
    }
}

impl Guest {
    /// What one function does; it must leave the address of its answer.
    pub fn does(mut self, function: &'static str, body: &str) -> Self {
        self.bodies.insert(function, body.to_owned());
        self
    }

    /// Imports a host function.
    pub fn imports(mut self, interface: &str, function: &str, name: &str, signature: &str) -> Self {
        let module = if interface.contains(':') {
            interface.to_owned()
        } else {
            format!("scribe:hooks/{interface}@0.1.0")
        };
        let _ = writeln!(self.imports, "(import \"{module}\" \"{function}\" (func ${name} {signature}))");
        self
    }

    /// Puts text at an address.
    pub fn text(mut self, at: u32, text: &str) -> Self {
        let bytes: String = text.bytes().fold(String::new(), |mut bytes, byte| {
            let _ = write!(bytes, "\\{byte:02x}");
            bytes
        });
        let _ = writeln!(self.data, "(data (i32.const {at}) \"{bytes}\")");
        self
    }

    /// Puts numbers at an address, four bytes each.
    pub fn words(mut self, at: u32, words: &[u32]) -> Self {
        let bytes: String =
            words.iter().flat_map(|word| word.to_le_bytes()).fold(String::new(), |mut bytes, byte| {
                let _ = write!(bytes, "\\{byte:02x}");
                bytes
            });
        let _ = writeln!(self.data, "(data (i32.const {at}) \"{bytes}\")");
        self
    }

    /// Adds to the core module whatever is wanted.
    pub fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    /// Begins with so much memory, in pages of 64 KiB.
    pub fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// A world of its own.
    pub fn wit(mut self, text: &str) -> Self {
        self.wit = Some(text.to_owned());
        self
    }

    /// The component, with a `decide` that takes nothing and has this result and body.
    pub fn build_as(mut self, decide: &str) -> Vec<u8> {
        self.decide = Some(decide.to_owned());
        self.build()
    }

    /// The component.
    pub fn build(self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/wit");
        let (mut package, _) = resolve.push_dir(ours).unwrap();
        if let Some(text) = &self.wit {
            package = resolve.push_str("test.wit", text).unwrap();
        }
        let world = resolve.select_world(&[package], Some(&self.world)).unwrap();
        let exports: Vec<String> =
            resolve.worlds[world].exports.keys().map(|key| resolve.name_world_key(key)).collect();
        let mut module = wat::parse_str(self.module(&exports)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }

    fn module(&self, exports: &[String]) -> String {
        let mut functions = String::new();
        for export in exports {
            let interface =
                export.split_once('/').map_or("other", |(_, rest)| rest.split('@').next().unwrap());
            for (_, function, parameters) in FUNCTIONS.iter().filter(|(of, ..)| *of == interface) {
                let body = self.bodies.get(function).map_or("i32.const 512", String::as_str);
                let body = if *function == "describe" && !self.bodies.contains_key("describe") {
                    "i32.const 32"
                } else {
                    body
                };
                if let (Some(decide), "decide") = (&self.decide, *function) {
                    let _ = writeln!(functions, "(func (export \"{export}#decide\") {decide})");
                    continue;
                }
                let _ = writeln!(
                    functions,
                    "(func (export \"{export}#{function}\") {parameters} (result i32) (local $i i32) {body})"
                );
            }
        }
        // At 32 the record that describes it, at 512 zeros.
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (global $next (mut i32) (i32.const {HEAP}))
                (data (i32.const 16) "test1")
                (data (i32.const 32) "\10\00\00\00\04\00\00\00\14\00\00\00\01\00\00\00\00\00\00\00")
                {data}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                    (global.set $next (i32.add (local.get $at) (local.get 3)))
                    (block $fits (loop $more
                        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
                        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                        (br $more)))
                    (local.get $at))
                {extra}
                {functions})"#,
            imports = self.imports,
            pages = self.pages,
            data = self.data,
            extra = self.extra,
        )
    }
}
