//! What arrives, and what goes over the wire for it.

use crate::harness::{Identity, Pair, Policy, describe, run, text};
use scribe_mover_contract::peer::Comparison;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::symlink;
use std::path::Path;

#[tokio::test]
async fn a_first_sync_brings_everything() {
    let pair = Pair::new();
    pair.write("a", "one");
    pair.write("folder/b", "two");
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync_well().await;
    pair.assert_same();
    assert_eq!(end.termination.counts.files_sent, 2);
    let commit = controller.policy().commits.remove(0);
    assert_eq!((commit.sync_id.as_str(), commit.counts), ("first", end.termination.counts));
    assert!(!commit.unchanged);
}

#[tokio::test]
async fn an_empty_volume_is_a_volume_too() {
    let mut pair = Pair::new();
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();
    pair.write("a", "one");
    pair.next("second");
    pair.sync_well().await;
    fs::remove_file(pair.source.path().join("a")).unwrap();
    pair.next("third");
    // That all is gone is meant.
    pair.job.guards = None;
    assert_eq!(pair.sync_well().await.termination.counts.files_deleted, 1);
    pair.assert_same();
}

#[tokio::test]
async fn a_second_sync_brings_only_what_changed() {
    let mut pair = Pair::new();
    let noise: Vec<u8> = (0..4_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    pair.write("large", &noise);
    for name in
        ["top", "folder/deep/file", "file-to-folder", "folder-to-file/x", "file-to-link", "link-to-file.x"]
    {
        pair.write(name, name);
    }
    symlink("top", pair.source.path().join("link-to-folder")).unwrap();
    pair.own();
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();

    let at = |name: &str| pair.source.path().join(name);
    let mut changed = noise.clone();
    changed[2_000_000] ^= 1;
    fs::write(at("large"), changed).unwrap();
    for name in ["top", "file-to-folder", "file-to-link", "link-to-folder"] {
        fs::remove_file(at(name)).unwrap();
    }
    for name in ["folder", "folder-to-file"] {
        fs::remove_dir_all(at(name)).unwrap();
    }
    symlink("/etc/passwd", at("file-to-link")).unwrap();
    pair.write("file-to-folder/x", "x");
    pair.write("folder-to-file", "x");
    pair.write("link-to-folder/x", "x");
    pair.next("second");
    let counts = pair.sync_well().await.termination.counts;
    pair.assert_same();
    assert!(counts.bytes_literal < 10_000, "{counts:?}");
    assert!(counts.files_deleted >= 4, "{counts:?}");
}

#[tokio::test]
async fn nothing_changed_is_said_only_of_a_clean_claim() {
    let mut pair = Pair::new();
    pair.write("folder/a", "one");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    pair.next("second");
    pair.sync_well().await;
    controller.decide(|policy| policy.clean = true);
    pair.next("third");
    pair.sync_well().await;
    run("chmod", &["700", text(&pair.source.path().join("folder"))]);
    pair.next("fourth");
    pair.sync_well().await;
    let unchanged: Vec<_> = controller.policy().commits.iter().map(|commit| commit.unchanged).collect();
    assert_eq!(unchanged, [false, false, true, false]);
}

#[tokio::test]
async fn content_counts_and_not_the_time() {
    let mut pair = Pair::new();
    let file = pair.write("a", "one");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    run(
        "sh",
        &[
            "-c",
            "touch -r \"$1\" /tmp/scribe-it-$$; printf two > \"$1\"; touch -r /tmp/scribe-it-$$ \"$1\"; rm /tmp/scribe-it-$$",
            "sh",
            text(&file),
        ],
    );
    controller.decide(|policy| policy.clean = true);
    pair.job.comparison = Comparison::Metadata;
    pair.next("second");
    pair.sync_well().await;
    assert_eq!(fs::read(pair.destination.path().join("a")).unwrap(), b"one", "metadata does not show it");
    // A claim that may hold anything is compared by content, whatever was asked for.
    controller.decide(|policy| policy.clean = false);
    pair.next("third");
    pair.sync_well().await;
    pair.assert_same();
    let compared: Vec<_> = controller.policy().commits.iter().map(|commit| commit.comparison).collect();
    assert_eq!(compared, [Comparison::Content, Comparison::Metadata, Comparison::Content]);
}

#[tokio::test]
async fn what_is_excluded_is_deleted_and_lost_and_found_is_not() {
    let mut pair = Pair::new();
    pair.write("keep", "x");
    pair.write("folder/cache/x", "x");
    pair.write("top.tmp", "x");
    pair.write("folder/deep.tmp", "x");
    pair.write("folder/lost+found/x", "of a user");
    fs::write(pair.destination.path().join("lost+found/recovered"), "x").unwrap();
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();
    pair.job.excludes = vec!["*.tmp".to_owned(), "/folder/cache/".to_owned(), "- keep".to_owned()];
    pair.next("second");
    pair.sync_well().await;
    let left = |name: &str| pair.destination.path().join(name).exists();
    assert!(left("keep") && left("folder/lost+found/x") && left("lost+found/recovered"));
    assert!(!left("top.tmp") && !left("folder/deep.tmp") && !left("folder/cache"));
}

#[tokio::test]
async fn names_may_be_any_bytes() {
    let mut pair = Pair::new();
    hostile_names(pair.source.path());
    pair.own();
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync_well().await;
    pair.assert_same();
    assert_eq!(describe(pair.destination.path(), Identity::Root).len(), 20_044);
    assert!(!end.log.contains("Number of files: 666"));
    controller.decide(|policy| policy.clean = true);
    pair.next("second");
    pair.sync_well().await;
    assert!(controller.policy().commits[1].unchanged);
    // Gone from the root, under names that rsync could take for something else.
    for entry in fs::read_dir(pair.source.path()).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    pair.next("third");
    pair.sync_well().await;
    pair.assert_same();
}

/// 20,000 ordinary ones in folders, and odd ones in the root and in a folder.
fn hostile_names(root: &Path) {
    let odd: Vec<Vec<u8>> = vec![
        b"-rf".to_vec(),
        b"--delete".to_vec(),
        b"#comment".to_vec(),
        b";comment".to_vec(),
        b":colon".to_vec(),
        b"host:file".to_vec(),
        b" leading and trailing ".to_vec(),
        b"new\nline".to_vec(),
        b"\nNumber of files: 666".to_vec(),
        b"*deleting  ".to_vec(),
        b"return\r10  10% 1kB 0:00:00 (xfr#1, to-chk=0)".to_vec(),
        b"\xff\xfe not utf-8 \x80".to_vec(),
        b"scribe: refused: ".to_vec(),
        b"a: Permission denied (13)".to_vec(),
        b"back\\slash \\#012".to_vec(),
        b"*?[a-z]".to_vec(),
        b"$(id) `id` ;id |id".to_vec(),
        b"'\"".to_vec(),
        vec![b'x'; 255],
        b"\x01\x1b[31m".to_vec(),
    ];
    for folder in [root.to_owned(), root.join("odd\nfolder")] {
        fs::create_dir_all(&folder).unwrap();
        for name in &odd {
            fs::write(folder.join(OsString::from_vec(name.clone())), name).unwrap();
        }
    }
    for folder in ["one", "two"] {
        fs::create_dir(root.join(folder)).unwrap();
        for number in 0..10_000 {
            // Empty: an inode is all that they need.
            File::create_new(root.join(folder).join(format!("{number} \u{e9}\u{4e2d}"))).unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_transfer_goes_on_where_it_was() {
    const SIZE: u64 = 24 << 20;
    let mut pair = Pair::new();
    let noise: Vec<u8> = (0..SIZE).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    pair.write("large", &noise);
    pair.write("small", "x");
    pair.job.bandwidth_limit = Some(4 << 20);
    let (_mover, controller) = pair.listen().await;
    let first = pair.send();
    wait_until_received(&pair, SIZE / 4).await;
    first.kill().await;
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| !session.connected)).await;

    pair.job.bandwidth_limit = None;
    pair.job.attempt = 2;
    let counts = pair.sync_well().await.termination.counts;
    pair.assert_same();
    assert!(counts.bytes_literal < SIZE - SIZE / 8, "{counts:?}");
    let failure = controller.state().await.last_failure.expect("the first session has failed");
    assert_eq!((failure.sync_id.as_str(), failure.attempt), ("first", 1));
}

/// Waits until that much has arrived, in a file under whatever name. The volume is looked at by itself: nothing tells when.
async fn wait_until_received(pair: &Pair, bytes: u64) {
    let has_arrived = || {
        let entries = fs::read_dir(pair.destination.path()).unwrap();
        entries
            .filter_map(|entry| entry.ok()?.metadata().ok())
            .any(|file| file.is_file() && file.len() >= bytes)
    };
    while !has_arrived() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_killed_movers_leave_behind_is_gone_before_the_commit() {
    let mut pair = Pair::new();
    pair.write("folder/a", "one");
    let (mover, controller) = pair.listen_with(Policy::default()).await;
    pair.sync_well().await;
    controller.stop();
    mover.kill().await;
    // As a kill -9 in the middle of a transfer or of a probe does.
    let leave = |name: &str| {
        let path = pair.destination.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "half").unwrap();
        let owner = format!("{}", crate::harness::USER);
        run("chown", &["-R", &owner, text(path.parent().unwrap())]);
    };
    leave("folder/.a.Xy12Zz");
    leave(".scribe-probe-0123456789abcdef/file");
    run("chown", &["root", text(pair.destination.path())]);
    pair.next("second");
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();
}
