//! The keys of both sides, and the Secrets that hold them.

use super::draft::{Draft, Hold};
use super::validate::ValidDestination;
use super::view::View;
use crate::build::pod::TOKEN_KEY;
use crate::chance::{Chance, KeyPair};
use crate::decision::{Action, Child, SecretChild};
use crate::observed::{KeySecrets, SecretSeen};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{KeyFingerprints, ReplicationDestination};

/// Whether the keys may still be made anew, so that the Secrets have to be looked at: until their address is published. From then on the
/// user carries the source's Secret away, and it must stay what it is.
pub fn are_keys_open(destination: &ReplicationDestination) -> bool {
    let Some(rsync) = destination.spec.rsync.as_ref() else { return false };
    let status = destination.status.as_ref();
    let is_published = status.is_some_and(|status| {
        status.key_fingerprints.is_some() && status.method_status.contains_key("sshKeys")
    });
    rsync.ssh_keys.is_none() && !is_published
}

/// Makes the keys, unless they are made or the user brings their own. Whether they are settled: nothing is built on them before.
///
/// What a Secret holds is not read back, but an annotation says to which relationship it belongs. Until both Secrets and the status agree on
/// that, all three are made anew. Every write is under the version that was seen, the source's Secret comes first, and its address is
/// published under the version that was found to agree: so a controller that is late, or another one that runs at the same time, cannot
/// leave halves of different pairs behind.
///
/// With keys of the user's own there are no fingerprints and no relationship: the ssh keys alone prove who is who.
pub(super) fn keys(
    view: &View<'_>,
    valid: &ValidDestination<'_>,
    draft: &mut Draft,
    chance: &mut dyn Chance,
) -> bool {
    if valid.ssh_keys.is_some() {
        draft.status.key_fingerprints = None;
        return true;
    }
    let Some(seen) = &view.seen.key_secrets else { return true };
    let recorded = draft.status.key_fingerprints.as_ref().map(|keys| keys.relationship.as_str());
    if recorded.is_some_and(|recorded| holds(&seen.own, recorded) && holds(&seen.source, recorded)) {
        return true;
    }
    draft.hold(Hold::blocking(Reason::Preparing, "makes the keys"));
    let names = [names::source_secret(&view.owner.name), view.base.clone()];
    // The status comes after these writes: to tell that they are refused, a pass has to leave them out.
    if !names.iter().any(|name| view.refusal("Secret", name).is_some()) {
        make(view, seen, draft, chance);
    }
    false
}

fn holds(secret: &SecretSeen, wanted: &str) -> bool {
    matches!(secret, SecretSeen::Ours { relationship: Some(relationship), .. } if relationship == wanted)
}

fn make(view: &View<'_>, seen: &KeySecrets, draft: &mut Draft, chance: &mut dyn Chance) {
    let (source, destination) = (chance.key_pair(), chance.key_pair());
    let relationship = chance.relationship();
    let carried = source_entries(&source, &destination, &relationship);
    let carried = secret(view, names::source_secret(&view.owner.name), carried);
    let own = secret(view, view.base.clone(), own_entries(&source, &destination));
    draft.first.push(write(carried, &seen.source, &relationship));
    draft.first.push(write(own, &seen.own, &relationship));
    draft.status.key_fingerprints = Some(KeyFingerprints {
        source: source.fingerprint,
        destination: destination.fingerprint,
        relationship,
    });
    // The source's Secret was made anew: there is no address in it.
    draft.status.method_status.clear();
}

/// Writes a Secret, if it still is what was seen.
fn write(mut secret: Secret, seen: &SecretSeen, relationship: &str) -> Action {
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(names::RELATIONSHIP.to_owned(), relationship.to_owned());
    if let SecretSeen::Ours { resource_version, .. } = seen {
        secret.metadata.resource_version = Some(resource_version.clone());
    }
    let child = Child::Secret(SecretChild(Box::new(secret)));
    if *seen == SecretSeen::Missing { Action::Create(child) } else { Action::Apply(child) }
}

/// The Secret that the mover takes its keys from.
pub(super) fn keys_secret<'a>(view: &'a View<'_>, valid: &ValidDestination<'a>) -> &'a str {
    valid.ssh_keys.unwrap_or(&view.base)
}

/// The Secret with the control token. It is written with every mover pod: the token changes when the controller's key does, and with
/// keys of the user's own there is no other Secret of ours that it could be in.
pub(super) fn apply_control_secret(view: &View<'_>) -> Action {
    let token = view.seen.around.control_token.0.clone();
    let secret = secret(view, names::destination_control(&view.owner.name), vec![(TOKEN_KEY, token)]);
    Action::Apply(Child::Secret(SecretChild(Box::new(secret))))
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

fn secret(view: &View<'_>, name: String, entries: Vec<(&str, String)>) -> Secret {
    let data =
        entries.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect();
    Secret {
        metadata: view.owner.child(name, None),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}
