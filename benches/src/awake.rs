//! Keeps the processors of a virtual machine from falling asleep.

use std::process::{Child, Command, Stdio};

/// Programs of idle priority that spin, one for each processor, until this is dropped.
///
/// Who waits for a server leaves the processor idle. A virtual one is then given back to the host, and waking it takes longer than
/// the answer did: times of one task jump between two values by a factor of five, as the host decides. What is of idle
/// priority runs only where nothing else would.
#[derive(Debug)]
pub struct Awake {
    spinning: Vec<Child>,
}

impl Awake {
    /// Begins to spin.
    ///
    /// # Errors
    ///
    /// When there is no `chrt` (util-linux), or no shell.
    pub fn begin() -> std::io::Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        let mut awake = Self {
            spinning: Vec::with_capacity(count),
        };
        for _ in 0..count {
            // Ends by itself with us, should we be killed.
            let spin =
                "while kill -0 $0 2>/dev/null; do i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; done";
            let spinning = Command::new("chrt")
                .args(["--idle", "0", "sh", "-c", spin])
                .arg(std::process::id().to_string())
                .stdin(Stdio::null())
                .spawn()?;
            awake.spinning.push(spinning);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for spinning in &mut self.spinning {
            // One that is gone already has ended by itself.
            let _ = spinning.kill();
            let _ = spinning.wait();
        }
    }
}
