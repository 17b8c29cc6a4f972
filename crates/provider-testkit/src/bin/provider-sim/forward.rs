//! `provider-sim forward`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use provider_testkit::Forwarder;

use crate::{Common, Failure, stopped};

const EXAMPLES: &str = "\
Examples:
  provider-sim forward --to 127.0.0.1:8052 --listen 127.0.0.1:9052 --swallow-every-ms 60000";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where connections are carried to.
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How often all connections that there are are swallowed; never, unless it is given.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    swallow_every_ms: Option<u64>,
}

impl Options {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let forwarder = Forwarder::start_at(self.listen, self.to).await;
        let forwarder = forwarder.map_err(|error| Common::cannot_listen(self.listen, &error))?;
        let stopped = stopped();
        println!("{}", forwarder.address());
        let Some(every) = self.swallow_every_ms else {
            stopped.await;
            return Ok(());
        };
        let swallowing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(every)).await;
                forwarder.swallow();
            }
        };
        tokio::select! {
            () = stopped => {}
            () = swallowing => {}
        }
        Ok(())
    }
}
