//! The operator against a real Kubernetes API server, its jobs on the AAP simulator.
//!
//! ```sh
//! scripts/test-kube.sh    # starts the server and runs this
//! ```
//!
//! At the end of each part the journal of the simulator decides: what really ran, whatever anybody
//! was told.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check that panics has failed, and says so"
)]

mod behaves;
mod more;
mod parts;
mod proxy;
mod rights;
mod trials;
mod unfit;
mod world;

use std::time::Instant;

use world::World;

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let (Some(operator), Some(server)) = (arguments.next(), arguments.next()) else {
        panic!("usage: cluster OPERATOR SERVER-SCRIPT [PART]");
    };
    let only = arguments.next();
    let world = World::start(operator, server).await;
    macro_rules! part {
        ($($from:ident::$name:ident),* $(,)?) => {$(
            // Without the definition there is nothing to work on.
            let always = stringify!($name) == "definition";
            if always || only.as_deref().is_none_or(|only| only == stringify!($name)) {
                #[allow(clippy::disallowed_methods, reason = "only printed")]
                let began = Instant::now();
                let figures = $from::$name(&world).await;
                println!("ok: {} [{:.0} s]", figures, began.elapsed().as_secs_f64());
            }
        )*};
    }
    part!(
        parts::definition,
        parts::behaviours,
        parts::erasure,
        more::field_managers,
        more::older_records,
        parts::whole_life,
        more::judged,
        more::events_of_edges,
        more::eda,
        unfit::object,
        unfit::unlisted,
        unfit::whole,
        parts::wake_ups,
        parts::foreign_finalizer,
        parts::spec_edit,
        parts::deletion_in_mid_provision,
        parts::annotations,
        parts::writers,
        trials::replicas,
        trials::broken_fence,
        trials::restart,
        trials::expired_watch,
        trials::kills,
        trials::thousand,
    );
    println!("ok: {}", rights::compare(&world.proxy.log));
    let refused = world.proxy.log.refused();
    assert!(
        refused.is_empty(),
        "events that a server refuses: {refused:#?}"
    );
    println!("the API server is satisfied");
}
