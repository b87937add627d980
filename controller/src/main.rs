//! The process `scribe-controller`.

use clap::Parser;
use scribe_controller::args::Args;
use scribe_controller::{run, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::init(&args.log_filter, args.log_format)?;
    run::run(args).await
}
