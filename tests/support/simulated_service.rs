//! A simulated service: how it answers, starts, ends and reacts to signals.

use super::{SECOND, SOON};
use stayd::decide::clock::Duration;
use stayd::decide::event::{
    Answer, Exit, Life, PortHolder, Process, ResourceSample, ScanOutcome, Survivors,
};
use stayd::decide::runtime::{Offer, RuntimeId};

/// How a preparation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    Succeeds,
    PortHeld,
    /// `before` fails, with this message.
    Fails(&'static str),
    /// Only when it is cancelled.
    Hangs,
}

/// How one simulated service behaves.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedService {
    pub(crate) answer: Answer,
    pub(crate) readiness: Answer,
    /// Its resource sample while it does not answer.
    pub(crate) sample: ResourceSample,
    pub(crate) preparation: Preparation,
    /// exec is reported this long after the action.
    pub(crate) spawn_takes: Duration,
    /// It ends by itself this long after its start.
    pub(crate) exits_by_itself: Option<(Duration, Exit, Survivors)>,
    pub(crate) obeys_term: bool,
    /// SIGKILL does not end it.
    pub(crate) unkillable: bool,
    pub(crate) evidence_takes: Duration,
    /// Its probe is sent this long after the action.
    pub(crate) sent_late_by: Duration,
    /// Its probe never reports.
    pub(crate) never_reports: bool,
    /// The instance whose main process is alive.
    pub(crate) alive: Option<Life>,
    /// What the recovery scan finds of it.
    pub(crate) scan_outcome: ScanOutcome,
    /// A foreign process holds its port, and is monitored under this number.
    pub(crate) attached: Option<Life>,
    /// The runtimes on disk for its next instance.
    pub(crate) offer: Offer,
    /// The runtimes that its instances were started from.
    pub(crate) runs_from: Vec<RuntimeId>,
}

impl SimulatedService {
    pub(super) fn new() -> Self {
        Self {
            answer: Answer::Alive,
            readiness: Answer::Alive,
            sample: idle(),
            preparation: Preparation::Succeeds,
            spawn_takes: SOON,
            exits_by_itself: None,
            obeys_term: true,
            unkillable: false,
            evidence_takes: SOON,
            sent_late_by: Duration::ZERO,
            never_reports: false,
            alive: None,
            scan_outcome: ScanOutcome::Nothing(Life(0)),
            attached: None,
            offer: Offer {
                source: Ok(runtime("new")),
                fallback: Some(runtime("good")),
                refused: None,
                good: false,
                warnings: Vec::new(),
            },
            runs_from: Vec::new(),
        }
    }

    /// From now on it listens and does not answer.
    pub(crate) fn stop_answering(&mut self) {
        self.answer = silence();
    }
}

pub(crate) fn runtime(name: &str) -> RuntimeId {
    RuntimeId(name.into())
}

/// A foreign process.
pub(crate) const FOREIGN: Process = Process {
    pid: 906,
    start_time: 1,
};

/// The foreign process as holder of the port.
pub(super) fn holder() -> PortHolder {
    PortHolder {
        port: 1,
        main: Some(FOREIGN),
        description: "port 1 is held by pid 906 (nc) of user app".into(),
    }
}

pub(crate) fn silence() -> Answer {
    Answer::Dead {
        how: "no answer".into(),
    }
}

/// Neither the tree nor the host uses any CPU.
pub(crate) fn idle() -> ResourceSample {
    ResourceSample {
        watched: SECOND * 5,
        host_cpus: 2,
        ..ResourceSample::default()
    }
}

/// The tree uses a whole core.
pub(crate) fn busy() -> ResourceSample {
    ResourceSample {
        tree_cpu: SECOND * 5,
        ..idle()
    }
}
