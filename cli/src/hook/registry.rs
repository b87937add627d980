//! `kubectl scribe hook push` and `pull`.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use scribe_hooks::DEFAULT_MODULE_BYTES;
use scribe_hooks_oci::{Artifact, Credentials, Options, PublicKey, Registry, pinned};
use serde::Deserialize;

use super::modules::{self, Modules};
use super::show::bytes;
use crate::output::{note, print};

/// Push a module to an OCI registry
///
/// As a CNCF Wasm artifact. The module is loaded first: what the controller could not use is not pushed. Prints the reference with the digest, which never comes to mean anything else.
#[derive(Debug, ClapArgs)]
pub struct PushArgs {
    /// The module, as .wasm or .wasm.gz
    file: PathBuf,
    /// Where to: registry.example.com/hooks/name:1.0
    reference: String,
    #[command(flatten)]
    access: Access,
}

/// Pull a module from an OCI registry
///
/// Its digests are compared with what came. With --key nothing is written that no such key has signed, by `cosign sign --key`. Prints the reference with the
/// digest, to pin it.
#[derive(Debug, ClapArgs)]
pub struct PullArgs {
    /// From where: registry.example.com/hooks/name:1.0 or …/name@sha256:…
    reference: String,
    /// The file that is written
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Keys of which one must have signed the module, as PEM: ECDSA on P-256, or Ed25519
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// How a registry is asked. Without a name, whoever `docker login` knows there.
#[derive(Debug, ClapArgs)]
struct Access {
    /// Who asks; default: whom `docker login` or `podman login` knows there
    #[arg(long, requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Speak HTTP without TLS: for a registry on this machine
    #[arg(long)]
    plain_http: bool,
    /// Certificates that are trusted too, as PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Pushes a module.
pub async fn push(args: PushArgs) -> Result<ExitCode> {
    let PushArgs { file, reference, access } = args;
    in_order(&file, &reference)?;
    let (registry, credentials) = access.open(&reference)?;
    let content = modules::read(&file)?;
    let module =
        Modules::new()?.load_bytes(content.clone()).await.with_context(|| file.display().to_string())?;
    let info = module.info();
    let title = |name: &str| format!("org.opencontainers.image.{name}");
    let artifact = Artifact {
        wasm: unpacked(content)?,
        exports: module.exports().to_vec(),
        imports: module.imports().to_vec(),
        created: created(&file)?,
        annotations: BTreeMap::from([
            (title("title"), info.name.clone()),
            (title("version"), info.version.clone()),
        ]),
    };
    let digest = registry.push(&reference, &credentials, artifact).await?;
    print(format_args!("{}\n", pinned(&reference, &digest)))?;
    note(format_args!("pushed {} ({})", info.name, bytes(module.size())));
    Ok(ExitCode::SUCCESS)
}

/// The two are easily taken for each other.
fn in_order(file: &Path, reference: &str) -> Result<()> {
    let is_swapped = !file.is_file() && Path::new(reference).is_file();
    let file = file.display();
    ensure!(
        !is_swapped,
        "`{reference}` is a file, and `{file}` is none: FILE comes first, then REFERENCE: kubectl scribe hook push {reference} {file}"
    );
    Ok(())
}

/// Pulls a module.
pub async fn pull(args: PullArgs) -> Result<ExitCode> {
    let PullArgs { reference, output, key, access } = args;
    let keys = key.as_deref().map(keys).transpose()?;
    let (registry, credentials) = access.open(&reference)?;
    let pulled = match &keys {
        None => registry.pull(&reference, &credentials, DEFAULT_MODULE_BYTES).await?,
        Some(keys) => {
            let digest = registry.resolve(&reference, &credentials).await?;
            registry.verify(&reference, &digest, &credentials, keys).await?;
            // What the tag has come to mean since then, nobody has looked at.
            registry.pull(&pinned(&reference, &digest), &credentials, DEFAULT_MODULE_BYTES).await?
        }
    };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || format!("write {}", output.display());
    // Whole or not at all; and for whoever may read files here.
    let mut builder = tempfile::Builder::new();
    let mut file =
        builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder).with_context(write)?;
    file.write_all(&pulled.wasm).with_context(write)?;
    file.as_file().sync_all().with_context(write)?;
    file.persist(&output).with_context(write)?;
    print(format_args!("{}\n", pinned(&reference, &pulled.digest)))?;
    let signed = if keys.is_some() { ", signed" } else { "" };
    note(format_args!("pulled {} ({}{signed})", output.display(), bytes(pulled.wasm.len() as u64)));
    Ok(ExitCode::SUCCESS)
}

/// The keys in a file.
fn keys(path: &Path) -> Result<Vec<PublicKey>> {
    let pem = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    PublicKey::from_pem(&pem).with_context(|| path.display().to_string())
}

/// The file's time, and not the clock's: the same file is the same artifact.
fn created(file: &Path) -> Result<String> {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified());
    let modified = modified.with_context(|| format!("look at {}", file.display()))?;
    let time =
        Timestamp::try_from(modified).with_context(|| format!("read the time of {}", file.display()))?;
    Ok(Timestamp::from_second(time.as_second())?.to_string())
}

/// A layer is not compressed. The loader has seen how large it becomes.
fn unpacked(content: Vec<u8>) -> Result<Vec<u8>> {
    if !content.starts_with(&[0x1f, 0x8b]) {
        return Ok(content);
    }
    let mut wasm = Vec::new();
    MultiGzDecoder::new(content.as_slice())
        .take(DEFAULT_MODULE_BYTES)
        .read_to_end(&mut wasm)
        .context("decompress the module")?;
    Ok(wasm)
}

impl Access {
    fn open(self, reference: &str) -> Result<(Registry, Credentials)> {
        let host = Registry::registry_of(reference)?;
        let Self { username, password_stdin: _, plain_http, ca_file } = self;
        let read = |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
        let certificates = ca_file.as_ref().map(read).transpose()?;
        let credentials = match username {
            Some(user) => Credentials::Password { user, password: password()? },
            None => known(&host)?,
        };
        let registry = Registry::new(Options { plain_http, certificates, network: None });
        let whose = || ca_file.map_or_else(|| host.clone(), |path| path.display().to_string());
        Ok((registry.with_context(whose)?, credentials))
    }
}

fn password() -> Result<String> {
    let mut password = String::new();
    std::io::stdin()
        .take(64 << 10)
        .read_to_string(&mut password)
        .context("read the password from standard input")?;
    let password = password.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "standard input holds no password: write `--password-stdin < FILE`");
    Ok(password.to_owned())
}

/// Programs that keep passwords.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Helpers {
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// Whom `docker login` or `podman login` knows at that registry.
fn known(registry: &str) -> Result<Credentials> {
    for path in config_files() {
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let found = Credentials::from_docker_config(&content, registry)
            .with_context(|| path.display().to_string())?;
        if found != Credentials::Anonymous {
            return Ok(found);
        }
        let Ok(Helpers { cred_helpers, creds_store }) = serde_json::from_slice(&content) else { continue };
        if let Some(helper) = cred_helpers.get(registry).or(creds_store.as_ref())
            && let Some(credentials) = helped(helper, registry)?
        {
            return Ok(credentials);
        }
    }
    Ok(Credentials::Anonymous)
}

fn config_files() -> impl Iterator<Item = PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = variable("DOCKER_CONFIG").or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
    let podman = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    [variable("REGISTRY_AUTH_FILE"), docker.map(|folder| folder.join("config.json")), podman]
        .into_iter()
        .flatten()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// What a program knows that keeps passwords. Nothing, where it knows nobody.
fn helped(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{helper}");
    let is_name =
        helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    ensure!(is_name, "`{helper}` in Docker's config.json is not the name of a credential helper");
    let run = || format!("run {program}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(run)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).with_context(run)?;
    }
    let output = child.wait_with_output().with_context(run)?;
    if !output.status.success() {
        // It says so where it knows nobody, and that is no failure.
        return Ok(None);
    }
    // What it printed is a secret, and shown to nobody.
    let Ok(Helped { username, secret }) = serde_json::from_slice(&output.stdout) else {
        bail!("{program} answers what is not from a credential helper");
    };
    if username == "<token>" {
        bail!(
            "{program} knows a token for {registry} instead of a password: use --username and --password-stdin"
        );
    }
    Ok(Some(Credentials::Password { user: username, password: secret }))
}
