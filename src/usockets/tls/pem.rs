//! Files in PEM (RFC 7468).

/// A section of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Section {
    /// What the file says that it is: `CERTIFICATE`, `PRIVATE KEY` …
    pub(super) label: String,
    /// Its content, in DER unless it is encrypted.
    pub(super) content: Vec<u8>,
    /// It is encrypted in the manner of RFC 1421 (`Proc-Type: 4,ENCRYPTED`).
    pub(super) encrypted: bool,
}

/// The sections of a file. What stands between them is commentary.
///
/// # Errors
///
/// What is wrong, with the number of its line.
pub(super) fn read(file: &[u8]) -> Result<Vec<Section>, String> {
    let mut sections = Vec::new();
    let mut open: Option<(String, usize, Base64, bool)> = None;
    for (number, line) in file.split(|byte| *byte == b'\n').enumerate().map(|(i, line)| (i + 1, line.trim_ascii())) {
        match &mut open {
            None => {
                if let Some(label) = marker(line, b"-----BEGIN ") {
                    open = Some((label, number, Base64::default(), false));
                }
            }
            Some((label, begin, base64, encrypted)) => {
                if let Some(end) = marker(line, b"-----END ") {
                    if end != *label {
                        return Err(format!("line {number} ends `{end}`, but line {begin} began `{label}`"));
                    }
                    let (label, content) = (std::mem::take(label), std::mem::take(base64));
                    let content =
                        content.finish().ok_or_else(|| format!("the base64 before line {number} is cut off"))?;
                    sections.push(Section { label, content, encrypted: *encrypted });
                    open = None;
                } else if line.contains(&b':') {
                    *encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
                } else if !base64.add(line) {
                    return Err(format!("line {number} is no base64"));
                }
            }
        }
    }
    match open {
        None => Ok(sections),
        Some((label, begin, ..)) => Err(format!("`{label}` begins in line {begin} and does not end")),
    }
}

fn marker(line: &[u8], start: &[u8]) -> Option<String> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label).into_owned())
}

/// Base64 on its way to bytes (RFC 4648, section 4).
#[derive(Default)]
struct Base64 {
    bytes: Vec<u8>,
    /// Bits that do not make a byte yet, and how many characters they are from.
    bits: u32,
    characters: u8,
    padding: u8,
}

impl Base64 {
    /// Whether these are characters of base64 in their place.
    fn add(&mut self, characters: &[u8]) -> bool {
        characters.iter().filter(|c| !c.is_ascii_whitespace()).all(|c| {
            let value = match c {
                b'A'..=b'Z' => c - b'A',
                b'a'..=b'z' => c - b'a' + 26,
                b'0'..=b'9' => c - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.padding += 1;
                    return self.padding <= 2 && self.characters + self.padding <= 4 && self.characters >= 2;
                }
                _ => return false,
            };
            if self.padding > 0 {
                return false;
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.characters += 1;
            if self.characters == 4 {
                self.bytes.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                (self.bits, self.characters) = (0, 0);
            }
            true
        })
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        match (self.characters, self.padding) {
            (0, 0) => {}
            (2, 2) => self.bytes.push((self.bits >> 4) as u8),
            (3, 1) => self.bytes.extend_from_slice(&((self.bits >> 2) as u16).to_be_bytes()),
            _ => return None,
        }
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(base64: &str) -> Option<Vec<u8>> {
        let file = format!("-----BEGIN X-----\n{base64}\n-----END X-----\n");
        read(file.as_bytes()).ok().map(|mut sections| sections.remove(0).content)
    }

    #[test]
    fn base64_of_the_standard() {
        // RFC 4648, section 10.
        for (base64, plain) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9v\nYmE=", "fooba")]
        {
            assert_eq!(content(base64).as_deref(), Some(plain.as_bytes()), "{base64}");
        }
        assert_eq!(content("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
        for bad in ["Z", "Zg", "Zg=", "Zg===", "Zm9=v", "=", "Zm9v=", "Zm9?", "Zg==Zg=="] {
            assert_eq!(content(bad), None, "{bad}");
        }
    }

    #[test]
    fn sections_with_commentary_and_foreign_line_ends() {
        let file = b"subject: me\r\n-----BEGIN A-----\r\nZm9v\r\n-----END A-----\r\nnoise\n-----BEGIN B C-----\nProc-Type: 4,ENCRYPTED\n\
            DEK-Info: AES-128-CBC,00\n\nZg==\n-----END B C-----";
        let sections = read(file).unwrap();
        assert_eq!(sections[0], Section { label: "A".into(), content: b"foo".to_vec(), encrypted: false });
        assert_eq!(sections[1], Section { label: "B C".into(), content: b"f".to_vec(), encrypted: true });
        assert_eq!(sections.len(), 2);
    }

    #[test]
    fn faults_are_told_by_line() {
        for (file, words) in [
            ("-----BEGIN A-----\nZm9v\n-----END B-----", "line 3"),
            ("-----BEGIN A-----\nZm9v", "does not end"),
            ("\n-----BEGIN A-----\n?\n-----END A-----", "line 3 is no base64"),
            ("-----BEGIN A-----\nZm\n-----END A-----", "cut off"),
        ] {
            let error = read(file.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(read(b"no PEM at all"), Ok(Vec::new()));
    }
}
