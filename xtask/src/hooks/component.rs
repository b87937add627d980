//! What a component shows of itself.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use wasmparser::{Chunk, Parser, Payload};

/// The package of the contract, before the name of an interface.
const PACKAGE: &str = "scribe:hooks/";

/// A module on disk.
pub struct Component {
    pub path: PathBuf,
    pub bytes: usize,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

impl Component {
    pub fn read(path: &Path) -> Result<Self> {
        let wasm = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        names(&wasm, &mut imports, &mut exports).with_context(|| format!("parse {}", path.display()))?;
        Ok(Self { path: path.to_owned(), bytes: wasm.len(), imports, exports })
    }

    /// The interfaces of the contract that it exports, sorted, without package and version. Some tools add exports of their own.
    pub fn interfaces(&self) -> Vec<&str> {
        let bare = self.exports.iter().filter_map(|name| name.strip_prefix(PACKAGE)?.split('@').next());
        let mut interfaces: Vec<&str> = bare.collect();
        interfaces.sort_unstable();
        interfaces
    }

    /// That it stands at these points, and asks for nothing but the contract: what no test of its source can show.
    pub fn check(&self, points: &[&str]) -> Result<()> {
        let mut expected = [points, &["settings"]].concat();
        expected.sort_unstable();
        let (path, interfaces) = (self.path.display(), self.interfaces());
        ensure!(interfaces == expected, "{path} exports {interfaces:?}: it should be {expected:?}");
        let foreign = self.imports.iter().find(|import| !import.starts_with(PACKAGE));
        ensure!(foreign.is_none(), "{path} imports {foreign:?}, which is no part of the contract");
        Ok(())
    }

    /// Bytes that a ConfigMap would hold of it.
    pub fn gzip_bytes(&self) -> Result<usize> {
        let mut gzip = Command::new("gzip");
        let output = gzip.arg("-nc").arg(&self.path).stdin(Stdio::null()).output().context("run gzip")?;
        ensure!(output.status.success(), "gzip: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout.len())
    }
}

/// Names of the component itself. What is nested in it is passed over: an interpreter is many megabytes.
fn names(wasm: &[u8], imports: &mut Vec<String>, exports: &mut Vec<String>) -> Result<()> {
    let mut parser = Parser::new(0);
    let mut offset = 0;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(&wasm[offset..], true)? else {
            bail!("it ends too early");
        };
        offset += consumed;
        match payload {
            Payload::ModuleSection { unchecked_range: nested, .. }
            | Payload::ComponentSection { unchecked_range: nested, .. } => {
                offset = usize::try_from(nested.end)?;
                ensure!(offset <= wasm.len(), "it ends too early");
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            Payload::End(_) => return Ok(()),
            _ => {}
        }
    }
}
