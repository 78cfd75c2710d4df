//! Files that hold 256 bits as 64 hexadecimal digits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Most bytes of a file: the digits, and room for blanks around them.
const MOST: usize = 1024;

/// What the file `path` holds; `None` if that is anything but the digits, blanks around them left aside.
pub(crate) fn read(path: &Path) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(MOST + 1)); // never grown, which would leave a copy behind
    File::open(path)?.take(MOST as u64 + 1).read_to_end(&mut text)?;
    Ok(Some(text.trim_ascii()).filter(|_| text.len() <= MOST).and_then(parse))
}

fn parse(digits: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if digits.len() != 2 * key.len() {
        return None;
    }
    let digit = |d: u8| char::from(d).to_digit(16).map(|d| d as u8);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(key)
}
