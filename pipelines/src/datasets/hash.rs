//! Hashes: of files, for the detector's manifest, and of names, for splits that stay as they are.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{DatasetError, Item, Split};

/// Normal images whose hash lies below this go to train: 0.7 · 2⁶⁴.
const TRAIN_BELOW: u64 = (u64::MAX / 10) * 7;

/// Bytes read at a time: large enough that the system call costs nothing beside the hash.
const CHUNK_BYTES: usize = 64 * 1024;

/// One training image, as the detector file remembers it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// [`Item::name`].
    pub name: String,
    /// SHA-256 of the file's bytes, hexadecimal.
    pub sha256: String,
}

impl ManifestEntry {
    /// The entry of an image whose bytes are already in memory.
    pub fn of_bytes(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            sha256: hexadecimal(&Sha256::digest(bytes)),
        }
    }
}

/// The entry of the image `name` at `path`, in 64 KiB of memory whatever the file's size.
///
/// # Errors
/// Where the file cannot be read.
pub fn hash_file(name: &str, path: &Path) -> Result<ManifestEntry, DatasetError> {
    let mut file = File::open(path).map_err(DatasetError::read(path))?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => hasher.update(&chunk[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DatasetError::read(path)(error)),
        }
    }
    Ok(ManifestEntry {
        name: name.to_owned(),
        sha256: hexadecimal(&hasher.finalize()),
    })
}

/// One hash for a whole training set, whatever the order of `entries`: SHA-256, hexadecimal, of the sorted lines
/// `<sha256>  <length of name in bytes>:<name>\n`.
pub fn manifest_hash(entries: &[ManifestEntry]) -> String {
    let mut sorted: Vec<&ManifestEntry> = entries.iter().collect();
    sorted.sort();
    let mut hasher = Sha256::new();
    for entry in sorted {
        // The length, because a name may hold a line break.
        hasher.update(format!("{}  {}:{}\n", entry.sha256, entry.name.len(), entry.name));
    }
    hexadecimal(&hasher.finalize())
}

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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum() {
        // printf 'abc' | sha256sum
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ManifestEntry::of_bytes("a.png", b"abc").sha256, abc);
        // printf '0001_000_02.png' | sha256sum | cut -c1-16
        assert_eq!(name_hash("0001_000_02.png"), 0x51e4_8ffe_5fdb_2e66);
    }

    #[test]
    fn a_large_file_is_hashed_like_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let bytes: Vec<u8> = (0..3 * CHUNK_BYTES + 17).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            hash_file("a.png", &path).unwrap(),
            ManifestEntry::of_bytes("a.png", &bytes)
        );
    }

    #[test]
    fn the_manifest_hash_does_not_depend_on_order() {
        let (a, b) = (ManifestEntry::of_bytes("a", b"1"), ManifestEntry::of_bytes("b", b"2"));
        let swapped = [ManifestEntry::of_bytes("a", b"2"), ManifestEntry::of_bytes("b", b"1")];
        assert_eq!(
            manifest_hash(&[a.clone(), b.clone()]),
            manifest_hash(&[b.clone(), a.clone()])
        );
        assert_ne!(manifest_hash(&[a.clone(), b]), manifest_hash(&[a]));
        assert_ne!(
            manifest_hash(&swapped),
            manifest_hash(&[ManifestEntry::of_bytes("a", b"1"), ManifestEntry::of_bytes("b", b"2")])
        );
    }
}
