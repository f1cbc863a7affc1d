//! Parses the command line and prints the error chain.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use debunk::{commands, config, sketch};

/// Proves from traces where a system relies on the fallacies of distributed computing.
#[derive(Parser)]
#[command(version, about)]
struct Line {
    /// Settings; `debunk.toml` in the working folder where that exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Scan(commands::scan::Args),
    Rules(commands::rules::Args),
    Check(commands::check::Args),
}

fn main() -> ExitCode {
    let line = Line::parse();
    run(&line).unwrap_or_else(|error| {
        let chain: Vec<_> = error.chain().map(|cause| sketch::visible(&cause.to_string())).collect();
        // Nothing is left to tell it to when standard error is gone.
        let _ = writeln!(std::io::stderr(), "debunk: {}", chain.join(": "));
        commands::exit_code(&error)
    })
}

fn run(line: &Line) -> anyhow::Result<ExitCode> {
    let config = config::load(line.config.as_deref())?;
    match &line.command {
        Command::Scan(args) => commands::scan::run(args, &config),
        Command::Rules(args) => commands::rules::run(args, &config),
        Command::Check(args) => commands::check::run(args, &config),
    }
}
