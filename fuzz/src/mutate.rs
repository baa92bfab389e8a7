//! Damages valid inputs in the ways that occur in practice: bits flip, ends are cut off, parts are repeated,
//! removed or taken from another input, and integers have values at the limits of their range.

use crate::Random;

/// Largest size of an input in bytes; a larger one is truncated.
const SIZE_MAX: usize = 1 << 16;

/// Values at which integers and sizes often fail.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    8189,
    8190,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Words of text formats. They are also put into binary inputs, where they do no harm.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1e309",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "null",
    "true",
    "\"",
    "\\u0000",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[",
    ",",
    ":",
    "=",
    "\n",
    "\u{0}",
    "\u{feff}",
    "é",
    "id",
    "amount",
    "ledger",
    "flags",
];

/// Makes new inputs out of valid ones.
#[derive(Debug)]
pub struct Mutator<'seeds> {
    seeds: &'seeds [Vec<u8>],
    random: Random,
}

impl<'seeds> Mutator<'seeds> {
    /// Starts from `seeds`, which must not be empty.
    pub fn new(seeds: &'seeds [Vec<u8>], seed: u64) -> Self {
        assert!(!seeds.is_empty(), "a target has at least one valid input");
        Self { seeds, random: Random::new(seed) }
    }

    /// The next input: a seed with one to eight changes.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.random.choose(self.seeds).clone();
        for _ in 0..=self.random.below(8) {
            self.mutate(&mut input);
        }
        input.truncate(SIZE_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        match self.random.below(10) {
            0 | 1 => self.flip_bit(input),
            2 => self.set_byte(input),
            3 | 4 => self.put_edge(input),
            5 => input.truncate(self.random.below(input.len() + 1)),
            6 => self.repeat_part(input),
            7 => self.remove_part(input),
            8 => self.splice(input),
            _ => self.insert_word(input),
        }
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte ^= 1 << self.random.below(8);
        }
    }

    fn set_byte(&mut self, input: &mut [u8]) {
        let at = self.random.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            [*byte, ..] = self.random.next().to_le_bytes();
        }
    }

    /// Writes an edge value as an integer of 1, 2, 4 or 8 bytes, often at an aligned offset.
    fn put_edge(&mut self, input: &mut [u8]) {
        let size = *self.random.choose(&[1, 2, 4, 8]);
        let mut at = self.random.below(input.len());
        if self.random.below(4) != 0 {
            at -= at % size;
        }
        let value = self.random.choose(EDGES).to_le_bytes();
        for (byte, value) in input.iter_mut().skip(at).zip(&value[..size]) {
            *byte = *value;
        }
    }

    fn part(&mut self, input: &[u8]) -> core::ops::Range<usize> {
        let start = self.random.below(input.len() + 1);
        let size_max = if self.random.below(2) == 0 { 16 } else { 512 };
        let size = self.random.below(size_max.min(input.len() - start) + 1);
        start..start + size
    }

    fn repeat_part(&mut self, input: &mut Vec<u8>) {
        let part = input[self.part(input)].to_vec();
        let at = self.random.below(input.len() + 1);
        input.splice(at..at, part);
    }

    fn remove_part(&mut self, input: &mut Vec<u8>) {
        let part = self.part(input);
        input.drain(part);
    }

    /// Replaces the end with the end of another seed.
    fn splice(&mut self, input: &mut Vec<u8>) {
        let other = self.random.choose(self.seeds);
        let from = self.random.below(other.len() + 1);
        input.truncate(self.random.below(input.len() + 1));
        input.extend_from_slice(&other[from..]);
    }

    fn insert_word(&mut self, input: &mut Vec<u8>) {
        let word = self.random.choose(WORDS).bytes();
        let at = self.random.below(input.len() + 1);
        input.splice(at..at, word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_inputs() {
        let seeds = [b"0123456789".to_vec(), Vec::new()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(&seeds, seed);
            (0..100).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn inputs_differ_from_their_seeds() {
        let seeds = [vec![7; 100]];
        let mut mutator = Mutator::new(&seeds, 3);
        let changed = (0..1000).filter(|_| mutator.next_input() != seeds[0]).count();
        assert!(changed > 900, "{changed}");
    }
}
