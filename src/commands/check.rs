//! `debunk check`: says whether the settings can be used, and what they come to.
//!
//! Settings are read before any command runs, so a command that gets here has well-formed ones; a bad one ends with
//! its place and exit code 2 like everywhere else. What only `serve` opens is opened here too: receivers, and the files
//! that hold URLs and secrets. Nothing is connected to.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args as ClapArgs;

use crate::alert::Receivers;
use crate::config::Config;

/// Check the settings.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Print all settings as they are after file and environment, secrets as `***`.
    #[arg(long)]
    pub print: bool,
}

/// Prints `ok` and the profile, or the settings.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    Receivers::open(&config.receivers, &config.server.public_url)?;
    super::database(config)?;
    let text = if args.print {
        toml::to_string(config).context("cannot write the settings")?
    } else {
        format!("ok (profile {})\n", config.rules.profile.id())
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
