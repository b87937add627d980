//! The Kubernetes API, as the hook's own ServiceAccount and in the object's namespace only. Secrets cannot be read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::imports::kube as import;
use crate::{HookError, ObjectRef};

pub use crate::bindings::host::scribe::hooks::kube::{Error, PatchKind};

/// Reads an object.
///
/// # Errors
/// Those of the API server, and `denied` without a grant.
pub fn get(target: &ObjectRef) -> Result<Value, Error> {
    parse(&import::get(target, None)?)
}

/// Reads what stands at `pointer` (a JSON pointer, RFC 6901) in an object: `get_at::<u32>(&web, "/spec/replicas")`.
///
/// # Errors
/// Those of [`get`]; `invalid` where it is of another type.
pub fn get_at<T: DeserializeOwned>(target: &ObjectRef, pointer: &str) -> Result<T, Error> {
    parse(&import::get(target, Some(pointer))?)
}

/// Lists at most `limit` objects with these labels.
///
/// # Errors
/// Those of [`get`].
pub fn list(api_version: &str, kind: &str, label_selector: &str, limit: u32) -> Result<Vec<Value>, Error> {
    import::list(api_version, kind, label_selector, limit)?.iter().map(|object| parse(object)).collect()
}

/// Patches an object and answers what it is now.
///
/// # Errors
/// Those of [`get`], and `conflict`.
pub fn patch(target: &ObjectRef, kind: PatchKind, body: &impl Serialize) -> Result<Value, Error> {
    let body = serde_json::to_string(body).map_err(|error| Error::Invalid(error.to_string()))?;
    parse(&import::patch(target, kind, &body)?)
}

/// Sets an annotation, or removes it, and answers the value that it replaced. To have it undone at release:
/// [`freeze::annotate`](crate::freeze::annotate).
///
/// # Errors
/// Those of [`patch`].
pub fn annotate(target: &ObjectRef, key: &str, value: Option<&str>) -> Result<Option<String>, Error> {
    import::annotate(target, key, value)
}

/// Scales a workload and answers the count that it replaced. To have it undone at release:
/// [`freeze::scale_down`](crate::freeze::scale_down).
///
/// # Errors
/// Those of [`patch`].
pub fn scale(target: &ObjectRef, replicas: u32) -> Result<u32, Error> {
    import::scale(target, replicas)
}

/// Waits until what stands at `pointer` is `equals`: the text itself for a string, else JSON. Answers `false` if that did not
/// happen in time.
///
/// # Errors
/// Those of [`get`].
pub fn wait_for(
    target: &ObjectRef,
    pointer: &str,
    equals: &str,
    timeout_seconds: u32,
) -> Result<bool, Error> {
    import::wait_for(target, pointer, equals, timeout_seconds)
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::Invalid(format!("the answer: {error}")))
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        Self::Failed(match error {
            Error::Denied(why) => format!("Kubernetes: denied: {why}"),
            Error::NotFound => "Kubernetes: there is no such object".to_owned(),
            Error::Conflict(why) => format!("Kubernetes: conflict: {why}"),
            Error::Invalid(why) => format!("Kubernetes: invalid: {why}"),
            Error::Unavailable(why) => format!("Kubernetes: unavailable: {why}"),
            Error::TooLarge(limit) => {
                format!("Kubernetes: more than {limit} bytes: ask for one field instead of the whole object")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Host;

    #[test]
    fn an_answer_of_another_type_is_told() {
        let host = Host::new();
        let web = ObjectRef::new("apps/v1", "Deployment", "web");
        host.kube(Ok(json!(3)));
        assert_eq!(get_at(&web, "/spec/replicas"), Ok(3_u32));
        host.kube(Ok(json!("three")));
        assert!(matches!(get_at::<u32>(&web, "/spec/replicas"), Err(Error::Invalid(_))));
        host.kube(Ok(json!("no count")));
        assert!(matches!(scale(&web, 0), Err(Error::Invalid(_))));
        assert!(matches!(get(&web), Err(Error::Denied(_))), "nothing was scripted");
    }
}
