//! Snapshots: reflinks of an image, with the time of the cut.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tonic::Status;

use crate::call::{Driver, internal};
use crate::filesystem::Content;
use crate::pool::{Shelf, id_for};

/// The record of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// What the driver calls it.
    pub id: String,
    /// What the caller called it.
    pub name: String,
    /// The volume it is a cut of, which may be gone by now.
    pub source_volume: String,
    /// The size of the image in bytes: the least that a volume made from it has.
    pub size: u64,
    /// What the volume held.
    pub content: Content,
    /// The size of the file system in the volume, in bytes; 0 where it had none.
    pub filesystem_size: u64,
    /// The time of the cut, or a little earlier: never later.
    pub cut_at: Timestamp,
}

impl Driver {
    /// Cuts a snapshot, or finds the one that an earlier call of the same name cut.
    ///
    /// # Errors
    /// `NOT_FOUND` for a volume that is not there; `ALREADY_EXISTS` if the name is one of another volume's snapshot.
    pub fn create_snapshot(&self, name: &str, source_volume: &str) -> Result<Snapshot, Status> {
        let id = id_for(name);
        let _held = self.locks.hold(&[&id, source_volume]);
        if let Some(snapshot) = self.pool.read::<Snapshot>(Shelf::Snapshots, &id).map_err(internal)? {
            if snapshot.source_volume == source_volume {
                return Ok(snapshot);
            }
            let message = format!("snapshot {name} is there already, of volume {}", snapshot.source_volume);
            return Err(Status::already_exists(message));
        }
        let volume = self.volume(source_volume)?;
        let image = self.pool.image(Shelf::Volumes, source_volume);
        // Taken before the reflink: a recovery point may be said to be older than it is, never younger.
        let cut_at = Timestamp::now();
        self.pool.make_image(Shelf::Snapshots, &id, Some(&image), volume.capacity).map_err(internal)?;
        let snapshot = Snapshot {
            id,
            name: name.to_owned(),
            source_volume: source_volume.to_owned(),
            size: volume.capacity,
            content: volume.content,
            filesystem_size: volume.filesystem_size,
            cut_at,
        };
        self.pool.write(Shelf::Snapshots, &snapshot.id, &snapshot).map_err(internal)?;
        Ok(snapshot)
    }

    /// Deletes a snapshot. Volumes made from it stay whole. One that does not exist is deleted already.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn delete_snapshot(&self, id: &str) -> Result<(), Status> {
        let _held = self.locks.hold(&[id]);
        self.pool.remove(Shelf::Snapshots, id).map_err(internal)
    }

    /// The record of a snapshot.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn snapshot(&self, id: &str) -> Result<Snapshot, Status> {
        self.pool
            .read(Shelf::Snapshots, id)
            .map_err(internal)?
            .ok_or_else(|| Status::not_found(format!("there is no snapshot {id}")))
    }
}
