//! Tests on a real pool, with real loop devices and mounts: they need root, and fail without it.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::{Code, Request};

use crate::call::Driver;
use crate::cleanup::cleanup;
use crate::controller::ControllerService;
use crate::filesystem::{Content, can_grow_mounted};
use crate::loops::{self, Access, Caching, Loop};
use crate::mounts;
use crate::pool::{Pool, Shelf};
use crate::proto::csi::controller_server::Controller;
use crate::proto::csi::{CapacityRange, CreateSnapshotRequest, ListSnapshotsRequest};
use crate::request::{Capability, Kind, Range};
use crate::stage::Publication;
use crate::volume::{NewVolume, Source, Volume};

const MIB: u64 = 1 << 20;

/// A driver with a pool of its own, which is taken down at the end, also of a failed test.
struct Bench {
    dir: tempfile::TempDir,
    driver: Arc<Driver>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let driver = open(dir.path());
        Self { dir, driver }
    }

    /// What a restarted driver sees.
    fn restart(&mut self) {
        self.driver = open(self.dir.path());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn image(&self, id: &str) -> PathBuf {
        self.driver.pool.image(Shelf::Volumes, id)
    }

    fn create(&self, name: &str, mib: u64, content: Content, source: Option<Source>) -> Volume {
        let new = NewVolume { name: name.to_owned(), range: at_least(mib), content: Some(content), source };
        self.driver.create_volume(&new).unwrap()
    }

    /// Stages the volume and publishes it at the path that is returned.
    fn use_it(&self, id: &str, content: Content) -> PathBuf {
        self.driver.stage(id, &self.path(&format!("stage-{id}")), &capability(content)).unwrap();
        let publication = self.publication(id, &format!("pod-{id}"), content, false);
        self.driver.publish(&publication).unwrap();
        publication.target
    }

    fn leave_it(&self, id: &str) {
        until_free(|| self.driver.unpublish(id, &self.path(&format!("pod-{id}"))));
        until_free(|| self.driver.unstage(id, &self.path(&format!("stage-{id}"))));
    }

    fn publication(&self, id: &str, target: &str, content: Content, read_only: bool) -> Publication {
        Publication {
            id: id.to_owned(),
            staging: self.path(&format!("stage-{id}")),
            target: self.path(target),
            capability: capability(content),
            read_only,
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        cleanup(self.dir.path()).unwrap();
    }
}

fn open(state_dir: &Path) -> Arc<Driver> {
    let pool = Pool::open(state_dir, 2048 * MIB).unwrap();
    Arc::new(Driver::new("csi.scribe.test".to_owned(), "node".to_owned(), pool, state_dir))
}

fn at_least(mib: u64) -> Range {
    let required_bytes = i64::try_from(mib * MIB).unwrap();
    Range::parse(Some(&CapacityRange { required_bytes, limit_bytes: 0 })).unwrap()
}

fn capability(content: Content) -> Capability {
    let kind = match content {
        Content::Block => Kind::Block,
        content => Kind::Mount { content: Some(content), flags: Vec::new() },
    };
    Capability { kind, readers_only: false, single_writer: false }
}

fn size_of_filesystem(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_blocks * stat.f_frsize
}

fn size_of_device(path: &Path) -> u64 {
    File::open(path).unwrap().seek(SeekFrom::End(0)).unwrap()
}

/// Fails unless the unmounted image holds a file system without any fault.
fn check_filesystem(image: &Path, content: Content) {
    let mut command = match content {
        Content::Xfs => Command::new("xfs_repair"),
        _ => Command::new("e2fsck"),
    };
    command.arg(if content == Content::Xfs { "-n" } else { "-fn" });
    loops::run(command.arg(image)).unwrap();
}

/// Repeats what is refused because a volume is busy, as the kubelet does. A program that a test beside this one is about to start holds the
/// files that are open here until it has really begun.
fn until_free(call: impl Fn() -> Result<(), tonic::Status>) {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        match call() {
            Ok(()) => return,
            Err(status) if status.message().contains("busy") && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(status) => panic!("{status}"),
        }
    }
}

/// A device that is let go stays attached for as long as anybody has it open, be it only to look at it, as losetup does in another test.
fn until_detached(is_meant: impl Fn(&Loop) -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let left: Vec<Loop> = loops::list().unwrap().into_iter().filter(&is_meant).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < patience, "{left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_volume_serves_several_pods_and_enforces_its_size() {
    for content in [Content::Ext4, Content::Xfs] {
        let mut bench = Bench::new();
        let volume = bench.create("pvc", 320, content, None);
        let writable = bench.use_it("pvc", content);
        let reader = bench.publication("pvc", "reader", content, true);
        bench.driver.publish(&reader).unwrap();
        fs::write(writable.join("file"), "data").unwrap();
        assert_eq!(fs::read_to_string(reader.target.join("file")).unwrap(), "data");
        let refused = fs::write(reader.target.join("file"), "x").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);

        let big = File::create(writable.join("big")).unwrap();
        let full =
            rustix::fs::fallocate(&big, rustix::fs::FallocateFlags::empty(), 0, volume.capacity).unwrap_err();
        assert_eq!(full, rustix::io::Errno::NOSPC);
        drop(big);

        // Everything again, as after a lost answer, by a driver that remembers nothing.
        bench.restart();
        assert_eq!(
            bench.create("pvc", 320, content, None),
            Volume { filesystem_size: volume.capacity, ..volume }
        );
        bench.use_it("pvc", content);
        bench.driver.publish(&reader).unwrap();
        assert_eq!(fs::read_to_string(writable.join("file")).unwrap(), "data");

        assert_eq!(bench.driver.delete_volume("pvc").unwrap_err().code(), Code::FailedPrecondition);
        let staging = bench.path("stage-pvc");
        assert_eq!(bench.driver.unstage("pvc", &staging).unwrap_err().code(), Code::FailedPrecondition);
        bench.driver.unpublish("pvc", &reader.target).unwrap();
        assert!(!reader.target.exists());
        bench.leave_it("pvc");
        bench.leave_it("pvc");
        bench.driver.delete_volume("pvc").unwrap();
        bench.driver.delete_volume("pvc").unwrap();
        assert!(!bench.image("pvc").exists());
        let pool = bench.path("pool");
        until_detached(|one| one.file.starts_with(&pool));
    }
}

/// Where the writer of the next test puts its numbers: as far apart as the volume allows, so that a copy that takes its time finds
/// different moments at the two places.
const PLACES: [u64; 2] = [0, 200 * MIB];

/// How much it writes at a time: many sectors, of which a bad cut could hold some.
const WRITE: usize = 1 << 16;

/// One writer writes a number to two places in turn, each with `fdatasync` before the next, and says which number is safe. A cut must
/// hold every number that was safe before it, and the second place may be behind the first only by the write that was under way.
#[test]
fn a_cut_of_a_volume_in_use_is_one_moment_of_it() {
    for content in [Content::Ext4, Content::Xfs] {
        let bench = Bench::new();
        bench.create("pvc", 320, content, None);
        let mounted = bench.use_it("pvc", content);
        let (safe, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = {
            let (safe, stop) = (Arc::clone(&safe), Arc::clone(&stop));
            std::thread::spawn(move || write_in_turn(&mounted, &safe, &stop))
        };
        let mut cuts = Vec::new();
        for round in 0..12 {
            let before = safe.load(Ordering::SeqCst);
            while safe.load(Ordering::SeqCst) < before + 3 {
                assert!(!writer.is_finished(), "the writer ended early");
                std::thread::yield_now();
            }
            let before = safe.load(Ordering::SeqCst);
            let name = format!("cut-{round}");
            let source = if round % 2 == 0 {
                bench.driver.create_snapshot(&name, "pvc").unwrap();
                Source::Snapshot(name.clone())
            } else {
                Source::Volume("pvc".to_owned())
            };
            bench.create(&format!("copy-{round}"), 320, content, Some(source));
            cuts.push((format!("copy-{round}"), before));
        }
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();

        for (copy, before) in cuts {
            let mounted = bench.use_it(&copy, content);
            let [first, second] = PLACES.map(|place| number_at(&mounted.join("numbers"), place));
            assert!(
                second >= before,
                "{copy} lacks {before}, which was safe before the cut; it has {second}"
            );
            assert!(first == second || first == second + 1, "{copy} mixes moments: {first} and {second}");
            bench.leave_it(&copy);
            check_filesystem(&bench.image(&copy), content);
        }
    }
}

/// Overwrites in place, so that only the data moves and no metadata helps to order it.
fn write_in_turn(folder: &Path, safe: &AtomicU64, stop: &AtomicBool) {
    let file = File::create(folder.join("numbers")).unwrap();
    let length = PLACES[1] + u64::try_from(WRITE).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length).unwrap();
    for place in PLACES {
        file.write_all_at(&[0; WRITE], place).unwrap();
    }
    file.sync_all().unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
    let mut number: u64 = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        for place in PLACES {
            file.write_all_at(&number.to_le_bytes().repeat(WRITE / 8), place).unwrap();
            file.sync_data().unwrap();
        }
        safe.store(number, Ordering::SeqCst);
    }
}

/// The number at the place. The cut may fall into a write: then the lower of the two numbers is what was safe.
fn number_at(path: &Path, place: u64) -> u64 {
    let mut bytes = vec![0; WRITE];
    File::open(path).unwrap().read_exact_at(&mut bytes, place).unwrap();
    let numbers: Vec<u64> =
        bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect();
    let (low, high) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
    assert!(high - low <= 1, "at {place} are {low} and {high}");
    low
}

#[test]
fn a_snapshot_outlives_its_volume_and_restores_larger() {
    for content in [Content::Ext4, Content::Xfs] {
        let bench = Bench::new();
        bench.create("pvc", 320, content, None);
        fs::write(bench.use_it("pvc", content).join("file"), "data").unwrap();
        bench.leave_it("pvc");
        let cut = bench.driver.create_snapshot("cut", "pvc").unwrap();
        assert_eq!(bench.driver.create_snapshot("cut", "pvc").unwrap(), cut);
        bench.driver.delete_volume("pvc").unwrap();

        let source = || Some(Source::Snapshot("cut".to_owned()));
        bench.create("same", 320, content, source());
        bench.create("larger", 640, content, source());
        let mounted = bench.use_it("larger", content);
        assert_eq!(fs::read_to_string(mounted.join("file")).unwrap(), "data");
        assert!(size_of_filesystem(&mounted) > 500 * MIB);
        assert!(size_of_filesystem(&bench.use_it("same", content)) < 330 * MIB);

        let smaller = NewVolume {
            name: "s".to_owned(),
            range: at_least(310),
            content: Some(content),
            source: source(),
        };
        assert_eq!(bench.driver.create_volume(&smaller).unwrap_err().code(), Code::OutOfRange);
        let block = NewVolume {
            name: "b".to_owned(),
            range: at_least(320),
            content: Some(Content::Block),
            source: source(),
        };
        assert_eq!(bench.driver.create_volume(&block).unwrap_err().code(), Code::InvalidArgument);
        bench.driver.delete_snapshot("cut").unwrap();
        assert_eq!(fs::read_to_string(mounted.join("file")).unwrap(), "data");
    }
}

#[test]
fn a_volume_grows_while_it_is_in_use() {
    for content in [Content::Ext4, Content::Xfs, Content::Block] {
        let bench = Bench::new();
        bench.create("pvc", 320, content, None);
        let used = bench.use_it("pvc", content);
        assert_eq!(bench.driver.expand_volume("pvc", at_least(640)).unwrap(), 640 * MIB);
        assert_eq!(bench.driver.expand_volume("pvc", at_least(100)).unwrap(), 640 * MIB);
        if can_grow_mounted(content).unwrap() {
            assert_eq!(bench.driver.grow_on_node("pvc", &used).unwrap(), 640 * MIB);
        } else {
            let refused = bench.driver.grow_on_node("pvc", &used).unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            bench.leave_it("pvc");
            bench.use_it("pvc", content);
            assert_eq!(bench.driver.grow_on_node("pvc", &used).unwrap(), 640 * MIB);
        }
        let size = if content == Content::Block { size_of_device(&used) } else { size_of_filesystem(&used) };
        assert!(size > 500 * MIB, "{content:?} has {size}");
        assert_eq!(
            bench.driver.grow_on_node("pvc", &bench.path("elsewhere")).unwrap_err().code(),
            Code::NotFound
        );
    }
}

#[test]
fn a_block_volume_is_a_device() {
    let bench = Bench::new();
    bench.create("pvc", 16, Content::Block, None);
    let target = bench.use_it("pvc", Content::Block);
    assert_eq!(size_of_device(&target), 16 * MIB);
    let device = OpenOptions::new().read(true).write(true).open(&target).unwrap();
    device.write_all_at(b"data", 4 * MIB).unwrap();
    device.sync_data().unwrap();
    bench.create("copy", 16, Content::Block, Some(Source::Volume("pvc".to_owned())));
    let mut bytes = [0; 4];
    File::open(bench.use_it("copy", Content::Block)).unwrap().read_exact_at(&mut bytes, 4 * MIB).unwrap();
    assert_eq!(&bytes, b"data");
    assert_eq!(bench.driver.usage("pvc", &target).unwrap().bytes, 16 * MIB);

    bench.leave_it("copy");
    let readers = Capability { readers_only: true, ..capability(Content::Block) };
    bench.driver.stage("copy", &bench.path("stage-copy"), &readers).unwrap();
    let publication =
        Publication { capability: readers, ..bench.publication("copy", "r", Content::Block, true) };
    bench.driver.publish(&publication).unwrap();
    // The kernel lets root open it, and refuses the write.
    let refused =
        OpenOptions::new().write(true).open(&publication.target).and_then(|mut file| file.write_all(b"x"));
    assert!(refused.is_err());
}

#[test]
fn one_pod_can_have_a_volume_to_itself() {
    for content in [Content::Ext4, Content::Block] {
        let bench = Bench::new();
        bench.create("pvc", 16, content, None);
        let alone = Capability { single_writer: true, ..capability(content) };
        bench.driver.stage("pvc", &bench.path("stage-pvc"), &alone).unwrap();
        let publish = |target: &str| {
            let publication = bench.publication("pvc", target, content, false);
            bench.driver.publish(&Publication { capability: alone.clone(), ..publication })
        };
        publish("first").unwrap();
        // As the kubelet does with block volumes: a bind mount of its own, seen by a repeated call.
        let bound = bench.path("bound");
        if content == Content::Block { File::create(&bound).map(drop) } else { fs::create_dir(&bound) }
            .unwrap();
        mounts::bind(&bench.path("first"), &bound).unwrap();
        publish("first").unwrap();
        assert_eq!(publish("second").unwrap_err().code(), Code::FailedPrecondition);
        assert!(!bench.path("second").exists());
        mounts::unmount_all(&bound).unwrap();
        bench.driver.unpublish("pvc", &bench.path("first")).unwrap();
        publish("second").unwrap();
    }
}

#[test]
fn what_a_killed_driver_left_half_done_is_done_again() {
    let mut bench = Bench::new();
    bench.create("pvc", 64, Content::Ext4, None);
    // Killed within mkfs: there is something in the image, and the record does not say that it is whole.
    let image = bench.image("pvc");
    OpenOptions::new().write(true).open(&image).unwrap().write_all_at(&[0xff; 1 << 20], 0).unwrap();
    bench.restart();
    let used = bench.use_it("pvc", Content::Ext4);
    fs::write(used.join("file"), "data").unwrap();

    // Killed between the bind and its being made read-only.
    let reader = bench.publication("pvc", "reader", Content::Ext4, true);
    fs::create_dir(&reader.target).unwrap();
    mounts::bind(&reader.staging, &reader.target).unwrap();
    bench.driver.publish(&reader).unwrap();
    assert!(fs::write(reader.target.join("file"), "x").is_err());

    // Killed between the image of a snapshot and its record: nobody was told, so the cut is made anew.
    bench.driver.pool.make_image(Shelf::Snapshots, "cut", None, MIB).unwrap();
    bench.restart();
    assert!(!bench.driver.pool.image(Shelf::Snapshots, "cut").exists());
    bench.driver.create_snapshot("cut", "pvc").unwrap();
}

#[test]
fn cleanup_leaves_nothing_attached() {
    let bench = Bench::new();
    bench.create("fs", 64, Content::Ext4, None);
    bench.create("block", 64, Content::Block, None);
    let used = bench.use_it("fs", Content::Ext4);
    let target = bench.use_it("block", Content::Block);
    // As the kubelet does with the block volumes of pods.
    let on_top = loops::attach(&target, Access::ReadWrite, Caching::Buffered).unwrap();
    // By its file as well: the name of a device that was let go is another test's at once.
    let on_top = loops::list().unwrap().into_iter().find(|one| one.device == on_top).unwrap();
    let held_open = File::create(used.join("open")).unwrap();
    // The file of the open descriptor keeps its file system, and with it the pool, until it is closed.
    let closing = std::thread::spawn(move || {
        while mounts::at(&used).unwrap().is_some() {
            std::thread::yield_now();
        }
        drop(held_open);
    });
    cleanup(bench.dir.path()).unwrap();
    closing.join().unwrap();
    until_detached(|one| {
        one.file.starts_with(bench.dir.path()) || (one.device == on_top.device && one.file == on_top.file)
    });
    assert!(!mounts::table().unwrap().iter().any(|mount| mount.target.starts_with(bench.dir.path())));
    cleanup(bench.dir.path()).unwrap();
}

#[tokio::test]
async fn a_snapshot_is_not_ready_while_told_so() {
    let bench = Bench::new();
    bench.create("pvc", 16, Content::Ext4, None);
    let faults = bench.path("faults.json");
    fs::write(&faults, r#"{"CreateSnapshot": {"neverReady": true, "match": "slow"}}"#).unwrap();
    let controller = ControllerService(Arc::clone(&bench.driver));
    for (name, ready) in [("slow", false), ("quick", true)] {
        let (name, source_volume_id) = (name.to_owned(), "pvc".to_owned());
        let request = CreateSnapshotRequest { name, source_volume_id, ..CreateSnapshotRequest::default() };
        let answer = controller.create_snapshot(Request::new(request)).await.unwrap().into_inner();
        assert_eq!(answer.snapshot.unwrap().ready_to_use, ready);
    }
    let slow = || ListSnapshotsRequest { snapshot_id: "slow".to_owned(), ..ListSnapshotsRequest::default() };
    let ready = async || {
        let list = controller.list_snapshots(Request::new(slow())).await.unwrap().into_inner();
        list.entries[0].snapshot.as_ref().unwrap().ready_to_use
    };
    assert!(!ready().await);
    fs::remove_file(faults).unwrap();
    assert!(ready().await);
}
