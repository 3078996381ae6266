//! The sections and keys of units, with the kinds of their values (systemd.unit(5), systemd.service(5), systemd.exec(5),
//! systemd.kill(5), systemd.resource-control(5), systemd.socket(5), systemd.timer(5), systemd.path(5); systemd 262).

/// The kind of value that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `yes`, `no`, `true`, `false`, `on`, `off`, `1`, `0`.
    Boolean,
    /// A time such as `5s`, or `infinity`.
    Time,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or a boolean.
    WordOrBoolean(&'static [&'static str]),
    /// A number of bytes, a share, or `infinity`.
    Size,
    /// A whole number.
    Number,
    /// A number in octal.
    Mode,
    /// A signal.
    Signal,
    /// A limit: a number, a size or a time, perhaps two with a colon.
    Limit,
    /// A command line.
    Command,
    /// Assignments of variables.
    Environment,
    /// An absolute path.
    Path,
    /// Names of units.
    Units,
    /// Text that is not checked.
    Text,
}

use Kind::{
    Boolean, Command, Environment, Limit, Mode, Number, Path, Signal, Size, Text, Time, Units,
    Word, WordOrBoolean,
};

/// Keys with a kind. A key that is not here but in one of the lists below is [`Kind::Text`].
#[rustfmt::skip]
const KINDS: &[(&str, Kind)] = &[
    ("Type", Word(&["simple", "exec", "forking", "oneshot", "dbus", "notify", "notify-reload", "idle"])),
    ("Restart", Word(&["no", "always", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog"])),
    ("RestartMode", Word(&["normal", "direct", "debug"])),
    ("ExitType", Word(&["main", "cgroup"])),
    ("KillMode", Word(&["control-group", "mixed", "process", "none"])),
    ("NotifyAccess", Word(&["none", "main", "exec", "all"])),
    ("OOMPolicy", Word(&["continue", "stop", "kill"])),
    ("FileDescriptorStorePreserve", WordOrBoolean(&["restart"])),
    ("TimeoutStartFailureMode", Word(&["terminate", "abort", "kill"])),
    ("TimeoutStopFailureMode", Word(&["terminate", "abort", "kill"])),
    ("ProtectSystem", WordOrBoolean(&["full", "strict"])),
    ("ProtectHome", WordOrBoolean(&["read-only", "tmpfs"])),
    ("PrivateTmp", WordOrBoolean(&["disconnected"])),
    ("PrivateUsers", WordOrBoolean(&["self", "identity", "full", "managed"])),
    ("ProtectProc", Word(&["default", "noaccess", "invisible", "ptraceable"])),
    ("ProcSubset", Word(&["all", "pid"])),
    ("DevicePolicy", Word(&["auto", "closed", "strict"])),
    ("KeyringMode", Word(&["inherit", "private", "shared"])),
    ("RuntimeDirectoryPreserve", WordOrBoolean(&["restart"])),
    ("UtmpMode", Word(&["init", "login", "user"])),
    ("StandardInput", Text),
    ("CPUSchedulingPolicy", Word(&["other", "batch", "idle", "fifo", "rr", "ext"])),
    ("IOSchedulingClass", Word(&["none", "realtime", "best-effort", "idle", "0", "1", "2", "3"])),
    ("CollectMode", Word(&["inactive", "inactive-or-failed"])),
    ("OnFailureJobMode", Word(&["fail", "replace", "replace-irreversibly", "isolate", "flush", "ignore-dependencies", "ignore-requirements"])),
    ("FailureAction", Word(ACTIONS)), ("SuccessAction", Word(ACTIONS)), ("StartLimitAction", Word(ACTIONS)), ("JobTimeoutAction", Word(ACTIONS)),
    ("RemainAfterExit", Boolean), ("GuessMainPID", Boolean), ("RootDirectoryStartOnly", Boolean), ("NonBlocking", Boolean),
    ("SendSIGKILL", Boolean), ("SendSIGHUP", Boolean), ("NoNewPrivileges", Boolean), ("PrivateDevices", Boolean),
    ("PrivateNetwork", Boolean), ("PrivateMounts", Boolean), ("PrivateIPC", Boolean), ("ProtectKernelTunables", Boolean),
    ("ProtectKernelModules", Boolean), ("ProtectKernelLogs", Boolean), ("ProtectClock", Boolean),
    ("RestrictRealtime", Boolean), ("RestrictSUIDSGID", Boolean), ("LockPersonality", Boolean),
    ("MemoryDenyWriteExecute", Boolean), ("RemoveIPC", Boolean), ("DynamicUser", Boolean), ("IgnoreSIGPIPE", Boolean),
    ("SyslogLevelPrefix", Boolean), ("TTYReset", Boolean), ("TTYVHangup", Boolean), ("CPUSchedulingResetOnFork", Boolean),
    ("DefaultDependencies", Boolean), ("StopWhenUnneeded", Boolean), ("RefuseManualStart", Boolean), ("RefuseManualStop", Boolean),
    ("AllowIsolate", Boolean), ("IgnoreOnIsolate", Boolean), ("SurviveFinalKillSignal", Boolean), ("CPUAccounting", Boolean),
    ("MemoryAccounting", Boolean), ("TasksAccounting", Boolean), ("IOAccounting", Boolean), ("IPAccounting", Boolean),
    ("Persistent", Boolean), ("WakeSystem", Boolean), ("RemainAfterElapse", Boolean), ("Accept", Boolean), ("MakeDirectory", Boolean),
    ("RestartSec", Time), ("TimeoutSec", Time), ("TimeoutStartSec", Time), ("TimeoutStopSec", Time), ("TimeoutAbortSec", Time),
    ("RuntimeMaxSec", Time), ("RuntimeRandomizedExtraSec", Time), ("RestartMaxDelaySec", Time), ("WatchdogSec", Time),
    ("StartLimitIntervalSec", Time), ("StartLimitInterval", Time), ("JobTimeoutSec", Time), ("JobRunningTimeoutSec", Time),
    ("OnActiveSec", Time), ("OnBootSec", Time), ("OnStartupSec", Time), ("OnUnitActiveSec", Time), ("OnUnitInactiveSec", Time),
    ("AccuracySec", Time), ("RandomizedDelaySec", Time),
    ("StartLimitBurst", Number), ("RestartSteps", Number), ("FileDescriptorStoreMax", Number), ("Nice", Number),
    ("OOMScoreAdjust", Number), ("CPUSchedulingPriority", Number), ("IOSchedulingPriority", Number),
    ("UMask", Mode), ("RuntimeDirectoryMode", Mode), ("StateDirectoryMode", Mode), ("CacheDirectoryMode", Mode),
    ("LogsDirectoryMode", Mode), ("ConfigurationDirectoryMode", Mode), ("SocketMode", Mode), ("DirectoryMode", Mode),
    ("KillSignal", Signal), ("RestartKillSignal", Signal), ("FinalKillSignal", Signal), ("WatchdogSignal", Signal), ("ReloadSignal", Signal),
    ("MemoryMin", Size), ("MemoryLow", Size), ("MemoryHigh", Size), ("MemoryMax", Size), ("MemorySwapMax", Size), ("MemoryZSwapMax", Size),
    ("TasksMax", Size),
    ("LimitCPU", Limit), ("LimitFSIZE", Limit), ("LimitDATA", Limit), ("LimitSTACK", Limit), ("LimitCORE", Limit), ("LimitRSS", Limit),
    ("LimitNOFILE", Limit), ("LimitAS", Limit), ("LimitNPROC", Limit), ("LimitMEMLOCK", Limit), ("LimitLOCKS", Limit),
    ("LimitSIGPENDING", Limit), ("LimitMSGQUEUE", Limit), ("LimitNICE", Limit), ("LimitRTPRIO", Limit), ("LimitRTTIME", Limit),
    ("ExecStart", Command), ("ExecStartPre", Command), ("ExecStartPost", Command), ("ExecStop", Command), ("ExecStopPre", Command),
    ("ExecStopPost", Command), ("ExecReload", Command), ("ExecReloadPost", Command), ("ExecCondition", Command),
    ("Environment", Environment),
    ("PIDFile", Text), ("RootDirectory", Path), ("RootImage", Path),
    ("After", Units), ("Before", Units), ("Wants", Units), ("Requires", Units), ("Requisite", Units), ("BindsTo", Units),
    ("PartOf", Units), ("Upholds", Units), ("Conflicts", Units), ("OnFailure", Units), ("OnSuccess", Units),
    ("PropagatesReloadTo", Units), ("ReloadPropagatedFrom", Units), ("PropagatesStopTo", Units), ("StopPropagatedFrom", Units),
    ("JoinsNamespaceOf", Units), ("WantedBy", Units), ("RequiredBy", Units), ("UpheldBy", Units), ("Also", Units), ("Alias", Units),
    ("Sockets", Units), ("Unit", Text), ("Service", Text),
];

const ACTIONS: &[&str] = &[
    "none",
    "reboot",
    "reboot-force",
    "reboot-immediate",
    "poweroff",
    "poweroff-force",
    "poweroff-immediate",
    "exit",
    "exit-force",
    "soft-reboot",
    "soft-reboot-force",
    "kexec",
    "kexec-force",
    "halt",
    "halt-force",
    "halt-immediate",
];

#[rustfmt::skip]
const UNIT: &[&str] = &[
    "After", "AllowIsolate", "Before", "BindsTo", "CollectMode", "Conflicts", "DefaultDependencies", "Description", "Documentation",
    "FailureAction", "FailureActionExitStatus", "IgnoreOnIsolate", "IgnoreOnSnapshot", "JobRunningTimeoutSec", "JobTimeoutAction", "JobTimeoutRebootArgument",
    "JobTimeoutSec", "JoinsNamespaceOf", "OnFailure", "OnFailureIsolate", "OnFailureJobMode", "OnSuccess", "OnSuccessJobMode", "PartOf", "PropagatesReloadTo",
    "PropagatesStopTo", "PropagateReloadTo", "PropagateReloadFrom", "RebootArgument", "RefuseManualStart", "RefuseManualStop",
    "ReloadPropagatedFrom", "RequiredBy", "Requires", "RequiresMountsFor", "RequiresOverridable", "Requisite", "RequisiteOverridable",
    "SourcePath", "StartLimitAction", "StartLimitBurst", "StartLimitInterval", "StartLimitIntervalSec", "StopPropagatedFrom",
    "StopWhenUnneeded", "SuccessAction", "SuccessActionExitStatus", "SurviveFinalKillSignal", "Upholds", "Wants", "WantsMountsFor",
    "ConcurrencySoftMax", "ConcurrencyHardMax",
];

#[rustfmt::skip]
const INSTALL: &[&str] = &["Alias", "Also", "DefaultInstance", "RequiredBy", "UpheldBy", "WantedBy"];

#[rustfmt::skip]
const SERVICE: &[&str] = &[
    "BusName", "BusPolicy", "ExecCondition", "ExecReload", "ExecReloadPost", "ExecStart", "ExecStartPost", "ExecStartPre", "ExecStop", "ExecStopPost",
    "ExitType", "FailureAction", "FileDescriptorStoreMax", "FileDescriptorStorePreserve", "GuessMainPID", "LiveMountPolicy", "NonBlocking", "NotifyAccess",
    "OOMPolicy", "OpenFile", "PermissionsStartOnly", "PIDFile", "RebootArgument", "RefreshOnReload", "ReloadSignal", "RemainAfterExit", "Restart",
    "RestartForceExitStatus", "RestartMaxDelaySec", "RestartMode", "RestartPreventExitStatus", "RestartRandomizedDelaySec", "RestartSec", "RestartSteps",
    "RootDirectoryStartOnly", "RuntimeMaxSec", "RuntimeRandomizedExtraSec", "Sockets", "StartLimitAction", "StartLimitBurst",
    "StartLimitInterval", "SuccessExitStatus", "SysVStartPriority", "TimeoutAbortSec", "TimeoutSec", "TimeoutStartFailureMode",
    "TimeoutStartSec", "TimeoutStopFailureMode", "TimeoutStopSec", "Type", "USBFunctionDescriptors", "USBFunctionStrings",
    "WatchdogSec",
];

/// The keys of systemd.exec(5), systemd.kill(5) and systemd.resource-control(5), for services, sockets, mounts and swaps.
#[rustfmt::skip]
const EXEC: &[&str] = &[
    "AllowedCPUs", "AllowedMemoryNodes", "AmbientCapabilities", "AppArmorProfile", "BPFProgram", "BindLogSockets", "BindNetworkInterface", "BindPaths", "BindReadOnlyPaths",
    "BlockIOAccounting", "BlockIODeviceWeight", "BlockIOReadBandwidth", "BlockIOWeight", "BlockIOWriteBandwidth", "BPFDelegateAttachments",
    "BPFDelegateCommands", "BPFDelegateMaps", "BPFDelegatePrograms", "CPUAccounting", "CPUAffinity", "CPUPressureThresholdSec", "CPUPressureWatch", "CPUQuota", "CPUQuotaPeriodSec", "CPUSchedulingPolicy",
    "CPUSchedulingPriority", "CPUSchedulingResetOnFork", "CPUSetPartition", "CPUShares", "CPUWeight", "CacheDirectory", "CacheDirectoryAccounting", "CacheDirectoryMode", "CacheDirectoryQuota", "Capabilities",
    "CapabilityBoundingSet", "ConfigurationDirectory", "ConfigurationDirectoryMode", "ControlGroup", "CoredumpFilter", "CoredumpReceive",
    "DebugInvocation", "DefaultMemoryLow", "DefaultMemoryMin", "DefaultStartupMemoryLow", "Delegate", "DelegateNamespaces", "DelegateSubgroup", "DeviceAllow", "DevicePolicy",
    "DisableControllers", "DynamicUser", "Environment", "EnvironmentFile", "ExecPaths", "ExecSearchPath", "ExtensionDirectories",
    "ExtensionImagePolicy", "ExtensionImages", "FinalKillSignal", "Group", "IOAccounting", "IODeviceLatencyTargetSec", "IODeviceWeight", "IOPressureThresholdSec", "IOPressureWatch",
    "IOReadBandwidthMax", "IOReadIOPSMax", "IOSchedulingClass", "IOSchedulingPriority", "IOWeight", "IOWriteBandwidthMax", "IOWriteIOPSMax",
    "IPAccounting", "IPAddressAllow", "IPAddressDeny", "IPCNamespacePath", "IPEgressFilterPath", "IPIngressFilterPath", "IgnoreSIGPIPE",
    "ImportCredential", "InaccessibleDirectories", "InaccessiblePaths", "KeyringMode", "KillMode", "KillSignal", "LimitAS", "LimitCORE",
    "LimitCPU", "LimitDATA", "LimitFSIZE", "LimitLOCKS", "LimitMEMLOCK", "LimitMSGQUEUE", "LimitNICE", "LimitNOFILE", "LimitNPROC",
    "LimitRSS", "LimitRTPRIO", "LimitRTTIME", "LimitSIGPENDING", "LimitSTACK", "LoadCredential", "LoadCredentialEncrypted", "LockPersonality",
    "LogExtraFields", "LogFilterPatterns", "LogLevelMax", "LogNamespace", "LogRateLimitBurst", "LogRateLimitIntervalSec", "LogsDirectory", "LogsDirectoryAccounting",
    "LogsDirectoryMode", "LogsDirectoryQuota", "ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureDurationSec", "ManagedOOMMemoryPressureLimit", "ManagedOOMPreference", "ManagedOOMSwap",
    "MemoryAccounting", "MemoryDenyWriteExecute", "MemoryHigh", "MemoryKSM", "MemoryLimit", "MemoryLow", "MemoryMax", "MemoryMin", "MemoryTHP",
    "MemoryPressureThresholdSec", "MemoryPressureWatch", "MemorySwapMax", "MemoryZSwapMax", "MemoryZSwapWriteback", "MountAPIVFS", "MountFlags", "MountImagePolicy", "MountImages",
    "NFTSet", "NUMAMask", "NUMAPolicy", "NetClass", "NetworkNamespacePath", "Nice", "NoExecPaths", "NoNewPrivileges", "OOMScoreAdjust", "PAMName",
    "PassEnvironment", "Personality", "PrivateBPF", "PrivateDevices", "PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivatePIDs", "PrivateTmp",
    "PrivateUsers", "ProcSubset", "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "ReadOnlyDirectories", "ReadOnlyPaths",
    "ReadWriteDirectories", "ReadWritePaths", "RemoveIPC", "RestartKillSignal", "RestrictAddressFamilies", "RestrictFileSystems",
    "RestrictNamespaces", "RestrictNetworkInterfaces", "RestrictRealtime", "RestrictSUIDSGID", "RootDirectory", "RootEphemeral", "RootHash",
    "RootHashSignature", "RootImage", "RootImageOptions", "RootImagePolicy", "RootMStack", "RootVerity", "RuntimeDirectory", "RuntimeDirectoryMode",
    "RuntimeDirectoryPreserve", "SELinuxContext", "SecureBits", "SendSIGHUP", "SendSIGKILL", "SetCredential", "SetCredentialEncrypted",
    "SetLoginEnvironment", "Slice", "SmackProcessLabel", "SocketBindAllow", "SocketBindDeny", "StandardError", "StandardInput",
    "StandardInputData", "StandardInputText", "StandardOutput", "StartupAllowedCPUs", "StartupAllowedMemoryNodes", "StartupBlockIOWeight",
    "StartupCPUShares", "StartupCPUWeight", "StartupIOWeight", "StartupMemoryHigh", "StartupMemoryLow", "StartupMemoryMax", "StartupMemorySwapMax", "StartupMemoryZSwapMax",
    "StateDirectory", "StateDirectoryAccounting", "StateDirectoryMode", "StateDirectoryQuota", "SupplementaryGroups", "SyslogFacility", "SyslogIdentifier", "SyslogLevel",
    "SyslogLevelPrefix", "SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter", "SystemCallLog", "TCPWrapName", "TTYColumns",
    "TTYPath", "TTYReset", "TTYRows", "TTYVHangup", "TTYVTDisallocate", "TasksAccounting", "TasksMax", "TemporaryFileSystem", "TimeoutCleanSec",
    "TimerSlackNSec", "UMask", "UnsetEnvironment", "User", "UserNamespacePath", "UtmpIdentifier", "UtmpMode", "WatchdogSignal", "WorkingDirectory",
];

#[rustfmt::skip]
const SOCKET: &[&str] = &[
    "Accept", "AcceptFileDescriptors", "Backlog", "BindIPv6Only", "BindToDevice", "Broadcast", "DeferAcceptSec", "DeferTrigger", "DeferTriggerMaxSec", "DirectoryMode", "ExecStartPost",
    "ExecStartPre", "ExecStopPost", "ExecStopPre", "FileDescriptorName", "FlushPending", "FreeBind", "IPTOS", "IPTTL", "KeepAlive",
    "KeepAliveIntervalSec", "KeepAliveProbes", "KeepAliveTimeSec", "ListenDatagram", "ListenFIFO", "ListenMessageQueue", "ListenNetlink",
    "ListenSequentialPacket", "ListenSpecial", "ListenStream", "ListenUSBFunction", "Mark", "MaxConnections", "MaxConnectionsPerSource",
    "MessageQueueMaxMessages", "MessageQueueMessageSize", "NoDelay", "PassCredentials", "PassFileDescriptorsToExec", "PassPIDFD", "PassPacketInfo",
    "PassRights", "PassSecurity", "PipeSize", "PollLimitBurst", "PollLimitIntervalSec", "Priority", "ReceiveBuffer", "RemoveOnStop", "ReusePort", "SELinuxContextFromNet",
    "SendBuffer", "Service", "SmackLabel", "SmackLabelIPIn", "SmackLabelIPOut", "SocketGroup", "SocketMode", "SocketProtocol", "SocketUser",
    "Symlinks", "TCPCongestion", "TimeoutSec", "Timestamping", "Transparent", "TriggerLimitBurst", "TriggerLimitIntervalSec", "Writable",
    "XAttrEntryPoint", "XAttrListen", "XAttrAccept",
];

#[rustfmt::skip]
const TIMER: &[&str] = &[
    "AccuracySec", "DeferReactivation", "FixedRandomDelay", "OnActiveSec", "OnBootSec", "OnCalendar", "OnClockChange", "OnStartupSec", "OnTimezoneChange",
    "OnUnitActiveSec", "OnUnitInactiveSec", "Persistent", "RandomizedDelaySec", "RandomizedOffsetSec", "RemainAfterElapse", "Unit", "WakeSystem",
];

#[rustfmt::skip]
const PATH: &[&str] = &[
    "DirectoryMode", "DirectoryNotEmpty", "MakeDirectory", "PathChanged", "PathExists", "PathExistsGlob", "PathModified", "TriggerLimitBurst",
    "TriggerLimitIntervalSec", "Unit",
];

/// Whether the key is a `Condition…=` or `Assert…=` of `[Unit]`.
fn is_condition(key: &str) -> bool {
    #[rustfmt::skip]
    const CONDITIONS: &[&str] = &[
        "ACPower", "Architecture", "Capability", "ControlGroupController", "CPUFeature", "CPUPressure", "CPUs", "Credential",
        "DirectoryNotEmpty", "Environment", "FileIsExecutable", "FileNotEmpty", "Firmware", "FirstBoot", "Fraction", "Group", "Host", "IOPressure",
        "KernelCommandLine", "KernelModuleLoaded", "KernelVersion", "Memory", "MemoryPressure", "MachineTag", "NeedsUpdate", "Null", "OSRelease", "PathExists",
        "PathExistsGlob", "PathIsDirectory", "PathIsEncrypted", "PathIsMountPoint", "PathIsReadWrite", "PathIsSocket", "PathIsSymbolicLink",
        "Security", "User", "Version", "Virtualization",
    ];
    let rest = key
        .strip_prefix("Condition")
        .or_else(|| key.strip_prefix("Assert"));
    rest.is_some_and(|rest| CONDITIONS.contains(&rest))
}

/// The sections that systemd knows.
pub(super) const SECTIONS: [&str; 12] = [
    "Unit",
    "Install",
    "Service",
    "Socket",
    "Timer",
    "Path",
    "Mount",
    "Automount",
    "Swap",
    "Slice",
    "Scope",
    "Container",
];

/// The lists of the keys of a section; none if its keys are not checked.
fn lists(section: &str) -> Option<&'static [&'static [&'static str]]> {
    Some(match section {
        "Unit" => &[UNIT],
        "Install" => &[INSTALL],
        "Service" => &[SERVICE, EXEC],
        "Socket" => &[SOCKET, EXEC],
        "Timer" => &[TIMER],
        "Path" => &[PATH],
        _ => return None,
    })
}

/// Whether the keys of this section are checked, and this is not one of them.
pub(super) fn is_unknown(section: &str, key: &str) -> bool {
    let is_known = |lists: &[&[&str]]| lists.iter().any(|list| list.contains(&key));
    lists(section).is_some_and(|lists| {
        let is_allowed = key.starts_with("X-") || section == "Unit" && is_condition(key);
        !is_allowed && !is_known(lists)
    })
}

/// The keys of a section.
pub(super) fn keys_of(section: &str) -> impl Iterator<Item = &'static str> {
    let lists = lists(section).unwrap_or_default();
    lists.iter().flat_map(|list| list.iter().copied())
}

/// The section that has this key, if one does.
pub(super) fn section_of(key: &str) -> Option<&'static str> {
    if is_condition(key) {
        return Some("Unit");
    }
    ["Service", "Unit", "Install", "Socket", "Timer", "Path"]
        .into_iter()
        .find(|section| keys_of(section).any(|known| known == key))
}

/// The kind of value of a key. `Type=` of a mount is a file system, so only sections whose keys are checked count.
pub(super) fn kind_of(section: &str, key: &str) -> Kind {
    if lists(section).is_none() {
        return Text;
    }
    let found = KINDS.iter().find(|(name, _)| *name == key);
    found.map_or(Text, |(_, kind)| *kind)
}

/// Deprecated keys, each with what to write instead.
#[rustfmt::skip]
pub(super) const LEGACY: &[(&str, &str)] = &[
    ("MemoryLimit", "write MemoryMax="), ("CPUShares", "write CPUWeight="), ("StartupCPUShares", "write StartupCPUWeight="),
    ("BlockIOWeight", "write IOWeight="), ("BlockIOAccounting", "write IOAccounting="), ("BlockIODeviceWeight", "write IODeviceWeight="),
    ("BlockIOReadBandwidth", "write IOReadBandwidthMax="), ("BlockIOWriteBandwidth", "write IOWriteBandwidthMax="),
    ("PermissionsStartOnly", "write `+` before the command that needs root, as in ExecStartPre=+/bin/mkdir"),
    ("ReadWriteDirectories", "write ReadWritePaths="), ("ReadOnlyDirectories", "write ReadOnlyPaths="),
    ("InaccessibleDirectories", "write InaccessiblePaths="), ("SysVStartPriority", "remove it"), ("TCPWrapName", "remove it"),
    ("BusPolicy", "remove it"), ("ControlGroup", "write Slice="), ("Capabilities", "write AmbientCapabilities="),
    ("RequiresOverridable", "write Requires="), ("RequisiteOverridable", "write Requisite="), ("NetClass", "remove it"),
    ("IgnoreOnSnapshot", "remove it"),
];
