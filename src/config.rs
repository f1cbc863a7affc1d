//! Settings: one struct per section, read once and validated whole. The only reader of the environment.
//!
//! A setting comes from its default, then its profile, then the TOML file, then `DEBUNK_SECTION__KEY`. Unknown keys
//! are errors with their line and column. Secrets come only from `…_file` or the environment and never print.

mod amount;
pub mod profile;
mod receiver;
mod section;
mod suppression;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use amount::{Bytes, Period, Secret};
pub use receiver::{Receiver, ReceiverFormat};
pub use section::{
    Database, Environments, Findings, LogFormat, MOST_CONNECTIONS, OtherSignals, Otlp, Retention, Server,
    Telemetry, Traces,
};
pub use suppression::Suppression;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Web, API, health, metrics.
    pub server: Server,
    /// Where spans are kept.
    pub database: Database,
    /// The door for traces.
    pub otlp: Otlp,
    /// When a trace is judged.
    pub traces: Traces,
    /// When a finding opens.
    pub findings: Findings,
    /// How long things are kept.
    pub retention: Retention,
    /// Names of environments.
    pub environments: Environments,
    /// Which findings are wanted, and the thresholds of each rule.
    pub rules: crate::rules::Thresholds,
    /// Who is told.
    pub receivers: Vec<Receiver>,
    /// Findings that are muted where they are seen: texts compared whole, in which `*` stands for any run of letters.
    pub suppress: Vec<Suppression>,
    /// How the service tells of itself.
    pub telemetry: Telemetry,
}

/// Why the settings cannot be used: one line that starts with the place.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the settings: `file`, or `debunk.toml` in the working folder where that exists, then the environment.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let default = PathBuf::from("debunk.toml");
    let path = file.or_else(|| default.exists().then_some(default.as_path()));
    let text = match path {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{}: cannot be read: {error}", path.display())))?,
    };
    let name = path.map_or_else(|| "debunk.toml".to_owned(), |path| path.display().to_string());
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    parse(&name, &text, std::env::vars_os())
}

/// `NO_COLOR` is set and not empty (<https://no-color.org>).
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `load` without the file system: `name` stands in messages.
fn parse(
    name: &str,
    text: &str,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let file: Config = toml::from_str(text).map_err(|error| located(name, text, &error))?;
    if !file.database.url.is_empty() {
        return Err(ConfigError(format!(
            "{name}: database.url: a URL may hold a password; give it as DEBUNK_DATABASE__URL, or the file that \
             holds it as url_file"
        )));
    }
    let set = overlay(text, overrides(environment)?)?;
    let config = profile::completed(set).map_err(|error| ConfigError(error.message().to_owned()))?;
    config.validate().map_err(ConfigError)?;
    Ok(config)
}

fn located(name: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let message = error.message().replace("unknown field", "unknown key");
    ConfigError(format!("{name}:{line}:{column}: {}", message.trim_end()))
}

/// The variables that are settings. Others may begin alike: an orchestrator that has a service called `debunk` makes
/// `DEBUNK_PORT`. One that is a setting but for an underscore is a slip.
fn overrides(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut overrides = Vec::new();
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with("DEBUNK_")) else { continue };
        if variable.contains("__") {
            let value = value.into_string().map_err(|_| ConfigError(format!("{variable}: is not UTF-8")))?;
            overrides.push((variable.to_owned(), value));
        } else if let Some(meant) = meant(variable) {
            return Err(ConfigError(format!("{variable}: is no setting; did you mean {meant}?")));
        }
    }
    Ok(overrides)
}

/// The setting that a variable with a single underscore was meant to be.
fn meant(variable: &str) -> Option<String> {
    let (section, key) = variable["DEBUNK_".len()..].split_once('_')?;
    let mut table = toml::Table::new();
    set(&mut table, &[section.to_lowercase(), key.to_lowercase()], "")?;
    // Whatever the value: a setting that is not there is told from one that is by the complaint.
    let known = match table.try_into::<Config>() {
        Ok(_) => true,
        Err(error) => !error.message().starts_with("unknown field"),
    };
    (known && section != "RECEIVERS").then(|| format!("DEBUNK_{section}__{key}"))
}

/// Lays `DEBUNK_SECTION__KEY` values over the file's. A value is read as TOML where it is one, else as a string.
fn overlay(text: &str, overrides: Vec<(String, String)>) -> Result<toml::Table, ConfigError> {
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| located("debunk.toml", text, &error))?;
    for (variable, value) in overrides {
        let keys: Vec<String> = variable["DEBUNK_".len()..].split("__").map(str::to_lowercase).collect();
        set(&mut table, &keys, &value).ok_or_else(|| ConfigError(format!("{variable}: no such setting")))?;
        // Once per variable, so that the message can name it.
        table.clone().try_into::<Config>().map_err(|error| {
            ConfigError(format!(
                "{variable}: {}",
                error.message().replace("unknown field", "unknown key").trim_end()
            ))
        })?;
    }
    Ok(table)
}

fn set(table: &mut toml::Table, keys: &[String], value: &str) -> Option<()> {
    let (last, sections) = keys.split_last()?;
    let mut inner = table;
    for section in sections {
        inner =
            inner.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new())).as_table_mut()?;
    }
    let parsed =
        toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
    inner.insert(last.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.to_owned())));
    Some(())
}

impl Config {
    fn validate(&self) -> Result<(), String> {
        self.database.validate()?;
        self.otlp.validate()?;
        self.traces.validate()?;
        self.findings.validate()?;
        self.retention.validate()?;
        self.telemetry.validate()?;
        self.server.validate(&self.otlp)?;
        for (index, suppression) in self.suppress.iter().enumerate() {
            suppression.validate().map_err(|why| format!("suppress[{index}]: {why}"))?;
        }
        for (index, receiver) in self.receivers.iter().enumerate() {
            receiver.validate().map_err(|why| format!("receivers[{index}]: {why}"))?;
            if self.receivers[..index].iter().any(|other| other.name == receiver.name) {
                return Err(format!("receivers[{index}]: the name {:?} is taken", receiver.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let vars = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        parse("debunk.toml", text, vars).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_column() {
        let error = read("[otlp]\ngrpc = \"127.0.0.1:1\"\n  max_requests = \"1MiB\"\n", &[]).unwrap_err();
        assert!(error.starts_with("debunk.toml:3:3: unknown key `max_requests`"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_with_its_line() {
        let error = read("\n[traces]\nquiet_period = \"soon\"\n", &[]).unwrap_err();
        assert!(error.starts_with("debunk.toml:3:16: "), "{error}");
        assert!(error.contains("soon"), "{error}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = read(
            "[otlp]\nmax_request = \"1MiB\"\n",
            &[("DEBUNK_OTLP__MAX_REQUEST", "2MiB"), ("DEBUNK_TRACES__WORKERS", "3"), ("PATH", "/bin")],
        )
        .unwrap();
        assert_eq!(config.otlp.max_request.0, 2 << 20);
        assert_eq!(config.traces.workers, 3);
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_it() {
        let error = read("", &[("DEBUNK_OTLP__GPRC", "x")]).unwrap_err();
        assert!(error.starts_with("DEBUNK_OTLP__GPRC: unknown key"), "{error}");
    }

    #[test]
    fn a_variable_that_lacks_an_underscore_is_not_ignored() {
        let error = read("", &[("DEBUNK_DATABASE_URL", "postgres://bob:hunter22@db/x")]).unwrap_err();
        assert_eq!(error, "DEBUNK_DATABASE_URL: is no setting; did you mean DEBUNK_DATABASE__URL?");
        let error = read("", &[("DEBUNK_OTLP_MAX_REQUEST", "1MiB")]).unwrap_err();
        assert!(error.ends_with("did you mean DEBUNK_OTLP__MAX_REQUEST?"), "{error}");
        // What an orchestrator sets for services called `debunk` and `debunk-server`.
        for theirs in ["DEBUNK_PORT", "DEBUNK_SERVICE_HOST", "DEBUNK_SERVER_PORT_4320_TCP", "DEBUNK_RULES_X"]
        {
            assert!(read("", &[(theirs, "tcp://10.0.0.1:4320")]).is_ok(), "{theirs}");
        }
    }

    #[test]
    fn an_environment_that_is_no_text_is_survived() {
        let parse_with = |name: &str| {
            let broken = OsString::from_vec(vec![b'a', 0xff]);
            parse("debunk.toml", "", [(OsString::from(name), broken)].into_iter())
        };
        assert!(parse_with("ELSE").is_ok());
        let error = parse_with("DEBUNK_OTLP__GRPC").unwrap_err();
        assert_eq!(error.to_string(), "DEBUNK_OTLP__GRPC: is not UTF-8");
    }

    #[test]
    fn what_could_not_work_is_refused_by_its_name() {
        for (text, name) in [
            ("[database]\nurl = \"postgres://bob:pw@db/x\"", "database.url"),
            ("[database]\nstatement_timeout = \"0s\"", "statement_timeout"),
            ("[database]\nmax_connections = 1000000", "database.max_connections"),
            ("[otlp]\nread_timeout = \"0s\"", "otlp.read_timeout"),
            ("[otlp]\nidle_timeout = \"0s\"", "otlp.idle_timeout"),
            ("[otlp]\nmax_spans_per_trace = 0", "otlp.max_spans_per_trace"),
            ("[otlp]\nother_signals = \"both\"", "debunk.toml:2:17"),
            ("[otlp]\nmax_in_flight = \"9999999GiB\"", "otlp.max_in_flight"),
            ("[traces]\nlease = \"0s\"", "traces.lease"),
            ("[traces]\nworkers = 4000000000", "workers"),
            ("[findings]\ngate_high = 0", "gate_high"),
            ("[retention]\ntraces = \"1h\"", "retention.traces"),
            ("[retention]\ntraces = \"40000000d\"", "ten years"),
            ("[server]\npublic_url = \"https://\"", "server.public_url"),
            ("[server]\npublic_url = \"https://x/\\\"><b>\"", "server.public_url"),
            ("[[suppress]]\nservice = \"x\"", "suppress[0]: reason"),
            ("[[suppress]]\nservice = \"x\"\nreason = \"y\"\nuntil = \"soon\"", "debunk.toml:4:9"),
            ("[[receivers]]\nname = \" \"\nurl = \"https://x\"\nsecret_file = \"x\"", "name"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.contains(name) && !error.contains("bob"), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_never_prints() {
        let config = read("", &[("DEBUNK_DATABASE__URL", "postgres://bob:hunter22@db/x")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter22"));
        assert!(!toml::to_string(&config).unwrap().contains("hunter22"));
    }

    #[test]
    fn beyond_loopback_needs_consent() {
        let error = read("[server]\nlisten = \"0.0.0.0:4320\"\n", &[]).unwrap_err();
        assert!(error.contains("allow_insecure"), "{error}");
        assert!(read("[server]\nlisten = \"0.0.0.0:4320\"\nallow_insecure = true\n", &[]).is_ok());
    }
}
