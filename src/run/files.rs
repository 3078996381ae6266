//! What `status` shows of the files that services run from.

use super::desk::{Identity, Known};
use crate::act::helper::Progress;
use crate::act::runtime::files_and_bytes;
use crate::act::runtime::status_board::ProgramCheck;
use crate::api::wire;
use crate::decide::event::ServiceId;
use crate::decide::fleet::Machine;
use crate::decide::snapshot::{Phase, Snapshot};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::timeout;

/// A look at programs and sources on disks is waited for this long.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

impl Identity {
    /// What the service runs from: its runtime, or a program that has another's place by now.
    pub(super) fn runtime(&self, service: &str, snapshot: &Snapshot) -> Option<wire::Runtime> {
        if let Some(id) = &snapshot.runtime {
            return Some(wire::Runtime {
                fingerprint: Some(id.0.clone()),
                path: format!("{}/runtime/{}", self.daemon.state_dir, id.0),
                stale: self.status_board.is_stale(service),
            });
        }
        let path = self.status_board.replaced(service, snapshot.main?)?;
        Some(wire::Runtime {
            fingerprint: None,
            path,
            stale: true,
        })
    }

    /// What takes its time, and how far that is.
    pub(super) fn at_work(&self, service: &str, snapshot: &Snapshot) -> Option<String> {
        let far = self.status_board.copy_progress(service)?;
        let copies = snapshot.phase == Phase::Materializing && far != Progress::default();
        copies.then(|| {
            format!(
                "copying its runtime: {} so far",
                files_and_bytes(far.files, far.bytes)
            )
        })
    }

    /// Looks whether programs were replaced under their services, and whether sources hold something else than what runs;
    /// waits for that only a moment.
    pub(super) async fn look(&self, machine: &RefCell<Machine>) {
        let now = self.origin.now();
        let plain = |(index, known): (usize, &Known)| {
            let look = known.program.clone()?;
            let snapshot = machine.borrow().snapshot(now, ServiceId(index))?;
            let main = snapshot.main.filter(|_| !snapshot.attached)?;
            Some(ProgramCheck {
                service: known.info.name.clone(),
                main,
                look,
            })
        };
        let plain = self
            .services
            .borrow()
            .iter()
            .enumerate()
            .filter_map(plain)
            .collect();
        let programs = async {
            if let Some(looking) = self.status_board.check_programs(now, plain) {
                // What came of it is kept.
                let _ = looking.await;
            }
        };
        let both = async { tokio::join!(programs, self.status_board.check_sources(now)) };
        // What is not seen by then is shown to the next who asks.
        let _ = timeout(LOOK_WITHIN, both).await;
    }
}
