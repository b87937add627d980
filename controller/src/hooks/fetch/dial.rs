//! Connections to where modules are.

use async_trait::async_trait;
use scribe_hooks::contract::grants::AddressRanges;
use scribe_hooks_oci::Network;
use std::collections::BTreeSet;
use std::io;
use tokio::net::{TcpStream, lookup_host};

/// Connects to hosts that users name: to public addresses, and to others where the controller was told that it may.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    hosts: BTreeSet<String>,
}

impl Dialer {
    /// These hosts may have any address.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self { hosts: hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// Connects to the first address that may be dialled and can be reached. A host is resolved once, each address is judged, and that address
    /// is dialled and no other.
    ///
    /// # Errors
    /// `PermissionDenied` says that no address of the host may be dialled.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let is_named = self.hosts.contains(&host) || self.hosts.contains(&format!("[{host}]"));
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for address in lookup_host((host.as_str(), port)).await? {
            if !is_named && let Err(denied) = AddressRanges::default().permit(address.ip()) {
                let words = format!(
                    "{denied}: name the host in the controller's --hook-module-hosts, if it may be dialled"
                );
                failure = io::Error::new(io::ErrorKind::PermissionDenied, words);
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

#[async_trait]
impl Network for Dialer {
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        Self::connect(self, host, port).await
    }
}
