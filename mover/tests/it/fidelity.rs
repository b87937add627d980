//! What is kept, and what is said about the rest.

use crate::harness::{Identity, Pair, run, text};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Everything that any user may have.
fn rich_tree(root: &Path) {
    let shell = "set -e; cd \"$1\"
        printf one > file; ln file link; mkdir folder; ln file folder/link
        ln -s file symlink; ln -s /etc/passwd absolute; ln -s missing dangling; ln symlink symlink-link
        mkfifo fifo
        printf x | dd of=holes bs=1 seek=8388608 status=none; truncate -s 16M holes
        printf x > private; chmod 600 private
        printf x > script; chmod 755 script
        mkdir shared; setfacl -m u:12345:rwx shared; chmod 3750 shared
        mkdir read-only; printf x > read-only/x; chmod 444 read-only/x; chmod 555 read-only
        setfattr -n user.note -v 'any value' file
        setfattr -n user.rsync.%stat -v 'of a backup' script
        setfattr -n user.folder -v 1 folder
        setfacl -m u:12345:rw,g:23456:r private
        setfacl -d -m u:12345:rwx folder
        touch -h -d '2001-02-03 04:05:06.123456789' symlink file folder
        touch -d '1969-12-31 23:59:59.5' script
        touch -d '2100-01-01' private";
    run("sh", &["-c", shell, "sh", text(root)]);
}

#[tokio::test]
async fn a_user_keeps_all_that_a_user_can() {
    let mut pair = Pair::new();
    rich_tree(pair.source.path());
    pair.own();
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync_well().await;
    pair.assert_same();
    let blocks = fs::metadata(pair.destination.path().join("holes")).unwrap().blocks();
    assert!(blocks <= 64, "the hole was filled: {blocks}");
    assert_eq!(end.termination.fidelity.len(), 1, "{:?}", end.termination.fidelity);
    assert!(end.termination.fidelity[0].starts_with("owners and groups"));

    // What changes without its content is a change too, and what did not change is none.
    controller.decide(|policy| policy.clean = true);
    pair.next("second");
    pair.sync_well().await;
    assert!(controller.policy().commits[1].unchanged);
    let shell = "set -e; cd \"$1\"
        setfattr -x user.note file; setfattr -n user.more -v 1 file; setfacl -b private; touch -d '2001-02-03 04:05:06.1' folder
        rm folder/link; printf other > folder/link; chmod 640 script; truncate -s 12M holes";
    run("sh", &["-c", shell, "sh", text(pair.source.path())]);
    pair.own();
    pair.next("third");
    pair.sync_well().await;
    pair.assert_same();
}

#[tokio::test]
async fn root_keeps_everything() {
    let mut pair = Pair::with(Identity::Root, 64);
    rich_tree(pair.source.path());
    let shell = "set -e; cd \"$1\"
        chown 1234:5678 file; chown -h 1:2 symlink; printf x > setuid; chown 99:99 setuid; chmod 6755 setuid
        mknod null c 1 3; mknod disk b 7 200; cp /bin/true capable; setcap cap_net_raw+ep capable
        setfacl -m u:12345:rwx .; chmod 1751 .; chown 77:88 .; touch -d '2001-02-03 04:05:06.123456789' .";
    run("sh", &["-c", shell, "sh", text(pair.source.path())]);
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync_well().await;
    pair.assert_same();
    assert!(end.termination.fidelity.is_empty(), "{:?}", end.termination.fidelity);
    controller.decide(|policy| policy.clean = true);
    pair.next("second");
    pair.sync_well().await;
    assert!(controller.policy().commits[1].unchanged);
}

#[tokio::test]
async fn strict_refuses_before_anything_is_sent() {
    let mut pair = Pair::new();
    pair.write("a", "one");
    pair.job.strict_fidelity = true;
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync().await;
    assert_eq!((end.code, end.termination.reason.as_deref()), (Some(2), Some("FidelityRefused")));
    assert!(end.termination.message.contains("owners and groups"), "{}", end.termination.message);
    assert!(!pair.destination.path().join("a").exists() && controller.policy().commits.is_empty());
}

#[tokio::test]
async fn what_root_has_and_a_user_cannot_keep_is_listed() {
    let pair = Pair::new();
    let file = pair.write("capable", "x");
    run("setcap", &["cap_net_raw+ep", text(&file)]);
    run("mknod", &[text(&pair.source.path().join("null")), "c", "1", "3"]);
    let (_mover, _controller) = pair.listen().await;
    let lost = pair.sync_well().await.termination.fidelity;
    assert_eq!(lost.len(), 3, "{lost:?}");
    let capability = "file capabilities (security.capability): 1 entries, for example capable";
    assert!(lost.contains(&capability.to_owned()), "{lost:?}");
    assert!(lost.contains(&"device nodes: 1 entries, for example null".to_owned()), "{lost:?}");
    let arrived = |name: &str| pair.destination.path().join(name).exists();
    assert!(arrived("capable") && !arrived("null"));
}

#[tokio::test]
async fn an_unreadable_file_ends_the_sync_and_is_named() {
    for (name, shell) in [
        ("folder/file", "mkdir \"$1/folder\"; echo x > \"$1/folder/file\"; chmod 600 \"$1/folder/file\""),
        ("folder", "mkdir -m 700 \"$1/folder\""),
    ] {
        let pair = Pair::new();
        pair.write("readable", "x");
        run("sh", &["-c", shell, "sh", text(pair.source.path())]);
        let (_mover, controller) = pair.listen().await;
        let end = pair.sync().await;
        assert_eq!(
            (end.code, end.termination.reason.as_deref()),
            (Some(2), Some("NeedsPrivilege")),
            "{}",
            end.log
        );
        assert!(end.termination.message.contains(name), "{}", end.termination.message);
        // Nothing was asked of the destination, so it need not count its claim as dirty.
        assert!(controller.policy().handshakes.is_empty());
    }
}

#[tokio::test]
async fn what_is_left_out_need_not_be_readable() {
    let mut pair = Pair::new();
    pair.write("readable", "x");
    let shell = "mkdir -m 700 \"$1/folder\"; echo x > \"$1/file.key\"; chmod 600 \"$1/file.key\"";
    run("sh", &["-c", shell, "sh", text(pair.source.path())]);
    pair.job.excludes = vec!["/folder/".to_owned(), "*.key".to_owned()];
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    // Who knows what of it will be sent?
    let handshake = controller.policy().handshakes.remove(0);
    assert_eq!((handshake.expected_bytes, handshake.expected_files), (0, 0));
    // And what is not left out has to be, of course.
    pair.job.excludes.pop();
    pair.next("second");
    let end = pair.sync().await;
    assert_eq!((end.code, end.termination.reason.as_deref()), (Some(2), Some("NeedsPrivilege")));
}

#[tokio::test]
async fn a_link_out_of_the_volume_is_never_followed() {
    let pair = Pair::new();
    pair.write("escape/file", "x");
    let outside = pair.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    run("chmod", &["777", text(&outside)]);
    // As an earlier state of the source can have left it.
    let escape = pair.destination.path().join("escape");
    symlink(&outside, &escape).unwrap();
    run("chown", &["-h", &crate::harness::USER.to_string(), text(&escape)]);
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}
