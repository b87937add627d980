//! The port of the control API, which anybody in the cluster may knock at: few strangers at a time, and none for long.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// How many may be connected at a time that have not shown the token yet. Others wait in the kernel's queue.
pub const STRANGERS: usize = 32;
/// How long a connection may take to show the token.
const STRANGER_LIMIT: Duration = Duration::from_secs(10);

/// A listener for connections that become [`Guest`]s.
pub struct Guarded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    limit: Duration,
}

impl Guarded {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(STRANGERS)), limit: STRANGER_LIMIT }
    }
}

impl Listener for Guarded {
    type Io = Guarding;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarding, SocketAddr) {
        // Nobody closes the semaphore, so there always is a place at some time.
        let place = self.places.clone().acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let guest = Guest(Arc::new(Mutex::new(place)));
        (Guarding { stream, guest, limit: Box::pin(tokio::time::sleep(self.limit)) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who is at the other end of a connection: a stranger, who takes up one of the places until the token is shown.
#[derive(Clone)]
pub struct Guest(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Guest {
    /// Takes note that the token was shown: the place is free again, and there is no hurry any more.
    pub fn welcome(&self) {
        drop(self.place().take());
    }

    fn is_stranger(&self) -> bool {
        self.place().is_some()
    }

    fn place(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Guarded>> for Guest {
    fn connect_info(stream: IncomingStream<'_, Guarded>) -> Self {
        stream.io().guest.clone()
    }
}

/// A connection that breaks when a stranger has it for too long.
pub struct Guarding {
    stream: TcpStream,
    guest: Guest,
    limit: Pin<Box<Sleep>>,
}

impl Guarding {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.guest.is_stranger() && self.limit.as_mut().poll(context).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no token in time"));
        }
        Ok(())
    }
}

impl AsyncRead for Guarding {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarding {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn guarded(places: usize, limit: Duration) -> Guarded {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Guarded { places: Arc::new(Semaphore::new(places)), limit, ..Guarded::new(listener) }
    }

    #[tokio::test]
    async fn a_stranger_is_shown_out_and_a_guest_stays() {
        let mut guarded = guarded(2, Duration::ZERO).await;
        let address = guarded.local_addr().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let (mut stranger, _) = guarded.accept().await;
        let error = stranger.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(stranger.write_u8(0).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut second = TcpStream::connect(address).await.unwrap();
        let (mut guest, _) = guarded.accept().await;
        guest.guest.welcome();
        second.write_u8(7).await.unwrap();
        assert_eq!(guest.read_u8().await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_a_stranger_goes_or_is_known() {
        let mut guarded = guarded(1, STRANGER_LIMIT).await;
        let address = guarded.local_addr().unwrap();
        let _clients =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let (first, _) = guarded.accept().await;
        assert_eq!(guarded.places.available_permits(), 0);
        drop(first);
        let (second, _) = guarded.accept().await;
        assert_eq!(guarded.places.available_permits(), 0);
        second.guest.welcome();
        assert_eq!(guarded.places.available_permits(), 1);
    }
}
