use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scribe_hooks_contract::effects::{HttpError, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use scribe_hooks_kube::http::HttpClient;

use crate::net::{Mapped, answer_one, get, host, read_request, send, serve, speaking};

const PLAIN: &str = "http://pager.example.com/";
const PUBLIC: &[&str] = &["1.1.1.1"];
const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: 1\r\nX-A: 2\r\n\r\nhello";

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
    let (address, mut requests) = serve(HELLO.to_vec(), false).await;
    let network = Mapped::new(address, &[PUBLIC]);
    let request = Request {
        method: "POST".into(),
        headers: vec![("content-type".into(), "text/plain".into()), ("User-Agent".into(), "mine".into())],
        body: b"x=1".to_vec(),
        ..get("http://pager.example.com/a/b?c=d%20e#f")
    };
    let response = send(&host(network.clone(), None), request, 100).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, b"hello".as_slice()));
    assert!(response.headers.contains(&("x-a".into(), "2".into())), "{:?}", response.headers);
    let sent = requests.recv().await.unwrap();
    assert!(sent.starts_with("POST /a/b?c=d%20e HTTP/1.1\r\n") && sent.ends_with("\r\n\r\nx=1"), "{sent}");
    for line in
        ["host: pager.example.com", "content-type: text/plain", "user-agent: mine", "content-length: 3"]
    {
        assert_eq!(sent.lines().filter(|sent| *sent == line).count(), 1, "{line} in {sent}");
    }
    assert_eq!(network.dialled(), ["1.1.1.1:80"]);
}

#[tokio::test]
async fn a_redirect_is_answered_and_not_followed() {
    let answer =
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n";
    let (address, _requests) = serve(answer.to_vec(), false).await;
    let network = Mapped::new(address, &[PUBLIC]);
    let response = send(&host(network.clone(), None), get(PLAIN), 100).await.unwrap();
    assert_eq!(response.status, 302);
    assert_eq!(network.dialled(), ["1.1.1.1:80"]);
}

#[tokio::test]
async fn a_name_is_resolved_once_for_each_request_and_judged_each_time() {
    let (address, _requests) = serve(HELLO.to_vec(), false).await;
    let network = Mapped::new(address, &[PUBLIC, &["127.0.0.1"]]);
    let host = host(network.clone(), None);
    assert_eq!(send(&host, get(PLAIN), 100).await.unwrap().status, 200);
    assert_eq!(*network.resolved.lock().unwrap(), 1, "what was judged is what was dialled");
    let error = send(&host, get(PLAIN), 100).await.unwrap_err();
    assert!(matches!(&error, HttpError::Denied(why) if why.contains("127.0.0.1")), "{error:?}");
    assert_eq!(network.dialled(), ["1.1.1.1:80"]);
}

#[tokio::test]
async fn only_addresses_that_may_be_dialled_are() {
    let (address, _requests) = serve(HELLO.to_vec(), false).await;
    let network = Mapped::new(address, &[&["169.254.169.254", "10.0.0.1", "::ffff:10.0.0.1", "10.20.0.7"]]);
    assert_eq!(send(&host(network.clone(), None), get(PLAIN), 100).await.unwrap().status, 200);
    assert_eq!(network.dialled(), ["10.20.0.7:80"]);
}

/// Whoever makes a HookModule grants what he likes; the network is the controller's.
#[tokio::test]
async fn an_administrator_bounds_what_is_not_public() {
    let (address, _requests) = serve(HELLO.to_vec(), false).await;
    for (ranges, reached) in [("10.0.0.0/8", true), ("10.21.0.0/16", false)] {
        let network = Mapped::new(address, &[&["10.20.0.7"]]);
        let http = HttpClient::new(None).unwrap().with_network(network.clone());
        let host = speaking(http.with_private_ranges(vec![ranges.parse().unwrap()]));
        match send(&host, get(PLAIN), 100).await {
            Ok(_) => assert!(reached, "{ranges}"),
            Err(HttpError::Denied(why)) => {
                assert!(!reached && why.contains("--hook-private-ranges"), "{ranges}: {why}");
                assert!(network.dialled().is_empty());
            }
            Err(error) => panic!("{ranges}: {error:?}"),
        }
    }
    let public = Mapped::new(address, &[PUBLIC]);
    let http = HttpClient::new(None).unwrap().with_network(public).with_private_ranges(Vec::new());
    assert_eq!(send(&speaking(http), get(PLAIN), 100).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit_and_no_further() {
    let exact = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".iter().copied().chain([b'x'; 1000]);
    let (address, _requests) = serve(exact.collect(), false).await;
    let network = Mapped::new(address, &[PUBLIC]);
    assert_eq!(send(&host(network.clone(), None), get(PLAIN), 1000).await.unwrap().body.len(), 1000);
    assert_eq!(send(&host(network, None), get(PLAIN), 999).await, Err(HttpError::TooLarge(999)));
    // It does not say how long it is, and never ends.
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n".iter().copied();
    let (address, mut requests) = serve(endless.chain([b'x'; 2000]).chain(*b"\r\n").collect(), true).await;
    let network = Mapped::new(address, &[PUBLIC]);
    assert_eq!(send(&host(network, None), get(PLAIN), 1000).await, Err(HttpError::TooLarge(1000)));
    requests.recv().await.unwrap();
    assert_eq!(requests.recv().await.unwrap(), "closed");
}

#[tokio::test]
async fn a_body_that_drips_ends_with_the_requests_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Mapped::new(listener.local_addr().unwrap(), &[PUBLIC]);
    let drip = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
        // A byte at a time, as long as anybody listens.
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let request = Request { timeout_seconds: 1, ..get(PLAIN) };
    let host = host(network, None);
    let (answer, ()) = tokio::join!(send(&host, request, 2_000_000), drip);
    assert_eq!(answer, Err(HttpError::TimedOut));
}

#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let (address, mut requests) = serve(b"HTTP/1.1 200 OK\r\n".to_vec(), true).await;
    let host = host(Mapped::new(address, &[PUBLIC]), None);
    tokio::select! {
        answer = send(&host, get(PLAIN), 100) => panic!("{answer:?}"),
        request = requests.recv() => assert!(request.unwrap().starts_with("GET / ")),
    }
    assert_eq!(requests.recv().await.unwrap(), "closed");
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_size() {
    let head =
        |headers: String| format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n").into_bytes();
    let many = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let (address, _requests) = serve(head(headers), false).await;
        let answer = send(&host(Mapped::new(address, &[PUBLIC]), None), get(PLAIN), 100).await;
        assert!(matches!(answer, Err(HttpError::Protocol(_))));
    }
}

#[tokio::test]
async fn what_is_no_server_is_told_apart() {
    let (address, _requests) = serve(b"220 mail.example.com ESMTP\r\n".to_vec(), false).await;
    let answer = send(&host(Mapped::new(address, &[PUBLIC]), None), get(PLAIN), 100).await;
    assert!(matches!(answer, Err(HttpError::Protocol(_))), "{answer:?}");
    let answer = send(&host(Mapped::new(address, &[]), None), get(PLAIN), 100).await;
    assert!(matches!(answer, Err(HttpError::Dns(_))), "{answer:?}");
    let answer = send(&host(Mapped::new(address, &[&[]]), None), get(PLAIN), 100).await;
    assert!(matches!(answer, Err(HttpError::Dns(_))), "{answer:?}");
    // Nobody listens on a port that was given back.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let network = Mapped::new(closed, &[&["1.1.1.1", "9.9.9.9"]]);
    let answer = send(&host(network.clone(), None), get(PLAIN), 100).await;
    assert!(matches!(&answer, Err(HttpError::Connect(why)) if why.starts_with("9.9.9.9")), "{answer:?}");
    assert_eq!(network.dialled(), ["1.1.1.1:80", "9.9.9.9:80"]);
}

/// An authority in PEM, and a server whose certificate is from it and for that name.
async fn tls_server(name: &str) -> (String, std::net::SocketAddr) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (requests, _receiver) = tokio::sync::mpsc::unbounded_channel();
            // A client that does not trust us says so, and that is all.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer_one(stream, HELLO, false, &requests).await;
            }
        }
    });
    (authority.pem(), address)
}

#[tokio::test]
async fn tls_is_for_that_name_from_an_authority_that_is_trusted() {
    const SECURE: &str = "https://pager.example.com/";
    let (authority, address) = tls_server("pager.example.com").await;
    let network = Mapped::new(address, &[PUBLIC]);
    let trusting = host(network.clone(), Some(authority.as_bytes()));
    assert_eq!(send(&trusting, get(SECURE), 100).await.unwrap().body, b"hello");
    let answer = send(&host(network, None), get(SECURE), 100).await;
    assert!(matches!(answer, Err(HttpError::Tls(_))), "{answer:?}");

    let (authority, address) = tls_server("other.example.com").await;
    let host = host(Mapped::new(address, &[PUBLIC]), Some(authority.as_bytes()));
    let answer = send(&host, get(SECURE), 100).await;
    assert!(matches!(answer, Err(HttpError::Tls(_))), "{answer:?}");
}
