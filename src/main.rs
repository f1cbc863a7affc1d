//! Parses the command line and prints the error chain.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use debunk::config::LogFormat;
use debunk::telemetry::{Lines, Telemetry};
use debunk::{commands, config, sketch};

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
    let config = config::load(line.config.as_deref())?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let inside = runtime.enter();
    // Only a service has a life that is worth a trace.
    let serves = matches!(line.command, Command::Serve(_));
    let lines = match config.telemetry.log_format {
        LogFormat::Text => Lines::Text,
        LogFormat::Json => Lines::Json,
    };
    let endpoint = config.telemetry.endpoint().filter(|_| serves);
    let telemetry = Telemetry::start(&line.log, lines, endpoint).map_err(commands::Usage)?;
    drop(inside);
    let ended = match line.command {
        Command::Scan(args) => commands::scan::run(&args, &config),
        Command::Rules(args) => commands::rules::run(&args, &config),
        Command::Check(args) => commands::check::run(&args, &config),
        Command::Serve(args) => runtime.block_on(commands::serve::run(args, config)),
        Command::Send(args) => runtime.block_on(commands::send::run(&args)),
        Command::Replay(args) => runtime.block_on(commands::replay::run(args, config)),
        Command::Selftest(args) => runtime.block_on(commands::selftest::run(args)),
        Command::Demo(args) => runtime.block_on(commands::demo::run(args)),
    };
    telemetry.end();
    ended
}
