//! Requests, as far as this server needs to understand them (RFC 9112).

/// The longest request line with its header fields, in bytes.
pub const LONGEST: usize = 16 << 10;

/// What bytes at the start of a request turn out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// Not a whole request yet.
    More,
    /// No request that can be answered: the status to say so with. What follows makes no sense.
    Bad(u16),
    /// A request.
    Request(Request<'a>),
}

/// A request without a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a [u8],
    /// What is asked for.
    pub target: &'a [u8],
    /// Whether the connection ends after the answer.
    pub close: bool,
    /// How many bytes it takes.
    pub len: usize,
}

/// Reads one request.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > LONGEST { Parsed::Bad(431) } else { Parsed::More };
    };
    if end > LONGEST {
        return Parsed::Bad(431);
    }
    let mut lines = bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Parsed::Bad(400);
    };
    let mut close = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Parsed::Bad(505),
    };
    if method.is_empty() || target.is_empty() {
        return Parsed::Bad(400);
    }
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Parsed::Bad(400) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"connection") {
            for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") && version == b"HTTP/1.0" {
                    close = false;
                }
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            || (name.eq_ignore_ascii_case(b"content-length") && value != b"0")
        {
            // Nobody here reads bodies, so what follows cannot be told from the next request.
            return Parsed::Bad(413);
        }
    }
    Parsed::Request(Request { method, target, close, len: end + 4 })
}
