use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server on loopback, which answers every path with what it has for it. It lives as long as the test.
struct Server {
    port: u16,
    authority: tempfile::NamedTempFile,
}

impl Server {
    async fn start(answers: &'static [(&'static str, &'static str)]) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let authority = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(authority.path(), certificate.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        request.push(byte);
                    }
                    let request = String::from_utf8(request).unwrap();
                    let path = request.split(' ').nth(1).unwrap();
                    let answer = answers.iter().find(|(known, _)| *known == path);
                    let answer = answer.map_or("404 Not Found\r\ncontent-length: 6\r\n\r\nsecret", |it| it.1);
                    // A client that has heard enough goes away.
                    let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { port, authority }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("https://localhost:{}{path}", self.port)).unwrap()
    }

    fn client(&self) -> Https {
        Https::new(Some(self.authority.path()), Dialer::new(["LOCALHOST".to_owned()])).unwrap()
    }

    async fn words(&self, https: &Https, path: &str) -> String {
        https.read(&self.url(path), &digest(b"a module"), 100).await.unwrap_err().to_string()
    }
}

const GOOD: &str = "200 OK\r\ncontent-length: 8\r\n\r\na module";

#[tokio::test]
async fn what_has_the_digest_is_taken_and_nothing_else() {
    let server = Server::start(&[
        ("/good?v=1", GOOD),
        ("/moved", "302 Found\r\nlocation: /good?v=1\r\ncontent-length: 0\r\n\r\n"),
        ("/other", "200 OK\r\ncontent-length: 5\r\n\r\nother"),
    ])
    .await;
    let https = server.client();
    for path in ["/good?v=1", "/moved"] {
        let bytes = https.read(&server.url(path), &digest(b"a module"), 100).await.unwrap();
        assert_eq!(bytes, b"a module");
    }
    let words = server.words(&https, "/other").await;
    assert!(words.contains(&digest(b"other")) && words.contains("spec.https.sha256"), "{words}");
    let words = server.words(&https, "/none?token=abc").await;
    assert!(
        words.ends_with("/none: the server answered 404 Not Found") && !words.contains("secret"),
        "{words}"
    );
}

#[tokio::test]
async fn a_server_cannot_send_more_than_it_may_or_elsewhere() {
    let server = Server::start(&[
        ("/large", "200 OK\r\ncontent-length: 9999999\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789x"),
        ("/endless", "302 Found\r\nlocation: /endless\r\ncontent-length: 0\r\n\r\n"),
        ("/away", "302 Found\r\nlocation: https://example.com/\r\ncontent-length: 0\r\n\r\n"),
        ("/plain", "302 Found\r\nlocation: http://localhost/\r\ncontent-length: 0\r\n\r\n"),
        ("/short", "200 OK\r\ncontent-length: 8\r\n\r\na mod"),
    ])
    .await;
    let https = server.client();
    assert!(server.words(&https, "/large").await.contains("larger than 100 bytes"));
    for path in ["/endless", "/away", "/plain"] {
        assert!(server.words(&https, path).await.contains("redirects to another host"), "{path}");
    }
    assert!(server.words(&https, "/short").await.contains("the connection broke"));
}

#[tokio::test]
async fn addresses_that_are_not_public_are_not_dialled_unless_their_host_is_named() {
    let server = Server::start(&[("/good", GOOD)]).await;
    let https = Https::new(Some(server.authority.path()), Dialer::new([])).unwrap();
    assert!(server.words(&https, "/good").await.contains("--hook-module-hosts"));
    let https = server.client();
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "0x7f.1", "169.254.169.254", "10.0.0.1"] {
        let url = Url::parse(&format!("https://{host}:{}/good", server.port)).unwrap();
        let words = https.read(&url, "", 100).await.unwrap_err().to_string();
        assert!(words.contains("--hook-module-hosts"), "{host}: {words}");
    }
    let named = Https::new(Some(server.authority.path()), Dialer::new(["127.0.0.1".to_owned()])).unwrap();
    let url = Url::parse(&format!("https://127.0.0.1:{}/good", server.port)).unwrap();
    assert!(named.read(&url, &digest(b"a module"), 100).await.is_ok());
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let server = Server::start(&[("/good", GOOD)]).await;
    let other = Server::start(&[]).await;
    let https = Https::new(Some(other.authority.path()), Dialer::new(["localhost".to_owned()])).unwrap();
    let words = server.words(&https, "/good").await;
    assert!(words.contains("certificate"), "{words}");
}
