//! Every query of every dashboard, run as the role that dashboards read with; and what provisioning promises.

mod alerting;
mod grafana;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Row as _, TypeInfo as _};
use time::Duration;
use tokio::sync::Mutex;

use self::grafana::View;
use crate::support::database::Database;
use crate::support::tools::{package, program};

const DATA_SOURCE: &str = "${datasource}";

fn dashboards() -> Vec<(String, Value)> {
    let mut found: Vec<_> = fs::read_dir("dashboards")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let dashboard = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path.display().to_string(), dashboard)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty());
    found
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a Vec<Value> {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at {pointer}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

/// A database in which every fallacy's row has something to show and names are as awkward as names get.
async fn seed(database: &Database) {
    // Fingerprint, rule, fallacy, status, environment, service, severity, hours since it opened.
    let rows = [
        (1_i64, "retry_non_idempotent", "network_is_reliable", "open", "production", "shop", 4_i16, 1_i32),
        (2, "n_plus_one", "transport_cost_is_zero", "open", "", "o'brien", 3, 2),
        (-3, "chatty_sequential_calls", "latency_is_zero", "open", "staging", "Straße \"7\"", 2, 30),
        (4, "timeout_partial_failure", "outcome_is_known", "candidate", "production", "shop", 1, 1),
    ];
    for (fingerprint, rule, fallacy, status, environment, service, severity, hours) in rows {
        sqlx::query(
            "insert into findings (fingerprint, rule, fallacy, variant, environment, service, operation, callee,
                 headline, status, severity, confidence, time_ns, calls, occurrences, traces, first_seen, last_seen,
                 opened_at, example_trace_id)
             values ($1, $2, $3, 'v', $4, $5, 'GET /cart', 'redis', 'headline of ' || $2, $6, $7, 3, 2000000, 5, 7, 7,
                 now() - make_interval(hours => $8), now() - interval '1 minute',
                 case when $6 = 'open' then now() - make_interval(hours => $8) end,
                 '00000000-0000-0000-0000-000000000007')",
        )
        .bind(fingerprint)
        .bind(rule)
        .bind(fallacy)
        .bind(environment)
        .bind(service)
        .bind(status)
        .bind(severity)
        .bind(hours)
        .execute(&database.pool)
        .await
        .unwrap();
        sqlx::query(
            "insert into finding_hours (fingerprint, hour, occurrences, traces, high_traces, confirmed_traces,
                 time_ns, first_seen, last_seen)
             select $1, date_trunc('hour', now()) - make_interval(hours => back), 3, 3, 3, 0, 2000000, now(), now()
             from generate_series(1, 3) as back",
        )
        .bind(fingerprint)
        .execute(&database.pool)
        .await
        .unwrap();
    }
}

/// Traffic of two services, one of which has an awkward name, and what was changed and told of a finding.
async fn seed_traffic(database: &Database) {
    for sql in [
        "select debunk_ensure_day(current_date)",
        "insert into traces (day, trace_id, first_day, last_day, start_ns, duration_ns, received_at, evaluated_at, spans,
             services, errors, occurrences, looks, complete, environment, service, operation, defects)
         select current_date, gen_random_uuid(), current_date, current_date, 0, 5000000, now() - n * interval '1 minute',
             now(), 3, 2, 0, 1, 1, true, 'production', 'shop', 'GET /cart', '{}'
         from generate_series(1, 5) n",
        "insert into units (day, trace_id, span_id, received_at, duration_ns, root, orphan, kind, outcome, environment,
             service, operation)
         select current_date, gen_random_uuid(), n, now() - n * interval '1 minute', n * 1000000, true, false, 'server',
             case when n = 1 then 'error' else 'ok' end, 'production', 'shop', 'GET /cart'
         from generate_series(1, 5) n",
        "insert into calls (day, trace_id, span_id, unit_span_id, received_at, duration_ns, attempts, role, class, outcome,
             effect, environment, caller, callee, operation)
         select current_date, gen_random_uuid(), n, n, now() - n * interval '1 minute', 2000000, 2, 'client', 'safe', 'ok',
             'applied', 'production', 'shop', 'redis', 'GET'
         from generate_series(1, 5) n",
        "insert into changes (fingerprint, transition, event, reason, severity, changed_at)
         values (1, 1, 'finding.opened', 'gate', 4, now() - interval '1 hour')",
        "insert into deliveries (id, receiver, event, fingerprint, transition, payload, state, attempts, next_attempt_at,
             created_at)
         values (gen_random_uuid(), 'ops', 'finding.opened', 1, 1, '{}', 'dead', 3, now(), now() - interval '1 hour')",
    ] {
        sqlx::query(sql).execute(&database.pool).await.unwrap();
    }
}

/// Makes the role as an operator does.
async fn make_role(connection: &mut PgConnection) {
    // Roles belong to the whole server, which tests share.
    static ALONE: Mutex<()> = Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let script = fs::read_to_string("dashboards/database/10_read_only_role.sql").unwrap();
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(script.clone())).execute(&mut *connection).await.unwrap();
    }
}

/// Connects as the role, freshly made.
async fn read_only(database: &Database) -> PgConnection {
    make_role(&mut database.pool.acquire().await.unwrap()).await;
    PgConnection::connect_with(&database.options.clone().username("grafana_ro")).await.unwrap()
}

/// As the data source does: the simple protocol, one statement after the other.
async fn run(connection: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// Every variable with "All" chosen, as Grafana fills them in.
async fn everything(connection: &mut PgConnection, dashboard: &Value) -> View {
    let to = debunk::clock::now();
    let mut view = View { from: to - Duration::days(7), to, interval_seconds: 3_600, variables: Vec::new() };
    for variable in list(dashboard, "/templating/list") {
        let values: Vec<String> = match text(variable, "/type") {
            "query" => {
                let rows = run(connection, &view.expand(text(variable, "/query"))).await;
                rows.iter().map(|row| row.get::<String, _>(0)).collect()
            }
            "custom" => list(variable, "/options")
                .iter()
                .map(|option| text(option, "/value").to_owned())
                .filter(|value| value != "$__all")
                .collect(),
            _ => continue,
        };
        assert!(!values.is_empty(), "{}: \"All\" of nothing is no SQL", text(variable, "/name"));
        view.variables.push((text(variable, "/name").to_owned(), values));
    }
    view
}

fn columns(row: &PgRow) -> Vec<(&str, &str)> {
    row.columns().iter().map(|column| (column.name(), column.type_info().name())).collect()
}

#[tokio::test]
async fn every_panel_shows_rows_to_the_reading_role() {
    let database = Database::fresh().await;
    seed(&database).await;
    seed_traffic(&database).await;
    let mut connection = read_only(&database).await;
    let mut count = 0;
    for (file, dashboard) in dashboards() {
        let view = everything(&mut connection, &dashboard).await;
        for panel in list(&dashboard, "/panels") {
            let title = format!("{file}: {}", text(panel, "/title"));
            for target in list(panel, "/targets") {
                let rows = run(&mut connection, &view.expand(text(target, "/rawSql"))).await;
                assert!(!rows.is_empty(), "{title}: no rows");
                let columns = columns(&rows[0]);
                match text(target, "/format") {
                    "time_series" => check_series(&title, &columns),
                    "table" => check_table(&title, panel, &columns),
                    other => panic!("{title}: format {other}"),
                }
                count += 1;
            }
        }
        for annotation in list(&dashboard, "/annotations/list") {
            let Some(sql) = annotation.pointer("/target/rawSql") else { continue };
            let rows = run(&mut connection, &view.expand(sql.as_str().unwrap())).await;
            let names: Vec<_> = columns(&rows[0]).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["time", "text", "tags"], "{file}: an annotation");
        }
    }
    assert!(20 <= count, "{count} queries");
}

/// Grafana wants the time first, then what names the series, then its number.
fn check_series(title: &str, columns: &[(&str, &str)]) {
    let [("time", time), ("metric", "TEXT"), ("value", value)] = columns else {
        panic!("{title}: {columns:?}");
    };
    assert!(["TIMESTAMPTZ", "NUMERIC", "FLOAT8"].contains(time), "{title}: time is {time}");
    assert!(["INT8", "FLOAT8", "NUMERIC"].contains(value), "{title}: value is {value}");
}

/// Every override and every link names a column that is there.
fn check_table(title: &str, panel: &Value, columns: &[(&str, &str)]) {
    let names: BTreeSet<_> = columns.iter().map(|(name, _)| *name).collect();
    for wanted in list(panel, "/fieldConfig/overrides") {
        let name = text(wanted, "/matcher/options");
        assert!(names.contains(name), "{title}: no column {name:?} to override");
    }
    let field = Regex::new(r"\$\{__data\.fields\.([^}]+)\}").unwrap();
    for found in field.captures_iter(&panel.to_string()) {
        assert!(names.contains(&found[1]), "{title}: a link wants column {:?}", &found[1]);
    }
}

#[tokio::test]
async fn the_board_has_nine_rows_and_counts_by_severity() {
    let database = Database::fresh().await;
    seed(&database).await;
    let mut connection = read_only(&database).await;
    let (_, dashboard) =
        dashboards().into_iter().find(|(file, _)| file.contains("debunk-fallacies")).unwrap();
    let mut view = everything(&mut connection, &dashboard).await;
    let panel = |title: &str| {
        let panels = list(&dashboard, "/panels");
        let found = panels.iter().find(|panel| text(panel, "/title") == title).unwrap();
        text(found, "/targets/0/rawSql").to_owned()
    };

    let board = run(&mut connection, &view.expand(&panel("The nine fallacies"))).await;
    assert_eq!(board.len(), 9);
    let row = &board[0];
    assert_eq!(row.get::<String, _>("fallacy"), "network_is_reliable");
    assert_eq!(row.get::<i64, _>("critical"), 1);
    assert_eq!(row.get::<i64, _>("candidate"), 0);
    assert_eq!(row.get::<String, _>("worst"), "headline of retry_non_idempotent");
    assert_eq!(row.get::<String, _>("id"), "0000000000000001");
    assert_eq!(board[8].get::<i64, _>("candidate"), 1);
    assert_eq!(board[8].get::<Option<String>, _>("worst"), None);

    let open = run(&mut connection, &view.expand(&panel("Open findings"))).await;
    let ids: Vec<String> = open.iter().map(|row| row.get("id")).collect();
    assert_eq!(ids, ["0000000000000001", "0000000000000002", "fffffffffffffffd"], "worst first");

    // One service, whose name could end the string it stands in.
    let chosen = view.variables.iter_mut().find(|(name, _)| name == "service").unwrap();
    chosen.1 = vec!["o'brien".to_owned()];
    let open = run(&mut connection, &view.expand(&panel("Open findings"))).await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].get::<String, _>("service"), "o'brien");
}

#[tokio::test]
async fn an_empty_database_is_no_error() {
    let database = Database::fresh().await;
    let mut connection = read_only(&database).await;
    for (_, dashboard) in dashboards() {
        let view = everything(&mut connection, &dashboard).await;
        for panel in list(&dashboard, "/panels") {
            for target in list(panel, "/targets") {
                run(&mut connection, &view.expand(text(target, "/rawSql"))).await;
            }
        }
    }
}

#[tokio::test]
async fn the_reading_role_reads_views_and_nothing_else() {
    let database = Database::fresh().await;
    let mut connection = read_only(&database).await;
    for sql in [
        "select from findings",
        "select from public.findings",
        "select from public.spans",
        "select from public.deliveries",
        "delete from debunk_views.finding",
        "create table debunk_views.mine (a int)",
        "set default_transaction_read_only = off; delete from debunk_views.finding",
    ] {
        let tried = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await;
        assert!(tried.is_err(), "{sql}");
    }
    // What a later version adds can be read at once.
    sqlx::raw_sql("create view debunk_views.later as select 1 as one").execute(&database.pool).await.unwrap();
    assert_eq!(run(&mut connection, "select one from later").await.len(), 1);
}

#[tokio::test]
async fn the_reading_role_may_be_made_before_the_first_start() {
    let database = Database::fresh().await;
    sqlx::raw_sql("create database bare").execute(&database.pool).await.unwrap();
    let bare = database.options.clone().database("bare");
    make_role(&mut PgConnection::connect_with(&bare).await.unwrap()).await;
    let store = debunk::store::Store::new(&bare, &debunk::config::Database::default());
    store.migrate().await.unwrap();
    let mut connection = PgConnection::connect_with(&bare.username("grafana_ro")).await.unwrap();
    assert!(run(&mut connection, "select id from finding").await.is_empty());
}

#[test]
fn dashboards_keep_the_rules_of_provisioned_dashboards() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(text(&dashboard, "/uid").to_owned()), "{file}: the uid is taken");
        assert!(file.ends_with(&format!("{}.json", text(&dashboard, "/uid"))), "{file}: named by its uid");
        assert!(dashboard.get("id").is_none(), "{file}: an id belongs to one installation");
        assert_eq!(dashboard["editable"], false, "{file}");
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        for pointer in ["/title", "/description", "/refresh", "/time/from", "/tags/0"] {
            assert!(!text(&dashboard, pointer).is_empty(), "{file}: {pointer}");
        }
        check_variables(&file, &dashboard);
        for link in list(&dashboard, "/links").iter().filter(|link| link["type"] == "dashboards") {
            assert!(link["keepTime"] == true && link["includeVars"] == true, "{file}: {link}");
        }
        check_panels(&file, &dashboard);
    }
}

fn check_variables(file: &str, dashboard: &Value) {
    let first = &list(dashboard, "/templating/list")[0];
    assert_eq!(text(first, "/type"), "datasource", "{file}");
    assert_eq!((text(first, "/name"), text(first, "/label")), ("datasource", "Data source"), "{file}");
    for variable in list(dashboard, "/templating/list") {
        assert!(!text(variable, "/label").is_empty() && !text(variable, "/description").is_empty());
        if variable["type"] == "query" {
            assert_eq!(variable["refresh"], 2, "{file}: {variable}");
            assert_eq!(text(variable, "/datasource/uid"), DATA_SOURCE, "{file}");
            assert_eq!(variable["query"], variable["definition"], "{file}");
        }
    }
}

fn check_panels(file: &str, dashboard: &Value) {
    let mut ids = BTreeSet::new();
    let mut cells = BTreeSet::new();
    for panel in list(dashboard, "/panels") {
        let title = format!("{file}: {}", text(panel, "/title"));
        assert!(!text(panel, "/description").is_empty(), "{title}: no description");
        assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{title}: no unit");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is taken");
        assert_eq!(text(panel, "/datasource/uid"), DATA_SOURCE, "{title}");
        assert!(!list(panel, "/targets").is_empty(), "{title}: asks nothing");
        for target in list(panel, "/targets") {
            assert_eq!(text(target, "/datasource/uid"), DATA_SOURCE, "{title}");
        }
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(x + w <= 24, "{title}: wider than the board");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title}: lies over another panel");
        }
    }
}

#[test]
fn every_path_that_compose_mounts_exists() {
    let compose = fs::read_to_string("docker-compose.yml").unwrap();
    let mount = Regex::new(r"(?m)^\s+- (\./[^:]+):([^:\s]+)").unwrap();
    let mounts: Vec<_> =
        mount.captures_iter(&compose).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    assert!(4 <= mounts.len(), "{mounts:?}");
    for (path, _) in &mounts {
        assert!(fs::exists(path).unwrap(), "{path} is mounted and missing");
    }
    let provider = fs::read_to_string("dashboards/provisioning/dashboards/debunk.yaml").unwrap();
    let folder = Regex::new(r"(?m)^\s+path: (\S+)$").unwrap().captures(&provider).unwrap()[1].to_owned();
    for (file, _) in dashboards() {
        let name = file.trim_start_matches("dashboards/");
        let mounted = (format!("./{file}"), format!("{folder}/{name}"));
        assert!(mounts.contains(&mounted), "{file} is not mounted where Grafana looks");
    }
}

#[test]
fn data_sources_get_what_they_ask_of_the_environment() {
    let source = fs::read_to_string("dashboards/provisioning/datasources/debunk.yaml").unwrap();
    let traces = fs::read_to_string("dashboards/provisioning/datasources/debunk-traces.yaml").unwrap();
    let compose = fs::read_to_string("docker-compose.yml").unwrap();
    let variable = Regex::new(r"\$(\w+)").unwrap();
    for text in [&source, &traces] {
        let asked: Vec<_> = variable.captures_iter(text).map(|found| found[1].to_owned()).collect();
        assert!(!asked.is_empty());
        for name in asked {
            assert!(compose.contains(&format!("      {name}: ")), "{name} is not set");
        }
    }
    // Links of dashboards lead to it.
    let link = Regex::new(r#""datasourceUid":"([^"]+)""#).unwrap();
    for (file, dashboard) in dashboards() {
        for found in link.captures_iter(&dashboard.to_string()) {
            assert!(traces.contains(&format!("uid: {}\n", &found[1])), "{file}: {}", &found[1]);
        }
    }
    let role = fs::read_to_string("dashboards/database/10_read_only_role.sql").unwrap();
    let user = Regex::new(r"(?m)^\s+user: (\S+)$").unwrap().captures(&source).unwrap()[1].to_owned();
    assert!(role.contains(&format!("create role {user} ")));
}

/// Grafana's own types of a dashboard, as its SDK for Python has them: a key that they lack is a typo.
#[test]
fn grafanas_sdk_reads_dashboards_and_writes_them_back_whole() {
    let Some(python) = package("python/bin/python") else { return };
    let files = dashboards().into_iter().map(|(file, _)| file);
    let done = Command::new(python).arg("tests/dashboards/round_trip.py").args(files).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(said.matches(" 0 keys lost").count(), dashboards().len(), "{said}");
}

#[test]
fn compose_reads_its_file() {
    let Some(compose) = program("docker-compose") else { return };
    let done = Command::new(compose).args(["config", "--quiet"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn what_the_image_is_built_from_exists() {
    let ignore = fs::read_to_string(".dockerignore").unwrap();
    let kept: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(kept.contains(&"src"));
    for path in kept {
        assert!(fs::exists(path).unwrap(), "{path}");
    }
}
