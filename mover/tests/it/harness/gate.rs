//! A folder that nobody can enter until the test says so, as on storage that does not answer.

use super::LIMIT;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::CWD;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// Holds up everybody who opens a folder to read it, in any namespace. Opened when dropped.
pub struct Gate {
    // The kernel asks here for leave, and takes it as given when nobody is there any more to answer.
    requests: Arc<Fanotify>,
}

impl Gate {
    /// Shuts that folder.
    pub fn shut(folder: &Path) -> Self {
        // Programs that the test starts must not inherit it: then dropping it would not open it.
        let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let requests =
            Fanotify::init(flags, EventFFlags::O_RDONLY).expect("the kernel offers fanotify to root");
        let opening = MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR;
        requests.mark(MarkFlags::FAN_MARK_ADD, opening, CWD, Some(folder)).unwrap();
        Self { requests: Arc::new(requests) }
    }

    /// Waits until somebody is held up. Fails after [`LIMIT`].
    pub async fn reached(&self) {
        let requests = self.requests.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let limit = PollTimeout::try_from(LIMIT).unwrap();
            // Whoever it is stays there: the request is not even read.
            poll(&mut [PollFd::new(requests.as_fd(), PollFlags::POLLIN)], limit).unwrap()
        });
        assert_eq!(asked.await.unwrap(), 1, "nobody comes to the gate");
    }
}
