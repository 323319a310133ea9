//! Signals: Ctrl-C, SIGTERM and SIGUSR1 end a training after its step, with everything saved; a
//! second Ctrl-C or SIGTERM ends it at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Signals that ask a training to end.
#[derive(Default)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// The flag that the first signal sets.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// From now on a first signal sets [`Self::stop`], and a second one ends the program.
    pub fn catch(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal arms what the second one meets.
            flag::register_conditional_shutdown(signal, 128 + signal, self.stop())?;
            flag::register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            flag::register(signal, self.stop())?;
        }
        // Slurm sends it before it takes a job's machines, perhaps both to a process and to the
        // launcher that passes it on.
        #[cfg(unix)]
        {
            use signal_hook::consts::SIGUSR1;
            flag::register_usize(SIGUSR1, Arc::clone(&self.received), SIGUSR1 as usize)?;
            flag::register(SIGUSR1, self.stop())?;
        }
        Ok(())
    }

    /// The number of the last signal.
    pub fn received(&self) -> u8 {
        u8::try_from(self.received.load(Ordering::Relaxed)).unwrap_or(u8::MAX)
    }
}

/// A file that grows beyond the process's limit (`ulimit -f`) is an error of the write like a full
/// disk's, and not the end of the program without a word.
pub fn survive_file_size_limit() {
    #[cfg(unix)]
    {
        // Where it cannot be registered, the signal does what it always does.
        let _ = flag::register(signal_hook::consts::signal::SIGXFSZ, Arc::default());
    }
}
