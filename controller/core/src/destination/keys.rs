//! The keys of both sides, and the Secrets that hold them.

use super::draft::{Draft, Hold};
use super::validate::ValidDestination;
use super::view::View;
use crate::build::pod::TOKEN_KEY;
use crate::chance::{Chance, KeyPair};
use crate::decision::{Action, Child, SecretChild};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::KeyFingerprints;

/// Makes the keys, unless they are made or the user brings their own.
///
/// Secrets are not read back. Until the fingerprints are in the status, a repetition makes new keys and overwrites both Secrets (its own;
/// one of somebody else's is a refusal), so the two never hold halves of different pairs.
///
/// With keys of the user's own there are no fingerprints and no relationship: the ssh keys alone prove who is who.
pub(super) fn keys(
    view: &View<'_>,
    valid: &ValidDestination<'_>,
    draft: &mut Draft,
    chance: &mut dyn Chance,
) {
    if valid.ssh_keys.is_some() {
        draft.status.key_fingerprints = None;
        return;
    }
    if draft.status.key_fingerprints.is_some() {
        return;
    }
    let secrets = [view.base.clone(), names::source_secret(&view.owner.name)];
    if secrets.iter().any(|secret| view.refusal("Secret", secret).is_some()) {
        // The status comes after these writes: to tell that they are refused, a pass has to leave them out.
        return draft.hold(Hold::blocking(Reason::Preparing, "makes the keys"));
    }
    let (source, destination) = (chance.key_pair(), chance.key_pair());
    let relationship = chance.relationship();
    draft.first.push(apply_secret(view, view.base.clone(), own_entries(&source, &destination)));
    let carried = source_entries(&source, &destination, &relationship);
    draft.first.push(apply_secret(view, names::source_secret(&view.owner.name), carried));
    draft.status.key_fingerprints = Some(KeyFingerprints {
        source: source.fingerprint,
        destination: destination.fingerprint,
        relationship,
    });
    // If the source's Secret was lost together with the status, it has no address either.
    draft.status.method_status.clear();
}

/// The Secret that the mover takes its keys from.
pub(super) fn keys_secret<'a>(view: &'a View<'_>, valid: &ValidDestination<'a>) -> &'a str {
    valid.ssh_keys.unwrap_or(&view.base)
}

/// The Secret with the control token. It is written with every mover pod: the token changes when the controller's key does, and with
/// keys of the user's own there is no other Secret of ours that it could be in.
pub(super) fn apply_control_secret(view: &View<'_>) -> Action {
    let token = view.seen.around.control_token.0.clone();
    apply_secret(view, names::destination_control(&view.owner.name), vec![(TOKEN_KEY, token)])
}

fn own_entries(source: &KeyPair, destination: &KeyPair) -> Vec<(&'static str, String)> {
    vec![
        ("destination", destination.private.0.clone()),
        ("destination.pub", destination.public.clone()),
        ("source.pub", source.public.clone()),
    ]
}

fn source_entries(
    source: &KeyPair,
    destination: &KeyPair,
    relationship: &str,
) -> Vec<(&'static str, String)> {
    vec![
        ("source", source.private.0.clone()),
        ("source.pub", source.public.clone()),
        ("destination.pub", destination.public.clone()),
        ("relationship", relationship.to_owned()),
    ]
}

fn apply_secret(view: &View<'_>, name: String, entries: Vec<(&str, String)>) -> Action {
    let data =
        entries.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Action::Apply(Child::Secret(SecretChild(Box::new(Secret {
        metadata: view.owner.child(name, None),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }))))
}
