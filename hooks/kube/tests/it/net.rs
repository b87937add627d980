//! A network in which a public address is a server of the test, and a host that uses it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kube::{Client, Config};
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{HttpError, Request, Response};
use scribe_hooks_contract::grants::{Grants, HttpGrant};
use scribe_hooks_kube::http::{HttpClient, Network};
use scribe_hooks_kube::{Call, KubeHost, Platform, Subject};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Leads every address to one server, and remembers what was asked.
pub struct Mapped {
    to: SocketAddr,
    /// What a name resolves to, one time after the other. The last answer stays.
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub resolved: Mutex<usize>,
    pub dialled: Mutex<Vec<SocketAddr>>,
}

impl Mapped {
    pub fn new(to: SocketAddr, answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let answers = Mutex::new(answers.iter().map(parse).collect());
        Arc::new(Self { to, answers, resolved: Mutex::default(), dialled: Mutex::default() })
    }

    pub fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

#[async_trait]
impl Network for Mapped {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        *self.resolved.lock().unwrap() += 1;
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::Error::other("no such name"))
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().unwrap().push(address);
        TcpStream::connect(self.to).await
    }
}

/// A host whose only use is HTTP: nothing answers its client.
pub fn host(network: Arc<Mapped>, extra_roots: Option<&[u8]>) -> KubeHost {
    speaking(HttpClient::new(extra_roots).unwrap().with_network(network))
}

/// The same, that speaks through this client.
pub fn speaking(http: HttpClient) -> KubeHost {
    let client = Client::try_from(Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
    let subject = Subject {
        api_version: "scribe.dev/v1alpha1".into(),
        kind: "ReplicationSource".into(),
        namespace: "shop".into(),
        name: "db".into(),
        uid: "u".into(),
    };
    Platform::new(client.clone(), "test", http).host(Call {
        acting: client,
        subject,
        module: "pager".into(),
        journal: None,
    })
}

pub fn get(url: &str) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_seconds: 20,
        secret_headers: Vec::new(),
    }
}

/// Sends as a module would whose grants are for these two hosts.
pub async fn send(host: &KubeHost, request: Request, most: u64) -> Result<Response, HttpError> {
    let allow = ["http://pager.example.com:80", "https://pager.example.com:443"];
    let http = HttpGrant {
        allow: allow.map(str::to_owned).to_vec(),
        private_ranges: vec!["10.20.0.0/16".into()],
        secrets: Vec::new(),
    };
    let permit = Grants { http: Some(http), ..Grants::default() }.permit_http(&request).unwrap();
    host.http_send(permit, request, most).await
}

/// Reads a request up to the end of its headers and as much of a body as was announced.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= announced.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut buffer).await.unwrap() {
            0 => return text,
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A server that answers every connection with these bytes, and then keeps it open if so. Its requests arrive at the receiver.
pub async fn serve(
    answer: Vec<u8>,
    keeps_open: bool,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (requests, answer) = (requests.clone(), answer.clone());
            tokio::spawn(async move { answer_one(stream, &answer, keeps_open, &requests).await });
        }
    });
    (address, receiver)
}

pub async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
    keeps_open: bool,
    requests: &tokio::sync::mpsc::UnboundedSender<String>,
) {
    let request = read_request(&mut stream).await;
    let _ = requests.send(request);
    // A client that has seen enough closes.
    let _ = stream.write_all(answer).await;
    let _ = stream.flush().await;
    if keeps_open {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let _ = requests.send("closed".to_owned());
    } else {
        let _ = stream.shutdown().await;
    }
}
