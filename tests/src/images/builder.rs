//! Building one image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tracing::info;

use super::archives_dir;
use crate::cluster::Lock;
use crate::command::run;

/// Changes when the way in which a base is made changes, so that older ones are not used again.
const BASE_FORMAT: &str = "2";

/// The tag inside the layout that umoci works on; the image's own name is given to the archive.
const TAG: &str = "image";

/// The Debian release of all images.
const SUITE: &str = "bookworm";

/// What the image starts with.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub entrypoint: Vec<String>,
    /// `uid:gid`; root if absent.
    pub user: Option<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
}

/// An image: Debian packages, then files over them.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name that pods use, such as `localhost/scribe:dev`.
    pub name: String,
    /// Debian packages, unpacked and not configured. None: the image holds its files alone.
    pub packages: Vec<String>,
    /// A folder whose content is laid over the packages, owned by root.
    pub overlay: Option<PathBuf>,
    /// Programs: where each is on this machine, and its path in the image without the first slash.
    pub files: Vec<(PathBuf, String)>,
    pub config: Config,
}

impl Image {
    /// Builds the image and returns its OCI archive. An image of the same content is not built again, its packages only once.
    ///
    /// # Errors
    /// A package or file does not exist, or a tool fails.
    pub fn build(&self) -> Result<PathBuf> {
        let work = tempfile::Builder::new()
            .prefix("scribe-image-")
            .tempdir()
            .context("make a folder to build in")?;
        let layer = self.layer(work.path())?;
        let archive = self.archive_path(&layer)?;
        let _lock = Lock::hold(&archive.with_extension("lock"))?;
        if archive.exists() {
            return Ok(archive);
        }
        let oci = work.path().join("oci");
        if self.packages.is_empty() {
            new_layout(&oci)?;
        } else {
            let base = base(&self.packages)?;
            run(Command::new("cp").args(["-a"]).arg(&base).arg(&oci)).context("copy the base image")?;
        }
        add_layer(&oci, &layer)?;
        self.configure(&oci)?;
        self.write(&oci, &archive)?;
        Ok(archive)
    }

    /// Older archives of this image go when a newer one takes their place, see [`Self::write`].
    fn archive_path(&self, layer: &Path) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        let mut file = fs::File::open(layer).with_context(|| format!("open {}", layer.display()))?;
        std::io::copy(&mut file, &mut hash).with_context(|| format!("read {}", layer.display()))?;
        hash.update(format!("{BASE_FORMAT} {SUITE} {:?} {:?}", self.packages, self.config));
        let key = format!("{:x}", hash.finalize());
        Ok(archives_dir()?.join(format!("{}{}.tar", self.archive_prefix(), &key[..16])))
    }

    fn archive_prefix(&self) -> String {
        let short = self.name.rsplit('/').next().unwrap_or(&self.name);
        format!("{}-", short.replace(':', "-"))
    }

    fn layer(&self, work: &Path) -> Result<PathBuf> {
        let root = work.join("layer");
        fs::create_dir(&root).with_context(|| format!("create {}", root.display()))?;
        if let Some(overlay) = &self.overlay {
            run(Command::new("cp").args(["-R", "--preserve=mode", "-T"]).arg(overlay).arg(&root))
                .with_context(|| format!("copy {}", overlay.display()))?;
        }
        for (source, target) in &self.files {
            let target = root.join(target);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
            }
            fs::copy(source, &target).with_context(|| format!("copy {}", source.display()))?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("set the mode of {}", target.display()))?;
        }
        let tar = work.join("layer.tar");
        run(Command::new("tar").args(TAR_OPTIONS).arg("-cf").arg(&tar).arg("-C").arg(&root).arg("."))
            .context("pack the layer")?;
        Ok(tar)
    }

    fn configure(&self, oci: &Path) -> Result<()> {
        let mut umoci = umoci("config", oci);
        for word in &self.config.entrypoint {
            umoci.arg("--config.entrypoint").arg(word);
        }
        for variable in &self.config.env {
            umoci.arg("--config.env").arg(variable);
        }
        if let Some(user) = &self.config.user {
            umoci.arg("--config.user").arg(user);
        }
        run(&mut umoci).with_context(|| format!("configure image {}", self.name))?;
        Ok(())
    }

    fn write(&self, oci: &Path, archive: &Path) -> Result<()> {
        let parent = archive.parent().context("the archive has no folder")?;
        // A reader must not see half a file.
        let temporary = archive.with_extension("part");
        let _ = fs::remove_file(&temporary);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet"]);
        skopeo.arg(format!("oci:{}:{TAG}", oci.display()));
        skopeo.arg(format!("oci-archive:{}:{}", temporary.display(), self.name));
        run(&mut skopeo).with_context(|| format!("write image {}", self.name))?;
        self.remove_older(parent)?;
        fs::rename(&temporary, archive).with_context(|| format!("put {} in place", archive.display()))
    }

    /// Every build of a program would else leave an archive of its size.
    fn remove_older(&self, folder: &Path) -> Result<()> {
        let prefix = self.archive_prefix();
        let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let key = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tar"));
            if key.is_some_and(|key| key.len() == 16 && key.chars().all(|c| c.is_ascii_hexdigit())) {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                let _ = fs::remove_file(path.with_extension("lock"));
            }
        }
        Ok(())
    }
}

/// The same content gives the same layer, whoever packs it.
const TAR_OPTIONS: [&str; 5] = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@0"];

/// Unpacked packages are not configured, so nobody puts the certificates together.
const CERTIFICATES: &str = r#"if [ -d "$1/usr/share/ca-certificates" ]; then mkdir -p "$1/etc/ssl/certs";
    find "$1/usr/share/ca-certificates" -name '*.crt' -exec cat {} + > "$1/etc/ssl/certs/ca-certificates.crt"; fi"#;

/// An OCI layout whose only layer holds the packages.
fn base(packages: &[String]) -> Result<PathBuf> {
    let mut sorted = packages.to_vec();
    sorted.sort();
    sorted.dedup();
    let list = sorted.join(",");
    let key = format!("{:x}", Sha256::digest(format!("{BASE_FORMAT} {SUITE} {list}")));
    let root = archives_dir()?.join(format!("base-{}", &key[..16]));
    let _lock = Lock::hold(&root.with_extension("lock"))?;
    if root.exists() {
        return Ok(root);
    }
    info!("unpacking {} Debian packages (once)", sorted.len());
    let work =
        tempfile::Builder::new().prefix("scribe-base-").tempdir().context("make a folder to build in")?;
    let tar = work.path().join("root.tar");
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=extract", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"]);
    mmdebstrap.arg(format!("--extract-hook={CERTIFICATES}"));
    mmdebstrap.arg(format!("--include={list}")).arg(SUITE).arg(&tar);
    mmdebstrap.args(apt_sources()?);
    run(&mut mmdebstrap).context("unpack the packages of the image")?;
    let oci = root.with_extension("part");
    let _ = fs::remove_dir_all(&oci);
    new_layout(&oci)?;
    add_layer(&oci, &tar)?;
    fs::rename(&oci, &root).with_context(|| format!("put {} in place", root.display()))?;
    Ok(root)
}

/// The host's own Debian sources, so that an image comes from the mirror that this machine can reach, security suite included.
fn apt_sources() -> Result<Vec<PathBuf>> {
    let candidates = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let holds_suite = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(SUITE));
    let found: Vec<PathBuf> = candidates.into_iter().map(PathBuf::from).filter(holds_suite).collect();
    ensure!(!found.is_empty(), "no Debian sources for {SUITE} in {}", candidates.join(" or "));
    Ok(found)
}

fn new_layout(oci: &Path) -> Result<()> {
    run(Command::new("umoci").args(["init", "--layout"]).arg(oci)).context("start an image layout")?;
    run(&mut umoci("new", oci)).context("start an image")?;
    Ok(())
}

fn add_layer(oci: &Path, tar: &Path) -> Result<()> {
    let mut umoci = Command::new("umoci");
    umoci.args(["raw", "add-layer", "--image"]).arg(tagged(oci)).arg(tar);
    run(&mut umoci).with_context(|| format!("add {} as a layer", tar.display()))?;
    Ok(())
}

fn umoci(verb: &str, oci: &Path) -> Command {
    let mut command = Command::new("umoci");
    command.arg(verb).arg("--image").arg(tagged(oci));
    command
}

fn tagged(oci: &Path) -> String {
    format!("{}:{TAG}", oci.display())
}
