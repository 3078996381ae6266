//! The list of stayd's own children is complete while the threads that spawned them end.
//!
//! The kernel keeps a list of children for each thread (proc(5), `/proc/PID/task/TID/children`).

use crate::support::{TempDir, alone, plan, program, wait_for_exit};
use stayd::sys::process::Handle;
use stayd::sys::reaper::{self, Status};
use stayd::sys::spawn::spawn;

/// How many threads end: each is a chance that a list of children changes while it is read.
const THREADS: usize = 500;
/// Each thread spins so many times longer than the one before, so that some end at the worst moment.
const SPINS: usize = 100;

/// When a thread ends, the kernel moves its children to another thread: possibly from a list that stayd has yet to read to
/// one that it has read already.
#[test]
fn own_children_lists_a_child_while_the_thread_that_spawned_it_ends() {
    alone(|| {
        let dir = TempDir::new();
        for nth in 0..THREADS {
            let plan = plan(&program("sleep"), &["60"], &dir.join("out"));
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let child = spawn(plan).expect("spawned");
                sender
                    .send((nix::unistd::gettid(), child))
                    .expect("the test receives");
                (0..nth * SPINS).for_each(|_| std::hint::spin_loop());
            });
            let (thread, child) = receiver.recv().expect("a child");
            let thread = std::path::PathBuf::from(format!("/proc/self/task/{thread}"));
            while thread.exists() {
                let listed = reaper::own_children().expect("ours");
                assert_eq!(listed, [child.process.pid]);
            }
            Handle::open(child.process)
                .expect("the child")
                .signal(9)
                .expect("killed");
            assert_eq!(wait_for_exit(child), Status::Signal(9));
        }
    });
}
