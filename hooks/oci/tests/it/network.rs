//! What a registry that others name can lead us to.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use scribe_hooks_oci::{
    Artifact, CONFIG_TYPE, Credentials, LAYER_TYPE, MANIFEST_TYPE, Network, OciError, Options, Registry,
};
use scribe_test_registry::{Access, Registry as Server};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{MOST, artifact, password, put};

/// In which `registry.example.com` is a server of the test, and nothing else may be connected to.
struct Small {
    server: SocketAddr,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Network for Small {
    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        self.asked.lock().unwrap().push(format!("{host}:{port}"));
        match host {
            "registry.example.com" => TcpStream::connect(self.server).await,
            "gone.example.com" => Err(io::Error::other("there is no such name")),
            _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{host} is not public"))),
        }
    }
}

struct World {
    server: Server,
    network: Arc<Small>,
    client: Registry,
}

async fn world(access: Access) -> World {
    let (server, certificate) = Server::start_tls(access).await.unwrap();
    let network = Arc::new(Small { server: server.host().parse().unwrap(), asked: Mutex::default() });
    let certificates = Some(certificate.into_bytes());
    let options = Options { plain_http: false, certificates, network: Some(network.clone()) };
    World { server, network, client: Registry::new(options).unwrap() }
}

const REFERENCE: &str = "registry.example.com/hooks/x:1";

impl World {
    async fn pull(&self, reference: &str) -> Result<Vec<u8>, OciError> {
        self.client.pull(reference, &Credentials::Anonymous, MOST).await.map(|pulled| pulled.wasm)
    }
}

#[tokio::test]
async fn all_that_is_asked_goes_through_it() {
    let world = world(Access::Anybody).await;
    let large = Artifact { wasm: vec![7; MOST as usize], ..artifact(b"") };
    world.client.push(REFERENCE, &Credentials::Anonymous, large).await.unwrap();
    assert_eq!(world.pull(REFERENCE).await.unwrap().len() as u64, MOST);
    let asked = world.network.asked.lock().unwrap();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked == "registry.example.com:443"), "{asked:?}");
}

#[tokio::test]
async fn what_may_not_be_connected_to_is_told_as_such() {
    let world = world(Access::Anybody).await;
    for host in ["10.0.0.1:5000", "[::ffff:10.0.0.1]:5000", "localhost:5000"] {
        let error = world.pull(&format!("{host}/hooks/x:1")).await.unwrap_err();
        let is_told = matches!(&error, OciError::Denied { detail, .. } if detail.ends_with("is not public"));
        assert!(is_told || matches!(error, OciError::Reference { .. }), "{host}: {error}");
        assert!(!error.is_transient());
    }
    let error = world.pull("gone.example.com/hooks/x:1").await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("there is no such name"), "{error}");
}

/// A registry of somebody else's, which is answered what is asked of it, and sends us on.
#[tokio::test]
async fn a_redirect_leads_nowhere_else() {
    let world = world(Access::Anybody).await;
    put(&world.server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm")]);
    for (to, said) in [
        ("https://169.254.169.254/latest", "169.254.169.254 is not public"),
        ("http://registry.example.com/x", "nothing is encrypted"),
        ("http://169.254.169.254/latest", "nothing is encrypted"),
    ] {
        world.server.redirect_blobs(Some(to));
        let error = world.pull(REFERENCE).await.unwrap_err();
        assert!(matches!(&error, OciError::Denied { detail, .. } if detail.contains(said)), "{to}: {error}");
    }
}

#[tokio::test]
async fn a_password_goes_only_to_where_one_may() {
    let world = world(Access::Token("robot".into(), "secret".into())).await;
    world.server.send_for_tokens_to("https://10.0.0.1/token");
    let error = world.client.pull(REFERENCE, &password("secret"), MOST).await.unwrap_err();
    assert!(
        matches!(&error, OciError::Denied { detail, .. } if detail == "10.0.0.1 is not public"),
        "{error}"
    );
}

/// A manifest is held whole before anybody can look how large it is.
#[tokio::test]
async fn no_more_comes_than_was_asked_for() {
    let world = world(Access::Anybody).await;
    let large = json!({ "schemaVersion": 2, "padding": "x".repeat(16 << 20) }).to_string();
    world.server.put_manifest("hooks/x", "1", MANIFEST_TYPE, large.as_bytes());
    let error = world.pull(REFERENCE).await.unwrap_err();
    let is_told = matches!(&error, OciError::TooLarge { what, .. } if *what == "what the registry sends");
    assert!(is_told, "{error}");
}

#[tokio::test]
async fn what_is_not_encrypted_does_not_go_there() {
    let network: Arc<dyn Network> =
        Arc::new(Small { server: "127.0.0.1:9".parse().unwrap(), asked: Mutex::default() });
    let options = Options { plain_http: true, certificates: None, network: Some(network) };
    assert!(matches!(Registry::new(options), Err(OciError::Client(_))));
}
