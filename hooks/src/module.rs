//! A module that was looked at and can be called.

use std::fmt;
use std::sync::Arc;

use scribe_hooks_contract::points::{Info, Point};
use wasmtime::component::InstancePre;

use crate::engine::Engine;
use crate::outcome::CallError;
use crate::state::CallState;
use crate::v0_1;

/// A module that was looked at and can be called. Cheap to clone; all clones share the compiled code.
#[derive(Clone)]
pub struct Module {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub engine: Engine,
    pub pre: InstancePre<CallState>,
    pub exports: v0_1::Exports,
    pub points: Vec<Point>,
    pub facts: Facts,
}

/// What is known of a module without calling it.
pub(crate) struct Facts {
    pub digest: String,
    pub size: u64,
    pub compiled_size: u64,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    pub info: Info,
}

impl Inner {
    pub fn require(&self, point: Point) -> Result<(), CallError> {
        if self.points.contains(&point) {
            return Ok(());
        }
        let names: Vec<_> = self.points.iter().map(|point| point.interface()).collect();
        Err(CallError::NotExported { point, has: names.join(", ") })
    }
}

impl Module {
    /// `sha256:` and the digest of the component, decompressed.
    pub fn digest(&self) -> &str {
        &self.inner.facts.digest
    }

    /// Of the component, decompressed, in bytes.
    pub fn size(&self) -> u64 {
        self.inner.facts.size
    }

    /// Of the machine code, in bytes.
    pub fn compiled_size(&self) -> u64 {
        self.inner.facts.compiled_size
    }

    /// The points at which it can be asked.
    pub fn points(&self) -> &[Point] {
        &self.inner.points
    }

    /// What it imports, by the interfaces' full names, sorted. A module may import what it never uses.
    pub fn imports(&self) -> &[String] {
        &self.inner.facts.imports
    }

    /// All that it exports, also what is of no meaning here, sorted.
    pub fn exports(&self) -> &[String] {
        &self.inner.facts.exports
    }

    /// What it says about itself.
    pub fn info(&self) -> &Info {
        &self.inner.facts.info
    }

    /// The version of the interfaces that it is called by.
    pub fn api_version(&self) -> &'static str {
        v0_1::VERSION
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("digest", &self.inner.facts.digest)
            .field("points", &self.inner.points)
            .finish()
    }
}
