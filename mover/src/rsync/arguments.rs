//! What rsync is told. Each option has its reason beside it, since each one is a promise about the replica.

use scribe_mover_contract::peer::{Abilities, Comparison};
use std::ffi::OsString;
use std::path::Path;

/// What decides the options of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// What the destination can keep.
    pub abilities: &'a Abilities,
    /// How changed files are found.
    pub comparison: Comparison,
    /// The most bytes per second.
    pub bandwidth_limit: Option<u64>,
    /// Whether the source is written while it is read: then what was listed may be gone.
    pub is_live: bool,
    /// Patterns of what is left out, and deleted at the destination.
    pub excludes: &'a [String],
    /// The fencing token of the session.
    pub token: u64,
    /// The configuration of ssh, in which the destination is the host `destination`.
    pub ssh_config: &'a Path,
    /// The socket of the connection that stands already. To connect anew takes longer than a small sync does.
    pub control: &'a Path,
}

/// The name of the destination in ssh's configuration.
pub const DESTINATION: &str = "destination";
/// File systems make it at their root, for their own use: it is neither sent nor deleted. Anchored: a user's folder of that name
/// further down is data.
const LOST_AND_FOUND: &str = "/lost+found/";
/// What is kept in the finest detail has no coarser times than this, in nanoseconds.
const NANOSECOND: u64 = 1;
const SECOND: u64 = 1_000_000_000;

impl Transfer<'_> {
    /// Deletes at the destination what has gone from the source's root, and does nothing else.
    ///
    /// A receiver without privilege may not change the attributes of the volume's root, and rsync has no way to leave out just that: its
    /// transfers name the entries of the root, and so do not see what is *not* there any more.
    pub fn pruning(&self) -> Vec<OsString> {
        let mut arguments =
            words(&["--dirs", "--delete", "--existing", "--ignore-existing", "--out-format=%i"]);
        arguments.extend(words(&["--info=stats2,nonreg0", "--no-human-readable"]));
        self.add_file_filters(&mut arguments);
        self.add_ends(&mut arguments);
        arguments
    }

    /// Everything, the root's own attributes included.
    pub fn whole(&self) -> Vec<OsString> {
        let mut arguments = self.common();
        self.add_ends(&mut arguments);
        arguments
    }

    /// The entries whose names come over standard input, each with a NUL after it.
    pub fn named(&self) -> Vec<OsString> {
        let mut arguments = self.common();
        // `--no-implied-dirs`: "./name" would else carry the attributes of "." with it.
        arguments.extend(words(&["--files-from=-", "--from0", "--no-implied-dirs"]));
        if self.is_live {
            // Else a name that is gone would count as an error, and with an error nothing is deleted.
            arguments.push("--ignore-missing-args".into());
        }
        self.add_ends(&mut arguments);
        arguments
    }

    /// What says what all of that would do, and does nothing: the same entries and filters, and the same idea of a change of size or time.
    /// Content and attributes are not looked at. As it writes nothing, it may speak of the root too.
    pub fn rehearsal(&self) -> Vec<OsString> {
        let mut arguments =
            words(&["--dry-run", "--recursive", "--times", "--specials", "--one-file-system"]);
        arguments.extend(words(&["--delete", "--out-format=%i %l"]));
        arguments.extend(words(&["--info=stats2,nonreg0", "--no-human-readable"]));
        self.add_kinds(&mut arguments);
        self.add_comparison(&mut arguments);
        self.add_file_filters(&mut arguments);
        self.add_ends(&mut arguments);
        arguments
    }

    fn common(&self) -> Vec<OsString> {
        let keeps = self.abilities;
        let mut arguments = words(&[
            "--recursive",
            "--perms",
            "--times",
            "--specials",
            // Names of users mean something else over there.
            "--numeric-ids",
            // What is mounted below the volume is not the volume.
            "--one-file-system",
            "--delete",
            // An interrupted transfer goes on where it was. Never in a folder of its own: that name could be a user's.
            "--partial",
            // The fastest that both sides always have.
            "--checksum-choice=xxh128",
            // One short line per difference, without the name: names are any bytes, and could look like anything.
            "--out-format=%i",
            "--info=stats2,progress2,nonreg0",
            "--no-human-readable",
        ]);
        let mut add = |condition: bool, option: &str| {
            if condition {
                arguments.push(option.into());
            }
        };
        add(self.comparison == Comparison::Content, "--checksum");
        add(keeps.hard_links, "--hard-links");
        add(keeps.holes, "--sparse");
        add(keeps.acls, "--acls");
        add(keeps.owners, "--owner");
        add(keeps.owners, "--group");
        if keeps.user_xattrs || keeps.file_capabilities {
            // Twice: once would leave out `user.rsync.%…`, which may well be on a volume that holds backups.
            arguments.extend(words(&["--xattrs", "--xattrs"]));
            self.add_xattr_filters(&mut arguments);
        }
        self.add_kinds(&mut arguments);
        self.add_comparison(&mut arguments);
        self.add_file_filters(&mut arguments);
        arguments
    }

    /// The kinds of entries that are not everywhere possible.
    fn add_kinds(&self, arguments: &mut Vec<OsString>) {
        for (kept, option) in [(self.abilities.symlinks, "--links"), (self.abilities.devices, "--devices")] {
            arguments.extend(kept.then(|| option.into()));
        }
    }

    fn add_comparison(&self, arguments: &mut Vec<OsString>) {
        arguments.push(format!("--modify-window={}", modify_window(self.abilities.time_grain)).into());
        if let Some(limit) = self.bandwidth_limit {
            // rsync counts in KiB, and 0 would mean no limit.
            arguments.push(format!("--bwlimit={}", (limit / 1024).max(1)).into());
        }
    }

    /// Sent are the namespaces that are kept, by name. All others are left alone on both sides.
    fn add_xattr_filters(&self, arguments: &mut Vec<OsString>) {
        if self.abilities.user_xattrs {
            arguments.push("--filter=+x user.*".into());
        }
        if self.abilities.file_capabilities {
            arguments.push("--filter=+x security.capability".into());
        }
        arguments.push("--filter=-x *".into());
    }

    /// Hidden from the sender but not protected at the receiver: what is excluded is deleted there, or files of older cuts would
    /// stay in the replica.
    fn add_file_filters(&self, arguments: &mut Vec<OsString>) {
        arguments.push(format!("--filter=H {LOST_AND_FOUND}").into());
        arguments.push(format!("--filter=P {LOST_AND_FOUND}").into());
        arguments.extend(self.excludes.iter().map(|pattern| format!("--filter=H {pattern}").into()));
    }

    /// If the connection is gone by then, ssh makes another.
    fn add_ends(&self, arguments: &mut Vec<OsString>) {
        let mut shell = OsString::from("--rsh=ssh -F ");
        shell.push(self.ssh_config);
        shell.push(" -S ");
        shell.push(self.control);
        arguments.push(shell);
        arguments.push(format!("--rsync-path=scribe rsync {}", self.token).into());
        arguments.extend(words(&["./", &format!("{DESTINATION}:.")]));
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(Into::into).collect()
}

/// By how much times may differ and count as equal, as rsync takes it: seconds, or -1 for "not by a nanosecond".
fn modify_window(grain: u64) -> i64 {
    match grain {
        NANOSECOND => -1,
        ..SECOND => 0,
        _ => i64::try_from(grain / SECOND).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities() -> Abilities {
        Abilities { symlinks: true, hard_links: true, holes: true, time_grain: 1, ..Abilities::default() }
    }

    fn transfer<'a>(abilities: &'a Abilities, excludes: &'a [String]) -> Transfer<'a> {
        Transfer {
            abilities,
            comparison: Comparison::Content,
            bandwidth_limit: None,
            excludes,
            is_live: false,
            token: 7,
            ssh_config: Path::new("/run/ssh_config"),
            control: Path::new("/run/master"),
        }
    }

    fn text(arguments: Vec<OsString>) -> Vec<String> {
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn what_the_destination_cannot_keep_is_not_sent() {
        let poor = abilities();
        let arguments = text(transfer(&poor, &[]).named());
        for option in ["--acls", "--xattrs", "--owner", "--group", "--devices"] {
            assert!(!arguments.contains(&option.to_owned()), "{option}");
        }
        let rich = Abilities { acls: true, user_xattrs: true, owners: true, devices: true, ..abilities() };
        let arguments = text(transfer(&rich, &[]).whole());
        for option in
            ["--acls", "--xattrs", "--owner", "--group", "--devices", "--filter=+x user.*", "--filter=-x *"]
        {
            assert!(arguments.contains(&option.to_owned()), "{option}");
        }
        assert!(!arguments.contains(&"--filter=+x security.capability".to_owned()));
    }

    #[test]
    fn nothing_that_could_harm_a_replica_is_ever_used() {
        let excludes = ["*.tmp".to_owned()];
        let able = abilities();
        let transfer = transfer(&able, &excludes);
        for arguments in [transfer.whole(), transfer.named(), transfer.pruning()].map(text) {
            for option in [
                "--inplace",
                "--whole-file",
                "--partial-dir",
                "--archive",
                "--remove-source-files",
                "--append",
            ] {
                assert!(!arguments.iter().any(|argument| argument.starts_with(option)), "{option}");
            }
            assert!(arguments.contains(&"--filter=H *.tmp".to_owned()));
            assert!(arguments.contains(&"--filter=P /lost+found/".to_owned()));
            assert_eq!(arguments[arguments.len() - 2..], ["./", "destination:."]);
            assert!(arguments.contains(&"--rsh=ssh -F /run/ssh_config -S /run/master".to_owned()));
        }
    }

    #[test]
    fn a_rehearsal_writes_nothing_reads_no_content_and_leaves_out_the_same() {
        let excludes = ["*.tmp".to_owned()];
        let able = Abilities { acls: true, user_xattrs: true, ..abilities() };
        let transfer = transfer(&able, &excludes);
        let rehearsal = text(transfer.rehearsal());
        let has = |option: &str| rehearsal.iter().any(|argument| argument == option);
        assert!(has("--dry-run") && has("--delete") && has("--links") && has("--modify-window=-1"));
        assert!(has("--rsh=ssh -F /run/ssh_config -S /run/master"), "{rehearsal:?}");
        for option in ["--checksum", "--acls", "--xattrs", "--files-from=-", "--filter=-x *"] {
            assert!(!has(option), "{option}");
        }
        let filters = text(transfer.pruning()).into_iter().filter(|option| option.starts_with("--filter="));
        for filter in filters {
            assert!(has(&filter), "{filter}");
        }
    }

    #[test]
    fn only_of_a_live_source_may_names_be_missing() {
        let able = abilities();
        let has = |is_live| {
            let named = Transfer { is_live, ..transfer(&able, &[]) }.named();
            text(named).contains(&"--ignore-missing-args".to_owned())
        };
        assert!(has(true) && !has(false));
    }

    #[test]
    fn times_are_compared_as_finely_as_they_are_kept() {
        assert_eq!(modify_window(1), -1);
        assert_eq!(modify_window(100), 0);
        assert_eq!(modify_window(SECOND), 1);
        assert_eq!(modify_window(2 * SECOND), 2);
    }

    #[test]
    fn a_limit_below_a_kibibyte_is_still_a_limit() {
        let able = abilities();
        let limited = Transfer { bandwidth_limit: Some(10), ..transfer(&able, &[]) };
        assert!(text(limited.whole()).contains(&"--bwlimit=1".to_owned()));
    }
}
