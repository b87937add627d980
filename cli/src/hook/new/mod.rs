//! `kubectl scribe hook new`.

mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use scribe_hooks::contract::points::Point;

use files::{CASES, JAVASCRIPT, POINTS, PYTHON, RUST, Template, WIT};

use crate::output::print;

/// Make a project of a hook, with its tests
///
/// In Rust it stands at whichever hook point is named. The project's README.md has the commands that build and test it.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The hook's name, and the folder that is made: lower-case letters, digits and `-`
    #[arg(value_parser = name)]
    name: String,
    /// The language
    #[arg(long, short, value_enum, default_value = "rust")]
    language: Language,
    /// The hook point; default: retention, in Python decision
    #[arg(long, short, value_enum)]
    point: Option<PointName>,
    /// Rust: where the SDK is, as the folder `sdk` of a checkout of Scribe
    #[arg(long, value_name = "FOLDER", conflicts_with = "sdk_git")]
    sdk_path: Option<PathBuf>,
    /// Rust: where the SDK is, as the URL of a git repository of Scribe; its tag of this version is used
    #[arg(long, value_name = "URL")]
    sdk_git: Option<String>,
    /// Where the project is made; default: here
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Javascript,
}

/// A point, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PointName {
    Decision,
    Transfer,
    Retention,
    Quiesce,
    Lifecycle,
    Failure,
    Promotion,
}

impl From<PointName> for Point {
    fn from(name: PointName) -> Self {
        match name {
            PointName::Decision => Self::Decision,
            PointName::Transfer => Self::Transfer,
            PointName::Retention => Self::Retention,
            PointName::Quiesce => Self::Quiesce,
            PointName::Lifecycle => Self::Lifecycle,
            PointName::Failure => Self::Failure,
            PointName::Promotion => Self::Promotion,
        }
    }
}

/// A DNS label, which does for a package and a file too.
fn name(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
    if text.len() <= 63 && begins && !text.ends_with('-') && text.bytes().all(is_inner) {
        Ok(text.to_owned())
    } else {
        Err("use lower-case letters, digits and `-`, beginning with a letter: my-hook".to_owned())
    }
}

/// Makes the project, or nothing at all.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { name, language, point, sdk_path, sdk_git, directory } = args;
    let point = language.point(point.map(Into::into))?;
    let folder = directory.unwrap_or_default().join(&name);
    let sdk = match language {
        Language::Rust => sdk(&name, point, sdk_path, sdk_git)?,
        Language::Python | Language::Javascript if sdk_path.is_none() && sdk_git.is_none() => String::new(),
        Language::Python | Language::Javascript => {
            bail!(
                "--sdk-path and --sdk-git are for Rust: the other languages use the contract alone, and the project has it"
            )
        }
    };
    let module = match language {
        Language::Rust => format!("../target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_")),
        Language::Python | Language::Javascript => format!("../{name}.wasm"),
    };
    fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
    let fill =
        |text: &str| text.replace("{{name}}", &name).replace("{{sdk}}", &sdk).replace("{{module}}", &module);
    let written =
        project(language, point).try_for_each(|(path, text)| write(&folder.join(path), &fill(text)));
    if let Err(error) = written {
        // Half a project is none. What was there before is not touched: the folder was made just now.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    print(told(&folder, point, &fill(&language.commands())))?;
    Ok(ExitCode::SUCCESS)
}

/// What was made, and what to do with it.
fn told(folder: &Path, point: Point, commands: &str) -> String {
    let (folder, point_name) = (folder.display(), point.interface());
    let note = if point == Point::Promotion {
        format!("\nThis version of Scribe does not call the point {point_name} yet.\n")
    } else {
        String::new()
    };
    format!(
        "{folder} is a {point_name} hook. Its README.md says how to build and test it:\n\n  cd {folder}\n{commands}{note}"
    )
}

impl Language {
    /// The point at which the template stands.
    fn point(self, wanted: Option<Point>) -> Result<Point> {
        let (only, source, builds) = match self {
            Self::Rust => return Ok(wanted.unwrap_or(Point::Retention)),
            Self::Python => (Point::Decision, "app.py", "the commands of README.md"),
            Self::Javascript => (Point::Retention, "hook.js", "package.json"),
        };
        let Some(wanted) = wanted.filter(|wanted| *wanted != only) else { return Ok(only) };
        let (only, wanted) = (only.interface(), wanted.interface());
        bail!(
            "--point: the template for this language stands at the point {only}: begin with --language rust; \
             or begin with --point {only}, replace what {source} exports, and in {builds} name the world {wanted}-hook of wit/worlds.wit instead of {only}-hook"
        )
    }

    /// What every project in it has.
    fn files(self) -> &'static [Template] {
        match self {
            Self::Rust => &RUST,
            Self::Python => &PYTHON,
            Self::Javascript => &JAVASCRIPT,
        }
    }

    /// The commands of its README.md, which build a module and test it: each on a line of its own.
    fn commands(self) -> String {
        let readme = self.files().iter().find(|(name, _)| *name == "README.md");
        let lines = readme.map_or("", |(_, text)| *text).lines().filter_map(|line| line.strip_prefix("$ "));
        let commands = lines.map(|line| line.split_once("  #").map_or(line, |(command, _)| command));
        commands.map(|command| format!("  {}\n", command.trim_end())).collect()
    }
}

/// Where the SDK is, as Cargo.toml has it.
fn sdk(name: &str, point: Point, path: Option<PathBuf>, git: Option<String>) -> Result<String> {
    let quoted = |text: &str| serde_json::to_string(text).context("quote the place of the SDK");
    let Some(path) = path else {
        let url = git.with_context(|| {
            let point = point.interface();
            format!(
                "say where the SDK for Rust is: --sdk-path FOLDER, the folder `sdk` of a checkout of Scribe, or --sdk-git URL, its repository; \
                 like `kubectl scribe hook new {name} --point {point} --sdk-path ../scribe/sdk`"
            )
        })?;
        return Ok(format!("git = {}, tag = \"v{}\"", quoted(&url)?, env!("CARGO_PKG_VERSION")));
    };
    let manifest = path.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    if !text.contains("name = \"scribe-hook-sdk\"") {
        bail!("{} is not the SDK: name the folder `sdk` of a checkout of Scribe", path.display());
    }
    let path = fs::canonicalize(&path).with_context(|| format!("find {}", path.display()))?;
    let path =
        path.to_str().context("the path of the SDK is not UTF-8, and so cannot stand in Cargo.toml")?;
    Ok(format!("path = {}", quoted(path)?))
}

/// The files of a project.
fn project(language: Language, point: Point) -> impl Iterator<Item = (PathBuf, &'static str)> {
    let named = |templates: &'static [Template], point: Point| {
        templates.iter().find(move |(name, _)| name.split('.').next() == Some(point.interface()))
    };
    let source = if language == Language::Rust { named(&POINTS, point) } else { None };
    let wit: &[Template] = if language == Language::Rust { &[] } else { &WIT };
    let plain = |(path, text): &'static Template| (PathBuf::from(path.trim_end_matches(".template")), *text);
    language
        .files()
        .iter()
        .map(plain)
        .chain(wit.iter().map(|(name, text)| (Path::new("wit").join(name), *text)))
        .chain(source.map(|(_, text)| (PathBuf::from("src/lib.rs"), *text)))
        .chain(named(&CASES, point).map(|(_, text)| (PathBuf::from("tests/first.yaml"), *text)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A template that was added and is not embedded would be missing from every project.
    #[test]
    fn every_template_is_embedded() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        let below = |folder: &str, skip: &str| {
            let root = sdk.join(folder);
            let mut found = BTreeSet::new();
            let mut folders = vec![root.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    match path.is_dir() {
                        true if name == skip => {}
                        true => folders.push(path),
                        false => drop(found.insert(name)),
                    }
                }
            }
            found
        };
        for (folder, skip, embedded) in [
            ("templates/rust", "points", RUST.as_slice()),
            ("templates/rust/points", "", &POINTS),
            ("templates/python", "", &PYTHON),
            ("templates/javascript", "", &JAVASCRIPT),
            ("templates/cases", "", &CASES),
            ("wit", "", &WIT),
        ] {
            let names: BTreeSet<String> = embedded.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(names, below(folder, skip), "{folder}");
        }
    }

    #[test]
    fn every_point_has_a_source_and_a_case() {
        for point in Point::ALL {
            let files: Vec<_> = project(Language::Rust, point).map(|(path, _)| path).collect();
            for wanted in ["src/lib.rs", "tests/first.yaml", "Cargo.toml", ".cargo/config.toml"] {
                assert!(files.contains(&wanted.into()), "{point:?} has no {wanted}: {files:?}");
            }
        }
    }

    /// Whatever its README.md says, and nothing else of it.
    #[test]
    fn every_language_has_its_commands() {
        for (language, wanted) in [
            (Language::Rust, "  cargo test\n  cargo build --release --target wasm32-unknown-unknown\n"),
            (Language::Python, "  PYTHONPATH=bindings venv/bin/python -m unittest\n"),
            (Language::Javascript, "  npm install\n  npm test\n  npm run build\n"),
        ] {
            let commands = language.commands();
            assert!(commands.contains(wanted), "{language:?}: {commands}");
            assert!(commands.ends_with("\n  kubectl scribe hook test tests\n"), "{language:?}: {commands}");
            assert!(!commands.contains('#') && !commands.contains('$'), "{language:?}: {commands}");
        }
    }

    /// The error tells people to name them.
    #[test]
    fn every_point_has_a_world() {
        let (_, worlds) = WIT.iter().find(|(name, _)| *name == "worlds.wit").unwrap();
        for point in Point::ALL {
            assert!(worlds.contains(&format!("world {}-hook {{", point.interface())), "{point:?}");
        }
    }

    #[test]
    fn names_are_names() {
        for text in ["a", "my-hook", "hook2"] {
            assert!(name(text).is_ok(), "{text}");
        }
        for text in ["", "A", "-a", "a-", "a_b", "../a", "a/b", "2a", &"a".repeat(64)] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
