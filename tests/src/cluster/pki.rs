//! Keys and certificates of one cluster, made anew at every start.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

/// The authority of one cluster, and the folder that its files go to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// Who a client certificate says its bearer is.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The base name of the files, `<file>.crt` and `<file>.key`.
    pub file: &'a str,
    pub user: &'a str,
    pub group: Option<&'a str>,
}

impl Authority {
    /// Makes a new authority and writes `ca.crt`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut params = params("scribe-cluster", None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("make the key of the authority")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("sign the authority")?;
        let authority = Self { issuer, folder: folder.to_path_buf() };
        authority.write("ca.crt", &authority.issuer.pem())?;
        Ok(authority)
    }

    /// Writes a server certificate for the addresses and names.
    ///
    /// # Errors
    /// A name is not a DNS name, or the files cannot be written.
    pub fn server(&self, file: &str, addresses: &[IpAddr], names: &[&str]) -> Result<()> {
        self.server_as(Identity { file, user: file, group: None }, addresses, names)
    }

    /// A server certificate that also says who the server is, as the kubelet's does.
    ///
    /// # Errors
    /// Those of [`Self::server`].
    pub fn server_as(&self, identity: Identity<'_>, addresses: &[IpAddr], names: &[&str]) -> Result<()> {
        let mut params = params(identity.user, identity.group)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = (*name).try_into().with_context(|| format!("name a server {name}"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.issue(identity.file, params)
    }

    /// Writes a client certificate.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn client(&self, identity: Identity<'_>) -> Result<()> {
        let mut params = params(identity.user, identity.group)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(identity.file, params)
    }

    /// Writes the key pair that signs service account tokens.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn service_account_key(&self) -> Result<()> {
        let key = KeyPair::generate().context("make the service account key")?;
        self.write("service-account.key", &key.serialize_pem())?;
        self.write("service-account.pub", &key.public_key_pem())
    }

    /// Writes a client certificate and a kubeconfig that holds it whole.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn kubeconfig(&self, identity: Identity<'_>, server: &str, cluster: &str, path: &Path) -> Result<()> {
        self.client(identity)?;
        let embed = |name: String| -> Result<String> {
            let path = self.folder.join(name);
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": {
                "server": server,
                "certificate-authority-data": embed("ca.crt".into())?,
            }}],
            "users": [{"name": identity.user, "user": {
                "client-certificate-data": embed(format!("{}.crt", identity.file))?,
                "client-key-data": embed(format!("{}.key", identity.file))?,
            }}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": identity.user}}],
            "current-context": cluster,
        });
        let text = serde_saphyr::to_string(&config).context("write a kubeconfig as YAML")?;
        write_private(path, text.as_bytes())
    }

    fn issue(&self, file: &str, params: CertificateParams) -> Result<()> {
        let key = KeyPair::generate().with_context(|| format!("make the key of {file}"))?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("sign {file}"))?;
        self.write(&format!("{file}.crt"), &certificate.pem())?;
        self.write(&format!("{file}.key"), &key.serialize_pem())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write_private(&self.folder.join(file), text.as_bytes())
    }
}

fn params(user: &str, group: Option<&str>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("start a certificate")?;
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    Ok(params)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("write {}", path.display()))
}
