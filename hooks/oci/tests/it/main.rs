//! Modules in registries, against one that is made for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod network;
mod signatures;

use std::collections::BTreeMap;

use scribe_hooks_oci::{
    Artifact, CONFIG_TYPE, Credentials, LAYER_TYPE, MANIFEST_TYPE, OLD_CONFIG_TYPE, OLD_LAYER_TYPE, OciError,
    Options, Pulled, Registry,
};
use scribe_test_registry::{Access, Registry as Server, sha256};
use serde_json::{Value, json};

const MOST: u64 = 1 << 20;

fn client() -> Registry {
    Registry::new(Options { plain_http: true, ..Options::default() }).unwrap()
}

fn artifact(wasm: &[u8]) -> Artifact {
    Artifact {
        wasm: wasm.to_vec(),
        exports: vec!["scribe:hooks/decision@0.1.0".into()],
        imports: vec!["scribe:hooks/log@0.1.0".into()],
        created: "2026-01-05T12:00:00Z".into(),
        annotations: BTreeMap::from([("org.opencontainers.image.title".into(), "x".into())]),
    }
}

fn password(password: &str) -> Credentials {
    Credentials::Password { user: "robot".into(), password: password.into() }
}

async fn pull(server: &Server, reference: &str, credentials: &Credentials) -> Result<Pulled, OciError> {
    client().pull(&format!("{}/{reference}", server.host()), credentials, MOST).await
}

/// Puts an artifact there as another tool would.
fn put(server: &Server, config_type: &str, layers: &[(&str, &[u8])]) -> String {
    let descriptor = |media_type: &str, content: &[u8]| json!({ "mediaType": media_type, "digest": server.put_blob(content), "size": content.len() });
    let layers: Vec<Value> =
        layers.iter().map(|(media_type, content)| descriptor(media_type, content)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor(config_type, b"{}"), "layers": layers,
    });
    server.put_manifest("hooks/x", "1", MANIFEST_TYPE, manifest.to_string().as_bytes())
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled_by_its_tag_and_by_its_digest() {
    for access in [
        Access::Anybody,
        Access::Password("robot".into(), "secret".into()),
        Access::Token("robot".into(), "secret".into()),
    ] {
        let server = Server::start(access.clone()).await.unwrap();
        let reference = format!("{}/hooks/deep/x:1", server.host());
        let digest = client().push(&reference, &password("secret"), artifact(b"\0asm")).await.unwrap();
        let by_tag = pull(&server, "hooks/deep/x:1", &password("secret")).await.unwrap();
        assert_eq!(by_tag, Pulled { digest: digest.clone(), wasm: b"\0asm".to_vec() }, "{access:?}");
        let by_digest = pull(&server, &format!("hooks/deep/x@{digest}"), &password("secret")).await.unwrap();
        assert_eq!(by_digest, by_tag);
        assert_eq!(client().resolve(&reference, &password("secret")).await.unwrap(), digest);
    }
}

#[tokio::test]
async fn the_artifact_is_what_the_specification_says() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let reference = format!("{}/hooks/x:1", server.host());
    client().push(&reference, &Credentials::Anonymous, artifact(b"\0asm")).await.unwrap();
    let manifest: Value = serde_json::from_slice(&server.manifest("hooks/x", "1").unwrap()).unwrap();
    let layer = sha256(b"\0asm");
    assert_eq!(manifest["mediaType"], MANIFEST_TYPE);
    assert_eq!(manifest["config"]["mediaType"], CONFIG_TYPE);
    assert_eq!(manifest["layers"], json!([{ "mediaType": LAYER_TYPE, "digest": layer, "size": 4 }]));
    let config = server.blob(manifest["config"]["digest"].as_str().unwrap()).unwrap();
    let wanted = json!({
        "created": "2026-01-05T12:00:00Z", "architecture": "wasm", "os": "wasip2", "layerDigests": [layer],
        "component": { "exports": ["scribe:hooks/decision@0.1.0"], "imports": ["scribe:hooks/log@0.1.0"] },
    });
    assert_eq!(serde_json::from_slice::<Value>(&config).unwrap(), wanted);
    // Once more is the same again, and not another artifact.
    let digest = sha256(&server.manifest("hooks/x", "1").unwrap());
    assert_eq!(client().push(&reference, &Credentials::Anonymous, artifact(b"\0asm")).await.unwrap(), digest);
}

#[tokio::test]
async fn what_older_tools_wrote_is_read() {
    let server = Server::start(Access::Anybody).await.unwrap();
    put(&server, OLD_CONFIG_TYPE, &[(OLD_LAYER_TYPE, b"\0asm old")]);
    assert_eq!(pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap().wasm, b"\0asm old");
}

#[tokio::test]
async fn what_is_something_else_is_named_and_not_downloaded() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    put(&server, "application/vnd.oci.image.config.v1+json", &[(layer, b"tar")]);
    let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
    assert!(matches!(&error, OciError::WrongType { found, .. } if found.contains(layer)), "{error}");
    let index = json!({ "schemaVersion": 2, "manifests": [{}] });
    let media_type = "application/vnd.oci.image.index.v1+json";
    server.put_manifest("hooks/x", "1", media_type, index.to_string().as_bytes());
    let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
    assert!(error.to_string().contains("an index of 1 manifests"), "{error}");
    assert!(!server.requests().iter().any(|request| request.contains("/blobs/")));
}

#[tokio::test]
async fn other_content_under_the_same_digest_is_refused() {
    let server = Server::start(Access::Anybody).await.unwrap();
    put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm good")]);
    server.replace_blob(&sha256(b"\0asm good"), b"\0asm evil");
    let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
    assert!(matches!(error, OciError::Digest { .. }), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn another_manifest_under_a_pinned_digest_is_refused() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let pinned = put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm good")]);
    let other =
        String::from_utf8(server.manifest("hooks/x", &pinned).unwrap()).unwrap().replace("good", "evil")
            + " ";
    server.put_manifest("hooks/x", &pinned, MANIFEST_TYPE, other.as_bytes());
    let error = pull(&server, &format!("hooks/x@{pinned}"), &Credentials::Anonymous).await.unwrap_err();
    assert!(matches!(error, OciError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_whatever_the_manifest_says() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let large = vec![7; MOST as usize + 1];
    put(&server, CONFIG_TYPE, &[(LAYER_TYPE, &large)]);
    let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
    assert!(matches!(error, OciError::TooLarge { most: MOST, .. }), "{error}");
    let before = server.requests().iter().filter(|request| request.contains("/blobs/")).count();
    assert_eq!(before, 0, "its size stands in the manifest");
    // A manifest that lies.
    put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"small")]);
    server.replace_blob(&sha256(b"small"), &large);
    let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
    assert!(matches!(error, OciError::TooLarge { most: MOST, .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_and_a_wrong_name_are_told_apart() {
    for access in
        [Access::Password("robot".into(), "secret".into()), Access::Token("robot".into(), "secret".into())]
    {
        let server = Server::start(access.clone()).await.unwrap();
        for credentials in [password("wrong"), Credentials::Anonymous] {
            let error = pull(&server, "hooks/x:1", &credentials).await.unwrap_err();
            assert!(matches!(error, OciError::Unauthorized { .. }), "{access:?} {credentials:?} {error}");
        }
        let error = pull(&server, "hooks/x:1", &password("secret")).await.unwrap_err();
        assert!(matches!(error, OciError::NotFound { .. }), "{access:?} {error}");
    }
}

/// One client for all, as in the controller: what one user may see, another one may not for that.
#[tokio::test]
async fn credentials_are_not_remembered_for_the_next() {
    let server = Server::start(Access::Token("robot".into(), "secret".into())).await.unwrap();
    let (client, reference) = (client(), format!("{}/hooks/x:1", server.host()));
    client.push(&reference, &password("secret"), artifact(b"\0asm")).await.unwrap();
    client.pull(&reference, &password("secret"), MOST).await.unwrap();
    let error = client.pull(&reference, &Credentials::Anonymous, MOST).await.unwrap_err();
    assert!(matches!(error, OciError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn what_may_be_better_later_is_transient() {
    let server = Server::start(Access::Anybody).await.unwrap();
    for status in [500, 503, 429] {
        server.fail(Some(status));
        let error = pull(&server, "hooks/x:1", &Credentials::Anonymous).await.unwrap_err();
        assert!(error.is_transient(), "{status}: {error}");
    }
    let host = server.host();
    drop(server);
    let error = client().pull(&format!("{host}/hooks/x:1"), &Credentials::Anonymous, MOST).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_ends_it() {
    let (server, certificate) =
        Server::start_tls(Access::Token("robot".into(), "secret".into())).await.unwrap();
    let reference = format!("{}/hooks/x:1", server.host());
    let stranger = Registry::new(Options::default()).unwrap();
    let error = stranger.push(&reference, &password("secret"), artifact(b"\0asm")).await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(server.requests().is_empty(), "it was told a password");
    // Among others, as in the bundle of a company.
    let (_, other) = Server::start_tls(Access::Anybody).await.unwrap();
    let bundle = format!("# Ours.\n{other}{certificate}");
    let trusted = Registry::new(Options { certificates: Some(bundle.into()), ..Options::default() }).unwrap();
    trusted.push(&reference, &password("secret"), artifact(b"\0asm")).await.unwrap();
    assert_eq!(trusted.pull(&reference, &password("secret"), MOST).await.unwrap().wasm, b"\0asm");
}

#[test]
fn certificates_that_are_none_are_refused() {
    for (certificates, said) in [
        ("", "there is no `-----BEGIN CERTIFICATE-----`"),
        ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "is no PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "make a client for registries"),
    ] {
        let options = Options { certificates: Some(certificates.into()), ..Options::default() };
        let error = Registry::new(options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said), "{certificates}: {error}");
    }
}

#[tokio::test]
async fn names_that_are_none_are_refused_with_the_form() {
    for reference in
        ["", "x", "hooks/x:1", "registry.example.com/", "registry.example.com/X:1", "a.b/x@sha256:1"]
    {
        let error = client().resolve(reference, &Credentials::Anonymous).await.unwrap_err();
        assert!(matches!(error, OciError::Reference { .. }), "{reference}: {error}");
    }
    assert_eq!(
        Registry::registry_of("registry.example.com:5000/a/b:1").unwrap(),
        "registry.example.com:5000"
    );
}
