//! Ranks watch each other in a ring, so that none waits forever for one that is gone.

use crate::operation::Operation;
use mpi::topology::SimpleCommunicator;
use std::time::{Duration, Instant};

/// How often a rank gives a sign of life.
const BEAT: Duration = Duration::from_secs(1);
/// How long a rank may be silent. A job ends within half a minute of a rank's death.
pub const LIMIT: Duration = Duration::from_secs(20);
/// If this rank itself was halted for so long, for example because a scheduler suspended the job,
/// the others may have been halted too.
const HALTED: Duration = Duration::from_secs(5);
/// How long a rank that ends tries to tell the next one.
const LAST_WORDS: Duration = Duration::from_millis(500);
const ALIVE: f32 = 1.0;
const LEAVES: f32 = 0.0;
/// A rank is gone, so all that can be reached end.
const ENDS: f32 = 2.0;

/// Why a rank has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The rank before this one has been silent for too long.
    Silent(usize),
    /// The rank before this one ends for such a reason, and has said so.
    Told,
}

/// The signs of life to the next rank, and those from the one before.
pub struct Watch {
    ranks: SimpleCommunicator,
    next: usize,
    before: usize,
    sending: Option<Operation>,
    /// Ends with the last sign.
    receiving: Option<Operation>,
    last_sent: Instant,
    last_heard: Instant,
    last_poll: Instant,
    is_leaving: bool,
}

impl Watch {
    pub fn new(ranks: SimpleCommunicator, rank: usize, size: usize) -> Self {
        let now = Instant::now();
        let before = (rank + size - 1) % size;
        Self {
            receiving: Some(Operation::receive(&ranks, before, 1)),
            ranks,
            next: (rank + 1) % size,
            before,
            sending: None,
            last_sent: now,
            last_heard: now,
            last_poll: now,
            is_leaving: false,
        }
    }

    /// Sends and receives what is due. Says if this rank has to end.
    pub fn poll(&mut self) -> Option<Alarm> {
        let now = Instant::now();
        if now - self.last_poll > HALTED {
            self.last_heard = now;
        }
        self.last_poll = now;
        if self.sending.as_mut().is_some_and(Operation::is_complete) {
            self.sending = None;
        }
        if self.sending.is_none() && !self.is_leaving && now - self.last_sent >= BEAT {
            self.send(ALIVE);
        }
        while self.receiving.as_mut().is_some_and(Operation::is_complete) {
            self.last_heard = now;
            let (_, sign) = self.receiving.take()?.into_memory();
            if sign == [ENDS] {
                return Some(Alarm::Told);
            }
            if sign != [LEAVES] {
                self.receiving = Some(Operation::receive(&self.ranks, self.before, 1));
            }
        }
        let is_silent = self.receiving.is_some() && now - self.last_heard > LIMIT;
        is_silent.then_some(Alarm::Silent(self.before))
    }

    /// Tells the next rank to end, if it can be reached. Otherwise those of a network that is cut
    /// in two would end one after the other, each after its own wait.
    pub fn pass_on(&mut self) {
        let began = Instant::now();
        let mut is_sent = false;
        while began.elapsed() < LAST_WORDS {
            if self.sending.as_mut().is_none_or(Operation::is_complete) {
                if is_sent {
                    return;
                }
                self.send(ENDS);
                is_sent = true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&mut self, sign: f32) {
        self.sending = Some(Operation::send(&self.ranks, self.next, vec![sign]));
        self.last_sent = Instant::now();
    }

    /// Gives the last sign, and says whether it and that of the rank before have arrived.
    pub fn leave(&mut self) -> bool {
        if !self.is_leaving && self.sending.is_none() {
            self.send(LEAVES);
            self.is_leaving = true;
        }
        self.is_leaving && self.sending.is_none() && self.receiving.is_none()
    }
}
