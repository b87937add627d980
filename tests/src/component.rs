//! Modules for hooks, made of WebAssembly text: small, and each good for one case.

use std::fmt::Write;

use anyhow::{Context, Result};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::cluster::repository;

/// Where texts of a case lie in the module's memory.
const TEXTS: u32 = 2048;

/// A module that can be asked at Decision, Transfer and Retention. Without more it takes all settings, lets every sync proceed, changes
/// nothing about a transfer, and keeps no replica.
#[derive(Debug, Default)]
pub struct Component {
    texts: String,
    next: u32,
    validate: Option<String>,
    decide: Option<String>,
}

impl Component {
    /// One that lets everything pass.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It says that it is in this version.
    #[must_use]
    pub fn version(self, version: u8) -> Self {
        let mut component = self;
        let _ = writeln!(component.texts, "(data (i32.const 20) \"{version}\")");
        component
    }

    /// It skips every sync, for this reason.
    #[must_use]
    pub fn skips(mut self, why: &str) -> Self {
        let (at, length) = self.text(why);
        self.decide = Some(answer(&[1, at, length]));
        self
    }

    /// It puts every sync off, by so many seconds.
    #[must_use]
    pub fn defers(mut self, seconds: u32, why: &str) -> Self {
        let (at, length) = self.text(why);
        self.decide = Some(answer(&[2, seconds, at, length]));
        self
    }

    /// It never comes to an end.
    #[must_use]
    pub fn spins(mut self) -> Self {
        self.decide = Some("(loop $again (br $again)) unreachable".to_owned());
        self
    }

    /// It breaks down when it is asked.
    #[must_use]
    pub fn traps(mut self) -> Self {
        self.decide = Some("unreachable".to_owned());
        self
    }

    /// It refuses its settings, at that JSON pointer, with these words.
    #[must_use]
    pub fn refuses(mut self, path: &str, words: &str) -> Self {
        let ((path, path_length), (words, words_length)) = (self.text(path), self.text(words));
        // An error, with a list of one problem, which lies behind it.
        let problem = [1, path, path_length, words, words_length];
        let problem: String = (16..).step_by(4).zip(problem).fold(String::new(), |mut text, (at, word)| {
            let _ = write!(text, "(i32.store offset={at} (i32.const 1024) (i32.const {word}))");
            text
        });
        self.validate = Some(format!("{problem} {}", answer(&[1, 1024 + 16, 1])));
        self
    }

    fn text(&mut self, text: &str) -> (u32, u32) {
        let at = TEXTS + self.next;
        let bytes = text.bytes().fold(String::new(), |mut bytes, byte| {
            let _ = write!(bytes, "\\{byte:02x}");
            bytes
        });
        let _ = writeln!(self.texts, "(data (i32.const {at}) \"{bytes}\")");
        let length = u32::try_from(text.len()).unwrap_or_default();
        self.next += length;
        (at, length)
    }

    /// The component.
    ///
    /// # Errors
    /// Fails if the contract in `sdk/wit` has changed, and this has not.
    pub fn build(self) -> Result<Vec<u8>> {
        let mut resolve = Resolve::default();
        resolve.push_dir(repository().join("sdk/wit")).context("read sdk/wit")?;
        let world = "package test:hooks; world pure {
            export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0;
            export scribe:hooks/transfer@0.1.0; export scribe:hooks/retention@0.1.0; }";
        let package = resolve.push_str("test.wit", world).context("make a world")?;
        let world = resolve.select_world(&[package], Some("pure")).context("find the world")?;
        let mut module = wat::parse_str(self.text_format()).context("read the module's text")?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
        ComponentEncoder::default().module(&module)?.validate(true).encode().context("make a component")
    }

    /// Answers lie at 1024. At 16 are the name and the version, at 32 the record of both.
    fn text_format(&self) -> String {
        let nothing = answer(&[0, 0, 0, 0]);
        let validate = self.validate.as_ref().unwrap_or(&nothing);
        let decide = self.decide.as_ref().unwrap_or(&nothing);
        let texts = &self.texts;
        // Of `tune`, the fields of an answer without any option begin after its tag.
        format!(
            r#"(module
                (memory (export "memory") 16)
                (global $next (mut i32) (i32.const 65536))
                (data (i32.const 16) "test1")
                (data (i32.const 32) "\10\00\00\00\04\00\00\00\14\00\00\00\01\00\00\00\00\00\00\00")
                {texts}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                    (global.set $next (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func (export "scribe:hooks/settings@0.1.0#describe") (result i32) i32.const 32)
                (func (export "scribe:hooks/settings@0.1.0#validate") (param i32 i32) (result i32) {validate})
                (func (export "scribe:hooks/decision@0.1.0#decide") (param i32) (result i32) {decide})
                (func (export "scribe:hooks/transfer@0.1.0#tune") (param i32) (result i32) i32.const 4096)
                (func (export "scribe:hooks/retention@0.1.0#choose") (param i32) (result i32) i32.const 4096))"#
        )
    }
}

/// Writes these words to where answers lie.
fn answer(words: &[u32]) -> String {
    let mut text = String::new();
    for (at, word) in (0..).step_by(4).zip(words) {
        let _ = write!(text, "(i32.store offset={at} (i32.const 1024) (i32.const {word}))");
    }
    text + "(i32.const 1024)"
}
