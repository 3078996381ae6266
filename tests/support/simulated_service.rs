//! How a service of the simulation behaves: what its probe answers, how it starts and how it ends.

use super::{SECOND, SOON};
use stayd::decide::clock::Duration;
use stayd::decide::event::{
    Answer, Exit, Holder, Life, Process, ResourceSample, ScanOutcome, Survivors,
};
use stayd::decide::runtime::{Offer, RuntimeId};

/// How a preparation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    Succeeds,
    PortHeld,
    /// `before` fails with this message.
    Fails(&'static str),
    /// Only when it is cancelled.
    Hangs,
}

/// One simulated service.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) answer: Answer,
    pub(crate) readiness: Answer,
    /// Its resource use while it does not answer.
    pub(crate) sample: ResourceSample,
    pub(crate) preparation: Preparation,
    /// exec is reported this long after the action.
    pub(crate) spawn_takes: Duration,
    /// It ends by itself this long after its start.
    pub(crate) ends: Option<(Duration, Exit, Survivors)>,
    pub(crate) obeys_term: bool,
    /// SIGKILL does not end it.
    pub(crate) stuck: bool,
    pub(crate) evidence_takes: Duration,
    /// Its probe is sent this long after the action.
    pub(crate) send_late: Duration,
    /// Its probe never reports.
    pub(crate) mute: bool,
    /// The instance whose main process is alive.
    pub(crate) alive: Option<Life>,
    /// What the recovery scan finds.
    pub(crate) left: ScanOutcome,
    /// A foreign process holds its port and is watched as this instance.
    pub(crate) attached: Option<Life>,
    /// The runtime that the next instance is offered.
    pub(crate) offer: Offer,
    /// The runtimes that its instances ran from.
    pub(crate) runs_from: Vec<RuntimeId>,
}

impl Actor {
    pub(super) fn new() -> Self {
        Self {
            answer: Answer::Alive,
            readiness: Answer::Alive,
            sample: idle(),
            preparation: Preparation::Succeeds,
            spawn_takes: SOON,
            ends: None,
            obeys_term: true,
            stuck: false,
            evidence_takes: SOON,
            send_late: Duration::ZERO,
            mute: false,
            alive: None,
            left: ScanOutcome::Nothing(Life(0)),
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

    /// From now on it listens and answers nothing.
    pub(crate) fn falls_silent(&mut self) {
        self.answer = silence();
    }
}

pub(crate) fn runtime(name: &str) -> RuntimeId {
    RuntimeId(name.into())
}

/// A foreign process.
pub(crate) const STRANGER: Process = Process {
    pid: 906,
    start_time: 1,
};

/// The foreign process as the holder of the port.
pub(super) fn holder() -> Holder {
    Holder {
        port: 1,
        main: Some(STRANGER),
        words: "port 1 is held by pid 906 (nc) of user app".into(),
    }
}

pub(crate) fn silence() -> Answer {
    Answer::Dead {
        how: "no answer".into(),
    }
}

/// No process uses any CPU.
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
