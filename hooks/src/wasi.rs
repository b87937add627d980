//! WASI 0.2, as far as a hook has any: the standard libraries of most languages import it whether they use it or not.
//!
//! No files, no environment, no arguments, no network. What is written to standard output goes to the log. In a pure call the clocks
//! and the random numbers follow from the input.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use crate::host::Host;
use crate::log::{Log, Stream};

/// What may be read at once of random numbers, in bytes: it is the host's memory.
const MOST_RANDOM: u64 = 64 << 10;

/// For a pure call at that time, in milliseconds since 1970-01-01T00:00:00Z.
pub(crate) fn pure(log: &Log, now: u64) -> WasiCtx {
    let seed = |tag: u8| {
        let mut seed = [tag; 32];
        seed[..8].copy_from_slice(&now.to_le_bytes());
        StdRng::from_seed(seed)
    };
    let mut wasi = base(log);
    wasi.wall_clock(FixedClock(now))
        .monotonic_clock(StepClock(AtomicU64::new(0)))
        .secure_random(seed(1))
        .insecure_random(seed(2))
        .insecure_random_seed(u128::from(now));
    wasi.build()
}

/// For an effectful call.
pub(crate) fn effectful(log: &Log, host: Arc<dyn Host>) -> WasiCtx {
    base(log).wall_clock(HostClock(host)).build()
}

fn base(log: &Log) -> wasmtime_wasi::WasiCtxBuilder {
    let mut wasi = WasiCtx::builder();
    wasi.stdout(LogStream { log: log.clone(), stream: Stream::Stdout })
        .stderr(LogStream { log: log.clone(), stream: Stream::Stderr })
        .max_random_size(MOST_RANDOM)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    wasi
}

struct FixedClock(u64);

impl HostWallClock for FixedClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Moves on by a microsecond whenever it is read: whoever waits for it to move gets on, and the same way each time.
struct StepClock(AtomicU64);

impl HostMonotonicClock for StepClock {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(1000, Ordering::Relaxed)
    }
}

struct HostClock(Arc<dyn Host>);

impl HostWallClock for HostClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now())
    }
}

#[derive(Clone)]
struct LogStream {
    log: Log,
    stream: Stream,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    // Not the adapter that there is by default: it spawns a task for each stream, which outlives the call.
    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(self.clone())
    }
}

impl wasmtime_wasi::p2::OutputStream for LogStream {
    fn write(&mut self, bytes: bytes::Bytes) -> wasmtime_wasi::p2::StreamResult<()> {
        self.log.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> wasmtime_wasi::p2::StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> wasmtime_wasi::p2::StreamResult<usize> {
        Ok(4096)
    }
}

#[async_trait::async_trait]
impl wasmtime_wasi::p2::Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.log.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
