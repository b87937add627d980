//! `kubectl scribe hook inspect`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use scribe_hooks::Module;
use scribe_hooks::contract::points::Point;
use serde::Serialize;
use serde_json::Value;

use super::modules::{self, Modules};
use super::show::{bytes, indented};
use crate::output::print;

/// Show what a module is: its hook points, size, digest and settings, and what is wrong with it
///
/// The module is loaded as the controller loads it, and asked to describe itself. What cannot be used is said in words, and the exit code is 1.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The modules, as .wasm or .wasm.gz
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How it is shown
    #[arg(long, short, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs: a list, one element for each file
    Json,
}

/// What there is to know of a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected {
    file: PathBuf,
    #[serde(flatten)]
    module: Option<Facts>,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    reason: String,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    name: String,
    version: String,
    digest: String,
    api_version: String,
    points: Vec<Point>,
    /// Bytes.
    size: u64,
    /// Bytes.
    gzip_size: u64,
    /// Bytes.
    compiled_size: u64,
    imports: Vec<String>,
    exports: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_schema: Option<Value>,
}

/// Inspects the modules, all of them even if one cannot be used.
pub async fn run(args: Args) -> Result<ExitCode> {
    let Args { files, output } = args;
    let mut modules = Modules::new()?;
    let mut inspected = Vec::new();
    for file in files {
        inspected.push(inspect(file, &mut modules).await?);
    }
    match output {
        Output::Json => print(format_args!("{}\n", serde_json::to_string_pretty(&inspected)?))?,
        Output::Text => {
            inspected.iter().try_for_each(|inspected| print(format_args!("{}\n", show(inspected))))?
        }
    }
    let is_good = inspected.iter().all(|inspected| inspected.problem.is_none());
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn inspect(file: PathBuf, modules: &mut Modules) -> Result<Inspected> {
    let content = modules::read(&file)?;
    let gzip_size = gzip_size(&content);
    Ok(match modules.load_bytes(content).await {
        Ok(module) => Inspected { file, module: Some(facts(&module, gzip_size)), problem: None },
        Err(error) => {
            let problem = Problem { reason: error.reason().to_string(), message: error.to_string() };
            Inspected { file, module: None, problem: Some(problem) }
        }
    })
}

fn facts(module: &Module, gzip_size: u64) -> Facts {
    let info = module.info();
    Facts {
        name: info.name.clone(),
        version: info.version.clone(),
        digest: module.digest().to_owned(),
        api_version: format!("scribe:hooks@{}", module.api_version()),
        points: module.points().to_vec(),
        size: module.size(),
        gzip_size,
        compiled_size: module.compiled_size(),
        imports: module.imports().to_vec(),
        exports: module.exports().to_vec(),
        // The host has looked whether it is JSON.
        settings_schema: info.settings_schema.as_deref().and_then(|schema| serde_json::from_str(schema).ok()),
    }
}

/// What it takes where it is compressed, as in a ConfigMap.
fn gzip_size(content: &[u8]) -> u64 {
    if content.starts_with(&[0x1f, 0x8b]) {
        return content.len() as u64;
    }
    let mut encoder = flate2::read::GzEncoder::new(content, flate2::Compression::best());
    let (mut buffer, mut size) = (vec![0; 64 << 10], 0);
    while let Ok(read @ 1..) = encoder.read(&mut buffer) {
        size += read as u64;
    }
    size
}

fn show(inspected: &Inspected) -> String {
    let Inspected { file, module, problem } = inspected;
    match (module, problem) {
        (Some(facts), _) => show_facts(file, facts),
        (None, problem) => {
            let words = problem
                .as_ref()
                .map_or(String::new(), |Problem { reason, message }| format!("{reason}: {message}"));
            format!("{}\n  {words}\n", file.display())
        }
    }
}

fn show_facts(file: &Path, facts: &Facts) -> String {
    let Facts {
        name,
        version,
        digest,
        api_version,
        points,
        size,
        gzip_size,
        compiled_size,
        imports,
        exports,
        ..
    } = facts;
    let points = points.iter().map(|point| format!("{point:?}")).collect::<Vec<_>>().join(", ");
    let list =
        |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join("\n            ") };
    let schema = facts.settings_schema.as_ref().map_or_else(
        || "has no schema\n".to_owned(),
        |schema| format!("\n{}", indented(&serde_json::to_string_pretty(schema).unwrap_or_default(), 4)),
    );
    format!(
        "{name} {version}\n  \
         file      {}\n  \
         digest    {digest}\n  \
         API       {api_version}\n  \
         points    {points}\n  \
         size      {}, {} as gzip, {} compiled\n  \
         imports   {}\n  \
         exports   {}\n  \
         settings  {schema}",
        file.display(),
        bytes(*size),
        bytes(*gzip_size),
        bytes(*compiled_size),
        list(imports),
        list(exports),
    )
}
