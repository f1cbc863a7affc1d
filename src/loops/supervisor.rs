//! Owns every background task of the process, so that none ends unseen.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock;
use crate::telemetry::Metrics;

/// What one step of a loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It did something; there may be more at once.
    Worked,
    /// There was nothing to do.
    Idle,
}

/// Told to stop, once. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Resolves when the process should stop; at once if that was said before.
    pub async fn wait(mut self) {
        // An error means that the supervisor is gone, which means the same.
        let _gone = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it was said.
    pub fn is_said(&self) -> bool {
        *self.0.borrow()
    }
}

/// Runs tasks and loops until one fails or it is told to stop.
pub struct Supervisor {
    tasks: JoinSet<(String, Result<(), String>)>,
    stop: watch::Sender<bool>,
    metrics: Metrics,
}

/// Longest pause after failures in a row.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Without tasks.
    pub fn new(metrics: Metrics) -> Self {
        Self { tasks: JoinSet::new(), stop: watch::Sender::new(false), metrics }
    }

    /// For those who must know when to stop.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.stop.subscribe())
    }

    /// Runs a task that ends only on shutdown, or by an error that ends the process.
    pub fn run<E: Display>(
        &mut self,
        name: &str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let name = name.to_owned();
        self.tasks.spawn(async move { (name, task.await.map_err(|error| error.to_string())) });
    }

    /// Repeats `step` until shutdown: at once after work, after `pause` when idle, with growing pauses after failures.
    /// A failing step is logged and counted here, and nowhere else.
    pub fn repeat<S, F, E>(&mut self, name: &'static str, pause: Duration, mut step: S)
    where
        S: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<Progress, E>> + Send,
        E: Display + Send,
    {
        let shutdown = self.shutdown();
        let metrics = self.metrics.clone();
        metrics.loop_starts(name);
        self.run(name, async move {
            let mut failures = 0u32;
            while !shutdown.is_said() {
                let done = step().await;
                if done.is_ok() {
                    metrics.loop_step(name, clock::now());
                }
                let wait = match done {
                    Ok(Progress::Worked) => {
                        failures = 0;
                        continue;
                    }
                    Ok(Progress::Idle) => {
                        failures = 0;
                        pause
                    }
                    Err(error) => {
                        failures += 1;
                        metrics.loop_failure(name);
                        tracing::warn!(r#loop = name, %error, failures, "a step failed and will be tried again");
                        backoff(failures)
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.clone().wait() => {}
                }
            }
            Ok::<(), String>(())
        });
    }

    /// Waits until `asked` resolves or a task ends by itself, which it must not; then tells all to stop and gives
    /// them `grace`. Returns what went wrong, if anything did.
    pub async fn supervise(mut self, asked: impl Future<Output = ()>, grace: Duration) -> Result<(), String> {
        let mut result = tokio::select! {
            () = asked => Ok(()),
            Some(ended) = self.tasks.join_next() => Err(describe(ended)),
        };
        self.stop.send_replace(true);
        let finish = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((_, Ok(()))) = &ended {
                    continue;
                }
                let problem = describe(ended);
                tracing::error!(%problem, "a task failed while stopping");
                if result.is_ok() {
                    result = Err(problem);
                }
            }
        };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!(
                left = self.tasks.len(),
                "tasks did not stop within the grace period and are dropped"
            );
        }
        result
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = Duration::from_millis(100).saturating_mul(1 << failures.min(10));
    doubled.min(MAX_BACKOFF)
}

fn describe(ended: Result<(String, Result<(), String>), tokio::task::JoinError>) -> String {
    match ended {
        Ok((name, Err(error))) => format!("{name}: {error}"),
        Ok((name, Ok(()))) => format!("{name}: ended by itself"),
        Err(error) => format!("a task panicked: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failing_step_is_repeated_and_counted() {
        let metrics = Metrics::new();
        let mut supervisor = Supervisor::new(metrics.clone());
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        supervisor.repeat("test", Duration::from_secs(1), move || {
            let call = seen.fetch_add(1, Ordering::SeqCst);
            async move { if call < 2 { Err("no") } else { Ok(Progress::Idle) } }
        });
        let watched = Arc::clone(&calls);
        let asked = async move {
            while watched.load(Ordering::SeqCst) < 4 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert_eq!(supervisor.supervise(asked, Duration::from_secs(1)).await, Ok(()));
        assert!(metrics.expose().contains("debunk_loop_failures_total{loop=\"test\"} 2"));
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_ends_the_process_and_says_which() {
        let mut supervisor = Supervisor::new(Metrics::new());
        supervisor.run("door", async { Err("address in use") });
        let result = supervisor.supervise(std::future::pending(), Duration::from_secs(1)).await;
        assert_eq!(result, Err("door: address in use".to_owned()));
    }
}
