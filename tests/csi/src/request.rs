//! Parsing requests once: sizes, capabilities, sources, pages.

use tonic::Status;

use crate::filesystem::Content;
use crate::proto::csi::volume_capability::access_mode::Mode;
use crate::proto::csi::volume_capability::{AccessMode, AccessType};
use crate::proto::csi::volume_content_source::Type;
use crate::proto::csi::{CapacityRange, VolumeCapability, VolumeContentSource};
use crate::volume::Source;

/// The size of a volume for which none is asked.
const DEFAULT_CAPACITY: u64 = 1 << 30;

/// Images are whole blocks of the file systems in them.
const BLOCK: u64 = 4096;

/// How large a volume may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    required: u64,
    limit: u64,
}

impl Range {
    /// Parses the range of a request; none, or one of zeros, is any size.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for negative sizes; `OUT_OF_RANGE` for an empty range.
    pub fn parse(range: Option<&CapacityRange>) -> Result<Self, Status> {
        let Some(range) = range else { return Ok(Self { required: 0, limit: u64::MAX }) };
        let negative = |_| Status::invalid_argument("a size below zero");
        let required = u64::try_from(range.required_bytes).map_err(negative)?;
        let limit = match u64::try_from(range.limit_bytes).map_err(negative)? {
            0 => u64::MAX,
            limit => limit,
        };
        if required > limit {
            return Err(Status::out_of_range("more is required than the limit allows"));
        }
        Ok(Self { required, limit })
    }

    /// Whether a volume of that size will do.
    pub const fn allows(self, capacity: u64) -> bool {
        capacity >= self.required && capacity <= self.limit
    }

    /// The size for a volume that must have at least `minimum` bytes, and those of its source.
    ///
    /// # Errors
    /// `OUT_OF_RANGE` if the range has no such size.
    pub fn choose(self, minimum: u64, source: Option<u64>) -> Result<u64, Status> {
        let wanted = match (self.required, source) {
            (0, Some(source)) => source,
            (0, None) => DEFAULT_CAPACITY.min(self.limit),
            (required, _) => required,
        };
        if source.is_some_and(|source| wanted < source) {
            return Err(Status::out_of_range("smaller than what it is to be made from"));
        }
        let chosen = wanted.max(minimum).checked_next_multiple_of(BLOCK);
        chosen.filter(|chosen| *chosen <= self.limit).ok_or_else(|| {
            Status::out_of_range(format!("a volume of at least {minimum} bytes exceeds the limit"))
        })
    }
}

/// How a volume is to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// As a device or as a tree of files.
    pub kind: Kind,
    /// No one may write, anywhere.
    pub readers_only: bool,
    /// One pod at a time.
    pub single_writer: bool,
}

/// The two ways to see a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A raw block device.
    Block,
    /// A mounted file system.
    Mount {
        /// `None` where the request leaves the file system open.
        content: Option<Content>,
        /// Options for mount.
        flags: Vec<String>,
    },
}

impl Capability {
    /// Parses one capability.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if it is missing, incomplete, or asks for something that is not supported.
    pub fn parse(capability: Option<&VolumeCapability>) -> Result<Self, Status> {
        let capability =
            capability.ok_or_else(|| Status::invalid_argument("a volume capability is missing"))?;
        let kind = match &capability.access_type {
            Some(AccessType::Block(_)) => Kind::Block,
            Some(AccessType::Mount(mount)) => {
                let content = (!mount.fs_type.is_empty())
                    .then(|| {
                        Content::from_fs_type(&mount.fs_type).ok_or_else(|| {
                            Status::invalid_argument(format!(
                                "file system {:?} is not supported",
                                mount.fs_type
                            ))
                        })
                    })
                    .transpose()?;
                Kind::Mount { content, flags: mount.mount_flags.clone() }
            }
            None => return Err(Status::invalid_argument("a volume capability lacks its access type")),
        };
        let mode = capability.access_mode.as_ref().map_or(Mode::Unknown, AccessMode::mode);
        if mode == Mode::Unknown {
            return Err(Status::invalid_argument("a volume capability lacks its access mode"));
        }
        Ok(Self {
            kind,
            readers_only: matches!(mode, Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly),
            single_writer: mode == Mode::SingleNodeSingleWriter,
        })
    }

    /// What a new volume for all of these must hold; `None` where it may be any file system.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if there are none, one is invalid, or they contradict each other.
    pub fn content_for_all(capabilities: &[VolumeCapability]) -> Result<Option<Content>, Status> {
        if capabilities.is_empty() {
            return Err(Status::invalid_argument("volume capabilities are missing"));
        }
        let mut block = false;
        let mut contents = Vec::new();
        let mut mounts = 0;
        for capability in capabilities {
            match Self::parse(Some(capability))?.kind {
                Kind::Block => block = true,
                Kind::Mount { content, .. } => {
                    mounts += 1;
                    contents.extend(content);
                }
            }
        }
        contents.dedup();
        match (block, mounts, contents.as_slice()) {
            (true, 0, _) => Ok(Some(Content::Block)),
            (true, ..) => Err(Status::invalid_argument("a volume is either a block device or a file system")),
            (false, _, []) => Ok(None),
            (false, _, [content]) => Ok(Some(*content)),
            (false, ..) => Err(Status::invalid_argument("a volume has one file system only")),
        }
    }

    /// Whether a volume of that content can be used so.
    pub fn suits(&self, content: Content) -> bool {
        match &self.kind {
            Kind::Block => content == Content::Block,
            Kind::Mount { content: asked, .. } => {
                content != Content::Block && asked.is_none_or(|asked| asked == content)
            }
        }
    }
}

/// Parses where a volume's first content comes from.
///
/// # Errors
/// `INVALID_ARGUMENT` for a source without a kind or an id.
pub fn parse_source(source: Option<&VolumeContentSource>) -> Result<Option<Source>, Status> {
    let Some(source) = source else { return Ok(None) };
    let source = match &source.r#type {
        Some(Type::Snapshot(snapshot)) => Source::Snapshot(required("snapshot_id", &snapshot.snapshot_id)?),
        Some(Type::Volume(volume)) => Source::Volume(required("volume_id", &volume.volume_id)?),
        None => return Err(Status::invalid_argument("the content source has no kind")),
    };
    Ok(Some(source))
}

/// A field that must not be empty.
///
/// # Errors
/// `INVALID_ARGUMENT` if it is.
pub fn required(field: &str, value: &str) -> Result<String, Status> {
    if value.is_empty() {
        return Err(Status::invalid_argument(format!("{field} is missing")));
    }
    Ok(value.to_owned())
}

/// One page of `all`, and the token of the next page (empty: there is none). A token is the number of entries before it.
///
/// # Errors
/// `ABORTED` for a token that was never given out, as the specification wants; `INVALID_ARGUMENT` for a negative number.
pub fn page<T>(all: Vec<T>, max_entries: i32, starting_token: &str) -> Result<(Vec<T>, String), Status> {
    let total = all.len();
    let start = match starting_token {
        "" => 0,
        token => token
            .parse()
            .ok()
            .filter(|start| *start <= total)
            .ok_or_else(|| Status::aborted("unknown token"))?,
    };
    let max = match usize::try_from(max_entries) {
        Ok(0) => total,
        Ok(max) => max,
        Err(_) => return Err(Status::invalid_argument("max_entries is below zero")),
    };
    let end = start.saturating_add(max).min(total);
    let next = if end < total { end.to_string() } else { String::new() };
    Ok((all.into_iter().take(end).skip(start).collect(), next))
}

/// Parses a Kubernetes quantity of bytes: `20Gi`, `500M`, `4096`.
///
/// # Errors
/// When it is none, or is larger than 64 bits.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let split = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (digits, unit) = split.unwrap_or((text, 1));
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a quantity such as 20Gi"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(required_bytes: i64, limit_bytes: i64) -> Range {
        Range::parse(Some(&CapacityRange { required_bytes, limit_bytes })).unwrap()
    }

    #[test]
    fn sizes_are_whole_blocks_within_the_limit() {
        assert_eq!(range(5000, 0).choose(1, None).unwrap(), 8192);
        assert_eq!(range(5000, 8192).choose(1, None).unwrap(), 8192);
        assert_eq!(range(5000, 8191).choose(1, None).unwrap_err().code(), tonic::Code::OutOfRange);
        assert_eq!(range(0, 0).choose(1, None).unwrap(), DEFAULT_CAPACITY);
        assert_eq!(range(0, 8192).choose(1, None).unwrap(), 8192);
    }

    #[test]
    fn a_small_xfs_is_rounded_up_or_refused() {
        let minimum = Content::Xfs.minimum();
        assert_eq!(range(1 << 20, 0).choose(minimum, None).unwrap(), 300 << 20);
        assert_eq!(
            range(1 << 20, 1 << 20).choose(minimum, None).unwrap_err().code(),
            tonic::Code::OutOfRange
        );
    }

    #[test]
    fn a_copy_is_never_smaller_than_its_source() {
        assert_eq!(range(0, 0).choose(1, Some(8192)).unwrap(), 8192);
        assert_eq!(range(12288, 0).choose(1, Some(8192)).unwrap(), 12288);
        assert_eq!(range(4096, 0).choose(1, Some(8192)).unwrap_err().code(), tonic::Code::OutOfRange);
    }

    #[test]
    fn impossible_ranges_are_refused() {
        for (required_bytes, limit_bytes) in [(-1, 0), (0, -1), (2, 1)] {
            assert!(Range::parse(Some(&CapacityRange { required_bytes, limit_bytes })).is_err());
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let (first, token) = page(vec![1, 2, 3], 2, "").unwrap();
        assert_eq!((first, token.as_str()), (vec![1, 2], "2"));
        let (second, token) = page(vec![1, 2, 3], 2, &token).unwrap();
        assert_eq!((second, token.as_str()), (vec![3], ""));
        assert_eq!(page(vec![1], 0, "none").unwrap_err().code(), tonic::Code::Aborted);
        assert_eq!(page(vec![1], 0, "2").unwrap_err().code(), tonic::Code::Aborted);
    }

    #[test]
    fn quantities() {
        assert_eq!(parse_quantity("20Gi"), Ok(20 << 30));
        assert_eq!(parse_quantity("5M"), Ok(5_000_000));
        assert_eq!(parse_quantity("4096"), Ok(4096));
        for wrong in ["", "Gi", "1.5Gi", "-1", "99999999999Ti"] {
            assert!(parse_quantity(wrong).is_err(), "{wrong} was taken");
        }
    }
}
