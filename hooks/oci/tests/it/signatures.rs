//! Signatures beside modules, as cosign leaves them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SigningKey};
use scribe_hooks_oci::{Credentials, LAYER_TYPE, MANIFEST_TYPE, OciError, PublicKey};
use scribe_test_registry::{Access, Registry as Server, sha256};
use serde_json::{Value, json};

use crate::{CONFIG_TYPE, artifact, client, password, put};

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn keys(pair: &KeyPair) -> Vec<PublicKey> {
    PublicKey::from_pem(pair.public_key_pem().as_bytes()).unwrap()
}

fn payload(digest: &str) -> Vec<u8> {
    let critical = json!({
        "identity": { "docker-reference": "" }, "image": { "docker-manifest-digest": digest }, "type": "cosign container image signature",
    });
    json!({ "critical": critical, "optional": null }).to_string().into_bytes()
}

/// A layer of a signature's manifest.
fn signed(server: &Server, pair: &KeyPair, payload: &[u8]) -> Value {
    let signature = BASE64_STANDARD.encode(pair.sign(payload).unwrap());
    json!({
        "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": server.put_blob(payload), "size": payload.len(),
        "annotations": { "dev.cosignproject.cosign/signature": signature },
    })
}

/// Puts signatures there, as cosign does.
fn put_signatures(server: &Server, digest: &str, layers: &[Value]) {
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": server.put_blob(b"{}"), "size": 2 });
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers });
    let tag = format!("{}.sig", digest.replace(':', "-"));
    server.put_manifest("hooks/x", &tag, MANIFEST_TYPE, manifest.to_string().as_bytes());
}

async fn verify(server: &Server, digest: &str, keys: &[PublicKey]) -> Result<(), OciError> {
    let reference = format!("{}/hooks/x:1", server.host());
    client().verify(&reference, digest, &Credentials::Anonymous, keys).await
}

#[tokio::test]
async fn a_signature_of_a_trusted_key_is_found() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let server = Server::start(Access::Anybody).await.unwrap();
        let digest = put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm")]);
        let (own, other) = (KeyPair::generate_for(algorithm).unwrap(), pair());
        // Whoever signs again adds a layer.
        let layers = [&other, &own].map(|pair| signed(&server, pair, &payload(&digest)));
        put_signatures(&server, &digest, &layers);
        verify(&server, &digest, &keys(&own)).await.unwrap();
        let error = verify(&server, &digest, &keys(&pair())).await.unwrap_err();
        assert!(matches!(&error, OciError::Unsigned { detail, .. } if detail.contains("none of the keys")));
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn what_nobody_has_signed_is_refused_with_the_way_out() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let digest = put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm")]);
    let error = verify(&server, &digest, &keys(&pair())).await.unwrap_err();
    let OciError::Unsigned { reference, detail } = &error else { panic!("{error}") };
    assert_eq!(reference, &format!("{}/hooks/x:1@{digest}", server.host()));
    assert!(detail.contains("cosign sign --key"), "{detail}");
    put_signatures(&server, &digest, &[]);
    let error = verify(&server, &digest, &keys(&pair())).await.unwrap_err();
    assert!(error.to_string().contains("holds no signature"), "{error}");
}

/// A registry has every text that the key has ever signed, and can put each of them anywhere.
#[tokio::test]
async fn a_signature_of_another_module_does_not_do() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let (good, pair) = (sha256(b"good"), pair());
    let evil = put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm evil")]);
    put_signatures(&server, &evil, &[signed(&server, &pair, &payload(&good))]);
    let error = verify(&server, &evil, &keys(&pair)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("what was signed is {good}")), "{error}");
    // Nor one whose text was changed after it was signed.
    let mut layer = signed(&server, &pair, &payload(&good));
    let forged = payload(&evil);
    layer["digest"] = server.put_blob(&forged).into();
    put_signatures(&server, &evil, &[layer]);
    let error = verify(&server, &evil, &keys(&pair)).await.unwrap_err();
    assert!(error.to_string().contains("none of the keys"), "{error}");
}

#[tokio::test]
async fn what_a_key_has_signed_for_another_purpose_does_not_do() {
    let server = Server::start(Access::Anybody).await.unwrap();
    let digest = put(&server, CONFIG_TYPE, &[(LAYER_TYPE, b"\0asm")]);
    let pair = pair();
    let text = String::from_utf8(payload(&digest)).unwrap();
    for (text, said) in [
        (text.replace("container image", "blob"), "its type is"),
        ("hello".to_owned(), "no payload of cosign"),
    ] {
        put_signatures(&server, &digest, &[signed(&server, &pair, text.as_bytes())]);
        let error = verify(&server, &digest, &keys(&pair)).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_answer_has_not_said_no() {
    let server = Server::start(Access::Token("robot".into(), "secret".into())).await.unwrap();
    let reference = format!("{}/hooks/x:1", server.host());
    let digest = client().push(&reference, &password("secret"), artifact(b"\0asm")).await.unwrap();
    let pair = pair();
    put_signatures(&server, &digest, &[signed(&server, &pair, &payload(&digest))]);
    client().verify(&reference, &digest, &password("secret"), &keys(&pair)).await.unwrap();
    let error = verify(&server, &digest, &keys(&pair)).await.unwrap_err();
    assert!(matches!(error, OciError::Unauthorized { .. }), "{error}");
    server.fail(Some(503));
    let error = client().verify(&reference, &digest, &password("secret"), &keys(&pair)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}
