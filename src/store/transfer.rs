//! A whole store as one file: what `rosterd store export` writes and `import` reads.
//!
//! The first line is a header in JSON. Sealed frames follow, each with its length before it (four
//! bytes, big endian; the top bit marks the last one). A frame holds lines, one row each:
//! `["link",[1,"u-1",...]]`. Rows stay sealed inside as they are in the store, so importing needs
//! the installation's keys; they open the file too.
//!
//! # Guarantees
//! - Nothing of a file is believed that these keys did not seal: frames left out, cut off, put in
//!   another order or taken from another file do not open.
//! - Memory is bounded by one frame.

use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead;
use ring::digest;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::secrets::keys::Keys;

/// The only version so far.
const VERSION: u32 = 1;
/// What the key of one file is sealed for.
const KEY_CONTEXT: &str = "store export key";
/// Lines are gathered to about so many bytes.
const FRAME: usize = 256 * 1024;
/// The longest frame that is read: a bucket of users of the largest installations fits many times.
const LONGEST: usize = 256 * 1024 * 1024;
/// The longest header that is read.
const LONGEST_HEADER: u64 = 4096;
const LAST: u32 = 1 << 31;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// Bytes; hexadecimal in the file.
    Bytes,
}

/// One table of a store.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, the same in every store that keeps rows.
    pub name: &'static str,
    /// Its columns, in the order of the file.
    pub columns: &'static [(&'static str, Holds)],
    /// The number that new rows count on, where the table has one.
    pub counter: Option<&'static str>,
}

use Holds::Bytes;
use Holds::Int;
use Holds::Text;

const fn table(name: &'static str, columns: &'static [(&'static str, Holds)]) -> Table {
    Table { name, columns, counter: None }
}

const fn counted(name: &'static str, counter: &'static str, columns: &'static [(&'static str, Holds)]) -> Table {
    Table { name, columns, counter: Some(counter) }
}

/// Everything that is moved, in an order in which rows name only rows before them. Not the lease,
/// which belongs to a process, and not what the schema says of itself.
pub const TABLES: [Table; 25] = [
    table("meta", &[("key", Text), ("value", Text)]),
    counted("space", "id", &[("id", Int), ("target", Text), ("environment", Text), ("realm", Text)]),
    table(
        "link",
        &[
            ("space", Int),
            ("record", Text),
            ("account", Text),
            ("linked_by", Text),
            ("disabled_by_us", Int),
            ("granted", Text),
            ("since", Int),
        ],
    ),
    table("hand", &[("space", Int), ("account", Text), ("body", Bytes)]),
    counted(
        "intent",
        "seq",
        &[
            ("seq", Int),
            ("id", Text),
            ("space", Int),
            ("record", Text),
            ("at", Int),
            ("body", Bytes),
            ("outcome", Text),
            ("outcome_text", Bytes),
            ("outcome_at", Int),
        ],
    ),
    table(
        "snapshot",
        &[("generation", Int), ("digest", Text), ("level", Int), ("at", Int), ("users", Int), ("roles", Int)],
    ),
    table("snapshot_part", &[("bucket", Int), ("body", Bytes)]),
    table("cause", &[("target", Text), ("record", Text), ("entitlement", Text), ("cause", Text)]),
    counted("decision", "seq", &[("seq", Int), ("body", Text)]),
    table("standing", &[("space", Int), ("body", Bytes)]),
    table("owed", &[("space", Int), ("record", Text), ("since", Int)]),
    table("seen", &[("space", Int), ("account", Text), ("user_name", Text), ("state", Text), ("record", Text)]),
    counted("cycle", "seq", &[("seq", Int), ("id", Text), ("target", Text), ("body", Text)]),
    table("token", &[("name", Text), ("body", Text)]),
    table("chain", &[("id", Int), ("target", Text), ("seq", Int), ("hash", Text), ("signature", Text)]),
    table("audit", &[("chain", Int), ("seq", Int), ("hash", Text), ("event", Text)]),
    table("counted", &[("space", Int), ("counter", Text), ("thing", Text), ("at", Int)]),
    table("owned", &[("space", Int), ("at", Int), ("active", Int)]),
    table("known_target", &[("target", Text), ("body", Text)]),
    table(
        "identity",
        &[("space", Int), ("record", Int), ("account", Int), ("mail", Int), ("family", Int), ("since", Int)],
    ),
    table("end_date", &[("record", Text), ("role", Text), ("until", Int), ("since", Int), ("mass", Int)]),
    table("permit", &[("target", Text), ("digest", Text), ("change", Text), ("at", Int)]),
    table("request", &[("space", Int), ("record", Text), ("subject", Text), ("body", Bytes)]),
    counted(
        "outbox",
        "seq",
        &[
            ("seq", Int),
            ("id", Text),
            ("channel", Text),
            ("target", Text),
            ("record", Text),
            ("at", Int),
            ("state", Text),
            ("due", Int),
            ("attempts", Int),
            ("why", Bytes),
            ("ended", Int),
            ("body", Bytes),
            ("since", Int),
        ],
    ),
    table(
        "invite",
        &[
            ("id", Text),
            ("space", Int),
            ("record", Text),
            ("kind", Text),
            ("token", Text),
            ("message", Text),
            ("made", Int),
            ("expires", Int),
            ("resent", Int),
            ("state", Text),
            ("ended", Int),
            ("body", Bytes),
        ],
    ),
];

/// Keys of `meta` that are moved: which store it is, whether it is doubted, what windows slide by, and
/// whether the clock is doubted.
pub const META: [&str; 4] = ["store", "doubt", "window-lag", "clock"];

/// One row of a table of [`TABLES`], its values in the order of its columns and of their kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Position in [`TABLES`].
    pub table: usize,
    /// Numbers, texts, hexadecimal bytes, or null.
    pub values: Vec<Value>,
}

/// Why a file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The disk.
    #[error("the file cannot be read or written: {0}; check the disk and the path")]
    Io(#[from] io::Error),
    /// Not an export at all.
    #[error("the file is no export of a store; write one with `rosterd store export FILE`")]
    Foreign,
    /// Of a later version.
    #[error(
        "the file was written by a newer rosterd (version {0} of the form, this one reads {VERSION}); run that one"
    )]
    Newer(u32),
    /// Sealed with other keys.
    #[error("the file was written with other keys; put the `rosterd.keys` of that installation here")]
    OtherKeys,
    /// A frame that does not open.
    #[error("the file was altered or damaged at its part {0}; nothing was imported, take another copy")]
    Altered(u64),
    /// It ends too early.
    #[error("the file was cut off; nothing was imported, take another copy")]
    CutOff,
    /// Something follows its end.
    #[error("something stands after the end of the file; nothing was imported, take another copy")]
    Trailing,
    /// A line that is no row of ours.
    #[error("a row in the file is not one that this rosterd knows ({0}); run the version that wrote it")]
    Row(String),
    /// No random numbers.
    #[error("the system gives no random numbers; nothing can be sealed until it does")]
    Random,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    rosterd: String,
    version: u32,
    /// Names the keys without telling anything about them.
    keys: String,
    /// The file's own key, sealed with them.
    key: String,
}

/// The first line on its own, so that a later version is told apart from damage.
#[derive(Deserialize)]
struct AnyHeader {
    rosterd: String,
    version: u32,
}

const MARK: &str = "store export";

/// One file's key and where it is in the file.
struct Seal {
    key: aead::LessSafeKey,
    /// Hash of the header: a frame belongs to its file.
    header: digest::Digest,
    frame: u64,
}

impl Seal {
    fn new(key: &[u8], header: &[u8]) -> Option<Self> {
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).ok()?;
        Some(Self { key: aead::LessSafeKey::new(key), header: digest::digest(&digest::SHA256, header), frame: 0 })
    }

    /// The nonce counts: the key is this file's alone. The last frame is sealed as such.
    fn next(&mut self, last: bool) -> (aead::Nonce, aead::Aad<Vec<u8>>) {
        let mut nonce = [0_u8; aead::NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(self.frame.to_le_bytes()) {
            *to = from;
        }
        self.frame += 1;
        let mut bound = self.header.as_ref().to_vec();
        bound.push(u8::from(last));
        (aead::Nonce::assume_unique_for_key(nonce), aead::Aad::from(bound))
    }
}

/// Writes a file.
pub struct Writer<W> {
    out: W,
    seal: Seal,
    lines: Vec<u8>,
    rows: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn new(mut out: W, keys: &Keys) -> Result<Self, TransferError> {
        let mut key = zeroize::Zeroizing::new([0_u8; 32]);
        SystemRandom::new().fill(&mut *key).map_err(|_| TransferError::Random)?;
        let sealed = keys.seal(KEY_CONTEXT, &*key).map_err(|_| TransferError::Random)?;
        let header = Header {
            rosterd: MARK.to_owned(),
            version: VERSION,
            keys: keys.id().to_owned(),
            key: STANDARD.encode(sealed),
        };
        let mut line = serde_json::to_vec(&header).map_err(io::Error::from)?;
        line.push(b'\n');
        out.write_all(&line)?;
        let seal = Seal::new(&*key, &line).ok_or(TransferError::Random)?;
        Ok(Self { out, seal, lines: Vec::new(), rows: 0 })
    }

    /// Adds a row: `values` is a JSON array.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn row(&mut self, table: &Table, values: &str) -> Result<(), TransferError> {
        writeln!(self.lines, "[\"{}\",{values}]", table.name)?;
        self.rows += 1;
        if self.lines.len() >= FRAME { self.frame(false) } else { Ok(()) }
    }

    /// Ends the file; how many rows it holds.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(mut self) -> Result<u64, TransferError> {
        self.frame(true)?;
        self.out.flush()?;
        Ok(self.rows)
    }

    fn frame(&mut self, last: bool) -> Result<(), TransferError> {
        let mut body = std::mem::take(&mut self.lines);
        let (nonce, bound) = self.seal.next(last);
        self.seal.key.seal_in_place_append_tag(nonce, bound, &mut body).map_err(|_| TransferError::Random)?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX) | if last { LAST } else { 0 };
        self.out.write_all(&length.to_be_bytes())?;
        Ok(self.out.write_all(&body)?)
    }
}

/// Reads a file.
pub struct Reader<R> {
    input: R,
    seal: Seal,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where it is no export, one of a later version, or one that other keys sealed.
    pub fn new(mut input: R, keys: &Keys) -> Result<Self, TransferError> {
        let mut line = Vec::new();
        (&mut input).take(LONGEST_HEADER).read_until(b'\n', &mut line)?;
        let any: AnyHeader = serde_json::from_slice(&line).map_err(|_| TransferError::Foreign)?;
        if any.rosterd != MARK {
            return Err(TransferError::Foreign);
        }
        if any.version != VERSION {
            return Err(TransferError::Newer(any.version));
        }
        let header: Header = serde_json::from_slice(&line).map_err(|_| TransferError::Altered(0))?;
        if header.keys != keys.id() {
            return Err(TransferError::OtherKeys);
        }
        let sealed = STANDARD.decode(header.key).map_err(|_| TransferError::Altered(0))?;
        let key = keys.open(KEY_CONTEXT, &sealed).map_err(|_| TransferError::Altered(0))?;
        let seal = Seal::new(&key, &line).ok_or(TransferError::Altered(0))?;
        Ok(Self { input, seal, ended: false })
    }

    /// The rows of the next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// Where it was altered, cut off, or holds what is no row. Rows before that were as they were
    /// written, but whoever keeps them must not: the file as a whole is not to be believed.
    pub fn frame(&mut self) -> Result<Option<Vec<Row>>, TransferError> {
        if self.ended {
            let trails = !self.input.fill_buf()?.is_empty();
            return if trails { Err(TransferError::Trailing) } else { Ok(None) };
        }
        let number = self.seal.frame + 1;
        let mut length = [0_u8; 4];
        self.exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        let last = length & LAST != 0;
        let length = usize::try_from(length & !LAST).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(TransferError::Altered(number));
        }
        // Grown as it is read, so that a length that lies costs no memory.
        let mut body = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut body)?;
        if body.len() < length {
            return Err(TransferError::CutOff);
        }
        let (nonce, bound) = self.seal.next(last);
        let plain = self.seal.key.open_in_place(nonce, bound, &mut body);
        let plain = plain.map_err(|_| TransferError::Altered(number))?;
        self.ended = last;
        let lines = plain.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(Some(lines.map(row).collect::<Result<_, _>>()?))
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), TransferError> {
        self.input.read_exact(buffer).map_err(|error| {
            let cut = error.kind() == io::ErrorKind::UnexpectedEof;
            if cut { TransferError::CutOff } else { TransferError::Io(error) }
        })
    }
}

/// One line of a frame: a row of a table that is known, with values of its columns' kinds.
///
/// # Errors
/// [`TransferError::Row`], which names the table and never shows a value.
pub fn row(line: &[u8]) -> Result<Row, TransferError> {
    let wrong = |what: &str| TransferError::Row(what.to_owned());
    let (name, values): (String, Vec<Value>) =
        serde_json::from_slice(line).map_err(|_| wrong("it is no name with values"))?;
    let position = TABLES.iter().position(|table| table.name == name);
    let position = position.ok_or_else(|| wrong("of a table of another version"))?;
    let columns = TABLES.get(position).map_or(&[][..], |table| table.columns);
    let fits = values.len() == columns.len()
        && values.iter().zip(columns).all(|(value, (_, holds))| match (value, holds) {
            (Value::Null, _) | (Value::String(_), Text) => true,
            (Value::Number(number), Int) => number.is_i64(),
            (Value::String(hex), Bytes) => {
                hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            }
            _ => false,
        });
    let known = name != "meta" || values.first().and_then(Value::as_str).is_some_and(|key| META.contains(&key));
    if fits && known { Ok(Row { table: position, values }) } else { Err(wrong(&format!("of `{name}`"))) }
}

/// Reads a whole file and keeps nothing of it: how many rows it holds.
///
/// # Errors
/// As [`Reader::new`] and [`Reader::frame`].
pub fn check(bytes: &[u8], keys: &Keys) -> Result<u64, TransferError> {
    let mut reader = Reader::new(bytes, keys)?;
    let mut rows = 0;
    while let Some(frame) = reader.frame()? {
        rows += frame.len() as u64;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(keys: &Keys, rows: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, keys).unwrap();
        for number in 0..rows {
            writer.row(&TABLES[8], &format!("[{number},\"{}\"]", "x".repeat(1000))).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), rows as u64);
        out
    }

    #[test]
    fn a_file_comes_back_as_it_was_written_under_its_own_keys_alone() {
        let keys = Keys::generate().unwrap();
        for rows in [0, 1, 1000] {
            let bytes = file(&keys, rows);
            assert_eq!(check(&bytes, &keys).unwrap(), rows as u64);
            assert!(!bytes.windows(9).any(|window| window == b"xxxxxxxxx"), "a row is readable");
            let other = check(&bytes, &Keys::generate().unwrap()).unwrap_err();
            assert!(other.to_string().contains("written with other keys"), "{other}");
        }
    }

    #[test]
    fn a_file_cut_off_anywhere_or_gone_on_after_its_end_is_refused() {
        let keys = Keys::generate().unwrap();
        let mut bytes = file(&keys, 600);
        for length in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            assert!(check(&bytes[..length], &keys).is_err(), "{length} bytes were taken");
        }
        let cut = check(&bytes[..bytes.len() - 1], &keys).unwrap_err().to_string();
        assert!(cut.contains("was cut off") && cut.contains("nothing was imported"), "{cut}");
        bytes.push(0);
        assert!(check(&bytes, &keys).unwrap_err().to_string().contains("after the end"));
    }

    #[test]
    fn a_file_altered_anywhere_is_refused() {
        let keys = Keys::generate().unwrap();
        let bytes = file(&keys, 600);
        for at in (0..300).chain((300..bytes.len()).step_by(911)) {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            assert!(check(&altered, &keys).is_err(), "byte {at}");
        }
    }

    #[test]
    fn frames_of_one_file_open_in_their_order_and_in_no_other_file() {
        let keys = Keys::generate().unwrap();
        let (one, two) = (file(&keys, 600), file(&keys, 600));
        let header = one.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let length = u32::from_be_bytes(one[header..header + 4].try_into().unwrap()) as usize + 4;
        let (first, second) = (header..header + length, header + length..header + 2 * length);
        let mut swapped = one.clone();
        swapped[first.clone()].copy_from_slice(&one[second.clone()]);
        swapped[second].copy_from_slice(&one[first.clone()]);
        assert!(check(&swapped, &keys).unwrap_err().to_string().contains("altered or damaged at its part 1"));
        let mut mixed = one.clone();
        mixed[first.clone()].copy_from_slice(&two[first]);
        assert!(matches!(check(&mixed, &keys), Err(TransferError::Altered(1))));
    }

    #[test]
    fn what_is_no_export_and_what_a_later_version_wrote_are_told_apart() {
        let keys = Keys::generate().unwrap();
        for bytes in [&b""[..], b"\n", b"PK\x03\x04", b"{}\n", b"{\"rosterd\":\"plan\",\"version\":1}\n", &[b'['; 9999]]
        {
            assert!(matches!(check(bytes, &keys), Err(TransferError::Foreign)), "{bytes:?}");
        }
        let later = b"{\"rosterd\":\"store export\",\"version\":2,\"new\":true}\n";
        assert!(check(later, &keys).unwrap_err().to_string().contains("newer rosterd (version 2"));
    }

    #[test]
    fn rows_of_unknown_tables_and_values_of_wrong_kinds_are_refused_without_being_shown() {
        assert!(row(b"[\"decision\",[1,\"x\"]]").is_ok());
        for line in [
            &b"[\"lease\",[1,\"s3cret\"]]"[..],
            b"[\"decision\",[\"s3cret\",\"x\"]]",
            b"[\"decision\",[1.5,\"s3cret\"]]",
            b"[\"decision\",[1]]",
            b"[\"meta\",[\"keys\",\"s3cret\"]]",
            b"[\"snapshot_part\",[1,\"s3cret\"]]",
            b"s3cret",
        ] {
            let error = row(line).unwrap_err().to_string();
            assert!(error.contains("not one that this rosterd knows") && !error.contains("s3cret"), "{error}");
        }
    }
}
