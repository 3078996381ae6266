//! A process compared with a claim: what proves it ours, what does not, and how stayd treats it.

use super::{
    ExplainContext, Observation, Ownership, ProcessSupervisor, StoredClaim, Treatment, Visibility,
    assess, supervisor, treatment,
};
use crate::decide::event::{Life, Process};
use crate::decide::ownership::{ObservedProcess, Proof};

const MAIN: Process = Process {
    pid: 100,
    start_time: 50,
};
const ALL: Visibility = Visibility {
    descriptors: true,
    environment: true,
};

const fn left_by_earlier_stayd() -> StoredClaim<'static> {
    StoredClaim {
        life: Life(3),
        main: Some(MAIN),
        first: Some(MAIN),
        uid: 1000,
        members: &[],
        present: true,
        runs: false,
        ourselves: 7,
    }
}

const fn without_evidence(process: Process) -> ObservedProcess {
    ObservedProcess {
        process,
        below_member: false,
        session: process.pid,
        session_leader: Some(process),
        in_cgroup: false,
        holds_claim: false,
        in_other_cgroup: false,
        carries_token: false,
        uid: 1000,
        our_child: false,
        descends_from_us: false,
        spawned: false,
    }
}

const fn main_process() -> ExplainContext {
    ExplainContext {
        orphaned: false,
        stayd_runs: false,
        is_main: true,
        main_runs: true,
        replaces: false,
        holds_its_port: false,
        service_runs: false,
        attached: false,
        attaches: false,
    }
}

#[test]
fn a_process_with_evidence_of_the_claimed_instance_is_adopted() {
    let mut seen = without_evidence(MAIN);
    seen.holds_claim = true;
    let assessment = assess(&left_by_earlier_stayd(), &seen, ALL);
    assert_eq!(assessment.ownership, Ownership::Proven(Proof::ClaimFd));
    assert!(
        assessment
            .evidence
            .contains(&(Proof::ClaimFd, Observation::Shown))
    );
    assert!(
        assessment
            .evidence
            .contains(&(Proof::Token, Observation::Missing))
    );
    assert_eq!(
        treatment(assessment.ownership, &main_process()),
        Treatment::Adopt
    );
    let replaces = ExplainContext {
        replaces: true,
        ..main_process()
    };
    assert_eq!(
        treatment(assessment.ownership, &replaces),
        Treatment::Replace
    );
}

#[test]
fn a_pid_and_a_start_time_alone_prove_nothing() {
    let assessment = assess(&left_by_earlier_stayd(), &without_evidence(MAIN), ALL);
    assert!(
        assessment
            .evidence
            .contains(&(Proof::Child, Observation::Shown))
    );
    assert_eq!(assessment.ownership, Ownership::Unproven);
    assert_eq!(
        treatment(assessment.ownership, &main_process()),
        Treatment::BlockService
    );
}

#[test]
fn a_process_started_by_a_running_stayd_needs_no_other_evidence() {
    let stored = StoredClaim {
        runs: true,
        ..left_by_earlier_stayd()
    };
    let assessment = assess(&stored, &without_evidence(MAIN), ALL);
    assert_eq!(assessment.ownership, Ownership::Proven(Proof::Child));
    let runs = ExplainContext {
        stayd_runs: true,
        ..main_process()
    };
    assert_eq!(
        treatment(assessment.ownership, &runs),
        Treatment::Supervised
    );
}

#[test]
fn a_reused_pid_belongs_to_no_instance() {
    let later = Process {
        start_time: 51,
        ..MAIN
    };
    let assessment = assess(&left_by_earlier_stayd(), &without_evidence(later), ALL);
    assert_eq!(assessment.ownership, Ownership::PidReused);
    assert_eq!(
        treatment(assessment.ownership, &main_process()),
        Treatment::None
    );
}

#[test]
fn a_claim_of_another_boot_names_no_process() {
    let stored = StoredClaim {
        present: false,
        ..left_by_earlier_stayd()
    };
    let mut seen = without_evidence(MAIN);
    seen.holds_claim = true;
    let assessment = assess(&stored, &seen, ALL);
    assert_eq!(assessment.ownership, Ownership::OtherBoot);
    assert!(assessment.evidence.is_empty());
    assert_eq!(
        treatment(assessment.ownership, &main_process()),
        Treatment::None
    );
}

#[test]
fn a_token_of_another_user_proves_nothing_and_hidden_evidence_is_reported_as_hidden() {
    let mut seen = without_evidence(Process {
        pid: 101,
        start_time: 60,
    });
    seen.carries_token = true;
    seen.uid = 1001;
    let hidden = Visibility {
        descriptors: false,
        environment: true,
    };
    let assessment = assess(&left_by_earlier_stayd(), &seen, hidden);
    assert_eq!(assessment.ownership, Ownership::Unrelated);
    assert!(
        assessment
            .evidence
            .contains(&(Proof::ClaimFd, Observation::Hidden))
    );
    assert!(
        assessment
            .evidence
            .contains(&(Proof::Token, Observation::Shown))
    );
}

#[test]
fn a_foreign_process_on_the_port_is_a_conflict_or_an_outsider_beside_a_running_service() {
    let holder = ExplainContext {
        is_main: false,
        holds_its_port: true,
        ..main_process()
    };
    for ownership in [
        Ownership::Unproven,
        Ownership::PidReused,
        Ownership::OtherBoot,
        Ownership::Unrelated,
    ] {
        assert_eq!(treatment(ownership, &holder), Treatment::PortConflict);
    }
    let beside = ExplainContext {
        stayd_runs: true,
        service_runs: true,
        ..holder
    };
    assert_eq!(
        treatment(Ownership::Unrelated, &beside),
        Treatment::Outsider
    );
}

#[test]
fn a_foreign_process_that_is_or_would_be_attached_to_is_no_conflict() {
    let holder = ExplainContext {
        is_main: false,
        holds_its_port: true,
        attaches: true,
        ..main_process()
    };
    assert_eq!(treatment(Ownership::Unrelated, &holder), Treatment::Attach);
    let watched = ExplainContext {
        stayd_runs: true,
        attached: true,
        ..holder
    };
    assert_eq!(
        treatment(Ownership::Unrelated, &watched),
        Treatment::Attached
    );
    let beside = ExplainContext {
        attached: false,
        service_runs: true,
        ..watched
    };
    assert_eq!(
        treatment(Ownership::Unrelated, &beside),
        Treatment::Outsider
    );
}

#[test]
fn the_rest_of_a_tree_without_its_main_process_is_killed() {
    let member = ExplainContext {
        is_main: false,
        main_runs: false,
        ..main_process()
    };
    assert_eq!(
        treatment(Ownership::Proven(Proof::Member), &member),
        Treatment::KillTree
    );
    let with_main = ExplainContext {
        main_runs: true,
        ..member
    };
    assert_eq!(
        treatment(Ownership::Proven(Proof::Member), &with_main),
        Treatment::Adopt
    );
}

#[test]
fn the_supervisor_is_the_innermost_that_is_known() {
    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service";
    let unit = |name: &str| ProcessSupervisor::Unit(name.to_owned());
    assert_eq!(
        supervisor(Some(user), &["systemd", "systemd"]),
        unit("web.service")
    );
    let login = "/user.slice/user-1000.slice/session-4.scope";
    let parents = ["bash", "sshd", "systemd"];
    let session = ProcessSupervisor::Login("session-4.scope".to_owned());
    assert_eq!(supervisor(Some(login), &parents), session);
    let shim = ProcessSupervisor::Container("containerd-shim".to_owned());
    assert_eq!(
        supervisor(Some("/"), &["sh", "containerd-shim", "systemd"]),
        shim
    );
    assert_eq!(
        supervisor(None, &["zsh", "launchd"]),
        ProcessSupervisor::Launchd
    );
    assert_eq!(
        supervisor(Some("/init.scope"), &["tini"]),
        ProcessSupervisor::Init("tini".to_owned())
    );
    assert_eq!(
        supervisor(Some("/"), &["bash", "tini"]),
        ProcessSupervisor::Unknown
    );
}

#[test]
fn a_process_of_a_service_that_is_no_longer_configured_is_orphaned() {
    for stayd_runs in [false, true] {
        let context = ExplainContext {
            orphaned: true,
            stayd_runs,
            ..main_process()
        };
        for ownership in [Ownership::Proven(Proof::Token), Ownership::Unproven] {
            assert_eq!(treatment(ownership, &context), Treatment::Orphaned);
        }
        assert_eq!(treatment(Ownership::Unrelated, &context), Treatment::None);
    }
}
