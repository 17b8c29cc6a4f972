//! Lines of JSON, written as things happen.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// How often it is looked whether something has happened.
const TICK: Duration = Duration::from_millis(20);

pub(crate) struct Journal(File);

impl Journal {
    pub(crate) fn create(file: &Path) -> io::Result<Self> {
        File::create(file).map(Self)
    }

    fn write(&mut self, lines: &[impl Serialize]) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        self.0.write_all(&text)
    }

    /// Writes what is new until somebody wants it to end, and then what is left.
    pub(crate) async fn follow<T: Serialize>(
        mut self,
        mut news: impl FnMut() -> Vec<T>,
        stopped: impl Future<Output = ()>,
    ) -> io::Result<()> {
        tokio::pin!(stopped);
        loop {
            let last = tokio::select! {
                () = &mut stopped => true,
                () = tokio::time::sleep(TICK) => false,
            };
            self.write(&news())?;
            if last {
                return Ok(());
            }
        }
    }
}
