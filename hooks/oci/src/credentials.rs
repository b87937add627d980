//! Who asks a registry.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

/// Who asks a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user.
    Password {
        /// The name.
        user: String,
        /// The password, or what stands for it.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user}, …)"),
        }
    }
}

/// A `config.json` of Docker that cannot be used. Never shows what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// It is not JSON of that kind.
    #[error("is no config.json of Docker, at line {line}, column {column}")]
    Form {
        /// Counts from 1.
        line: usize,
        /// Counts from 1.
        column: usize,
    },
    /// An entry is not what it should be.
    #[error(
        "auths has an entry for {registry} that is neither a base64 `auth` of user:password nor a `username` and a `password`"
    )]
    Entry {
        /// The entry's key.
        registry: String,
    },
}

/// What of it matters here.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// Those for a registry (`registry.example.com:5000`) in a `config.json` of Docker, as a Secret of type `kubernetes.io/dockerconfigjson` holds it too. Anonymous, if
    /// there are none for it. Programs that it names are not run.
    ///
    /// # Errors
    ///
    /// It cannot be read, or its entry for that registry cannot.
    pub fn from_docker_config(json: &[u8], registry: &str) -> Result<Self, CredentialsError> {
        let config: DockerConfig = serde_json::from_slice(json)
            .map_err(|error| CredentialsError::Form { line: error.line(), column: error.column() })?;
        let found = config.auths.into_iter().find(|(key, _)| is_for(key, registry));
        let Some((key, entry)) = found else { return Ok(Self::Anonymous) };
        let wrong = || CredentialsError::Entry { registry: key.clone() };
        let pair = match entry {
            Entry { auth: Some(auth), .. } if !auth.is_empty() => {
                let text = BASE64_STANDARD.decode(auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                text.and_then(|text| {
                    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
                })
            }
            // What a credential helper leaves behind.
            Entry { username: None, password: None, .. } => return Ok(Self::Anonymous),
            Entry { username, password, .. } => username.zip(password),
        };
        let (user, password) = pair.ok_or_else(wrong)?;
        Ok(Self::Password { user, password })
    }

    pub(crate) fn auth(&self) -> RegistryAuth {
        match self {
            Self::Anonymous => RegistryAuth::Anonymous,
            Self::Password { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
        }
    }
}

/// Keys are hosts, or URLs with a path from older times.
fn is_for(key: &str, registry: &str) -> bool {
    fn host(text: &str) -> &str {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        match text.split('/').next().unwrap_or_default() {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        }
    }
    host(key).eq_ignore_ascii_case(host(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn the_entry_of_the_registry_is_found() {
        let json = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOmE6Yg=="},
            "registry.example.com:5000": {"username": "u", "password": "p", "auth": ""},
            "helped.example.com": {}
        }, "credsStore": "x", "HttpHeaders": {}}"#;
        for (registry, credentials) in [
            ("docker.io", password("hub", "a:b")),
            ("index.docker.io", password("hub", "a:b")),
            ("registry.example.com:5000", password("u", "p")),
            ("registry.example.com", Credentials::Anonymous),
            ("helped.example.com", Credentials::Anonymous),
            ("evil-registry.example.com:5000", Credentials::Anonymous),
        ] {
            assert_eq!(Credentials::from_docker_config(json, registry).unwrap(), credentials, "{registry}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_without_its_content() {
        let read =
            |json: &[u8]| Credentials::from_docker_config(json, "r.example.com").unwrap_err().to_string();
        assert_eq!(read(b"{\"auths\": \"secret\"}"), "is no config.json of Docker, at line 1, column 18");
        for entry in ["{\"auth\": \"c2VjcmV0\"}", "{\"auth\": \"!\"}", "{\"username\": \"secret\"}"] {
            let said = read(format!("{{\"auths\": {{\"r.example.com\": {entry}}}}}").as_bytes());
            assert!(said.contains("r.example.com") && !said.contains("secret"), "{said}");
        }
        assert!(!format!("{:?}", password("user", "secret")).contains("secret"));
    }
}
