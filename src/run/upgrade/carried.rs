//! What a service goes over with, as text. Moments are nanoseconds since the loop began.

use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Exit, Life};
use crate::decide::runtime::{Memory, RuntimeId};
use crate::decide::snapshot::Class;
use crate::decide::state::{Carried, CarriedUp, News, Rest};
use serde::{Deserialize, Serialize};

/// [`Carried`], as it is written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Written {
    life: u32,
    number_is_free: bool,
    wanted_up: bool,
    hold: Option<(u64, String)>,
    adopted: bool,
    since: u64,
    restarts: u32,
    reason: String,
    last_exit: Option<(WrittenExit, u64)>,
    ended: Vec<u64>,
    gave_up: bool,
    refusals: u32,
    runtime: Option<String>,
    runtime_is_good: bool,
    runtime_unready: u32,
    rest: WrittenRest,
}

#[derive(Debug, Serialize, Deserialize)]
enum WrittenExit {
    Code(i32),
    Signal(i32),
    Unknown,
}

#[derive(Debug, Serialize, Deserialize)]
enum WrittenRest {
    Stopped,
    Backoff(u64),
    Parked(u64),
    Blocked(u64),
    Attached,
    Up(WrittenUp),
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenUp {
    spawned_at: u64,
    startup_until: Option<u64>,
    ready_at: Option<u64>,
    degraded_since: Option<u64>,
    degraded_told: bool,
    keeps_reason: bool,
    liveness: WrittenNews,
    readiness: WrittenNews,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenNews {
    class: Option<WrittenClass>,
    latency: Option<Duration>,
    last_ok_at: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum WrittenClass {
    Alive,
    Degraded,
    Dead,
    NoVerdict,
    Void,
}

impl From<Carried> for Written {
    fn from(carried: Carried) -> Self {
        Self {
            life: carried.life.0,
            number_is_free: carried.number_is_free,
            wanted_up: carried.wanted_up,
            hold: carried.hold.map(|(until, why)| (until.as_nanos(), why)),
            adopted: carried.adopted,
            since: carried.since.as_nanos(),
            restarts: carried.restarts,
            reason: carried.reason,
            last_exit: carried
                .last_exit
                .map(|(exit, at)| (exit.into(), at.as_nanos())),
            ended: carried.ended.into_iter().map(Instant::as_nanos).collect(),
            gave_up: carried.gave_up,
            refusals: carried.refusals,
            runtime: carried.runtimes.current.map(|id| id.0),
            runtime_is_good: carried.runtimes.good,
            runtime_unready: carried.runtimes.unready,
            rest: carried.rest.into(),
        }
    }
}

impl From<Written> for Carried {
    fn from(written: Written) -> Self {
        let at = Instant::from_nanos;
        Self {
            life: Life(written.life),
            number_is_free: written.number_is_free,
            wanted_up: written.wanted_up,
            hold: written.hold.map(|(until, why)| (at(until), why)),
            adopted: written.adopted,
            since: at(written.since),
            restarts: written.restarts,
            reason: written.reason,
            last_exit: written
                .last_exit
                .map(|(exit, when)| (exit.into(), at(when))),
            ended: written.ended.into_iter().map(at).collect(),
            gave_up: written.gave_up,
            refusals: written.refusals,
            runtimes: Memory::of(
                written.runtime.map(RuntimeId),
                written.runtime_is_good,
                written.runtime_unready,
            ),
            rest: written.rest.into(),
        }
    }
}

impl From<Exit> for WrittenExit {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal(number) => Self::Signal(number),
            Exit::Unknown => Self::Unknown,
        }
    }
}

impl From<WrittenExit> for Exit {
    fn from(written: WrittenExit) -> Self {
        match written {
            WrittenExit::Code(code) => Self::Code(code),
            WrittenExit::Signal(number) => Self::Signal(number),
            WrittenExit::Unknown => Self::Unknown,
        }
    }
}

impl From<Rest> for WrittenRest {
    fn from(rest: Rest) -> Self {
        match rest {
            Rest::Stopped => Self::Stopped,
            Rest::Backoff(until) => Self::Backoff(until.as_nanos()),
            Rest::Parked(until) => Self::Parked(until.as_nanos()),
            Rest::Blocked(until) => Self::Blocked(until.as_nanos()),
            Rest::Attached => Self::Attached,
            Rest::Up(up) => Self::Up(up.into()),
        }
    }
}

impl From<WrittenRest> for Rest {
    fn from(written: WrittenRest) -> Self {
        let at = Instant::from_nanos;
        match written {
            WrittenRest::Stopped => Self::Stopped,
            WrittenRest::Backoff(until) => Self::Backoff(at(until)),
            WrittenRest::Parked(until) => Self::Parked(at(until)),
            WrittenRest::Blocked(until) => Self::Blocked(at(until)),
            WrittenRest::Attached => Self::Attached,
            WrittenRest::Up(up) => Self::Up(up.into()),
        }
    }
}

impl From<CarriedUp> for WrittenUp {
    fn from(up: CarriedUp) -> Self {
        Self {
            spawned_at: up.spawned_at.as_nanos(),
            startup_until: up.startup_until.map(Instant::as_nanos),
            ready_at: up.ready_at.map(Instant::as_nanos),
            degraded_since: up.degraded_since.map(Instant::as_nanos),
            degraded_told: up.degraded_told,
            keeps_reason: up.keeps_reason,
            liveness: up.liveness.into(),
            readiness: up.readiness.into(),
        }
    }
}

impl From<WrittenUp> for CarriedUp {
    fn from(written: WrittenUp) -> Self {
        let at = Instant::from_nanos;
        Self {
            spawned_at: at(written.spawned_at),
            startup_until: written.startup_until.map(at),
            ready_at: written.ready_at.map(at),
            degraded_since: written.degraded_since.map(at),
            degraded_told: written.degraded_told,
            keeps_reason: written.keeps_reason,
            liveness: written.liveness.into(),
            readiness: written.readiness.into(),
        }
    }
}

impl From<News> for WrittenNews {
    fn from(news: News) -> Self {
        let class = |class| match class {
            Class::Alive => WrittenClass::Alive,
            Class::Degraded => WrittenClass::Degraded,
            Class::Dead => WrittenClass::Dead,
            Class::NoVerdict => WrittenClass::NoVerdict,
            Class::Void => WrittenClass::Void,
        };
        Self {
            class: news.class.map(class),
            latency: news.latency,
            last_ok_at: news.last_ok_at.map(Instant::as_nanos),
        }
    }
}

impl From<WrittenNews> for News {
    fn from(written: WrittenNews) -> Self {
        let class = |class| match class {
            WrittenClass::Alive => Class::Alive,
            WrittenClass::Degraded => Class::Degraded,
            WrittenClass::Dead => Class::Dead,
            WrittenClass::NoVerdict => Class::NoVerdict,
            WrittenClass::Void => Class::Void,
        };
        Self {
            class: written.class.map(class),
            latency: written.latency,
            last_ok_at: written.last_ok_at.map(Instant::from_nanos),
        }
    }
}
