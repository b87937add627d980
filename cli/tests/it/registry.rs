//! `hook push` and `hook pull`.

use std::io::Write;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use scribe_test_registry::{Access, Registry};

use crate::modules::proceeds;
use crate::setup::{Folder, ran};

async fn hook(folder: &Folder, arguments: &[&str], password: Option<&str>) -> crate::setup::Ran {
    let mut command = folder.command(&[&["hook"], arguments].concat());
    if let Some(password) = password {
        let path = folder.write("password", password);
        command.stdin(Stdio::from(std::fs::File::open(path).unwrap()));
    }
    // The registry needs this thread meanwhile.
    tokio::task::spawn_blocking(move || ran(&mut command)).await.unwrap()
}

#[tokio::test]
async fn a_module_goes_there_and_back() {
    let server = Registry::start(Access::Anybody).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    let reference = format!("{}/hooks/m:1", server.host());
    let pushed = hook(&folder, &["push", "m.wasm", &reference, "--plain-http"], None).await.ok();
    let pinned = pushed.stdout.trim();
    assert!(pinned.starts_with(&format!("{reference}@sha256:")), "{pinned}");
    let pulled = hook(&folder, &["pull", pinned, "-o", "back.wasm", "--plain-http"], None).await.ok();
    assert_eq!(pulled.stdout, pushed.stdout);
    assert_eq!(std::fs::read(folder.path().join("back.wasm")).unwrap(), proceeds());
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_on_demand() {
    let (server, certificate) = Registry::start_tls(Access::Anybody).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    folder.write("ca.crt", certificate);
    let reference = format!("{}/hooks/m:1", server.host());
    let push = ["push", "m.wasm", reference.as_str()];
    hook(&folder, &push, None).await.failed().complains("certificate");
    hook(&folder, &[push.as_slice(), &["--ca-file", "ca.crt"]].concat(), None).await.ok();
}

#[tokio::test]
async fn a_compressed_module_is_pushed_as_it_is_specified() {
    let server = Registry::start(Access::Anybody).await.unwrap();
    let folder = Folder::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&proceeds()).unwrap();
    folder.write("m.wasm.gz", gzip.finish().unwrap());
    let reference = format!("{}/hooks/m:1", server.host());
    hook(&folder, &["push", "m.wasm.gz", &reference, "--plain-http"], None).await.ok();
    assert_eq!(server.blob(&scribe_test_registry::sha256(&proceeds())).unwrap(), proceeds());
}

#[tokio::test]
async fn passwords_come_from_standard_input_or_from_docker() {
    let server = Registry::start(Access::Token("robot".into(), "secret".into())).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    let reference = format!("{}/hooks/m:1", server.host());
    let push = ["push", "m.wasm", reference.as_str(), "--plain-http"];
    hook(&folder, &push, None).await.failed().complains("the registry refuses these credentials");
    let with_password = [push.as_slice(), &["--username", "robot", "--password-stdin"]].concat();
    hook(&folder, &with_password, Some("wrong"))
        .await
        .failed()
        .complains("the registry refuses these credentials");
    hook(&folder, &with_password, None).await.failed().complains("standard input holds no password");
    hook(&folder, &with_password, Some("secret\n")).await.ok();
    let config = format!(
        "{{\"auths\": {{\"{}\": {{\"username\": \"robot\", \"password\": \"secret\"}}}}}}",
        server.host()
    );
    folder.write(".docker/config.json", config);
    hook(&folder, &push, None).await.ok();
}

#[tokio::test]
async fn a_credential_helper_is_asked() {
    let server = Registry::start(Access::Password("robot".into(), "secret".into())).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    folder.write(".docker/config.json", "{\"credsStore\": \"test\"}");
    let script = format!(
        "#!/bin/sh\nread -r registry\n[ \"$1 $registry\" = 'get {}' ] && echo '{{\"Username\": \"robot\", \"Secret\": \"secret\"}}'\n",
        server.host()
    );
    let helper = folder.write("bin/docker-credential-test", script);
    std::fs::set_permissions(helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let reference = format!("{}/hooks/m:1", server.host());
    let mut command = folder.command(&["hook", "push", "m.wasm", &reference, "--plain-http"]);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", folder.path().join("bin").display()));
    tokio::task::spawn_blocking(move || ran(&mut command)).await.unwrap().ok();
}

#[tokio::test]
async fn what_is_no_hook_is_not_pushed_and_what_is_no_module_not_pulled() {
    let server = Registry::start(Access::Anybody).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", "hello, there");
    let reference = format!("{}/hooks/m:1", server.host());
    hook(&folder, &["push", "m.wasm", &reference, "--plain-http"], None)
        .await
        .failed()
        .complains("is not WebAssembly");
    assert!(server.requests().is_empty());
    hook(&folder, &["pull", &reference, "-o", "x.wasm", "--plain-http"], None)
        .await
        .failed()
        .complains("is not there");
    let manifest = r#"{"schemaVersion": 2, "config": {"mediaType": "application/x", "digest": "sha256:0", "size": 1}, "layers": []}"#;
    server.put_manifest("hooks/m", "1", "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    hook(&folder, &["pull", &reference, "-o", "x.wasm", "--plain-http"], None)
        .await
        .failed()
        .complains("its config is of type application/x");
    assert!(!folder.path().join("x.wasm").exists());
    hook(&folder, &["pull", "hooks/m:1", "-o", "x.wasm"], None)
        .await
        .failed()
        .complains("it names no registry");
}

#[test]
fn the_file_comes_before_the_reference() {
    let folder = Folder::new();
    folder.write("target/m.wasm", proceeds());
    let reference = "localhost:1/hooks/m:1";
    folder
        .hook(&["push", reference, "target/m.wasm"])
        .failed()
        .complains(&format!("`target/m.wasm` is a file, and `{reference}` is none"))
        .complains("FILE comes first, then REFERENCE")
        .complains(&format!("kubectl scribe hook push target/m.wasm {reference}"));
}

#[tokio::test]
async fn what_no_such_key_has_signed_is_not_written() {
    let server = Registry::start(Access::Anybody).await.unwrap();
    let folder = Folder::new();
    folder.write("m.wasm", proceeds());
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    folder.write("cosign.pub", pair.public_key_pem());
    folder.write("cosign.key", pair.serialize_pem());
    let reference = format!("{}/hooks/m:1", server.host());
    let pushed = hook(&folder, &["push", "m.wasm", &reference, "--plain-http"], None).await.ok();
    let (_, digest) = pushed.stdout.trim().split_once('@').unwrap();
    let pull = ["pull", reference.as_str(), "-o", "x.wasm", "--plain-http", "--key"];
    let pull = |key: &'static str| [pull.as_slice(), &[key]].concat();
    hook(&folder, &pull("cosign.pub"), None).await.failed().complains("is not signed by a trusted key");
    hook(&folder, &pull("cosign.key"), None).await.failed().complains("holds a private key");
    assert!(!folder.path().join("x.wasm").exists());
    let payload = format!(
        r#"{{"critical": {{"identity": {{}}, "image": {{"docker-manifest-digest": "{digest}"}}, "type": "cosign container image signature"}}}}"#
    );
    let signature = BASE64_STANDARD.encode(pair.sign(payload.as_bytes()).unwrap());
    let layer = serde_json::json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": server.put_blob(payload.as_bytes()),
        "size": payload.len(), "annotations": { "dev.cosignproject.cosign/signature": signature },
    });
    let manifest = serde_json::json!({ "schemaVersion": 2, "layers": [layer] }).to_string();
    let tag = format!("{}.sig", digest.replace(':', "-"));
    server.put_manifest("hooks/m", &tag, "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    hook(&folder, &pull("cosign.pub"), None).await.ok().complains(", signed)");
    assert_eq!(std::fs::read(folder.path().join("x.wasm")).unwrap(), proceeds());
}
