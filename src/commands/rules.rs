//! `debunk rules`: what is looked for, and one rule's page with the thresholds in force.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use super::Usage;
use crate::config::Config;
use crate::rules::{self, RULES, Rule};

/// List the rules, or explain one.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// The rule to explain.
    #[arg(value_name = "ID")]
    pub id: Option<String>,
}

/// Prints the list, or one page.
pub fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let text = match &args.id {
        None => list(config),
        Some(id) => explained(
            rules::find(id)
                .ok_or_else(|| Usage(format!("no rule is called {id:?}; `debunk rules` lists them")))?,
            config,
        ),
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// `id  fallacy  kind  enabled  title`, aligned.
fn list(config: &Config) -> String {
    let row = |rule: &Rule| {
        let enabled = if rule.is_enabled(&config.rules) { "on" } else { "off" };
        [
            rule.id.to_owned(),
            rule.fallacy.id().to_owned(),
            "trace".to_owned(),
            enabled.to_owned(),
            rule.title(),
        ]
    };
    let rows: Vec<[String; 5]> = RULES.iter().map(row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", row[4]);
    }
    text
}

fn explained(rule: &Rule, config: &Config) -> String {
    let mut text = format!("# {}: {}\n\n{}\n", rule.id, rule.fallacy.title(), rule.page().trim_end());
    let profile = config.rules.profile.id();
    let _ = writeln!(text, "\n## Thresholds in force (profile {profile})\n\n[rules.{}]", rule.id);
    if let serde_json::Value::Object(thresholds) = rule.thresholds(&config.rules) {
        for (key, value) in thresholds {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    text
}
