//! Bytes, as people read and write them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// Bytes. Written as text; as `{ base64: … }` where they are none; what is JSON may be written as such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::String(text) => Ok(Self(text.into_bytes())),
            Value::Object(fields) if fields.len() == 1 && fields.contains_key("base64") => {
                let text = fields.get("base64").and_then(Value::as_str).unwrap_or_default();
                BASE64_STANDARD
                    .decode(text)
                    .map(Self)
                    .map_err(|error| D::Error::custom(format!("base64: {error}")))
            }
            other => Ok(Self(other.to_string().into_bytes())),
        }
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        show(&self.0).serialize(serializer)
    }
}

/// Text, or `{ base64: … }`.
pub fn show(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// The same, but an object or a list in JSON as what it says: so that order and spaces do not matter.
pub fn show_json(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => show(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for bytes in [b"text\n".as_slice(), b"", b"\xff\0", b"{\"base64\":1}"] {
            let written = serde_json::to_string(&Text(bytes.to_vec())).unwrap();
            assert_eq!(serde_json::from_str::<Text>(&written).unwrap().0, bytes, "{written}");
        }
        assert_eq!(serde_json::from_value::<Text>(json!({ "a": [1] })).unwrap().0, b"{\"a\":[1]}");
        assert!(serde_json::from_value::<Text>(json!({ "base64": "!" })).is_err());
    }
}
