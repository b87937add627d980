//! Memory and tables of one call.

use wasmtime::ResourceLimiter;

use crate::engine::{MOST_CORE_INSTANCES, MOST_MEMORIES, MOST_TABLE_ELEMENTS, MOST_TABLES};

/// Counts all memories of a call together: a component may have several, and a limit on each would be none on the whole.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: u64,
    memory: u64,
    peak: u64,
    table_elements: usize,
    is_exceeded: bool,
}

impl Limiter {
    /// `most` in bytes.
    pub fn new(most: u64) -> Self {
        Self { most, memory: 0, peak: 0, table_elements: 0, is_exceeded: false }
    }

    /// The most that there was, in bytes.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Whether more was asked for than may be had.
    pub fn is_exceeded(&self) -> bool {
        self.is_exceeded
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let wanted = self.memory.saturating_add(more);
        if wanted > self.most {
            // What the module sees is a failed `memory.grow`, the same each time that it asks. How it ends is its affair, but this is why.
            self.is_exceeded = true;
            return Ok(false);
        }
        self.memory = wanted;
        self.peak = self.peak.max(wanted);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // The machine has no memory, which is not the module's fault, and must not look like an answer.
        if self.is_exceeded { Ok(()) } else { Err(error) }
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > MOST_TABLE_ELEMENTS {
            self.is_exceeded = true;
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MOST_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MOST_TABLES as usize
    }

    fn memories(&self) -> usize {
        MOST_MEMORIES as usize
    }
}
