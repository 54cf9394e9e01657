//! The hash of a load, kept up to date file by file.

use std::collections::BTreeMap;

use ring::digest::Context;
use ring::digest::SHA256;

use crate::model::ids::Digest;

/// Hashes of files, in groups by their first byte: where one file changes, only its group is hashed
/// again. The result says nothing of the order of files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Digests(BTreeMap<u8, Group>);

#[derive(Clone, Debug, Default)]
struct Group {
    /// How many files have each hash.
    files: BTreeMap<[u8; 32], usize>,
    /// The hash of these hashes, unless they changed since.
    sum: Option<[u8; 32]>,
}

impl Digests {
    pub(crate) fn add(&mut self, file: &[u8; 32]) {
        let group = self.group(file);
        *group.files.entry(*file).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, file: &[u8; 32]) {
        let group = self.group(file);
        let left = group.files.remove(file).and_then(|count| count.checked_sub(1)).filter(|left| *left > 0);
        group.files.extend(left.map(|left| (*file, left)));
    }

    fn group(&mut self, file: &[u8; 32]) -> &mut Group {
        let [first, ..] = *file;
        let group = self.0.entry(first).or_default();
        group.sum = None;
        group
    }

    /// The hash of all of them.
    pub(crate) fn whole(&mut self) -> Digest {
        self.0.retain(|_, group| !group.files.is_empty());
        let sums = self.0.values_mut().map(|group| {
            let files = group.files.iter().flat_map(|(file, count)| std::iter::repeat_n(file, *count));
            *group.sum.get_or_insert_with(|| hash(files))
        });
        let sums: Vec<_> = sums.collect();
        let digits = hash(sums.iter()).into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        Digest::from(digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect::<String>())
    }
}

fn hash<'h>(parts: impl Iterator<Item = &'h [u8; 32]>) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_kept_up_to_date_is_the_one_made_anew() {
        let file = |number: u8| [number.wrapping_mul(37); 32];
        let mut kept = Digests::default();
        for number in 0..100 {
            kept.add(&file(number));
        }
        kept.add(&file(3));
        let first = kept.whole();
        for number in 50..100 {
            kept.remove(&file(number));
        }
        kept.remove(&file(3));
        let mut anew = Digests::default();
        for number in (0..50).rev() {
            anew.add(&file(number));
        }
        assert_eq!(kept.whole(), anew.whole());
        assert_ne!(kept.whole(), first, "fewer files are another load");
        anew.add(&file(7));
        assert_ne!(kept.whole(), anew.whole(), "one file twice is another load");
    }
}
