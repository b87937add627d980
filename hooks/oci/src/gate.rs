//! A gate through which a client of registries goes.
//!
//! Whoever names a registry may not be the one who may reach all that can be reached from here. The client follows redirects, sends passwords to where the
//! registry says, and holds some answers whole, and there is no place in it to judge any of that. But it knows proxies: so it is given one, on loopback and
//! for one operation, which connects to what the caller lets it, and hangs up after so many bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::error::short;

/// The longest request that is read, in bytes.
const MOST_HEAD_BYTES: usize = 8 << 10;

/// Who connects to registries, and judges to which.
#[async_trait]
pub trait Network: Send + Sync {
    /// Connects to a host, by its name or address, if that may be.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] where it may not be, with words for whoever named the registry; anything else where it cannot be now.
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream>;
}

/// Why a gate was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// That may not be connected to.
    Denied(String),
    /// It cannot be.
    Unreachable(String),
    /// More came than so many bytes.
    TooMuch(u64),
}

/// A gate that is open as long as it lives.
pub struct Gate {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    network: Arc<dyn Network>,
    most: u64,
    came: AtomicU64,
    refusal: Mutex<Option<Refusal>>,
}

impl Gate {
    /// Opens a gate, through which no more than `most` bytes come.
    ///
    /// # Errors
    ///
    /// There is no port to listen on.
    pub async fn open(network: Arc<dyn Network>, most: u64) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { network, most, came: AtomicU64::new(0), refusal: Mutex::default() });
        let server = tokio::spawn(serve(listener, state.clone()));
        Ok(Self { address, state, server })
    }

    /// As a client's proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Why something did not come through, if it did not.
    pub fn refusal(&self) -> Option<Refusal> {
        self.state.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // And all connections with it: they are its own.
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let state = state.clone();
        connections.spawn(async move {
            // The client sees that it was hung up on, and the reason is kept.
            let _ = state.connection(client).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl State {
    fn refuse(&self, refusal: Refusal) {
        // The first is the cause of the others.
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(refusal);
    }

    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        let head = head(&mut client).await?;
        let server = match authority(&head) {
            Some((host, port)) => self.network.connect(host, port).await,
            None => {
                let words = "it leads to where nothing is encrypted (http://)";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, words))
            }
        };
        match server {
            Ok(server) => {
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                self.relay(client, server).await
            }
            Err(error) => {
                let words = short(&error.to_string());
                self.refuse(if error.kind() == io::ErrorKind::PermissionDenied {
                    Refusal::Denied(words)
                } else {
                    Refusal::Unreachable(words)
                });
                client
                    .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await
            }
        }
    }

    /// Both ways, until the server has said all, or too much.
    async fn relay(&self, mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = async {
            tokio::io::copy(&mut from_client, &mut to_server).await?;
            to_server.shutdown().await?;
            // What is still to come, comes.
            std::future::pending::<io::Result<()>>().await
        };
        let down = async {
            let mut buffer = vec![0; 16 << 10];
            loop {
                let count = from_server.read(&mut buffer).await?;
                if count == 0 {
                    return to_client.shutdown().await;
                }
                let before = self.came.fetch_add(count as u64, Ordering::Relaxed);
                if before + count as u64 > self.most {
                    self.refuse(Refusal::TooMuch(self.most));
                    return Ok(());
                }
                to_client.write_all(&buffer[..count]).await?;
            }
        };
        tokio::select! {
            ended = down => ended,
            ended = up => ended,
        }
    }
}

/// A request, up to the empty line. The client says nothing more before it has an answer.
async fn head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MOST_HEAD_BYTES || client.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// To where a tunnel is wanted, if one is.
fn authority(head: &str) -> Option<(&str, u16)> {
    let (host, port) = head.strip_prefix("CONNECT ")?.split(' ').next()?.rsplit_once(':')?;
    Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tunnels_are_led_somewhere() {
        for (head, wanted) in [
            ("CONNECT a.example.com:443 HTTP/1.1\r\n", Some(("a.example.com", 443))),
            ("CONNECT [::1]:5000 HTTP/1.1\r\n", Some(("::1", 5000))),
            ("GET http://a.example.com/ HTTP/1.1\r\n", None),
            ("CONNECT a.example.com HTTP/1.1\r\n", None),
            ("CONNECT a.example.com:70000 HTTP/1.1\r\n", None),
            ("", None),
        ] {
            assert_eq!(authority(head), wanted, "{head}");
        }
    }
}
