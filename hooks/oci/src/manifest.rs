//! Manifests: which are modules, and what is wrong with the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{OciError, short};

/// The manifest's media type.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The config's media type.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The layer's media type.
pub const LAYER_TYPE: &str = "application/wasm";
/// What older tools wrote as the config's media type.
pub const OLD_CONFIG_TYPE: &str = "application/vnd.wasm.config.v1+json";
/// What older tools wrote as the layer's media type.
pub const OLD_LAYER_TYPE: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// What is asked for. The last two are asked for so that they can be told apart from nothing.
pub const ACCEPTED: [&str; 4] = [
    MANIFEST_TYPE,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

/// A manifest is a few hundred bytes.
pub const MOST_MANIFEST_BYTES: u64 = 1 << 20;

/// What is signed is a few hundred bytes.
pub const MOST_PAYLOAD_BYTES: u64 = 64 << 10;

/// Whoever signs again adds a signature; more than so many are not looked at.
const MOST_SIGNATURES: usize = 64;

/// Where cosign writes down a signature.
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// Something in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

/// A manifest, as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest<'a> {
    pub schema_version: u8,
    pub media_type: &'a str,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

/// A manifest or an index, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<Vec<serde::de::IgnoredAny>>,
}

/// A manifest of signatures, as it is read.
#[derive(Deserialize)]
struct Signed {
    #[serde(default)]
    layers: Vec<SignedLayer>,
}

#[derive(Deserialize)]
struct SignedLayer {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The config of a CNCF Wasm artifact.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config<'a> {
    /// RFC 3339.
    pub created: &'a str,
    pub architecture: &'a str,
    pub os: &'a str,
    pub layer_digests: Vec<&'a str>,
    pub component: Component<'a>,
}

/// What the component has, by full names.
#[derive(Debug, Serialize)]
pub struct Component<'a> {
    pub exports: &'a [String],
    pub imports: &'a [String],
}

/// The one layer of a module.
///
/// # Errors
///
/// The manifest is that of something else, and of what.
pub fn module_layer(reference: &str, manifest: &[u8]) -> Result<Descriptor, OciError> {
    let wrong = |found: String| OciError::WrongType { reference: reference.to_owned(), found: short(&found) };
    let found: Found = serde_json::from_slice(manifest).map_err(|error| not_one(reference, &error))?;
    if let Some(manifests) = found.manifests {
        return Err(wrong(format!(
            "it is an index of {} manifests: name one of them by its digest",
            manifests.len()
        )));
    }
    let config = found.config.ok_or_else(|| wrong("its manifest has no config".to_owned()))?;
    let known = [(CONFIG_TYPE, LAYER_TYPE), (OLD_CONFIG_TYPE, OLD_LAYER_TYPE)];
    let types = || found.layers.iter().map(|layer| layer.media_type.as_str()).collect::<Vec<_>>().join(", ");
    if !known.iter().any(|(known, _)| *known == config.media_type) {
        return Err(wrong(format!(
            "its config is of type {}, with layers of type {}; push the module with `kubectl scribe hook push`, or another tool that writes {CONFIG_TYPE}",
            config.media_type,
            types(),
        )));
    }
    match found.layers.as_slice() {
        // Some tools mixed the old and the new.
        [layer] if known.iter().any(|(_, known)| *known == layer.media_type) => Ok(layer.clone()),
        [_] => Err(wrong(format!("its layer is of type {}, and not {LAYER_TYPE}", types()))),
        layers => Err(wrong(format!("it has {} layers ({}), and a module is one", layers.len(), types()))),
    }
}

/// What was signed, each with its signature in base64.
///
/// # Errors
///
/// It is no manifest.
pub fn signatures(reference: &str, manifest: &[u8]) -> Result<Vec<(Descriptor, String)>, OciError> {
    let found: Signed = serde_json::from_slice(manifest).map_err(|error| not_one(reference, &error))?;
    let signed = found.layers.into_iter().filter_map(|SignedLayer { descriptor, mut annotations }| {
        annotations.remove(SIGNATURE_ANNOTATION).map(|signature| (descriptor, signature))
    });
    Ok(signed.take(MOST_SIGNATURES).collect())
}

fn not_one(reference: &str, error: &serde_json::Error) -> OciError {
    let detail = format!("its manifest is not one: {}", short(&error.to_string()));
    OciError::Protocol { reference: reference.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(config: &str, layers: &[&str]) -> Vec<u8> {
        let descriptor = |media_type: &str| Descriptor {
            media_type: media_type.to_owned(),
            digest: "sha256:0".to_owned(),
            size: 1,
        };
        let annotations = BTreeMap::new();
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: descriptor(config),
            layers: layers.iter().map(|layer| descriptor(layer)).collect(),
            annotations: &annotations,
        };
        serde_json::to_vec(&manifest).unwrap()
    }

    #[test]
    fn the_new_and_the_old_layout_are_modules() {
        for (config, layer) in
            [(CONFIG_TYPE, LAYER_TYPE), (OLD_CONFIG_TYPE, OLD_LAYER_TYPE), (OLD_CONFIG_TYPE, LAYER_TYPE)]
        {
            assert_eq!(module_layer("r", &manifest(config, &[layer])).unwrap().media_type, layer);
        }
    }

    #[test]
    fn what_is_something_else_is_named() {
        let said = |manifest: &[u8]| module_layer("r", manifest).unwrap_err().to_string();
        let image = said(&manifest(
            "application/vnd.oci.image.config.v1+json",
            &["application/vnd.oci.image.layer.v1.tar+gzip"],
        ));
        assert!(image.contains("its config is of type application/vnd.oci.image.config.v1+json"), "{image}");
        assert!(image.contains("application/vnd.oci.image.layer.v1.tar+gzip"), "{image}");
        assert!(said(&manifest(CONFIG_TYPE, &[])).contains("it has 0 layers ()"));
        assert!(
            said(&manifest(CONFIG_TYPE, &[LAYER_TYPE, "text/plain"]))
                .contains("it has 2 layers (application/wasm, text/plain)")
        );
        assert!(said(&manifest(CONFIG_TYPE, &["text/plain"])).contains("its layer is of type text/plain"));
        assert!(said(br#"{"manifests": [{}, {}]}"#).contains("an index of 2 manifests"));
        assert!(said(b"{}").contains("has no config"));
        assert!(said(b"<html>").contains("its manifest is not one"));
        assert!(!said(&manifest("a\nb", &[])).contains('\n'));
    }
}
