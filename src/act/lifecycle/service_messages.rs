//! Receives the messages of an instance over its notify socket, and accepts only those from the instance's own tree.
//!
//! Any process that can send to the socket can send as much as it likes, so everything here is bounded: how many messages are
//! read, how many senders are examined, how many messages reach the loop. What is over the bound waits in the socket.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::notify::socket::{MESSAGE_BYTES_MAX, NotifySocket, THREAD};
use crate::act::notify::{Budget, Burst, Judgement, Message, Senders, Standing};
use crate::act::off_loop::off_loop;
use crate::act::probe::OpenGap;
use crate::act::spawn::launch::temporary;
use crate::decide::clock::Duration;
use crate::decide::event::{ServiceEvent, SpawnFailure};
use crate::sys::datagram::{self, Datagram, Sender};
use crate::sys::process::Process;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;

/// Messages of one service that stayd reads per second.
const MESSAGES_PER_SECOND: u32 = 2000;
/// The same for messages that reach the loop, each of which is a step of the state machine. A WATCHDOG=1 is only counted.
const EVENTS_PER_SECOND: u32 = 100;
/// The same for senders that are examined: each costs up to a dozen system calls.
const SENDERS_PER_SECOND: u32 = 200;
/// The same for messages with descriptors, each of which needs a thread for a moment.
const DESCRIPTORS_PER_SECOND: u32 = 200;
/// Messages that are read before other tasks of the loop get their turn.
const MESSAGES_PER_TURN: usize = 16;
/// What may come at once: the messages of this time.
const BURST: Duration = Duration::from_millis(200);
/// How long stayd does not read after a burst. A service with a queue of its own fills it meanwhile, and waits.
const PAUSE: Duration = Duration::from_millis(50);
/// The most time to scan the tree for the sender of a message.
const SCAN_TIMEOUT: Duration = Duration::from_secs(5);

/// Offers the instance a notify socket of its own, and gives it to `owner` (uid, gid) if that is another user.
pub(crate) fn offer_socket(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    owner: Option<(u32, u32)>,
) -> Result<(), SpawnFailure> {
    let name = format!("{}.{}", service.name(), shared.state_key);
    let bound = NotifySocket::bind(&shared.runtime_dir, &name, owner);
    let socket = bound.map_err(|error| {
        temporary(format!(
            "cannot offer it a notify socket: {error}; trying again"
        ))
    })?;
    receive_from(shared, service, instance, socket);
    Ok(())
}

/// Receives from `socket` until the instance is retired.
pub(crate) fn receive_from(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    socket: NotifySocket,
) {
    let socket = Rc::new(socket);
    let receiving = Receiving {
        shared: Rc::clone(shared),
        service: Rc::clone(service),
        instance: Rc::clone(instance),
        socket: Rc::clone(&socket),
        senders: Senders::default(),
        budget: Budget::default(),
        burst: Burst::default(),
        kept_out: None,
        warned: BTreeSet::new(),
    };
    let task = tokio::task::spawn_local(receiving.run()).abort_handle();
    instance.messages.begin(socket, task);
}

/// The task that receives from the socket of one instance.
struct Receiving {
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
    socket: Rc<NotifySocket>,
    senders: Senders,
    budget: Budget,
    burst: Burst,
    /// Open while foreign messages may keep those of the service out of the queue.
    kept_out: Option<OpenGap>,
    /// What was logged: each kind of problem once for an instance.
    warned: BTreeSet<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Problem {
    Defect,
    TooLong,
    Outsider,
    Ended,
    Unknown,
    TooMany,
    Scan,
    Descriptor,
    NoThread,
}

impl Receiving {
    async fn run(mut self) {
        // Without a tree no sender can be judged. What arrives meanwhile waits in the socket.
        self.instance.tree.known().await;
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            for _ in 0..MESSAGES_PER_TURN {
                let datagram = match self.next(&mut buffer).await {
                    Ok(datagram) => datagram,
                    Err(error) => {
                        return tracing::warn!(
                            service = self.service.name(),
                            "cannot read its notify socket: {error}; its messages are lost until its next start"
                        );
                    }
                };
                self.handle(&datagram, &buffer[..datagram.bytes]).await;
                self.discard(&datagram).await;
                self.pause_if_exhausted().await;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits for the next message, and reads it. When the queue is empty, the messages of the service have room again.
    async fn next(&mut self, buffer: &mut [u8]) -> io::Result<Datagram> {
        match self.socket.try_peek(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.burst = Burst::default();
                self.kept_out = None;
                self.socket.peek(buffer).await
            }
            found => found,
        }
    }

    async fn handle(&mut self, datagram: &Datagram, bytes: &[u8]) {
        let standing = self.standing(datagram.sender).await;
        self.charge(MESSAGES_PER_SECOND);
        self.burst.count(standing != Standing::Member);
        if self.kept_out.is_none() && self.burst.keeps_others_out() {
            let why = "processes that do not belong to it flood its notify socket";
            self.kept_out = Some(self.instance.checks.heartbeat.open_gap(why));
        }
        match standing {
            Standing::Member if datagram.truncated => self.warn(Problem::TooLong, || {
                format!(
                    "its sd_notify message is longer than {MESSAGE_BYTES_MAX} bytes; stayd ignores such messages"
                )
            }),
            Standing::Member => self.accept(&Message::parse(bytes)).await,
            Standing::Outsider | Standing::Ended | Standing::Unknown => {
                self.refuse(standing, datagram.sender, bytes);
            }
        }
    }

    async fn accept(&mut self, message: &Message<'_>) {
        if let Some(defect) = message.defect {
            self.warn(Problem::Defect, || {
                format!("{defect}; stayd ignores such fields and reads the others")
            });
        }
        if message.is_heartbeat {
            self.instance.checks.heartbeat.beat();
        }
        if let Some(pid) = message.main_pid {
            self.instance.tree.name_main(pid);
        }
        for message in message.for_the_loop() {
            self.charge(EVENTS_PER_SECOND);
            let event = ServiceEvent::Notified(self.instance.life, message);
            self.shared.send(self.service.id, event).await;
        }
    }

    fn refuse(&mut self, standing: Standing, sender: Option<Sender>, bytes: &[u8]) {
        let (pid, uid) = sender.map_or((0, 0), |sender| (sender.pid, sender.uid));
        match standing {
            Standing::Member => {}
            Standing::Outsider => self.warn(Problem::Outsider, || {
                format!(
                    "pid {pid} of user {uid}, which does not belong to it, sends to its notify socket; stayd ignores that"
                )
            }),
            Standing::Ended => self.warn(Problem::Ended, || {
                format!(
                    "cannot tell whether an sd_notify message is its own: the sender, pid {pid}, has ended; stayd ignores such \
                     messages; a sender that waits until its message was read (sd_notify_barrier(3)) is heard"
                )
            }),
            Standing::Unknown => {
                if Message::parse(bytes).is_heartbeat {
                    let why = "stayd cannot tell whether the sender of a WATCHDOG=1 belongs to it";
                    drop(self.instance.checks.heartbeat.open_gap(why));
                }
                self.warn(Problem::Unknown, || {
                    format!(
                        "cannot tell whether an sd_notify message of pid {pid} is its own: there are too many senders, or \
                         processes cannot be read; stayd ignores it"
                    )
                });
            }
        }
    }

    /// What is known about the sender, after a scan of the tree if that is necessary.
    async fn standing(&mut self, sender: Option<Sender>) -> Standing {
        let Some(sender) = sender else {
            // Where the kernel reports no sender, only the service's user can send.
            return if datagram::HAS_SENDER_CREDENTIALS {
                Standing::Unknown
            } else {
                Standing::Member
            };
        };
        let main = self.instance.main.process();
        let now = (self.shared.now)();
        let examined = self.senders.examined();
        let judgement = self.instance.tree.with(|tree| {
            let tree = tree?;
            Some(self.senders.judge(sender, main, tree, now))
        });
        if self.senders.examined() != examined {
            self.charge(SENDERS_PER_SECOND);
        }
        match judgement {
            None => Standing::Unknown,
            Some(Judgement::Known(standing)) => standing,
            Some(Judgement::NeedsScan(sender)) => self.scan_for(sender).await,
        }
    }

    /// Scans the tree for `sender`, on a thread, because the tree may be large.
    async fn scan_for(&mut self, sender: Process) -> Standing {
        let Some(tree) = self.instance.tree.get() else {
            return Standing::Unknown;
        };
        let began_at = (self.shared.now)();
        let scan = off_loop(THREAD, SCAN_TIMEOUT, move || {
            let (mut members, is_complete) = tree.members_if_readable();
            // A daemon that has given up its user and its session shows only the token.
            if members.iter().all(|member| member.process != sender) {
                members.extend(tree.examine(sender));
            }
            (members, is_complete)
        });
        let why = "the search for the sender of an sd_notify message takes long";
        let found = self.long(scan, Problem::Scan, why).await;
        let now = (self.shared.now)();
        let (members, is_complete) = found.unwrap_or_default();
        let took = now.since(began_at);
        self.senders
            .learn(sender, (&members, is_complete), took, now)
    }

    /// Removes the message from the socket, and closes the descriptors that came with it.
    async fn discard(&mut self, datagram: &Datagram) {
        if !datagram.has_descriptors {
            return self.socket.discard();
        }
        self.charge(DESCRIPTORS_PER_SECOND);
        let socket = Rc::clone(&self.socket);
        let why = "the close of a descriptor that came with an sd_notify message takes long";
        loop {
            let closing = socket.discard_with_descriptors();
            let Err(error) = self.long(closing, Problem::Descriptor, why).await else {
                return;
            };
            self.warn(Problem::NoThread, || {
                format!(
                    "cannot close a descriptor that came with an sd_notify message: {error}; trying again"
                )
            });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits for `work` during which no message is read. If that takes long, says `why`, and silence of the service means
    /// nothing until the end of `work`.
    async fn long<T>(
        &mut self,
        work: impl Future<Output = T>,
        problem: Problem,
        why: &'static str,
    ) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(PAUSE, &mut work).await {
            return done;
        }
        self.warn(problem, || format!("{why}; its messages wait until then"));
        let _gap = self.instance.checks.heartbeat.open_gap(why);
        work.await
    }

    /// Stops reading for a while when stayd has done what it does for one service. The other messages wait in the socket.
    async fn pause_if_exhausted(&mut self) {
        if !self.budget.is_exhausted((self.shared.now)(), BURST) {
            return;
        }
        let is_foreign = self.burst.keeps_others_out();
        self.warn(Problem::TooMany, || {
            let sender = if is_foreign {
                "processes that do not belong to it send"
            } else {
                "sends"
            };
            format!(
                "{sender} more sd_notify messages than stayd reads in a second; the others wait in its socket"
            )
        });
        tokio::time::sleep(PAUSE).await;
    }

    /// Charges one piece of work of which there are at most `per_second`.
    fn charge(&mut self, per_second: u32) {
        let cost = Duration::from_secs(1) / per_second;
        self.budget.charge((self.shared.now)(), cost);
    }

    fn warn(&mut self, problem: Problem, sentence: impl FnOnce() -> String) {
        if self.warned.insert(problem) {
            tracing::warn!(service = self.service.name(), "{}", sentence());
        }
    }
}
