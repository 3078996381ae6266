//! Captured output onto a disk that takes nothing, and says nothing.

use crate::output::{FIRST, log, log_size, output, run, state, text};
use crate::support::{
    SOON, TempDir, alone_in_a_namespace_of_processes, victim, wait_for_exit, wait_until,
};
use stayd::act::output::{InstanceOutput, OutputNotice};
use stayd::sys::reaper::Status;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What `flood` writes: about 13 MB, far more than a FIFO holds.
const LINES: usize = 1_000_000;

/// A file system of its own in a file, which can be made to take nothing; it is thawed and gone when dropped.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn mount(dir: &Path) -> Self {
        let (image, folder) = (dir.join("image"), dir.join("disk"));
        let file = File::create(&image).expect("an image");
        file.set_len(64 << 20).expect("its size");
        std::fs::create_dir(&folder).expect("a folder");
        done(Command::new("mkfs.ext4").arg("-q").arg(&image));
        done(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&folder),
        );
        Self { folder }
    }

    fn freeze(&self) {
        done(Command::new("fsfreeze").arg("--freeze").arg(&self.folder));
    }

    fn thaw(&self) {
        done(Command::new("fsfreeze").arg("--unfreeze").arg(&self.folder));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Thawed already where the test went well.
        let thaw = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.folder)
            .output();
        drop(thaw);
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

#[track_caller]
fn done(command: &mut Command) {
    let status = command.status().expect("installed");
    assert!(status.success(), "{command:?}: {status}");
}

/// Makes sure that the log has its file.
fn begin(ends: &InstanceOutput) {
    let pen = ends.stdout.try_clone().expect("a descriptor");
    writeln!(File::from(pen), "before").expect("write");
}

#[test]
fn item_82_a_disk_that_hangs_never_blocks_the_service_and_the_gap_is_counted() {
    if stayd::sys::identity::euid() != 0 {
        println!("skipped: only root freezes a file system");
        return;
    }
    alone_in_a_namespace_of_processes(|| {
        let dir = TempDir::new();
        let disk = Disk::mount(dir.path());
        let state = state(&disk.folder.join("state"));
        let (output, news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(64 << 20, 1), None)
            .expect("open");
        begin(&ends);
        wait_until("the first line", SOON, || text(&state) == "before\n");

        disk.freeze();
        let began = Instant::now();
        let child = run(&victim(), &["flood", &LINES.to_string()], ends, None);
        assert_eq!(
            wait_for_exit(child),
            Status::Code(0),
            "it never waits for a disk"
        );
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        let logged = log_size(&state);
        disk.thaw();

        assert_eq!(logged, "before\n".len(), "the disk took nothing meanwhile");
        let OutputNotice::BytesLost { bytes, cause, .. } = news.recv_timeout(SOON).expect("news")
        else {
            panic!("other news")
        };
        assert_eq!(cause, "the disk is slow");
        output.retire("db", FIRST);
        assert!(output.close(SOON));
        let text = text(&state);
        let gap = format!("stayd: {bytes} bytes lost: the disk is slow");
        assert_eq!(text.lines().filter(|line| *line == gap).count(), 1);
        assert!(
            text.lines()
                .any(|line| line == format!("line {}", LINES - 1)),
            "the newest are kept"
        );
        let written: usize = (0..LINES).map(|n| format!("line {n}\n").len()).sum();
        let kept = text.len() - "before\n".len() - gap.len() - 1;
        let lost = usize::try_from(bytes).expect("small");
        // A line that was cut by the gap has its newline from us.
        assert!(
            (kept + lost).abs_diff(written) <= 1,
            "{kept} + {lost} of {written}"
        );
    });
}
