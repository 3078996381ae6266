//! `healthy` needs an answer: a service that cannot be asked is not healthy, and the status says why.

use super::support::Freezer;
use super::support::service::pid;
use super::support::watchdog::WithCanary;

#[test]
#[ignore = "needs root"]
fn a_frozen_service_is_not_healthy_until_it_answers_again() {
    let freezer = Freezer::new("healthy");
    let test = WithCanary::new("", |_| {});
    let healthy = |is: bool| {
        test.daemon
            .wait_service("s", "healthy or not", |service| service["healthy"] == is)
    };
    healthy(true);
    freezer.add_process(test.subject);
    freezer.freeze();
    let frozen = healthy(false);
    let reason = frozen["reason"].as_str().expect("a reason");
    assert!(reason.contains("its cgroup is frozen"), "{frozen}");
    let status = test.daemon.client(&["status", "s"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    freezer.thaw();
    assert_eq!(pid(&healthy(true)), test.subject);
}
