//! To whom requests may be sent.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use super::address::AddressRanges;
use super::kubernetes::is_object_name;
use super::{Denied, Flaw, Grants, HttpGrant, SecretGrant};
use crate::effects::Request;

/// A request may be sent, to an address that [`HttpPermit::allows`], and to no other: resolve once, ask, and connect to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPermit {
    /// As it was understood.
    pub url: Url,
    /// To connect to.
    pub host: Host<String>,
    /// To connect to.
    pub port: u16,
    /// Headers whose values come from Secrets.
    pub secrets: Vec<(String, SecretGrant)>,
    ranges: AddressRanges,
}

impl HttpPermit {
    /// May it be sent to that address?
    ///
    /// # Errors
    ///
    /// Says which address is not public, and was not granted.
    pub fn allows(&self, address: IpAddr) -> Result<(), Denied> {
        self.ranges.permit(address)
    }
}

/// Headers that say who is speaking, how long a body is or what follows it: the host's, and not the module's.
const RESERVED_HEADERS: [&str; 11] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "expect",
];
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const MOST_HEADERS: usize = 64;
const MOST_HEADER_BYTES: usize = 16 << 10;

impl Grants {
    /// May this request be sent?
    ///
    /// # Errors
    ///
    /// Says what was not granted.
    pub fn permit_http(&self, request: &Request) -> Result<HttpPermit, Denied> {
        let none = || Denied::because("no http grant");
        let grant = self.http.as_ref().ok_or_else(none)?;
        let url = Url::parse(&request.url).map_err(|error| Denied::because(format!("url: {error}")))?;
        let origin = Origin::of(&url).map_err(|why| Denied::because(format!("url: {why}")))?;
        if !grant.allow.iter().any(|text| Origin::parse(text).is_ok_and(|allowed| allowed == origin)) {
            return Err(Denied::because(format!("http.allow does not have {origin}")));
        }
        check_headers(request)?;
        let secrets = request
            .secret_headers
            .iter()
            .map(|(header, name)| Ok((header.clone(), secret(grant, name, &origin)?.clone())))
            .collect::<Result<_, Denied>>()?;
        let ranges = grant.private_ranges.iter().filter_map(|range| range.parse().ok()).collect();
        let permit = HttpPermit {
            host: origin.host,
            port: origin.port,
            url,
            secrets,
            ranges: AddressRanges::new(ranges),
        };
        // An address that is written down is judged at once.
        match permit.host {
            Host::Ipv4(address) => permit.allows(address.into())?,
            Host::Ipv6(address) => permit.allows(address.into())?,
            Host::Domain(_) => {}
        }
        Ok(permit)
    }
}

fn secret<'a>(grant: &'a HttpGrant, name: &str, origin: &Origin) -> Result<&'a SecretGrant, Denied> {
    let granted = grant.secrets.iter().find(|secret| secret.name == name);
    let granted = granted.ok_or_else(|| Denied::because(format!("http.secrets has no `{name}`")))?;
    let is_for = granted.to.iter().any(|text| Origin::parse(text).is_ok_and(|allowed| allowed == *origin));
    if is_for {
        Ok(granted)
    } else {
        Err(Denied::because(format!("http.secrets `{name}` is not for {origin}")))
    }
}

fn check_headers(request: &Request) -> Result<(), Denied> {
    if !METHODS.contains(&request.method.as_str()) {
        return Err(Denied::because(format!("method is not one of {}", METHODS.join(", "))));
    }
    let names = request.headers.iter().chain(&request.secret_headers).map(|(name, _)| name);
    let bytes: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if names.clone().count() > MOST_HEADERS || bytes > MOST_HEADER_BYTES {
        let most = format!("{MOST_HEADERS} headers of {MOST_HEADER_BYTES} bytes together");
        return Err(Denied::because(format!("a request may have {most}")));
    }
    for name in names {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Denied::because("a header's name is not one"));
        }
        if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Denied::because(format!("the header `{name}` is set by the host")));
        }
    }
    let is_value = |value: &str| value.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f));
    if request.headers.iter().all(|(_, value)| is_value(value)) {
        Ok(())
    } else {
        Err(Denied::because("a header's value has control characters"))
    }
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Host<String>,
    port: u16,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl Origin {
    fn of(url: &Url) -> Result<Self, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the scheme must be https or http".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password".into());
        }
        let host = url.host().ok_or("has no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("has no port")?;
        Ok(Self { scheme: url.scheme().to_owned(), host, port })
    }

    /// Reads what stands in a grant, which must name the port and nothing behind it.
    fn parse(text: &str) -> Result<Self, String> {
        let form = "write it like https://pager.example.com:443";
        if text.contains('*') {
            return Err(format!("`{text}`: name each host, there is no *; {form}"));
        }
        let url = Url::parse(text).map_err(|error| format!("`{text}`: {error}; {form}"))?;
        let origin = Self::of(&url).map_err(|why| format!("`{text}` {why}; {form}"))?;
        // Compared as text, because a parsed URL no longer says whether the port was written.
        let plain = origin.to_string();
        if text.eq_ignore_ascii_case(&plain) {
            Ok(origin)
        } else {
            Err(format!("`{text}`: write it as {plain}"))
        }
    }
}

pub(super) fn validate(grant: &HttpGrant) -> Result<(), Flaw> {
    for (number, text) in grant.allow.iter().enumerate() {
        Origin::parse(text).map_err(|why| (format!("allow[{number}]"), why))?;
    }
    for (number, range) in grant.private_ranges.iter().enumerate() {
        range.parse::<IpNet>().map_err(|_| {
            (
                format!("privateRanges[{number}]"),
                format!("`{range}` is not a range: write it like 10.20.0.0/16"),
            )
        })?;
    }
    for (number, secret) in grant.secrets.iter().enumerate() {
        if !is_object_name(&secret.secret) {
            return Err((format!("secrets[{number}].secret"), "is not the name of a Secret".into()));
        }
        if grant.secrets[..number].iter().any(|other| other.name == secret.name) {
            return Err((format!("secrets[{number}].name"), format!("`{}` is there twice", secret.name)));
        }
        if secret.to.is_empty() || !secret.to.iter().all(|to| grant.allow.contains(to)) {
            return Err((
                format!("secrets[{number}].to"),
                "must hold some of http.allow, at least one".into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants() -> Grants {
        let pager = "https://pager.example.com:443".to_owned();
        let secret = SecretGrant {
            name: "token".into(),
            secret: "pager".into(),
            key: "t".into(),
            to: vec![pager.clone()],
        };
        let http = HttpGrant {
            allow: vec![pager, "http://10.20.0.5:8080".into(), "https://169.254.169.254:443".into()],
            private_ranges: vec!["10.20.0.0/16".into()],
            secrets: vec![secret],
        };
        Grants { http: Some(http), ..Grants::default() }
    }

    fn get(url: &str) -> Request {
        Request {
            method: "GET".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_seconds: 1,
            secret_headers: Vec::new(),
        }
    }

    fn permit(url: &str) -> Result<HttpPermit, Denied> {
        grants().permit_http(&get(url))
    }

    #[test]
    fn what_was_granted_is_sent() {
        for url in
            ["https://pager.example.com/a?b=c", "https://PAGER.example.com:443", "http://10.20.0.5:8080/"]
        {
            assert!(permit(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_was_not_granted_is_denied() {
        for url in [
            "http://pager.example.com/",
            "https://pager.example.com:8443/",
            "https://pager.example.com./",
            "https://x.pager.example.com/",
            "https://pager.example.com@evil.example.com/",
            "https://evil.example.com#@pager.example.com/",
            "https://evil.example.com\\@pager.example.com/",
            "https://user@pager.example.com/",
            "https://user:secret@pager.example.com/",
            "https://:secret@pager.example.com/",
            "https://pager.example.com.evil.example.com/",
            // Addresses in another one's clothes.
            "https://[::ffff:10.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "file:///etc/passwd",
            "ftp://pager.example.com:443/",
            "//pager.example.com/",
            "https://10.20.0.6:443/",
            "https://169.254.169.254/latest/",
            "https://0xa9fea9fe/latest/",
            "",
        ] {
            assert!(permit(url).is_err(), "{url}");
        }
        assert_eq!(
            Grants::default().permit_http(&get("https://a.example.com/")).unwrap_err().0,
            "no http grant"
        );
    }

    #[test]
    fn a_name_that_resolves_inwards_is_denied_at_the_address() {
        let permit = permit("https://pager.example.com/").unwrap();
        for address in ["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "127.0.0.1"] {
            assert!(permit.allows(address.parse().unwrap()).is_err(), "{address}");
        }
        assert!(permit.allows("10.20.9.9".parse().unwrap()).is_ok());
        assert!(permit.allows("1.1.1.1".parse().unwrap()).is_ok());
    }

    #[test]
    fn a_secret_goes_only_to_whom_it_is_for() {
        let with = |url: &str, name: &str| {
            let request = Request { secret_headers: vec![("authorization".into(), name.into())], ..get(url) };
            grants().permit_http(&request)
        };
        assert_eq!(with("https://pager.example.com/", "token").unwrap().secrets[0].1.key, "t");
        assert!(with("http://10.20.0.5:8080/", "token").unwrap_err().0.contains("is not for"));
        assert!(with("https://pager.example.com/", "other").is_err());
    }

    #[test]
    fn requests_cannot_be_smuggled() {
        let with = |name: &str, value: &str| {
            let request =
                Request { headers: vec![(name.into(), value.into())], ..get("https://pager.example.com/") };
            grants().permit_http(&request)
        };
        assert!(with("content-type", "application/json").is_ok());
        for (name, value) in [
            ("Host", "evil"),
            ("transfer-encoding", "chunked"),
            ("Content-Length", "1"),
            ("x y", "z"),
            ("", "z"),
            ("x", "a\r\nHost: evil"),
            ("x\r\nHost", "evil"),
        ] {
            assert!(with(name, value).is_err(), "{name:?}");
        }
        let odd = Request { method: "GET / HTTP/1.1\r\nX:".into(), ..get("https://pager.example.com/") };
        assert!(grants().permit_http(&odd).is_err());
        let many = Request {
            headers: vec![("x".into(), "y".into()); MOST_HEADERS + 1],
            ..get("https://pager.example.com/")
        };
        assert!(grants().permit_http(&many).is_err());
    }

    #[test]
    fn a_grant_names_scheme_host_and_port_and_nothing_else() {
        for text in [
            "pager.example.com",
            "https://pager.example.com",
            "https://*.example.com:443",
            "https://a:443/x",
            // An IPv4 address in the clothes of another one.
            "https://[::ffff:10.0.0.1]:443",
        ] {
            let mut one = grants();
            one.http.as_mut().unwrap().allow = vec![text.into()];
            assert!(one.validate().unwrap_err().to_string().starts_with("http.allow[0]"), "{text}");
        }
        let mut one = grants();
        one.http.as_mut().unwrap().private_ranges = vec!["10.0.0.0".into()];
        assert!(one.validate().unwrap_err().to_string().starts_with("http.privateRanges[0]"));
        assert_eq!(grants().validate(), Ok(()));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_permitted_goes_to_a_host_that_was_granted(url in "https?://[a-z@:/.#?\\\\]{0,12}pager.example.com[a-z@:/.#?\\\\]{0,12}") {
            if let Ok(permit) = permit(&url) {
                proptest::prop_assert_eq!(permit.host.to_string(), "pager.example.com");
                proptest::prop_assert_eq!((permit.url.scheme(), permit.port), ("https", 443));
            }
        }
    }
}
