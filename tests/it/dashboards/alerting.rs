//! Grafana's alert rules: each asks what the reading role may ask, answers as Grafana wants alerts to, and names what is
//! there.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use time::Duration;

use super::grafana::View;
use super::{check_series, columns, dashboards, list, read_only, run, seed, seed_traffic, text};
use crate::support::database::Database;

/// The file as Grafana reads it: a dollar stands twice.
fn rules() -> String {
    let file = fs::read_to_string("dashboards/provisioning/alerting/debunk.yaml").unwrap();
    let alone = Regex::new(r"(^|[^$])\$($|[^$])").unwrap();
    assert!(!alone.is_match(&file), "Grafana would take it for a variable of the environment");
    file.replace("$$", "$")
}

/// What follows a key, wherever it stands.
fn all<'t>(file: &'t str, key: &str) -> Vec<&'t str> {
    let lines = file.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key));
    lines.map(str::trim).collect()
}

#[tokio::test]
async fn every_alert_asks_for_a_time_a_metric_and_a_value() {
    let database = Database::fresh().await;
    let mut connection = read_only(&database).await;
    let to = debunk::clock::now();
    let view = View { from: to - Duration::days(1), to, interval_seconds: 60, variables: Vec::new() };
    let file = rules();
    let block = Regex::new(r"(?m)^ +rawSql: \|\n((?: {16}.*\n)+)").unwrap();
    let queries: Vec<String> = block.captures_iter(&file).map(|found| view.expand(&found[1])).collect();
    assert_eq!(queries.len(), all(&file, "title: ").len());
    for sql in &queries {
        assert!(run(&mut connection, sql).await.is_empty(), "nothing is wrong where there is nothing: {sql}");
    }
    seed(&database).await;
    seed_traffic(&database).await;
    for sql in &queries {
        let rows = run(&mut connection, sql).await;
        assert!(!rows.is_empty(), "no rows: {sql}");
        check_series(sql, &columns(&rows[0]));
    }
}

#[test]
fn alerts_name_panels_and_data_sources_that_exist() {
    let file = rules();
    let uids = all(&file, "uid: ");
    assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), uids.len(), "{uids:?}");
    let sources = fs::read_to_string("dashboards/provisioning/datasources/debunk.yaml").unwrap();
    for source in all(&file, "datasourceUid: ").into_iter().filter(|uid| *uid != "__expr__") {
        assert!(sources.contains(&format!("uid: {source}\n")), "{source}");
    }
    let dashboards = dashboards();
    let panels = all(&file, "dashboardUid: ").into_iter().zip(all(&file, "panelId: "));
    for (uid, panel) in panels {
        let found = dashboards.iter().find(|(_, dashboard)| text(dashboard, "/uid") == uid);
        let (_, dashboard) = found.unwrap_or_else(|| panic!("no dashboard {uid}"));
        let ids = list(dashboard, "/panels").iter().map(|panel| panel["id"].to_string());
        assert!(ids.into_iter().any(|id| id == panel), "{uid} has no panel {panel}");
    }
}
