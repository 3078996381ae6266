//! The table of programs that go into the background: by themselves unless an option keeps them, or only with an option; and of
//! commands that start something else and return. The sources are the programs' manuals.
//!
//! Flags mean opposite things in different programs (sshd `-D` stays, haproxy `-D` leaves), so the table is by program. The
//! form of a flag is described in programs.rs.

/// An entry of the table.
#[derive(Debug)]
pub(super) enum Program {
    /// It goes into the background unless one of these flags is given; the first is the advice.
    Leaves {
        /// Its names, in lower case.
        names: &'static [&'static str],
        /// The flags that keep it.
        unless: &'static [&'static str],
    },
    /// It stays unless one of these flags is given. It runs until it is stopped.
    Stays {
        /// Its names, in lower case.
        names: &'static [&'static str],
        /// The flags that send it into the background.
        unless: &'static [&'static str],
    },
    /// With one of these arguments it starts something else and returns.
    Control {
        /// Its names, in lower case.
        names: &'static [&'static str],
        /// The arguments.
        verbs: &'static [&'static str],
        /// What to do instead.
        instead: &'static str,
    },
}

impl Program {
    /// Whether the entry is about this program; `name` is in lower case.
    pub(super) fn has_name(&self, name: &str) -> bool {
        let (Self::Leaves { names, .. } | Self::Stays { names, .. } | Self::Control { names, .. }) =
            self;
        names.contains(&name)
    }
}

/// A program that forks away unless one of these flags keeps it in the foreground. The first is the cure.
const fn leaves(names: &'static [&'static str], unless: &'static [&'static str]) -> Program {
    Program::Leaves { names, unless }
}

/// A program that stays unless one of these flags sends it away.
const fn stays(names: &'static [&'static str], unless: &'static [&'static str]) -> Program {
    Program::Stays { names, unless }
}

/// A command that starts something else and returns, with one of these arguments; with what to do instead.
const fn control(
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    instead: &'static str,
) -> Program {
    Program::Control {
        names,
        verbs,
        instead,
    }
}

/// The table.
#[rustfmt::skip]
pub(super) static PROGRAMS: &[Program] = &[
    // web servers and proxies
    leaves(&["nginx", "openresty", "tengine", "angie"], &["-g 'daemon off;'", "~daemon off", "-t"]),
    leaves(&["httpd", "apache2"], &["-DFOREGROUND", "-D FOREGROUND", "-DNO_DETACH", "-X"]),
    leaves(&["lighttpd"], &["-D"]),
    leaves(&["squid", "squid3"], &["--foreground", "-N"]),
    leaves(&["varnishd"], &["-F", "-d"]),
    leaves(&["php-fpm", "php-fpm7", "php-fpm8", "php5-fpm", "php7.0-fpm", "php7.4-fpm", "php8.1-fpm", "php8.2-fpm"], &["--nodaemonize", "-F"]),
    leaves(&["polipo-daemon", "tinyproxy", "privoxy"], &["--no-daemon", "-d"]),
    leaves(&["pound", "thttpd", "ziproxy"], &["-D", "-f"]),
    stays(&["haproxy"], &["-D", "--daemon"]),
    stays(&["uwsgi"], &["--daemonize", "-d", "--daemonize2"]),
    stays(&["gunicorn"], &["--daemon", "-D"]),
    stays(&["unicorn", "unicorn_rails", "rainbows"], &["-D", "--daemonize"]),
    stays(&["puma", "thin", "sidekiq", "resque-pool", "rackup"], &["-d", "--daemon", "--daemonize", "-D"]),
    stays(&["hypnotoad"], &[]),
    stays(&["caddy"], &[]),
    control(&["caddy"], &["start"], "use `caddy run`"),
    control(&["apachectl", "apache2ctl", "httpctl"], &["start", "restart", "graceful"], "run `httpd -DFOREGROUND`"),
    // remote access and the network
    leaves(&["sshd"], &["-D", "-d", "-i", "-t"]),
    leaves(&["dropbear"], &["-F"]),
    leaves(&["dnsmasq"], &["--keep-in-foreground", "-k", "--no-daemon", "-d", "--test"]),
    leaves(&["named"], &["-f", "-g"]),
    leaves(&["unbound"], &["-d"]),
    leaves(&["nsd"], &["-d"]),
    leaves(&["dhcpd"], &["-f", "-d"]),
    leaves(&["dhclient"], &["-d"]),
    leaves(&["ntpd"], &["-n", "--nofork", "-d", "-q"]),
    leaves(&["chronyd"], &["-d", "-n", "-q"]),
    leaves(&["snmpd", "snmptrapd"], &["-f"]),
    leaves(&["keepalived"], &["--dont-fork", "-n"]),
    leaves(&["xl2tpd"], &["-D"]),
    leaves(&["tincd"], &["-D", "--no-detach"]),
    leaves(&["pppd"], &["nodetach"]),
    leaves(&["vpnc"], &["--no-detach"]),
    leaves(&["inadyn"], &["--foreground", "-n", "-f"]),
    leaves(&["ddclient"], &["-foreground", "--foreground", "-daemon=0", "--daemon=0", "-daemon 0"]),
    leaves(&["rpcbind"], &["-f", "-d"]),
    leaves(&["xinetd"], &["-dontfork", "-d"]),
    leaves(&["miniupnpd"], &["-d"]),
    leaves(&["pure-ftpd-wrapper"], &[]),
    leaves(&["proftpd"], &["--nodaemon", "-n"]),
    stays(&["pure-ftpd"], &["-B", "--daemonize"]),
    stays(&["openvpn"], &["--daemon"]),
    stays(&["openconnect"], &["--background", "-b"]),
    stays(&["autossh", "ssh"], &["-f", "-fN", "-fNT", "-Nf", "-NTf", "-fNR", "-fNL", "-TfN", "-fTN"]),
    stays(&["wpa_supplicant", "hostapd"], &["-B"]),
    stays(&["tor"], &["--RunAsDaemon 1", "--runasdaemon 1"]),
    stays(&["i2pd"], &["--daemon"]),
    stays(&["ss-server", "ss-local", "ss-redir", "ss-tunnel"], &["-f"]),
    stays(&["ssserver", "sslocal"], &["-d start", "--daemonize"]),
    stays(&["aria2c"], &["--daemon", "-D"]),
    stays(&["wget"], &["--background", "-b"]),
    stays(&["rclone"], &["--daemon"]),
    stays(&["ptunnel", "udp2raw", "iodine"], &["-daemon"]),
    stays(&["rsync"], &[]),
    control(&["ipsec", "strongswan"], &["start"], "add `--nofork`"),
    control(&["i2prouter"], &["start"], "use `i2prouter console`"),
    // databases and queues
    stays(&["postgres", "postmaster", "mysqld_safe", "mariadbd-safe", "mongos", "etcd", "consul", "vault", "nomad", "influxd",
            "prometheus", "grafana-server", "cockroach", "surreal", "clickhouse-server", "arangod", "neo4j-server"], &[]),
    stays(&["mysqld", "mariadbd"], &["--daemonize"]),
    stays(&["mongod"], &["--fork"]),
    stays(&["redis-server", "redis-sentinel", "valkey-server", "keydb-server"], &["--daemonize yes"]),
    stays(&["memcached"], &["-d", "--daemon"]),
    stays(&["mosquitto"], &["-d", "--daemon"]),
    stays(&["slapd-foreground"], &[]),
    leaves(&["slapd"], &["-d", "-d*"]),
    stays(&["beanstalkd", "gearmand-fg"], &["-d"]),
    stays(&["gearmand"], &["-d", "--daemon"]),
    stays(&["elasticsearch", "opensearch"], &["-d", "--daemonize"]),
    stays(&["kafka-server-start.sh", "kafka-server-start", "zookeeper-server-start.sh", "zookeeper-server-start",
            "connect-distributed.sh", "connect-standalone.sh", "schema-registry-start"], &["-daemon"]),
    stays(&["rabbitmq-server"], &["-detached"]),
    control(&["pg_ctl", "pg_ctlcluster", "mysql.server", "mysqld_multi", "zkserver.sh", "ejabberdctl", "prosodyctl", "emqx", "neo4j", "influxdb"],
            &["start", "restart"], "run the server itself in the foreground"),
    control(&["rabbitmqctl"], &["start_app"], "run `rabbitmq-server`"),
    // Java servers
    control(&["catalina.sh"], &["start"], "use `catalina.sh run`"),
    control(&["startup.sh"], &["*"], "use `catalina.sh run`, or the command of the server that stays in the foreground"),
    control(&["nexus", "sonar.sh", "activemq", "wrapper", "karaf", "nifi.sh", "solr", "jetty.sh", "jboss.sh", "hazelcast", "flink"],
            &["start"], "use its command that stays in the foreground (`run`, `console` or `-f`)"),
    control(&["hadoop-daemon.sh", "yarn-daemon.sh", "hbase-daemon.sh", "start-dfs.sh", "start-yarn.sh", "start-hbase.sh", "start-all.sh",
              "start-master.sh", "start-slave.sh", "start-slaves.sh", "start-worker.sh", "start-cluster.sh", "start-history-server.sh"],
            &["*"], "run the class or the program itself in the foreground"),
    // mail and chat
    leaves(&["dovecot"], &["-F"]),
    stays(&["exim", "exim4"], &["-bd"]),
    stays(&["sendmail"], &["-bd"]),
    stays(&["fetchmail"], &["-d", "--daemon"]),
    leaves(&["znc"], &["--foreground", "-f"]),
    leaves(&["murmurd", "mumble-server"], &["-fg"]),
    leaves(&["asterisk"], &["-f", "-c", "-v*", "-g -f"]),
    leaves(&["radiusd", "freeradius"], &["-f", "-X"]),
    stays(&["bitlbee"], &["-F", "-D"]),
    control(&["postfix"], &["start"], "use `postfix start-fg`"),
    control(&["unrealircd"], &["start"], "use `unrealircd -F`"),
    control(&["ts3server_startscript.sh"], &["start"], "run `ts3server_minimal_runscript.sh`"),
    // supervision, schedules, logs, monitoring
    leaves(&["supervisord"], &["--nodaemon", "-n"]),
    leaves(&["twistd"], &["--nodaemon", "-n", "-noy", "-ny", "-noa"]),
    leaves(&["monit"], &["-I", "-t"]),
    leaves(&["god"], &["-D", "--no-daemonize"]),
    leaves(&["cron", "anacron"], &["-f"]),
    leaves(&["crond"], &["-f", "-n", "-d"]),
    leaves(&["fcron"], &["-f", "--foreground"]),
    leaves(&["atd"], &["-f"]),
    leaves(&["rsyslogd"], &["-n"]),
    leaves(&["syslog-ng"], &["-F", "--foreground"]),
    leaves(&["collectd"], &["-f"]),
    leaves(&["zabbix_agentd", "zabbix_server", "zabbix_proxy"], &["--foreground", "-f"]),
    leaves(&["smartd"], &["-n", "--no-fork", "-d"]),
    leaves(&["irqbalance"], &["--foreground", "-f", "--oneshot"]),
    leaves(&["acpid"], &["-f", "--foreground"]),
    leaves(&["haveged"], &["-F", "--Foreground", "--foreground"]),
    leaves(&["auditd"], &["-f", "-n"]),
    leaves(&["netdata"], &["-D", "-nd"]),
    leaves(&["fail2ban-server"], &["-f"]),
    stays(&["nrpe", "nagios", "icinga"], &["-d", "--daemon"]),
    stays(&["mcelog"], &["--daemon"]),
    stays(&["dbus-daemon"], &["--fork"]),
    stays(&["avahi-daemon"], &["-D", "--daemonize"]),
    stays(&["celery"], &["--detach", "-D"]),
    stays(&["log"], &[]),
    control(&["celery"], &["multi"], "use `celery worker`, or Type=forking under systemd"),
    control(&["fail2ban-client", "supervisorctl", "monitctl", "cntlm-ctl"], &["start"], "run the server itself in the foreground"),
    control(&["pm2"], &["start", "resurrect", "restart", "startOrRestart"], "use `pm2-runtime`, or `pm2 start --no-daemon`"),
    control(&["forever"], &["start"], "run the program itself"),
    control(&["daemonize", "start-stop-daemon", "daemon-launcher"], &["*"], "run the program itself"),
    control(&["service", "rc-service", "invoke-rc.d"], &["*"], "run the server itself in the foreground"),
    control(&["systemctl", "initctl"], &["start", "restart"], "let the other unit be started by `Wants=`"),
    control(&["brew"], &["services"], "run the server itself in the foreground"),
    control(&["launchctl"], &["load", "start", "kickstart", "bootstrap", "submit"], "let launchd start the other job itself"),
    // file sharing and media
    leaves(&["transmission-daemon"], &["-f", "--foreground", "--dump-settings"]),
    leaves(&["deluged"], &["-d", "--do-not-daemonize"]),
    leaves(&["mpd"], &["--no-daemon", "--systemd", "--stdout --no-daemon"]),
    leaves(&["mpdscribble"], &["-D", "--no-daemon"]),
    leaves(&["minidlnad", "minidlna", "readymedia"], &["-S", "-d"]),
    leaves(&["forked-daapd", "owntone"], &["-f"]),
    leaves(&["rslsync", "btsync"], &["--nodaemon"]),
    leaves(&["nmbd", "winbindd"], &["-F", "--foreground", "-i"]),
    stays(&["smbd"], &["-D", "--daemon"]),
    leaves(&["sshfs", "encfs", "s3fs", "bindfs", "mhddfs", "ntfs-3g", "unionfs", "mergerfs"], &["-f"]),
    leaves(&["gcsfuse"], &["--foreground"]),
    stays(&["motion"], &["-b"]),
    stays(&["mjpg_streamer"], &["-b", "--background"]),
    stays(&["tvheadend"], &["-f", "--fork"]),
    stays(&["mythbackend", "boinc", "boinc_client"], &["--daemon", "-d"]),
    stays(&["tautulli.py", "plexpy.py", "couchpotato.py", "sickbeard.py", "sickrage.py", "sickchill.py", "headphones.py",
            "sabnzbd.py", "sabnzbdplus", "lazylibrarian.py", "mylar.py", "medusa.py", "htpc-manager.py", "gamez.py", "maraschino.py"],
          &["--daemon", "-d"]),
    stays(&["nzbget"], &["-D", "--daemon"]),
    stays(&["icecast", "icecast2"], &["-b"]),
    stays(&["darkice", "shairport", "shairport-sync", "squeezelite"], &["-d", "--daemon", "-z"]),
    stays(&["bitcoind", "litecoind", "dogecoind", "dashd", "zcashd"], &["-daemon", "--daemon", "-daemonwait"]),
    stays(&["monerod", "monero-wallet-rpc"], &["--detach"]),
    control(&["dropbox", "dropbox.py"], &["start"], "run `dropboxd`"),
    // desktops
    stays(&["emacs", "emacs-nox", "emacs-gtk"], &["--daemon", "-daemon", "--bg-daemon", "-bg-daemon"]),
    stays(&["gpg-agent"], &["--daemon"]),
    stays(&["ssh-agent"], &[]),
    stays(&["pulseaudio"], &["--start", "-D", "--daemonize", "--daemonize=yes"]),
    stays(&["compton", "picom"], &["-b", "--daemon"]),
    stays(&["gnome-keyring-daemon"], &["--daemonize", "-d", "--start"]),
    stays(&["urxvtd", "rxvt-unicode-daemon"], &["-f", "--fork"]),
    stays(&["conky"], &["-d", "--daemonize"]),
    stays(&["jupyter", "jupyter-lab", "jupyter-notebook", "jupyterhub"], &[]),
    leaves(&["xflux"], &["-nofork"]),
    leaves(&["xbindkeys"], &["--nodaemon", "-n"]),
    leaves(&["xcape"], &["-f", "-d"]),
    leaves(&["i3lock"], &["--nofork", "-n"]),
    control(&["screen"], &["-dm*", "-d -m*", "-dmS", "-md*", "-m -d*", "-S * -dm", "-S * -d -m"], "use `screen -DmS`, which stays"),
    control(&["tmux"], &["new-session -d", "new -d", "start-server", "new-session * -d", "new * -d", "new-session", "new"], "run the program itself, or use Type=forking under systemd"),
    control(&["byobu-tmux", "dtach"], &["-n"], "use `dtach -N`, which stays"),
    // containers and machines
    control(&["docker", "podman", "nerdctl"], &["run -d", "run * -d", "run * --detach", "run * --detach=true", "run * -dit", "run * -itd", "run * -td", "run * -di", "start", "compose * up -d", "compose * up --detach", "compose up -d", "compose up --detach", "pod start", "stack"],
            "leave out `-d` (`docker run`, `docker start -a`), so that the client stays"),
    control(&["docker-compose", "podman-compose"], &["up -d", "* up -d", "up --detach", "* up --detach", "up * -d", "start"], "leave out `-d`"),
    control(&["vagrant", "limactl", "colima", "minikube", "multipass"], &["up", "start"], "use a form of the command that stays in the foreground"),
    control(&["vboxmanage"], &["startvm"], "use VBoxHeadless --startvm"),
    control(&["lxc-start"], &["-d", "--daemon"], "use `lxc-start -F`"),
    control(&["open"], &["-a *", "-g *", "-j *", "-b *", "-n *"], "start the program inside the bundle, or add `-W`"),
];
