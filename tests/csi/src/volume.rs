//! Volumes: creating, deleting and growing them.

use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::call::{Driver, internal};
use crate::filesystem::Content;
use crate::pool::{Shelf, id_for};
use crate::request::Range;
use crate::snapshot::Snapshot;
use crate::{loops, mounts};

/// What a volume was filled with when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "id")]
pub enum Source {
    /// A snapshot, by id.
    Snapshot(String),
    /// Another volume, by id.
    Volume(String),
}

impl Source {
    /// The id of the snapshot or volume.
    pub fn id(&self) -> &str {
        match self {
            Self::Snapshot(id) | Self::Volume(id) => id,
        }
    }
}

/// The record of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// What the driver calls it.
    pub id: String,
    /// What the caller called it.
    pub name: String,
    /// The size of the image in bytes.
    pub capacity: u64,
    /// What is, or will be, in the image.
    pub content: Content,
    /// The size to which the file system was made or grown, in bytes. 0 before it is made, and for raw block volumes.
    pub filesystem_size: u64,
    /// Where the first content came from.
    pub source: Option<Source>,
}

impl Volume {
    /// Whether it has a file system that is smaller than its image.
    pub const fn is_to_grow(&self) -> bool {
        self.filesystem_size > 0 && self.filesystem_size < self.capacity
    }
}

/// What is asked of a new volume.
#[derive(Debug)]
pub struct NewVolume {
    /// The caller's name for it.
    pub name: String,
    /// How large it may be.
    pub range: Range,
    /// `None` where the caller left the file system open.
    pub content: Option<Content>,
    /// What to fill it with.
    pub source: Option<Source>,
}

/// What a source brings to the volume that is made from it.
struct Origin {
    image: PathBuf,
    size: u64,
    content: Content,
    filesystem_size: u64,
}

impl Driver {
    /// Makes a volume, or finds the one that an earlier call of the same name made.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` if that one is different; `NOT_FOUND` for a source that is not there; `OUT_OF_RANGE` for a size that
    /// cannot be had; `INVALID_ARGUMENT` where the source holds something else than what is asked for.
    pub fn create_volume(&self, new: &NewVolume) -> Result<Volume, Status> {
        let id = id_for(&new.name);
        let mut names = vec![id.as_str()];
        // No one may format, grow or delete the source while it is copied.
        names.extend(new.source.as_ref().map(Source::id));
        let _held = self.locks.hold(&names);

        if let Some(volume) = self.pool.read::<Volume>(Shelf::Volumes, &id).map_err(internal)? {
            return same_as_asked(volume, new);
        }
        let origin = new.source.as_ref().map(|source| self.origin(source)).transpose()?;
        let content = match (&origin, new.content) {
            (Some(origin), Some(asked)) if asked != origin.content => {
                let message = format!("the source holds {}, not {}", origin.content.name(), asked.name());
                return Err(Status::invalid_argument(message));
            }
            (Some(origin), _) => origin.content,
            (None, asked) => asked.unwrap_or(Content::Ext4),
        };
        let capacity = new.range.choose(content.minimum(), origin.as_ref().map(|origin| origin.size))?;
        if capacity > self.pool.size().map_err(internal)? {
            return Err(Status::out_of_range("the pool as a whole is smaller than that"));
        }
        let image = origin.as_ref().map(|origin| origin.image.as_path());
        self.pool.make_image(Shelf::Volumes, &id, image, capacity).map_err(internal)?;
        let filesystem_size = origin.map_or(0, |origin| origin.filesystem_size);
        let volume = Volume {
            id,
            name: new.name.clone(),
            capacity,
            content,
            filesystem_size,
            source: new.source.clone(),
        };
        self.pool.write(Shelf::Volumes, &volume.id, &volume).map_err(internal)?;
        Ok(volume)
    }

    /// Deletes a volume. One that does not exist is deleted already.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` while it is mounted or bound somewhere.
    pub fn delete_volume(&self, id: &str) -> Result<(), Status> {
        let _held = self.locks.hold(&[id]);
        let image = self.pool.image(Shelf::Volumes, id);
        if self.pool.read::<Volume>(Shelf::Volumes, id).map_err(internal)?.is_some() {
            let device = loops::find(&image).map_err(internal)?;
            if let Some(device) = device {
                if let Some(mount) =
                    mounts::table().map_err(internal)?.into_iter().find(|m| m.source == device)
                {
                    let message = format!("volume {id} is in use at {}", mount.target.display());
                    return Err(Status::failed_precondition(message));
                }
                loops::detach(&device).map_err(internal)?;
            }
        }
        self.pool.remove(Shelf::Volumes, id).map_err(internal)
    }

    /// Grows a volume's image, never shrinks it. Returns the new size in bytes. The node still has to grow what is in it.
    ///
    /// # Errors
    /// `NOT_FOUND`; `OUT_OF_RANGE` for a size that cannot be had.
    pub fn expand_volume(&self, id: &str, range: Range) -> Result<u64, Status> {
        let _held = self.locks.hold(&[id]);
        let mut volume = self.volume(id)?;
        let capacity = range.choose(volume.capacity, None)?;
        if capacity > self.pool.size().map_err(internal)? {
            return Err(Status::out_of_range("the pool as a whole is smaller than that"));
        }
        if capacity > volume.capacity {
            let image = self.pool.image(Shelf::Volumes, id);
            std::fs::OpenOptions::new()
                .write(true)
                .open(&image)
                .and_then(|file| file.set_len(capacity))
                .with_context(|| format!("grow {}", image.display()))
                .map_err(internal)?;
            volume.capacity = capacity;
            self.pool.write(Shelf::Volumes, id, &volume).map_err(internal)?;
        }
        Ok(volume.capacity)
    }

    /// The record of a volume.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn volume(&self, id: &str) -> Result<Volume, Status> {
        self.pool
            .read(Shelf::Volumes, id)
            .map_err(internal)?
            .ok_or_else(|| Status::not_found(format!("there is no volume {id}")))
    }

    fn origin(&self, source: &Source) -> Result<Origin, Status> {
        match source {
            Source::Volume(id) => {
                let volume = self.volume(id)?;
                let image = self.pool.image(Shelf::Volumes, id);
                let Volume { capacity: size, content, filesystem_size, .. } = volume;
                Ok(Origin { image, size, content, filesystem_size })
            }
            Source::Snapshot(id) => {
                let snapshot = self.snapshot(id)?;
                let image = self.pool.image(Shelf::Snapshots, id);
                let Snapshot { size, content, filesystem_size, .. } = snapshot;
                Ok(Origin { image, size, content, filesystem_size })
            }
        }
    }
}

fn same_as_asked(volume: Volume, new: &NewVolume) -> Result<Volume, Status> {
    let fits = new.range.allows(volume.capacity)
        && new.content.is_none_or(|content| content == volume.content)
        && new.source == volume.source;
    if fits {
        return Ok(volume);
    }
    Err(Status::already_exists(format!("volume {} is there already and is different", volume.name)))
}
