//! Parses the command line and prints the error chain.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use debunk::{commands, config, sketch, telemetry};

/// Proves from traces where a system relies on the fallacies of distributed computing.
#[derive(Parser)]
#[command(version, about)]
struct Line {
    /// Settings; `debunk.toml` in the working folder where that exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or per module as in `info,sqlx=warn`.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(commands::serve::Args),
    Scan(commands::scan::Args),
    Send(commands::send::Args),
    Demo(commands::demo::Args),
    Rules(commands::rules::Args),
    Check(commands::check::Args),
    Replay(commands::replay::Args),
    Selftest(commands::selftest::Args),
}

fn main() -> ExitCode {
    let line = Line::parse();
    run(line).unwrap_or_else(|error| {
        let chain: Vec<_> = error.chain().map(|cause| sketch::visible(&cause.to_string())).collect();
        // Nothing is left to tell it to when standard error is gone.
        let _ = writeln!(std::io::stderr(), "debunk: {}", chain.join(": "));
        commands::exit_code(&error)
    })
}

fn run(line: Line) -> anyhow::Result<ExitCode> {
    telemetry::log(&line.log).map_err(commands::Usage)?;
    let config = config::load(line.config.as_deref())?;
    match line.command {
        Command::Scan(args) => commands::scan::run(&args, &config),
        Command::Rules(args) => commands::rules::run(&args, &config),
        Command::Check(args) => commands::check::run(&args, &config),
        Command::Serve(args) => wait_for(commands::serve::run(args, config)),
        Command::Send(args) => wait_for(commands::send::run(&args)),
        Command::Replay(args) => wait_for(commands::replay::run(args, config)),
        Command::Selftest(args) => wait_for(commands::selftest::run(args)),
        Command::Demo(args) => wait_for(commands::demo::run(args)),
    }
}

fn wait_for(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new().context("cannot start the runtime")?.block_on(work)
}
