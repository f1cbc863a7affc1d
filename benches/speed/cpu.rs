//! Who used the processors: the exporters, Debunk, PostgreSQL.

use std::fs;

use sqlx::PgPool;

/// Name of the threads that send.
pub(crate) const EXPORTER: &str = "exporter";
/// Linux counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

/// Seconds of processor time so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) exporters: f64,
    pub(crate) debunk: f64,
    pub(crate) postgres: f64,
}

impl Cpu {
    pub(crate) async fn now(pool: &PgPool) -> Self {
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(pool).await.unwrap();
        let postmaster = stat(&format!("/proc/{backend}")).unwrap()[PARENT].clone();
        let (mut exporters, mut debunk, mut postgres) = (0.0, 0.0, 0.0);
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            let path = task.path().display().to_string();
            let name = fs::read_to_string(format!("{path}/comm")).unwrap_or_default();
            let used = stat(&path).map_or(0.0, |fields| seconds(&fields, OWN));
            *(if name.trim() == EXPORTER { &mut exporters } else { &mut debunk }) += used;
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Some(fields) = stat(&process.path().display().to_string()) else { continue };
            if fields[PARENT] == postmaster {
                postgres += seconds(&fields, OWN);
            }
        }
        // With the backends that have ended.
        let fields = stat(&format!("/proc/{postmaster}")).unwrap();
        Self { exporters, debunk, postgres: postgres + seconds(&fields, OWN) + seconds(&fields, CHILDREN) }
    }

    /// Microseconds a span since then.
    pub(crate) fn each(&self, since: &Self, spans: usize) -> Self {
        let each = |now: f64, then: f64| (now - then) * 1e6 / spans as f64;
        Self {
            exporters: each(self.exporters, since.exporters),
            debunk: each(self.debunk, since.debunk),
            postgres: each(self.postgres, since.postgres),
        }
    }
}

/// Places in `/proc/PID/stat` behind the name (proc(5)).
const PARENT: usize = 1;
const OWN: [usize; 2] = [11, 12];
const CHILDREN: [usize; 2] = [13, 14];

fn stat(process: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("{process}/stat")).ok()?;
    // The name stands in brackets and may hold anything.
    let fields: Vec<String> = text.rsplit_once(") ")?.1.split(' ').map(ToOwned::to_owned).collect();
    (CHILDREN[1] < fields.len()).then_some(fields)
}

fn seconds(fields: &[String], places: [usize; 2]) -> f64 {
    places.iter().map(|place| fields[*place].parse().unwrap_or(0.0)).sum::<f64>() / TICKS
}
