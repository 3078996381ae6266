//! Captured output onto a frozen file system, whose writes hang without an error.

use crate::output::{FIRST, log, log_size, output, run, state, text};
use crate::support::disk::Disk;
use crate::support::{SOON, alone_in_pid_namespace, test_service, wait_for_exit, wait_until};
use stayd::act::output::{InstanceOutput, OutputNotice};
use stayd::sys::reaper::Status;
use std::fs::File;
use std::io::Write as _;

/// How many lines the service writes: about 13 MB, far more than a FIFO holds.
const LINES: usize = 1_000_000;

/// Writes a first line, so that the log has its file.
fn begin(ends: &InstanceOutput) {
    let pen = ends.stdout.try_clone().expect("a descriptor");
    writeln!(File::from(pen), "before").expect("write");
}

#[test]
#[ignore = "needs root"]
fn a_hanging_disk_does_not_block_the_service_and_the_lost_bytes_are_counted() {
    alone_in_pid_namespace(|| {
        let disk = Disk::ext4(64);
        let state = state(&disk.path().join("state"));
        let (output, news) = output(&state);
        let ends = output
            .open("db", FIRST, &log(64 << 20, 1), None)
            .expect("open");
        begin(&ends);
        wait_until("the first line", SOON, || text(&state) == "before\n");

        disk.freeze();
        let child = run(
            &test_service(),
            &["write-lines", &LINES.to_string()],
            ends,
            None,
        );
        assert_eq!(
            wait_for_exit(child),
            Status::Code(0),
            "it has written everything while the disk hangs"
        );
        let logged = log_size(&state);
        disk.thaw();

        assert_eq!(
            logged,
            "before\n".len(),
            "the disk took nothing while it was frozen"
        );
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
            "the newest lines are kept"
        );
        let written: usize = (0..LINES).map(|n| format!("line {n}\n").len()).sum();
        let kept = text.len() - "before\n".len() - gap.len() - 1;
        let lost = usize::try_from(bytes).expect("small");
        // stayd adds a newline to the line that the gap has cut
        assert!(
            (kept + lost).abs_diff(written) <= 1,
            "{kept} + {lost} of {written}"
        );
    });
}
