//! What ranks tell each other.

use super::Ranks;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a number in a message.
const WORD: usize = 4;

impl Ranks {
    /// Whether the flag is set in any rank.
    #[must_use]
    pub fn any(&self, flag: bool) -> bool {
        let [flag] = self.any_of([flag]);
        flag
    }

    /// For each flag, whether it is set in any rank.
    #[must_use]
    pub fn any_of<const N: usize>(&self, flags: [bool; N]) -> [bool; N] {
        if self.is_alone() {
            return flags;
        }
        let all = self.lock().gather(&flags.map(|flag| f32::from(u8::from(flag))));
        std::array::from_fn(|place| all.chunks_exact(N).any(|flags| flags[place] > 0.0))
    }

    /// The values of `count` items in their order, of which each rank has those of its share: an
    /// item has `length` values.
    #[must_use]
    pub fn join_shares(&self, count: usize, length: usize, own: &[f32]) -> Vec<f32> {
        if self.is_alone() {
            return own.to_vec();
        }
        let most = self.share().most(count) * length;
        let mut padded = own.to_vec();
        padded.resize(most, 0.0);
        let all = self.lock().gather(&padded);
        let shares = regraft_base::share::Share::all(self.size());
        let own = shares.zip(all.chunks(most.max(1)));
        own.flat_map(|(share, values)| &values[..share.of(count).len() * length]).copied().collect()
    }

    /// A message of each rank, in their order.
    #[must_use]
    pub fn exchange(&self, message: &[u8]) -> Vec<Vec<u8>> {
        if self.is_alone() {
            return vec![message.to_vec()];
        }
        let lengths = self.lock().gather(&[word(message.len())]);
        let longest = lengths.iter().map(|&length| number(length)).max().unwrap_or(0);
        let mut words = to_words(message);
        words.resize(longest.div_ceil(WORD), 0.0);
        let all = self.lock().gather(&words);
        let messages = all.chunks(words.len().max(1)).chain(std::iter::repeat(&[][..]));
        lengths
            .iter()
            .zip(messages)
            .map(|(&length, words)| from_words(words, number(length)))
            .collect()
    }

    /// A value of each rank, in their order.
    ///
    /// # Panics
    /// If a rank runs another version of this program, which a job refuses when it begins.
    #[must_use]
    pub fn exchange_values<T: Serialize + DeserializeOwned>(&self, value: &T) -> Vec<T> {
        self.exchange(&to_json(value)).iter().map(|message| from_json(message)).collect()
    }

    /// The first rank whose message is another than that of rank 0, if there is one.
    #[must_use]
    pub fn first_other(&self, message: &[u8]) -> Option<usize> {
        let all = self.exchange(message);
        all.iter().position(|other| *other != all[0])
    }

    /// The value of rank 0.
    ///
    /// # Panics
    /// As [`Self::exchange_values`].
    #[must_use]
    pub fn of_first<T: Serialize + DeserializeOwned>(&self, value: &T) -> T {
        from_json(&self.message_of_first(&to_json(value)))
    }

    /// The message of rank 0. Only that rank's is read.
    #[must_use]
    pub fn message_of_first(&self, message: &[u8]) -> Vec<u8> {
        if self.is_alone() {
            return message.to_vec();
        }
        let mut length = [word(message.len())];
        self.lock().broadcast(&mut length);
        let length = number(length[0]);
        let mut words = if self.is_first() { to_words(message) } else { Vec::new() };
        words.resize(length.div_ceil(WORD), 0.0);
        self.lock().broadcast(&mut words);
        from_words(&words, length)
    }

    /// Replaces values by those of rank 0, which has as many.
    pub fn follow_first(&self, values: &mut [f32]) {
        if !self.is_alone() {
            self.lock().broadcast(values);
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| unreachable!("a value without text: {error}"))
}

fn from_json<T: DeserializeOwned>(message: &[u8]) -> T {
    serde_json::from_slice(message)
        .unwrap_or_else(|error| panic!("another rank runs another version of Regraft: {error}"))
}

/// A number as the bits of a value. It is never computed with, so no bit changes.
fn word(number: usize) -> f32 {
    f32::from_bits(u32::try_from(number).unwrap_or(u32::MAX))
}

fn number(word: f32) -> usize {
    word.to_bits() as usize
}

fn to_words(bytes: &[u8]) -> Vec<f32> {
    let word = |bytes: &[u8]| {
        let mut word = [0; WORD];
        word[..bytes.len()].copy_from_slice(bytes);
        f32::from_le_bytes(word)
    };
    bytes.chunks(WORD).map(word).collect()
}

fn from_words(words: &[f32], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_nn::collective::Threads;

    fn run<R: Send>(size: usize, work: impl Fn(&Ranks) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let work = &work;
            let ranks: Vec<_> = Threads::new(size)
                .into_iter()
                .map(|rank| scope.spawn(move || work(&Ranks::new(Box::new(rank)))))
                .collect();
            ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect()
        })
    }

    #[test]
    fn messages_of_all_lengths_reach_all_ranks() {
        for size in 1..=4 {
            let message = |rank: usize| vec![0x7f + rank as u8; rank * 3];
            let found = run(size, |ranks| {
                let all = ranks.exchange(&message(ranks.rank()));
                let empty = ranks.exchange(&[]);
                (all, empty, ranks.message_of_first(&message(ranks.rank() + 2)))
            });
            for (all, empty, first) in found {
                assert_eq!(all, (0..size).map(message).collect::<Vec<_>>());
                assert_eq!(empty, vec![Vec::<u8>::new(); size]);
                assert_eq!(first, message(2));
            }
        }
    }

    #[test]
    fn every_pattern_of_bits_arrives() {
        let message: Vec<u8> =
            [f32::NAN.to_bits(), 0xffff_ffff, 0x7f80_0001, 0x0000_0001, 0x8000_0000]
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .chain([1, 2, 3])
                .collect();
        assert!(run(2, |ranks| ranks.exchange(&message)).iter().flatten().all(|m| *m == message));
    }

    #[test]
    fn shares_are_put_together_in_order() {
        for size in 1..=4 {
            for count in [0, 1, 3, 10] {
                let found = run(size, |ranks| {
                    let own: Vec<f32> =
                        ranks.share().of(count).flat_map(|item| [item as f32, 0.5]).collect();
                    ranks.join_shares(count, 2, &own)
                });
                let expected: Vec<f32> = (0..count).flat_map(|item| [item as f32, 0.5]).collect();
                assert!(found.into_iter().all(|values| values == expected), "{size}, {count}");
            }
        }
    }

    #[test]
    fn flags_and_values_are_those_of_all_ranks() {
        let found = run(3, |ranks| {
            let flags = ranks.any_of([false, ranks.rank() == 2, true]);
            let values = ranks.exchange_values(&format!("rank {}", ranks.rank()));
            let mut numbers = [ranks.rank() as f32 + 1.0; 3];
            ranks.follow_first(&mut numbers);
            (flags, values, numbers)
        });
        for (flags, values, numbers) in found {
            assert_eq!(flags, [false, true, true]);
            assert_eq!(values, ["rank 0", "rank 1", "rank 2"]);
            assert_eq!(numbers, [1.0; 3]);
        }
    }
}
