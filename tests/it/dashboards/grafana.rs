//! The part of Grafana that stands between a dashboard's text and PostgreSQL: variables, then macros.

use regex::{Captures, Regex};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the person in front of a dashboard has chosen.
pub(super) struct View {
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
    /// Of `$__interval`, in seconds.
    pub(super) interval_seconds: u64,
    /// Variables with their chosen values; "All" is all of them.
    pub(super) variables: Vec<(String, Vec<String>)>,
}

impl View {
    /// The statement that reaches PostgreSQL. Panics where Grafana would send something it could not run.
    pub(super) fn expand(&self, sql: &str) -> String {
        let expanded = self.macros(&self.interpolated(sql));
        assert!(!expanded.contains('$'), "something is left unexpanded:\n{expanded}");
        expanded
    }

    /// Replaces variables where the dashboard runs: `${name:sqlstring}` becomes a list of quoted strings.
    fn interpolated(&self, sql: &str) -> String {
        let variable = Regex::new(r"\$\{(\w+)(?::(\w+))?\}").unwrap();
        let with_values = variable.replace_all(sql, |found: &Captures<'_>| {
            let name = &found[1];
            let format = found.get(2).map(|format| format.as_str());
            let (_, values) = self
                .variables
                .iter()
                .find(|(known, _)| known == name)
                .unwrap_or_else(|| panic!("no variable {name}"));
            assert_eq!(format, Some("sqlstring"), "{name} is not quoted");
            let quoted: Vec<_> =
                values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
            quoted.join(",")
        });
        with_values.replace("$__interval", &format!("{}s", self.interval_seconds))
    }

    /// Replaces macros where the data source runs. An argument cannot hold a closing parenthesis.
    fn macros(&self, sql: &str) -> String {
        let call = Regex::new(r"\$([_a-zA-Z0-9]+)\(([^\)]*)\)").unwrap();
        let expand = |found: &Captures<'_>| {
            let arguments: Vec<&str> = found[2].split(',').map(str::trim).collect();
            self.expanded(&found[1], &arguments)
        };
        call.replace_all(sql, expand).into_owned()
    }

    fn expanded(&self, name: &str, arguments: &[&str]) -> String {
        let at = |time: OffsetDateTime| format!("'{}'", time.format(&Rfc3339).unwrap());
        let column = arguments[0];
        match name {
            "__time" => format!("{column} AS \"time\""),
            "__timeFilter" => format!("{column} BETWEEN {} AND {}", at(self.from), at(self.to)),
            "__timeFrom" => at(self.from),
            "__timeTo" => at(self.to),
            "__timeGroup" => group(column, arguments),
            "__timeGroupAlias" => format!("{} AS \"time\"", group(column, arguments)),
            other => panic!("Grafana knows no macro ${other} for PostgreSQL, or this test does not"),
        }
    }
}

fn group(column: &str, arguments: &[&str]) -> String {
    let interval = arguments[1].trim_matches('\'');
    let (number, unit) = interval.split_at(interval.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("no unit {other:?} of an interval"),
    };
    let seconds = number.parse::<u64>().unwrap() * unit;
    format!("floor(extract(epoch from {column})/{seconds})*{seconds}")
}

#[test]
fn variables_and_macros_expand_as_grafana_expands_them() {
    let view = View {
        from: time::macros::datetime!(2026-01-02 03:04:05 UTC),
        to: time::macros::datetime!(2026-01-03 03:04:05 UTC),
        interval_seconds: 3_600,
        variables: vec![("service".to_owned(), vec!["shop".to_owned(), "o'brien".to_owned()])],
    };
    assert_eq!(
        view.expand("select $__timeGroupAlias(hour, $__interval) where $__timeFilter(hour)"),
        "select floor(extract(epoch from hour)/3600)*3600 AS \"time\" \
         where hour BETWEEN '2026-01-02T03:04:05Z' AND '2026-01-03T03:04:05Z'"
    );
    assert_eq!(view.expand("in (${service:sqlstring})"), "in ('shop','o''brien')");
    assert_eq!(view.expand("$__timeGroup(t,'5m')"), "floor(extract(epoch from t)/300)*300");
}
