//! Answers, as far as a client must understand them: where they end.

/// An answer that is coming in.
#[derive(Debug, Default)]
pub struct Answer {
    /// Bytes that it has in all, once that is known.
    expected: Option<usize>,
    received: usize,
    /// The beginning of an HTTP header that came in pieces.
    head: Vec<u8>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
    /// It is none, or not the right one.
    Wrong(&'static str),
}

impl Answer {
    /// The answer of an echo server: the request.
    pub fn echo(request: &[u8]) -> Self {
        Self { expected: Some(request.len()), ..Self::default() }
    }

    /// Takes in what has come. `request` is what an echo must repeat.
    pub fn take(&mut self, bytes: &[u8], request: Option<&[u8]>) -> Progress {
        if let Some(request) = request {
            if request.get(self.received..self.received + bytes.len()) != Some(bytes) {
                return Progress::Wrong("the echo is not what was sent");
            }
        } else if self.expected.is_none() {
            // The usual answer comes whole: nothing is kept.
            let held = std::mem::take(&mut self.head);
            let head = if held.is_empty() { bytes } else { &[&held, bytes].concat() };
            match whole(head) {
                Ok(Some(len)) => self.expected = Some(len),
                Ok(None) if head.len() > 64 << 10 => return Progress::Wrong("an HTTP header without end"),
                Ok(None) => self.head = head.to_vec(),
                Err(what) => return Progress::Wrong(what),
            }
        }
        self.received += bytes.len();
        match self.expected {
            Some(expected) if self.received == expected => Progress::Done,
            Some(expected) if self.received > expected => Progress::Wrong("more came than the answer"),
            _ => Progress::More,
        }
    }
}

/// The length of an HTTP answer with its header, if the header is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "an HTTP header that is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or("no HTTP answer")?;
    if !status.starts_with("200") {
        return Err("an HTTP status other than 200");
    }
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(end + 4 + length.ok_or("an HTTP answer without Content-Length")?))
}
