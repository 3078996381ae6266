//! A walk of every reachable state of `decide`, in virtual time, with the laws as invariants.
//!
//! The world plays the operating system: each order may have each of its possible outcomes, and each outcome may arrive
//! now or later, also after the life it is about has ended. Two services run side by side in one machine, so that a
//! fact about one can be seen to leave the other alone. Depth is bounded; states already seen are not walked again.

use stayd::decide::action::{Action, Order};
use stayd::decide::clock::{Duration, Moment};
use stayd::decide::event::{
    Answer, Check, Event, Exit, Fact, Life, Proc, Remembered, Round, ServiceId, Sight,
    SpawnFailure, Survivors, Told, Wish,
};
use stayd::decide::fleet::Machine;
use stayd::decide::policy::{Backoff, GiveUp, Mode, Policy, Restart, StoppedIs, Watchdog};
use stayd::decide::snapshot::Phase;
use stayd::decide::state::Identity;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

const SECOND: Duration = Duration::from_secs(1);
const ID: ServiceId = ServiceId(0);

fn policy() -> Policy {
    Policy {
        restart: Restart::Always,
        backoff: Backoff {
            min: SECOND,
            max: SECOND * 2,
            stable_after: SECOND * 60,
        },
        give_up: GiveUp {
            exits: 3,
            within: SECOND * 60,
        },
        stop_grace: SECOND,
        startup: SECOND * 3,
        stopped_is: StoppedIs::Wedged,
        watchdog: Some(Watchdog {
            interval: SECOND,
            timeout: SECOND,
            failures: 2,
            busy_grace: SECOND * 3,
            degraded_kills: false,
            first_grace: None,
            mode: Mode::Kill,
            evidence_extra: Duration::ZERO,
            told_by_service: false,
        }),
        ready_probe: false,
        notifies_ready: false,
    }
}

/// What is the case outside the machine, for one service.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Outside {
    /// Main process alive (as a zombie too) of this life.
    main: Option<Life>,
    /// Members of the tree besides the main process.
    others: bool,
    /// SIGKILL ordered for this life.
    killed: Option<Life>,
    /// A question of this life is under way, with its times.
    asked: Option<(Life, Moment, Moment)>,
    /// An answer of this service's current life has come.
    answered: bool,
    /// Dead rounds delivered since the last round that was not, for this life.
    dead_row: u32,
    hold: bool,
    debugged: bool,
    ever_answered: bool,
    wanted_up: bool,
    preparing: Option<Life>,
    spawning: Option<Life>,
    taking_evidence: Option<Life>,
}

#[derive(Clone)]
struct World {
    machine: Machine,
    now: Moment,
    outside: Outside,
    /// Facts about lives that are over, still on their way.
    leaving: bool,
    finished: bool,
}

/// What may happen next.
#[derive(Clone, Debug)]
enum Next {
    Deadline,
    PastDeadline,
    Shutdown,
    Slept,
    Late,
    Fact(Fact),
    StaleFact(Fact),
}

impl World {
    fn new(policy: Policy, past: Remembered) -> Self {
        let mut machine = Machine::default();
        let identity = Identity {
            question: "SELECT 1".into(),
            program: "victim".into(),
            salt: 1,
        };
        let id = machine.add(policy, identity);
        assert_eq!(id, ID);
        let outside = Outside {
            wanted_up: !past.stopped,
            ever_answered: past.proven,
            ..Outside::default()
        };
        let mut world = Self {
            machine,
            now: Moment::START,
            outside,
            leaving: false,
            finished: false,
        };
        world.deliver(Event::Service(ID, Fact::Configured(past)), false);
        world
    }

    /// Steps the machine and checks every order against the world.
    fn deliver(&mut self, event: Event, is_dead_round: bool) {
        let before = self.machine.clone();
        let actions = self.machine.step(self.now, event.clone());
        let mut again = before;
        assert_eq!(
            again.step(self.now, event.clone()),
            actions,
            "same input, same output"
        );
        for action in actions {
            match action {
                Action::Service(id, order) => {
                    assert_eq!(id, ID);
                    self.check_and_do(order, is_dead_round, &event);
                }
                Action::AnnounceReady => assert!(!self.leaving),
                Action::Finish => {
                    assert!(self.outside.main.is_none(), "ends only when nothing runs");
                    assert!(self.outside.spawning.is_none());
                    self.finished = true;
                }
            }
        }
    }

    fn check_and_do(&mut self, order: Order, is_dead_round: bool, event: &Event) {
        let outside = &mut self.outside;
        match order {
            Order::Prepare(life) => {
                assert!(!self.leaving, "the end wins over every pending start");
                assert!(
                    outside.main.is_none() && !outside.others,
                    "never two copies: {life:?} while one lives"
                );
                assert!(outside.preparing.is_none() && outside.spawning.is_none());
                outside.preparing = Some(life);
            }
            Order::Spawn(life) => {
                assert!(!self.leaving && outside.wanted_up);
                assert!(
                    outside.main.is_none() && !outside.others,
                    "never two copies"
                );
                assert!(outside.spawning.is_none());
                outside.spawning = Some(life);
            }
            Order::CancelPreparation(life) => assert_eq!(outside.preparing, Some(life)),
            Order::TakeEvidence { life, .. } => {
                assert_eq!(outside.main, Some(life));
                let triggered = matches!(event, Event::Service(_, Fact::Told(_, Told::Trigger)));
                assert!(
                    is_dead_round || triggered,
                    "only a dead round condemns, not {event:?}"
                );
                assert!(
                    outside.ever_answered || triggered,
                    "none before the first answer"
                );
                assert!(!outside.hold, "a hold kills nobody");
                assert!(
                    triggered || outside.dead_row >= 2,
                    "a row of {} is no wedge",
                    outside.dead_row
                );
                outside.taking_evidence = Some(life);
            }
            Order::SignalFirst(life) => assert_eq!(outside.main, Some(life)),
            Order::KillTree(life) => {
                assert!(
                    outside.spawning.is_none(),
                    "no kill before exec is reported"
                );
                assert!(
                    outside.main == Some(life) || outside.others,
                    "a kill needs somebody to kill"
                );
                outside.killed = Some(life);
            }
            Order::Terminate { life, tree } => {
                assert!(
                    tree || outside.main == Some(life),
                    "terminates its own main process"
                );
                assert!(
                    !outside.wanted_up
                        || self.leaving
                        || is_restart(event)
                        || tree
                        || spawned(event)
                );
            }
            Order::Inherit { life, .. } => {
                outside.main = Some(life);
                outside.others = false;
            }
            Order::Probe { life, deadline, .. } => {
                assert_eq!(outside.main, Some(life));
                assert!(deadline > self.now);
                outside.asked = Some((life, self.now, deadline));
            }
            Order::Retire(_) => {
                assert!(outside.main.is_none() && !outside.others);
                outside.asked = None;
                outside.killed = None;
                outside.taking_evidence = None;
                outside.dead_row = 0;
            }
            Order::Record(record) => {
                assert!(!record.sentence.is_empty());
                let said_ready = record.sentence.starts_with("ready after");
                if said_ready {
                    outside.dead_row = 0;
                }
            }
            Order::Keep(_) => {}
        }
    }

    /// Everything that may become true now.
    fn possibilities(&self) -> Vec<Next> {
        let outside = &self.outside;
        let mut next = Vec::new();
        if self.machine.deadline() != Moment::NEVER {
            next.push(Next::Deadline);
            next.push(Next::PastDeadline);
        }
        if !self.leaving {
            next.push(Next::Shutdown);
            next.extend(
                [Wish::Stop, Wish::Start, Wish::Restart].map(|wish| Next::Fact(Fact::Asked(wish))),
            );
            let hold = Wish::Hold {
                span: SECOND * 2,
                reason: "backup".into(),
            };
            next.push(Next::Fact(Fact::Asked(if outside.hold {
                Wish::Release
            } else {
                hold
            })));
        }
        if let Some(life) = outside.preparing {
            next.push(Next::Fact(Fact::Prepared(life)));
            next.push(Next::Fact(Fact::NotPrepared(life, failure())));
            next.push(Next::Fact(Fact::PortHeld(life, "port 1 is held".into())));
        }
        if let Some(life) = outside.spawning {
            next.push(Next::Fact(Fact::Spawned(life, proc_of(life))));
            next.push(Next::Fact(Fact::NotSpawned(life, failure())));
        }
        if let Some(life) = outside.main {
            self.about_the_living(life, &mut next);
        }
        if let Some(life) = outside.killed {
            next.push(Next::Fact(Fact::NotEmptied {
                life,
                left: 1,
                stuck: 1,
            }));
            if outside.main.is_none() {
                next.push(Next::Fact(Fact::Emptied(life)));
            }
        }
        if let Some(life) = outside.taking_evidence {
            next.push(Next::Fact(Fact::EvidenceTaken(life)));
        }
        next.push(Next::Slept);
        next.push(Next::Late);
        self.stale(&mut next);
        next
    }

    fn about_the_living(&self, life: Life, next: &mut Vec<Next>) {
        for exit in [Exit::Code(0), Exit::Signal(9)] {
            next.push(Next::Fact(Fact::Exited(life, exit, Survivors::default())));
        }
        let heir = Some(Proc { pid: 900, birth: 9 });
        let survivors = Survivors {
            count: 1,
            heir,
            heir_listens: true,
        };
        next.push(Next::Fact(Fact::Exited(
            life,
            Exit::Code(0),
            survivors.clone(),
        )));
        next.push(Next::Fact(Fact::Exited(life, Exit::Code(1), survivors)));
        next.push(Next::Fact(Fact::Told(life, Told::Trigger)));
        if let Some((asked_life, asked_at, deadline)) = self.outside.asked
            && asked_life == life
        {
            for (answer, sight) in answers() {
                let silent = matches!(answer, Answer::Dead { .. });
                let done = if silent {
                    deadline.max(self.now)
                } else {
                    self.now
                };
                let round = Round {
                    asked_at,
                    deadline,
                    answer,
                    latency: done.since(asked_at),
                    sight,
                };
                next.push(Next::Fact(Fact::Probed(life, Check::Liveness, round)));
            }
        }
    }

    /// Facts about lives that are over: they change nothing.
    fn stale(&self, next: &mut Vec<Next>) {
        let Some(current) = self.machine.snapshot(self.now, ID).map(|shown| shown.life) else {
            return;
        };
        if current.0 < 2 {
            return;
        }
        let old = Life(current.0 - 1);
        let round = Round {
            asked_at: self.now,
            deadline: self.now,
            answer: Answer::Dead {
                how: "stale".into(),
            },
            latency: SECOND,
            sight: Sight::default(),
        };
        next.push(Next::StaleFact(Fact::Probed(old, Check::Liveness, round)));
        next.push(Next::StaleFact(Fact::Exited(
            old,
            Exit::Code(1),
            Survivors::default(),
        )));
        next.push(Next::StaleFact(Fact::Emptied(old)));
        next.push(Next::StaleFact(Fact::Spawned(old, proc_of(old))));
        next.push(Next::StaleFact(Fact::EvidenceTaken(old)));
        next.push(Next::StaleFact(Fact::Told(old, Told::Trigger)));
    }

    fn happen(&mut self, next: Next) {
        match next {
            Next::Deadline => {
                self.now = self.machine.deadline().max(self.now);
                self.tick();
            }
            Next::PastDeadline => {
                self.now = self.machine.deadline().max(self.now).after(SECOND / 2);
                self.tick();
            }
            Next::Shutdown => {
                self.leaving = true;
                self.deliver(Event::Shutdown, false);
            }
            Next::Slept => {
                self.outside.dead_row = 0;
                self.deliver(Event::Slept(SECOND * 3600), false);
            }
            Next::Late => self.deliver(Event::Late(SECOND), false),
            Next::StaleFact(fact) => {
                let before = self.machine.clone();
                let actions = self
                    .machine
                    .step(self.now, Event::Service(ID, fact.clone()));
                assert!(
                    actions.is_empty(),
                    "a late fact changes nothing: {fact:?} gave {actions:?}"
                );
                assert_eq!(
                    before, self.machine,
                    "a late fact changes nothing: {fact:?}"
                );
            }
            Next::Fact(fact) => self.become_true(fact),
        }
    }

    fn tick(&mut self) {
        self.outside.hold = self
            .machine
            .snapshot(self.now, ID)
            .is_some_and(|shown| shown.hold.is_some_and(|(until, _)| until > self.now));
        self.deliver(Event::Tick, false);
    }

    fn become_true(&mut self, fact: Fact) {
        let outside = &mut self.outside;
        let mut dead = false;
        match &fact {
            Fact::Asked(Wish::Stop) => outside.wanted_up = false,
            Fact::Asked(Wish::Start | Wish::Restart) => outside.wanted_up = true,
            Fact::Asked(Wish::Hold { .. }) => outside.hold = true,
            Fact::Asked(Wish::Release) => outside.hold = false,
            Fact::Prepared(_) | Fact::NotPrepared(..) | Fact::PortHeld(..) => {
                outside.preparing = None
            }
            Fact::Spawned(life, _) => {
                outside.spawning = None;
                outside.main = Some(*life);
                outside.answered = false;
                outside.dead_row = 0;
            }
            Fact::NotSpawned(..) => outside.spawning = None,
            Fact::Exited(_, _, survivors) => {
                outside.main = None;
                outside.asked = None;
                outside.others = survivors.count > 0;
            }
            Fact::Emptied(_) => outside.others = false,
            Fact::Probed(_, _, round) => {
                outside.asked = None;
                let answered = matches!(round.answer, Answer::Alive | Answer::Degraded { .. });
                outside.answered |= answered;
                outside.ever_answered |= answered;
                outside.debugged = round.sight.traced;
                dead = matches!(round.answer, Answer::Dead { .. }) && !round.sight.traced;
                outside.dead_row = match round.answer {
                    Answer::NoVerdict { .. } => outside.dead_row,
                    _ if dead => outside.dead_row + 1,
                    _ => 0,
                };
            }
            Fact::EvidenceTaken(_) => outside.taking_evidence = None,
            Fact::NotEmptied { .. } => outside.others = outside.main.is_none(),
            Fact::Configured(_) | Fact::Told(..) | Fact::Changed => {}
        }
        self.deliver(Event::Service(ID, fact), dead);
    }

    /// From here the world behaves: does everything end, and is no deadline left behind?
    fn drains(mut self) {
        self.leaving = true;
        self.deliver(Event::Shutdown, false);
        for _ in 0..50 {
            if self.finished {
                assert_eq!(
                    self.machine.deadline(),
                    Moment::NEVER,
                    "no deadline is left"
                );
                return;
            }
            let outside = self.outside.clone();
            if let Some(life) = outside.preparing {
                self.become_true(Fact::NotPrepared(life, failure()));
            } else if let Some(life) = outside.spawning {
                self.become_true(Fact::Spawned(life, proc_of(life)));
            } else if let (Some(life), true) = (outside.main, outside.killed.is_some()) {
                self.become_true(Fact::Exited(life, Exit::Signal(9), Survivors::default()));
                if !self.finished {
                    self.become_true(Fact::Emptied(life));
                }
            } else if let Some(life) = outside.killed {
                self.become_true(Fact::Emptied(life));
            } else {
                assert_ne!(
                    self.machine.deadline(),
                    Moment::NEVER,
                    "stuck: {:?}",
                    self.outside
                );
                self.happen(Next::Deadline);
            }
        }
        panic!(
            "does not end: {:?} {:?}",
            self.outside,
            self.machine.snapshot(self.now, ID)
        );
    }

    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.machine, self.now, &self.outside, self.leaving))
    }
}

fn answers() -> Vec<(Answer, Sight)> {
    let silence = Answer::Dead {
        how: "no answer".into(),
    };
    let idle = Sight {
        watched: SECOND,
        ..Sight::default()
    };
    vec![
        (Answer::Alive, Sight::default()),
        (
            Answer::NoVerdict {
                why: "EMFILE".into(),
            },
            Sight::default(),
        ),
        (
            silence.clone(),
            Sight {
                traced: true,
                ..idle
            },
        ),
        (
            silence.clone(),
            Sight {
                tree_cpu: SECOND,
                ..idle
            },
        ),
        (silence, idle),
    ]
}

fn failure() -> SpawnFailure {
    SpawnFailure {
        message: "cannot run it: no such file".into(),
        lasting: true,
    }
}

fn proc_of(life: Life) -> Proc {
    Proc {
        pid: 100 + i32::try_from(life.0).expect("few lives"),
        birth: life.0.into(),
    }
}

fn is_restart(event: &Event) -> bool {
    matches!(event, Event::Service(_, Fact::Asked(Wish::Restart)))
}

fn spawned(event: &Event) -> bool {
    matches!(event, Event::Service(_, Fact::Spawned(..)))
}

struct Walk {
    seen: HashSet<(u64, usize)>,
    hasher: RandomState,
    steps: u64,
    phases: HashSet<Phase>,
}

impl Walk {
    fn new() -> Self {
        Self {
            seen: HashSet::new(),
            hasher: RandomState::new(),
            steps: 0,
            phases: HashSet::new(),
        }
    }

    fn walk(&mut self, world: &World, depth: usize) {
        if let Some(shown) = world.machine.snapshot(world.now, ID) {
            self.phases.insert(shown.phase);
        }
        if depth == 0 || world.finished {
            if !world.finished {
                world.clone().drains();
            }
            return;
        }
        if !self.seen.insert((world.fingerprint(&self.hasher), depth)) {
            return;
        }
        for next in world.possibilities() {
            let mut then = world.clone();
            then.happen(next);
            self.steps += 1;
            self.walk(&then, depth - 1);
        }
    }
}

/// A world that has come to a running, proven service in its second round.
fn running(policy: Policy) -> World {
    let mut world = World::new(policy, Remembered::default());
    world.become_true(Fact::Prepared(Life(1)));
    world.become_true(Fact::Spawned(Life(1), proc_of(Life(1))));
    world.happen(Next::Deadline);
    answer(&mut world, &Answer::Alive, Sight::default());
    assert_eq!(
        world.machine.snapshot(world.now, ID).expect("there").phase,
        Phase::Running
    );
    world
}

fn answer(world: &mut World, answer: &Answer, sight: Sight) {
    let (life, asked_at, deadline) = world.outside.asked.expect("a question is under way");
    if matches!(answer, Answer::Dead { .. }) {
        world.now = world.now.max(deadline);
    }
    let round = Round {
        asked_at,
        deadline,
        answer: answer.clone(),
        latency: world.now.since(asked_at),
        sight,
    };
    world.become_true(Fact::Probed(life, Check::Liveness, round));
}

#[test]
fn every_state_from_the_start() {
    let mut walk = Walk::new();
    for past in [
        Remembered::default(),
        Remembered {
            proven: true,
            last_life: Life(7),
            ..Remembered::default()
        },
        Remembered {
            stopped: true,
            ..Remembered::default()
        },
        Remembered {
            parked: true,
            last_life: Life(3),
            ..Remembered::default()
        },
        Remembered {
            hold: Some((SECOND, "migration".into())),
            proven: true,
            ..Remembered::default()
        },
    ] {
        walk.walk(&World::new(policy(), past), 6);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Stopped,
        Phase::Blocked,
        Phase::Starting,
        Phase::Running,
        Phase::Parked,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn every_state_around_a_wedge() {
    let mut walk = Walk::new();
    for rules in [policy(), with_first(), on_failure()] {
        let mut world = running(rules);
        world.happen(Next::Deadline);
        let silence = Answer::Dead {
            how: "no answer".into(),
        };
        answer(
            &mut world,
            &silence,
            Sight {
                watched: SECOND,
                ..Sight::default()
            },
        );
        assert_eq!(
            world.machine.snapshot(world.now, ID).expect("there").phase,
            Phase::Suspect
        );
        world.happen(Next::Deadline);
        walk.walk(&world, 6);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Wedged,
        Phase::Suspect,
        Phase::Stopping,
        Phase::Unkillable,
        Phase::Starting,
        Phase::Running,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn a_seeded_walk_goes_deep() {
    let seed = std::env::var("WALK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_u64);
    println!("WALK_SEED={seed}");
    let mut bits = seed;
    for _ in 0..2_000 {
        let mut world = World::new(policy(), Remembered::default());
        for _ in 0..60 {
            if world.finished {
                break;
            }
            let mut possible = world.possibilities();
            // Shutdown ends a walk; keep most of them long.
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(bits >> 33).expect("31 bits") % possible.len();
            let next = possible.swap_remove(index);
            if matches!(next, Next::Shutdown) && !bits.is_multiple_of(16) {
                continue;
            }
            world.happen(next);
        }
        if !world.finished {
            world.drains();
        }
    }
}

fn with_first() -> Policy {
    let mut rules = policy();
    rules.watchdog = rules.watchdog.map(|rules| Watchdog {
        first_grace: Some(SECOND),
        ..rules
    });
    rules
}

fn on_failure() -> Policy {
    Policy {
        restart: Restart::OnFailure,
        ..policy()
    }
}
