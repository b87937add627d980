//! What a source may ask for. The request is a string that the peer chose, so it is parsed here, strictly, and by no shell.

use std::fmt;

/// A request of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Handshake,
    Rsync { token: u64, arguments: Vec<String> },
    Progress { token: u64 },
    Guarded { token: u64 },
    Commit { token: u64 },
    Published,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAllowed(String);

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A legitimate request of a source is a fraction of this.
const MAX_LENGTH: usize = 4096;
/// Letters that our source's rsync bundles: what is kept, how it compares, recursion, and the dry run (`n`). Not among them, on
/// purpose: `K` (follows symlinks to directories), `b` (backups), `u` and `W`.
const LETTERS: &str = "nvdlHogDtpAXrcSRx";
/// Long options without a value.
const FLAGS: &[&str] = &[
    "--delete",
    "--delete-during",
    "--devices",
    "--specials",
    "--existing",
    "--ignore-existing",
    "--no-implied-dirs",
    "--no-r",
    "--numeric-ids",
    "--partial",
];
type IsValid = fn(&str) -> bool;
/// Long options with a value: each has its own idea of what that may be.
const VALUES: &[(&str, IsValid)] = &[
    ("--log-format=", |value| value == "%i"),
    ("--checksum-choice=", |value| value == "xxh128"),
    ("--bwlimit=", is_number),
    ("--info=", |value| value.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ',')),
    ("--modify-window=", |value| is_number(value.strip_prefix('-').unwrap_or(value))),
    ("-@", |value| is_number(value.strip_prefix('-').unwrap_or(value))),
];

/// Whether an rsync server with these arguments writes nothing: a dry run is asked for.
pub fn is_rehearsal(arguments: &[String]) -> bool {
    let letters = |argument: &String| argument.strip_prefix('-')?.split('e').next().map(str::to_owned);
    arguments
        .iter()
        .filter(|argument| !argument.starts_with("--") && is_bundle(argument))
        .any(|argument| letters(argument).is_some_and(|letters| letters.contains('n')))
}

impl Request {
    /// Parses what the peer asked sshd to run.
    ///
    /// # Errors
    /// It is none of the six requests in the one form in which our source sends them.
    pub fn parse(command: &str) -> Result<Self, NotAllowed> {
        if command.len() > MAX_LENGTH {
            return Err(NotAllowed("the request is too long".to_owned()));
        }
        let words: Vec<&str> = command.split(' ').collect();
        match words.as_slice() {
            ["scribe", "handshake"] => Ok(Self::Handshake),
            ["scribe", "published"] => Ok(Self::Published),
            ["scribe", "progress", token] => Ok(Self::Progress { token: parse_token(token)? }),
            ["scribe", "guarded", token] => Ok(Self::Guarded { token: parse_token(token)? }),
            ["scribe", "commit", token] => Ok(Self::Commit { token: parse_token(token)? }),
            ["scribe", "rsync", token, arguments @ ..] => {
                check_arguments(arguments)?;
                let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
                Ok(Self::Rsync { token: parse_token(token)?, arguments })
            }
            _ => Err(NotAllowed(
                "only handshake, rsync, progress, guarded, commit and published are served".to_owned(),
            )),
        }
    }
}

fn parse_token(word: &str) -> Result<u64, NotAllowed> {
    word.parse()
        .ok()
        .filter(|_| is_number(word))
        .ok_or_else(|| NotAllowed("the token is not a number".to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The receiving half of a transfer into the current folder, and nothing else: without `--sender` it cannot read, and the only
/// path is the volume's root.
fn check_arguments(arguments: &[&str]) -> Result<(), NotAllowed> {
    let ["--server", options @ .., ".", "."] = arguments else {
        return Err(NotAllowed("only a receiving rsync server for the whole volume is served".to_owned()));
    };
    match options.iter().find(|option| !is_allowed(option)) {
        Some(option) => Err(NotAllowed(format!("rsync's option {:?} is not allowed", shortened(option)))),
        None => Ok(()),
    }
}

fn is_allowed(option: &str) -> bool {
    FLAGS.contains(&option)
        || VALUES.iter().any(|(name, is_valid)| option.strip_prefix(name).is_some_and(is_valid))
        || is_bundle(option)
}

/// Bundled letters, and after an `e` what the client's rsync is able to do.
fn is_bundle(option: &str) -> bool {
    let Some(bundle) = option.strip_prefix('-') else { return false };
    let (letters, abilities) = bundle.split_once('e').unwrap_or((bundle, ""));
    !bundle.is_empty()
        && letters.chars().all(|letter| LETTERS.contains(letter))
        && abilities.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '.')
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rsync 3.5.0 puts it together.
    const REAL: &str = "scribe rsync 5 --server -lHogDtpAXXrcxSe.iLsfxCIvu --log-format=%i --bwlimit=1000 \
        --checksum-choice=xxh128 --delete -@-1 --partial --numeric-ids --info=NONREG0,STATS2 . .";

    #[test]
    fn a_dry_run_is_told_from_one_that_writes() {
        for (command, rehearses) in [
            (REAL, false),
            (REHEARSAL, true),
            // Letters of a long option, and of what the client is able to do.
            ("scribe rsync 5 --server -re.n --numeric-ids . .", false),
            ("scribe rsync 5 --server --numeric-ids -rn . .", true),
        ] {
            let Ok(Request::Rsync { arguments, .. }) = Request::parse(command) else { panic!("{command}") };
            assert_eq!(is_rehearsal(&arguments), rehearses, "{command}");
        }
    }

    const REHEARSAL: &str = "scribe rsync 5 --server -nltrxe.iLsfxCIvu --specials --log-format=%i --delete -@-1 \
        --no-implied-dirs --info=NONREG0,STATS2 . .";

    #[test]
    fn the_six_requests_are_understood() {
        assert_eq!(Request::parse("scribe handshake"), Ok(Request::Handshake));
        assert_eq!(Request::parse("scribe published"), Ok(Request::Published));
        assert_eq!(Request::parse("scribe progress 7"), Ok(Request::Progress { token: 7 }));
        assert_eq!(Request::parse("scribe guarded 7"), Ok(Request::Guarded { token: 7 }));
        assert_eq!(Request::parse("scribe commit 7"), Ok(Request::Commit { token: 7 }));
        let Ok(Request::Rsync { token: 5, arguments }) = Request::parse(REAL) else {
            panic!("{:?}", Request::parse(REAL))
        };
        assert_eq!(arguments.first().map(String::as_str), Some("--server"));
        assert!(Request::parse(REHEARSAL).is_ok(), "{:?}", Request::parse(REHEARSAL));
    }

    #[test]
    fn nothing_else_is() {
        for command in [
            "",
            "scribe",
            "scribe handshake ",
            " scribe handshake",
            "scribe  handshake",
            "scribe handshake\n",
            "scribe commit",
            "scribe progress",
            "scribe progress x",
            "scribe guarded",
            "scribe guarded 1 2",
            "scribe commit -1",
            "scribe commit +1",
            "scribe commit 1 2",
            "scribe commit 99999999999999999999999",
            "sh",
            "rsync --server . .",
            "scribe handshake; id",
            "scp -t .",
        ] {
            assert!(Request::parse(command).is_err(), "{command:?}");
        }
        assert!(Request::parse(&format!("scribe {}", "x".repeat(MAX_LENGTH))).is_err());
    }

    #[test]
    fn rsync_may_only_receive_into_the_volume() {
        let changed = |from: &str, to: &str| REAL.replacen(from, to, 1);
        for command in [
            changed("--server", "--server --sender"),
            changed("--server ", ""),
            changed(" . .", " . /etc"),
            changed(" . .", " . .."),
            changed(" . .", " . ./x"),
            changed(" . .", " . . ."),
            changed(" . .", " ."),
            changed("--partial", "--remove-source-files"),
            changed("--partial", "--backup-dir=/tmp"),
            changed("--partial", "--temp-dir=/tmp"),
            changed("--partial", "--copy-dest=/etc"),
            changed("--partial", "--link-dest=/etc"),
            changed("--partial", "--files-from=/etc/passwd"),
            changed("--partial", "--log-file=/tmp/x"),
            changed("--partial", "--confine-root=/"),
            changed("--partial", "--insecure-links"),
            changed("--partial", "--inplace"),
            changed("--partial", "--write-devices"),
            changed("--partial", "--fake-super"),
            changed("--partial", "--daemon"),
            changed("--partial", "--info=help;id"),
            changed("--log-format=%i", "--log-format=%f"),
            changed("--bwlimit=1000", "--bwlimit=1\\ 2"),
            changed("-lHog", "-lHoKg"),
            changed("-lHog", "-lHosg"),
            changed("--partial", "-"),
            changed("e.iLsfxCIvu", "e.iLs/fx"),
        ] {
            assert!(Request::parse(&command).is_err(), "{command:?}");
        }
    }
}
