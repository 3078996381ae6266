//! Converts the state machine's snapshots to the API's format.

use super::wire;
use crate::decide::clock::Instant;
use crate::decide::event::{Check, Exit};
use crate::decide::snapshot::{Class, ProbeView, Snapshot};
use std::time::{Duration, SystemTime};

/// What `status` shows of a service besides its snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// The port that it must own.
    pub port: Option<u16>,
    /// The target of the liveness probe, without secrets.
    pub liveness_target: Option<String>,
    /// The target of the readiness probe, without secrets.
    pub readiness_target: Option<String>,
    /// The runtime or program that it runs from.
    pub runtime: Option<wire::Runtime>,
    /// The progress of work in progress; shown instead of the snapshot's older reason.
    pub progress: Option<String>,
    /// Open files of its main process.
    pub open_files: Option<u64>,
    /// Resident memory of its main process.
    pub memory_bytes: Option<u64>,
    /// CPU time of its main process and the children that it has waited for.
    pub cpu: Option<Duration>,
}

/// One service as the API shows it; `wall_time` converts the loop's time to the wall clock's.
#[must_use]
pub fn service(
    info: &ServiceInfo,
    snapshot: &Snapshot,
    wall_time: &dyn Fn(Instant) -> SystemTime,
) -> wire::Service {
    let timestamp = |instant| rfc3339(wall_time(instant));
    wire::Service {
        name: info.name.clone(),
        state: snapshot.phase.name().to_owned(),
        wanted: if snapshot.wanted_up { "up" } else { "down" }.to_owned(),
        healthy: snapshot.healthy,
        pid: snapshot.main.map(|main| main.pid),
        life: snapshot.life.0,
        ownership: match snapshot.main {
            _ if snapshot.attached => "attached",
            Some(_) if snapshot.adopted => "adopted",
            Some(_) => "spawned",
            None => "none",
        }
        .to_owned(),
        since: timestamp(snapshot.since),
        restarts: snapshot.restarts,
        reason: info.progress.as_ref().unwrap_or(&snapshot.reason).clone(),
        reason_is_past: info.progress.is_none() && snapshot.reason_is_past,
        last_exit: snapshot
            .last_exit
            .map(|(exit, at)| last_exit(exit, timestamp(at))),
        probes: snapshot
            .probes
            .iter()
            .map(|view| probe(info, view, &timestamp))
            .collect(),
        port: info.port,
        open_files: info.open_files,
        memory_bytes: info.memory_bytes,
        cpu_seconds: info
            .cpu
            .map(|cpu| (cpu.as_secs_f64() * 100.0).round() / 100.0),
        runtime: info.runtime.clone(),
        hold: snapshot.hold.as_ref().map(|(until, reason)| wire::Hold {
            until: timestamp(*until),
            reason: reason.clone(),
        }),
    }
}

fn probe(
    info: &ServiceInfo,
    view: &ProbeView,
    timestamp: &dyn Fn(Instant) -> String,
) -> wire::Probe {
    let (check, target) = match view.check {
        Check::Liveness => ("liveness", &info.liveness_target),
        Check::Readiness => ("readiness", &info.readiness_target),
    };
    wire::Probe {
        check: check.to_owned(),
        target: target.clone().unwrap_or_default(),
        ok: matches!(view.class, Some(Class::Alive | Class::Degraded)),
        class: view.class.map(|class| class.name().to_owned()),
        latency_ms: view
            .latency
            .map(|latency| milliseconds(latency.as_secs_f64())),
        failures: view.failures,
        last_ok_at: view.last_ok_at.map(timestamp),
    }
}

/// Milliseconds, rounded to two decimal places; more digits would be noise.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 100_000.0).round() / 100.0
}

fn last_exit(exit: Exit, at: String) -> wire::LastExit {
    let (code, signal) = match exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(number) => (None, Some(signal_name(number))),
        Exit::Unknown => (None, None),
    };
    wire::LastExit { code, signal, at }
}

/// The name of a signal without `SIG`; for a real-time signal its number.
#[must_use]
pub fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number).map_or_else(
        |_unnamed| number.to_string(),
        |signal| signal.as_str().trim_start_matches("SIG").to_owned(),
    )
}

/// RFC 3339 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::{ServiceInfo, service, signal_name};
    use crate::decide::clock::{Duration, Instant};
    use crate::decide::event::{Check, Exit, Life, Process};
    use crate::decide::snapshot::{Class, Phase, ProbeView, Snapshot};
    use std::time::SystemTime;

    fn snapshot() -> Snapshot {
        Snapshot {
            phase: Phase::Running,
            wanted_up: true,
            healthy: true,
            main: Some(Process {
                pid: 4720,
                start_time: 9,
            }),
            adopted: false,
            attached: false,
            runtime: None,
            life: Life(3),
            since: Instant::from_nanos(2_000_000_000),
            restarts: 2,
            reason: "killed: no answer".to_owned(),
            reason_is_past: true,
            last_exit: Some((Exit::Signal(9), Instant::from_nanos(1_500_000_000))),
            probes: vec![ProbeView {
                check: Check::Liveness,
                class: Some(Class::Alive),
                latency: Some(Duration::from_micros(812)),
                failures: 0,
                last_ok_at: Some(Instant::from_nanos(2_500_000_000)),
            }],
            hold: None,
        }
    }

    #[test]
    fn a_service_has_the_documented_members() {
        let info = ServiceInfo {
            name: "db".to_owned(),
            port: Some(8521),
            cpu: Some(Duration::from_micros(1_251_000)),
            liveness_target: Some("postgres://app@127.0.0.1:8521/app".to_owned()),
            ..ServiceInfo::default()
        };
        let wall_time = |at: Instant| SystemTime::UNIX_EPOCH + Duration::from_nanos(at.as_nanos());
        let shown =
            serde_json::to_value(service(&info, &snapshot(), &wall_time)).expect("plain data");
        let expected = serde_json::json!({
            "name": "db", "state": "running", "wanted": "up", "healthy": true, "pid": 4720, "life": 3,
            "ownership": "spawned", "since": "1970-01-01T00:00:02.000Z", "restarts": 2,
            "reason": "killed: no answer", "reason_is_past": true,
            "last_exit": {"code": null, "signal": "KILL", "at": "1970-01-01T00:00:01.500Z"},
            "probes": [{"check": "liveness", "target": "postgres://app@127.0.0.1:8521/app", "ok": true,
                "class": "alive", "latency_ms": 0.81, "failures": 0, "last_ok_at": "1970-01-01T00:00:02.500Z"}],
            "port": 8521, "open_files": null, "memory_bytes": null, "cpu_seconds": 1.25, "runtime": null, "hold": null,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn signals_have_names_without_sig() {
        assert_eq!(signal_name(15), "TERM");
        assert_eq!(signal_name(9), "KILL");
        assert_eq!(signal_name(60), "60");
    }
}
