//! `demo`: a small shop of real HTTP services on loopback whose faults Debunk finds, and their twins that it must not.
//!
//! Nothing here is faked for the rules: calls wait, time out and are sent again, and rows are written when the
//! spans say so. It shares no code with the reading side, not even the names of attributes.

mod account;
mod availability;
mod billing;
mod bookings;
mod catalogs;
mod checkout;
mod export;
mod history;
mod inventory;
mod orders;
mod pages;
mod parcels;
mod payment;
mod payouts;
mod preview;
mod reports;
mod restock;
mod reviews;
mod service;
mod shop;
mod spans;
mod table;
mod transfers;
mod wishlists;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use tokio::signal::unix::{SignalKind, signal};

use export::Tally;
use shop::{Opening, Shop, Visit, Visited};

/// From the end of one round to the start of the next.
const PAUSE: Duration = Duration::from_secs(10);

/// The environment's fault, not the command's: the receiver is not there.
const ENVIRONMENT: u8 = 3;

/// Open a small shop whose faults are real, and send its traces
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the shop sends its spans: OTLP over gRPC, plain HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4317", value_parser = plain_http)]
    pub to: String,
    /// Stop after so many rounds; without it, when interrupted.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// Stop after one round.
    #[arg(long, conflicts_with = "rounds")]
    pub once: bool,
}

fn plain_http(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("no address: {error}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) => Ok(text.to_owned()),
        _ => Err("expected http://HOST:PORT".to_owned()),
    }
}

/// Opens the shop, visits it until told to stop, and says what to expect.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match run_into(args, &mut std::io::stdout()).await {
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        ended => ended,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// As [`run`], writing to `out`.
pub async fn run_into(args: Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut shop = Shop::open(&args.to).await?;
    let rounds = if args.once { Some(1) } else { args.rounds };
    let mut lost = 0;
    let ended = tokio::select! {
        ended = keep_visiting(&mut shop, rounds, &args.to, &mut lost, out) => ended,
        signal = interrupted() => signal.context("cannot listen for signals"),
    };
    lost += shop.close().await?.lost;
    ended?;
    // Without an end of its own, the command ends well whenever it is told to.
    Ok(if rounds.is_some() && lost > 0 { ExitCode::from(ENVIRONMENT) } else { ExitCode::SUCCESS })
}

async fn keep_visiting(
    shop: &mut Shop,
    rounds: Option<u32>,
    to: &str,
    lost: &mut usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    introduce(shop, to, out)?;
    for round in 1.. {
        writeln!(out, "round {round}")?;
        out.flush()?;
        let visited = shop.round().await;
        for (visit, visited) in shop.visits.iter().zip(&visited) {
            writeln!(out, "  {}", told(visit, visited, &shop.effects(visited)))?;
        }
        let tally = shop.ship().await?;
        *lost += tally.lost;
        writeln!(out, "  {}", shipped(&tally, to))?;
        out.flush()?;
        if rounds.is_some_and(|rounds| rounds <= round) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn introduce(shop: &Shop, to: &str, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "a shop on loopback: {}", shop.services().join(", "))?;
    writeln!(out, "its spans go to {to}; expect one finding of each")?;
    for visit in &shop.visits {
        if let Some(rule) = visit.found_by {
            writeln!(out, "  {rule:<24} {} {}: {}", visit.method, visit.template, visit.story)?;
        }
    }
    writeln!(out, "and none of their twins")?;
    for visit in shop.visits.iter().filter(|visit| visit.found_by.is_none()) {
        writeln!(out, "  {:<24} {} {}: {}", "", visit.method, visit.template, visit.story)?;
    }
    // The quiet period is the receiver's setting, and so is what counts as endless; their defaults are said here.
    writeln!(
        out,
        "a trace is judged 10 s after its last span, and once more a minute later where something is absent: they open\n\
         within two minutes\n\
         unbounded_wait takes a minute, which is not waited for here: the receiver needs [rules.unbounded_wait] min_wait = \"2s\""
    )?;
    Ok(())
}

fn told(visit: &Visit, visited: &Visited, effects: &str) -> String {
    let statuses: Vec<String> = visited
        .statuses
        .iter()
        .map(|status| status.map_or_else(|| "---".to_owned(), |status| status.as_u16().to_string()))
        .collect();
    let line = format!(
        "{:<4} {:<22} {}  {effects:<33} {}",
        visit.method.as_str(),
        visit.template,
        statuses.join(" "),
        visit.found_by.map_or_else(String::new, |rule| format!("→ {rule}"))
    );
    line.trim_end().to_owned()
}

fn shipped(tally: &Tally, to: &str) -> String {
    match &tally.error {
        None => format!("{} spans sent to {to}", tally.accepted),
        Some(error) => format!(
            "{} spans sent, {} lost: cannot export to {to}: {}",
            tally.accepted,
            tally.lost,
            error.escape_debug()
        ),
    }
}

/// Ctrl-C, or the polite signal of whoever started us.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => outcome,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_addresses_are_taken() {
        assert_eq!(plain_http("http://127.0.0.1:4317").as_deref(), Ok("http://127.0.0.1:4317"));
        for bad in ["", "127.0.0.1:4317", "https://collector:4317", "http://", "nonsense url"] {
            assert!(plain_http(bad).is_err(), "{bad:?}");
        }
    }
}
