//! Sends normal images to train and test, in a way that stays as it is when others come or go.

use sha2::{Digest, Sha256};

use super::{Item, Split};

/// Normal images whose hash lies below this go to train: 0.7 · 2⁶⁴.
const TRAIN_BELOW: u64 = (u64::MAX / 10) * 7;

/// Sends normal images to train and test by the hash of their `key`; see [`Split`].
pub(super) fn split_normals(normals: &mut [Item], key: impl Fn(&Item) -> String) {
    let hashes: Vec<u64> = normals.iter().map(|item| name_hash(&key(item))).collect();
    for (item, &hash) in normals.iter_mut().zip(&hashes) {
        item.split = if hash < TRAIN_BELOW { Split::Train } else { Split::Test };
    }
    let lowest = (0..hashes.len()).min_by_key(|&i| hashes[i]);
    let highest = (0..hashes.len()).max_by_key(|&i| hashes[i]);
    if let (Some(lowest), Some(highest)) = (lowest, highest) {
        // The lowest last: a single image is trained on.
        normals[highest].split = Split::Test;
        normals[lowest].split = Split::Train;
    }
}

fn name_hash(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    digest.iter().take(8).fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_name_is_the_beginning_of_its_sha256() {
        // printf '0001_000_02.png' | sha256sum | cut -c1-16
        assert_eq!(name_hash("0001_000_02.png"), 0x51e4_8ffe_5fdb_2e66);
    }
}
