//! A PgBouncer of a test's own, in front of a [`Postgres`]; killed when dropped.

use super::postgres::{Postgres, as_database_user};
use super::tool;
use super::wait::{SOON, TempDir, free_port, wait_until};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

/// A pooler whose clients share server connections, each for one transaction at a time.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    server: Child,
    port: u16,
    _dir: TempDir,
}

impl PgBouncer {
    /// One that accepts every client and logs in to `postgres` as the superuser.
    pub(crate) fn start(postgres: &Postgres) -> Self {
        let (dir, port) = (TempDir::new(), free_port());
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n",
            postgres.port()
        );
        let file = dir.join("pgbouncer.ini");
        fs::write(&file, config).expect("a configuration");
        for (path, mode) in [(dir.join(""), 0o755), (file.clone(), 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        }
        let program = tool("pgbouncer");
        let server = as_database_user(Path::new(program.get_program()))
            .arg("-q")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer");
        wait_until("PgBouncer listens", SOON, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            server,
            port,
            _dir: dir,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
