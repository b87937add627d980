//! A test case out of what happened.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::hook::case::Case;
use crate::hook::case::call::Function;
use crate::hook::case::expect::Expect;
use crate::hook::recorder::Recorded;
use crate::hook::test::yaml_block::{replaced, yaml};

/// Writes a case: the input as it is, with the module's path, what the host answered, and what came of it.
///
/// # Errors
///
/// The file is there, or cannot be written, or the input is written in a way that this does not understand.
pub fn write(
    path: &Path,
    input: &Path,
    module: &Path,
    function: Function,
    recorded: &[Recorded],
    expect: &Expect,
) -> Result<()> {
    let text = fs::read_to_string(input).with_context(|| format!("read {}", input.display()))?;
    let block = |key: &str, value: &str| format!("{key}:\n{}", crate::hook::show::indented(value, 2));
    let host = if recorded.is_empty() { String::new() } else { block("host", &yaml(&recorded)) };
    let written = [
        ("module", format!("module: {}\n", serde_json::to_string(&seen_from(path, module)?)?)),
        ("call", format!("call: {}\n", function.name())),
        ("host", host),
        ("expect", block("expect", &yaml(expect))),
    ]
    .iter()
    .fold(text, |text, (key, block)| replaced(&text.lines().collect::<Vec<_>>(), 0, key, block));
    match Case::parse(&written, path, None) {
        Ok(case) if case.steps.len() == 1 && case.steps[0].expect == *expect => {}
        _ => bail!("{}: write each key at the beginning of its own line, and try again", input.display()),
    }
    let mut file = fs::File::create_new(path)?;
    Ok(file.write_all(written.as_bytes())?)
}

/// The module's path as seen from the case.
fn seen_from(case: &Path, module: &Path) -> Result<PathBuf> {
    let module = fs::canonicalize(module)?;
    let folder = case.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::canonicalize(folder)?;
    let common = module.components().zip(folder.components()).take_while(|(one, other)| one == other).count();
    let up = folder.components().skip(common).map(|_| Path::new("..").as_os_str());
    let down = module.components().skip(common).map(|component| component.as_os_str());
    Ok(up.chain(down).collect())
}
