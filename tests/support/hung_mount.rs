//! A file system that never answers (FUSE, fuse(4)).

use super::require_root;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the server looks for a request.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A FUSE file system whose server answers nothing: every process that touches it hangs until it is dropped.
#[derive(Debug)]
pub(crate) struct HungMount {
    folder: PathBuf,
    reader: Option<RequestReader>,
    /// The kernel aborts every request when it is closed.
    server: File,
}

impl HungMount {
    /// Makes `folder` and mounts it there.
    pub(crate) fn at(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        Self::over(folder)
    }

    /// The same, but the server reads each request. A process that waits for the answer to a request that was read is in
    /// uninterruptible sleep, and SIGKILL does not end it (fs/fuse/dev.c, request_wait_answer).
    pub(crate) fn uninterruptible_at(folder: &Path) -> Self {
        let mut mount = Self::at(folder);
        mount.reader = Some(RequestReader::start(
            mount.server.try_clone().expect("a descriptor"),
        ));
        mount
    }

    /// Mounts it over `folder`, and so hides what is in it.
    pub(crate) fn over(folder: &Path) -> Self {
        require_root();
        let server = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/fuse")
            .expect("this test needs a kernel with FUSE: /dev/fuse");
        let fd = server.as_raw_fd();
        let mut mount = Command::new("mount");
        mount
            .args(["-i", "-t", "fuse", "-o"])
            .arg(format!("fd={fd},rootmode=40000,user_id=0,group_id=0"))
            .arg("hung")
            .arg(folder);
        // SAFETY: fcntl(2) is async-signal-safe, and concerns the child's own descriptor.
        #[expect(unsafe_code, reason = "mount(8) needs the server's descriptor")]
        unsafe {
            mount.pre_exec(move || {
                if libc::fcntl(fd, libc::F_SETFD, 0) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        assert!(mount.status().expect("mount(8)").success());
        Self {
            folder: folder.to_owned(),
            reader: None,
            server,
        }
    }

    /// Its mount point.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
        drop(self.reader.take());
    }
}

/// Reads the requests of a FUSE file system and answers only the first one, FUSE_INIT (linux/fuse.h).
#[derive(Debug)]
struct RequestReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RequestReader {
    const REQUEST_BYTES: usize = 256 * 1024;
    const FUSE_INIT: u32 = 26;
    const INIT_REPLY_BYTES: u32 = 16 + 64;

    fn start(mut server: File) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut request = vec![0; Self::REQUEST_BYTES];
            while !stopped.load(Ordering::SeqCst) {
                match server.read(&mut request) {
                    Ok(_) if request[4..8] == Self::FUSE_INIT.to_ne_bytes() => {
                        server
                            .write_all(&Self::init_reply(&request[8..16]))
                            .expect("the reply to FUSE_INIT");
                    }
                    Ok(_) => {}
                    Err(_) => std::thread::sleep(POLL_INTERVAL),
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// `struct fuse_out_header { len, error, unique }` and `struct fuse_init_out` of version 7.31.
    fn init_reply(unique: &[u8]) -> Vec<u8> {
        let mut reply = Self::INIT_REPLY_BYTES.to_ne_bytes().to_vec();
        reply.extend_from_slice(&0_i32.to_ne_bytes());
        reply.extend_from_slice(unique);
        reply.extend_from_slice(&7_u32.to_ne_bytes());
        reply.extend_from_slice(&31_u32.to_ne_bytes());
        reply.resize(Self::INIT_REPLY_BYTES as usize, 0);
        reply
    }
}

impl Drop for RequestReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
