//! Opens the pool and serves both sockets until told to stop.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::ServeArgs;
use crate::call::Driver;
use crate::controller::ControllerService;
use crate::identity::IdentityService;
use crate::node::NodeService;
use crate::pool::Pool;
use crate::proto::csi::controller_server::ControllerServer;
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;
use crate::proto::registration::registration_server::RegistrationServer;
use crate::registration::RegistrationService;

/// Serves until SIGTERM or SIGINT. Mounts and loop devices stay as they are: pods may be using them, and the next start goes on
/// from there.
///
/// # Errors
/// When the pool cannot be opened, a socket cannot be made, or a server breaks off.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs { endpoint, registration_dir, state_dir, node_id, driver_name, pool_size } = args;
    fs::create_dir_all(&state_dir).with_context(|| format!("make {}", state_dir.display()))?;
    let state_dir =
        fs::canonicalize(&state_dir).with_context(|| format!("resolve {}", state_dir.display()))?;
    let pool = Pool::open(&state_dir, pool_size)?;
    let driver = Arc::new(Driver::new(driver_name.clone(), node_id, pool, &state_dir));
    let (mut term, mut int) = (
        signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        signal(SignalKind::interrupt()).context("listen for SIGINT")?,
    );

    let csi = Socket::bind(&endpoint)?;
    let csi_server = Server::builder()
        .add_service(IdentityServer::new(IdentityService(Arc::clone(&driver))))
        .add_service(ControllerServer::new(ControllerService(Arc::clone(&driver))))
        .add_service(NodeServer::new(NodeService(driver)))
        .serve_with_incoming(csi.incoming);
    // After the CSI socket: the kubelet calls it as soon as it sees this one.
    let registration = registration_dir
        // The kubelet sends the socket's path, percent-encoded, as the HTTP/2 authority. Our server refuses a percent sign there
        // as malformed, except in a user's name: the `@` makes the folders one.
        .map(|folder| Socket::bind(&folder.join(format!("{driver_name}@reg.sock"))))
        .transpose()?;
    let registering = async {
        match registration {
            None => std::future::pending().await,
            Some(socket) => {
                let endpoint =
                    fs::canonicalize(&endpoint).with_context(|| format!("resolve {}", endpoint.display()))?;
                let service = RegistrationService { name: driver_name, endpoint };
                Server::builder()
                    .add_service(RegistrationServer::new(service))
                    .serve_with_incoming(socket.incoming)
                    .await
                    .context("serve the kubelet's registration")
            }
        }
    };
    tracing::info!(endpoint = %endpoint.display(), state = %state_dir.display(), "serving");
    tokio::select! {
        result = csi_server => result.context("serve CSI"),
        result = registering => result,
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
    }
}

/// A listening socket, whose file goes with it: the kubelet takes that for the end of the driver.
struct Socket {
    incoming: UnixListenerStream,
    _file: SocketFile,
}

struct SocketFile(PathBuf);

impl Socket {
    fn bind(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove the stale {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        Ok(Self { incoming: UnixListenerStream::new(listener), _file: SocketFile(path.to_owned()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already is as good; anything else is repaired by the next start.
        let _ = fs::remove_file(&self.0);
    }
}
