//! What is wanted beside a configuration: actions, targets that go, what stays, what was there before, and launches
//! whose job is named later.

use provider_core::lifecycle::Supersede;

use crate::bounds::{Bounds, Mutant};
use crate::{caught, check, sized};

/// What a resource is asked for beside being there and being gone.
fn wishes() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: sized(1, 2),
        faults: 0,
        crashes: 0,
        ..Bounds::small()
    }
}

fn actions() -> Bounds {
    Bounds {
        actions: 1,
        ..wishes()
    }
}

#[test]
fn a_resource_that_is_acted_on() {
    for supersede in [Supersede::Wait, Supersede::Cancel] {
        let one = Bounds {
            edits: 1,
            failures: 1,
            supersede,
            ..actions()
        };
        check("one replica, an action, an edit, a failure", one);
    }
    let lost = Bounds {
        ticks: 2,
        faults: 1,
        crashes: 1,
        depth: Some(sized(18, 24)),
        ..actions()
    };
    check("one replica, an action, a fault, a crash", lost);
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        crashes: 1,
        depth: Some(sized(10, 12)),
        from_the_middle: true,
        ..actions()
    };
    check("two replicas, an action", two);
}

fn unnamed() -> Bounds {
    Bounds {
        ticks: sized(3, 4),
        faults: 1,
        unnamed: true,
        ..wishes()
    }
}

#[test]
fn a_launch_whose_job_is_named_later() {
    check("one replica, a launch without a name", unnamed());
    let two = Bounds {
        replicas: 2,
        depth: Some(sized(11, 13)),
        ..unnamed()
    };
    check("two replicas, a launch without a name", two);
}

fn absent() -> Bounds {
    Bounds {
        edits: 2,
        failures: sized(0, 1),
        absent: true,
        ..wishes()
    }
}

#[test]
fn a_target_that_goes_while_its_object_stays() {
    check("one replica, a target that goes", absent());
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        crashes: 1,
        failures: 0,
        depth: Some(sized(10, 12)),
        from_the_middle: true,
        ..absent()
    };
    check("two replicas, a target that goes", two);
}

fn keep() -> Bounds {
    Bounds {
        edits: 1,
        keep: true,
        ..wishes()
    }
}

#[test]
fn what_is_to_stay_when_its_object_goes() {
    let one = Bounds {
        faults: 1,
        crashes: sized(0, 1),
        ..keep()
    };
    check("one replica, what is to stay", one);
}

fn imports() -> Bounds {
    Bounds {
        edits: 2,
        imports: true,
        ..wishes()
    }
}

#[test]
fn a_status_that_is_lost() {
    let one = Bounds {
        faults: 1,
        ..imports()
    };
    check("one replica, a status that is lost", one);
}

fn newer() -> Bounds {
    Bounds {
        edits: 1,
        newer: true,
        ..wishes()
    }
}

#[test]
fn a_job_that_only_a_newer_version_knows() {
    for supersede in [Supersede::Wait, Supersede::Cancel] {
        let one = Bounds {
            supersede,
            ..newer()
        };
        check("one replica, a job of an unknown type, an edit", one);
    }
}

#[test]
fn every_broken_rule_about_wishes_is_caught() {
    let edited = Bounds {
        edits: 1,
        ..actions()
    };
    caught(actions().broken(Mutant::ActionBesideDeprovision));
    caught(actions().broken(Mutant::ActionAnsweredTwice));
    caught(edited.broken(Mutant::ActionIsApplied));
    caught(
        Bounds {
            ticks: 8,
            ..unnamed()
        }
        .broken(Mutant::UnnamedIsSentAgain),
    );
    caught(absent().broken(Mutant::ForgottenTooEarly));
    caught(keep().broken(Mutant::KeptBesideAJob));
    caught(imports().broken(Mutant::ImportOverRecords));
    caught(newer().broken(Mutant::UnknownTypesAreIgnored));
}
