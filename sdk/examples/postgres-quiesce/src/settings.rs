use scribe_hook_sdk::Problem;
use scribe_hook_sdk::exec::{Command, Target};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// How to bring it to rest.
    pub mode: Mode,
    /// A label selector of the one pod in which the database runs: `app=db,role=primary`.
    pub pod_selector: String,
    /// The container with the server and psql.
    #[serde(default = "postgres")]
    pub container: String,
    /// The container that may freeze file systems, if that is another one.
    #[serde(default)]
    pub freeze_container: Option<String>,
    /// Where the volume is mounted, in that container.
    #[serde(default = "directory")]
    pub directory: String,
    /// As whom psql connects.
    #[serde(default = "postgres")]
    pub user: String,
    /// To which database.
    #[serde(default = "postgres")]
    pub database: String,
    /// Seconds after which the database goes on in any case.
    #[serde(default = "max_seconds")]
    pub max_seconds: u32,
}

/// How to bring the database to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// A checkpoint, then the file system is frozen: nothing is written until the cut is taken.
    Fsfreeze,
    /// Backup mode, held by a session: the database goes on writing.
    Backup,
}

/// Longest that a database may be held, in seconds.
const LONGEST: u32 = 900;

fn postgres() -> String {
    "postgres".to_owned()
}

fn directory() -> String {
    "/var/lib/postgresql/data".to_owned()
}

fn max_seconds() -> u32 {
    60
}

impl Settings {
    /// All that serde cannot see.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.pod_selector.trim().is_empty() {
            problems.push(Problem::at(
                "/podSelector",
                "is empty: name the labels of the database's pod, as in app=db",
            ));
        }
        if !self.directory.starts_with('/') {
            problems.push(Problem::at(
                "/directory",
                "is not an absolute path: write where the volume is mounted",
            ));
        }
        if !(1..=LONGEST).contains(&self.max_seconds) {
            problems.push(Problem::at("/maxSeconds", format!("is not within 1 and {LONGEST}")));
        }
        // A leading dash would make another option of it.
        for (path, name) in [("/user", &self.user), ("/database", &self.database)] {
            if name.is_empty() || name.starts_with('-') {
                problems.push(Problem::at(path, "is not a name"));
            }
        }
        problems
    }

    /// Where the server runs.
    pub fn database(&self) -> Target {
        Target::labels(&self.pod_selector).container(&self.container)
    }

    /// Where file systems are frozen.
    pub fn freezer(&self) -> Target {
        let container = self.freeze_container.as_ref().unwrap_or(&self.container);
        Target::labels(&self.pod_selector).container(container)
    }

    /// psql, without what a user's own files would change.
    pub fn psql(&self, more: &[&str]) -> Command {
        let (user, database) = (format!("--username={}", self.user), format!("--dbname={}", self.database));
        let argv = [
            "psql",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--quiet",
            "--tuples-only",
            "--no-password",
            &user,
            &database,
        ];
        Command::new(argv.into_iter().chain(more.iter().copied()))
    }
}
