//! Parses an HTTP response that arrives in pieces, as leniently as curl: a status line that can be read is an answer.
//!
//! A strict parser would take a service for dead whose clients are all content with its answers. So only the status line, the
//! end of the head and the length of the body are looked at; other header lines may have any form.

/// Longest accepted head, together with the informational responses before it.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Largest accepted number of informational responses (RFC 9110, section 15.2) before the final one.
const INFORMATIONAL_MAX: u32 = 100;
/// How much of a body is read. A service that sends a longer one has answered.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How much of a body is kept for a quotation.
const BODY_BYTES_KEPT: usize = 4096;

const SWITCHING_PROTOCOLS: u16 = 101;
const NO_CONTENT: u16 = 204;
const NOT_MODIFIED: u16 = 304;

/// The status of a final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    /// The reason phrase as the server sent it; may be empty.
    pub(super) reason: Vec<u8>,
}

/// How far the response has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Unfinished,
    /// All of it, or as much as is read.
    Complete,
    /// It has a status, and cannot be read to its end for this reason.
    Flawed(String),
    /// It does not begin with a status line.
    NotHttp,
    /// Only informational responses came, and too many or too long ones.
    EndlessInformational,
}

/// The part of the response that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    StatusLine,
    Header,
    Body(Body),
}

/// What comes next in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    UpToTheClose,
    Length { left: u64 },
    ChunkSize,
    Chunk { left: u64 },
    ChunkEnd,
}

/// A header field that determines where the body ends (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ContentLength,
    TransferEncoding,
    Other,
}

/// A response, as far as it has arrived.
#[derive(Debug)]
pub(super) struct Response {
    part: Part,
    status: Option<Status>,
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    received: usize,
    head_bytes: usize,
    informational: u32,
    /// The field of the last header line, which the next line may continue.
    field: Field,
    length: Option<u64>,
    chunked: bool,
    /// With the sizes of chunks.
    body_bytes: usize,
    content_bytes: usize,
    content: Vec<u8>,
}

impl Response {
    pub(super) const fn new() -> Self {
        Self {
            part: Part::StatusLine,
            status: None,
            line: Vec::new(),
            received: 0,
            head_bytes: 0,
            informational: 0,
            field: Field::Other,
            length: None,
            chunked: false,
            body_bytes: 0,
            content_bytes: 0,
            content: Vec::new(),
        }
    }

    /// The status of the final response; `None` while that has not arrived.
    pub(super) fn status(&self) -> Option<&Status> {
        let status = self.status.as_ref();
        status.filter(|status| !is_informational(status.code))
    }

    /// How many bytes have arrived.
    pub(super) const fn received(&self) -> usize {
        self.received
    }

    /// The beginning of the body, for a quotation.
    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    /// The line that was expected to be a status line, or its beginning.
    pub(super) fn first_line(&self) -> &[u8] {
        &self.line
    }

    /// Takes the next bytes from the connection.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Progress {
        self.received += bytes.len();
        while !bytes.is_empty() {
            let progress = match self.part {
                Part::StatusLine | Part::Header => self.take_head(&mut bytes),
                Part::Body(body) => self.take_body(body, &mut bytes),
            };
            if progress != Progress::Unfinished {
                return progress;
            }
        }
        Progress::Unfinished
    }

    /// The connection has ended. Returns [`Progress::Unfinished`] if there was no answer by then.
    pub(super) fn take_end(&mut self) -> Progress {
        match self.part {
            Part::StatusLine => {
                self.status = parse_status_line(&self.line);
                if self.status().is_none() {
                    return Progress::Unfinished;
                }
                Progress::Flawed("truncated in its status line".into())
            }
            // Old servers omit the blank line, and curl does not need it.
            Part::Header | Part::Body(Body::UpToTheClose) if self.status().is_some() => {
                Progress::Complete
            }
            Part::Header => Progress::Unfinished,
            Part::Body(_) => Progress::Flawed(format!(
                "truncated after {} bytes of its body",
                self.content_bytes
            )),
        }
    }

    /// Moves the bytes up to and including the next end of a line to `self.line`. Returns whether that is a whole line.
    fn take_line(&mut self, bytes: &mut &[u8]) -> bool {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (taken, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        self.line.extend_from_slice(taken);
        *bytes = rest;
        end.is_some()
    }

    fn take_head(&mut self, bytes: &mut &[u8]) -> Progress {
        if self.head_bytes > HEAD_BYTES_MAX {
            return self.head_too_long();
        }
        let before = bytes.len();
        let is_whole = self.take_line(bytes);
        self.head_bytes += before - bytes.len();
        if self.part == Part::StatusLine && !may_become_status_line(&self.line) {
            return Progress::NotHttp;
        }
        if !is_whole {
            return Progress::Unfinished;
        }
        if self.part == Part::StatusLine && !self.line.trim_ascii().is_empty() {
            self.status = parse_status_line(&self.line);
            if self.status.is_none() {
                return Progress::NotHttp;
            }
            self.part = Part::Header;
        } else if self.part == Part::Header {
            if matches!(self.line.as_slice(), b"\r\n" | b"\n") {
                self.line.clear();
                return self.end_head();
            }
            self.take_header();
        }
        self.line.clear();
        Progress::Unfinished
    }

    fn head_too_long(&mut self) -> Progress {
        if self.part == Part::StatusLine {
            self.status = parse_status_line(&self.line);
        }
        if self.status().is_some() {
            let limit = HEAD_BYTES_MAX / 1024;
            Progress::Flawed(format!("a head of more than {limit} KiB"))
        } else if self.status.is_some() || self.informational > 0 {
            Progress::EndlessInformational
        } else {
            Progress::NotHttp
        }
    }

    /// Looks for the length of the body in a header line, or in a line that continues one.
    fn take_header(&mut self) {
        let is_continuation = self.line.starts_with(b" ") || self.line.starts_with(b"\t");
        let value = if is_continuation {
            self.line.as_slice()
        } else {
            let colon = self.line.iter().position(|byte| *byte == b':');
            let (name, value) = colon.map_or((&b""[..], &b""[..]), |at| {
                (&self.line[..at], &self.line[at + 1..])
            });
            self.field = field(name.trim_ascii());
            value
        };
        match self.field {
            Field::ContentLength => self.length = self.length.or_else(|| parse_length(value)),
            Field::TransferEncoding => self.chunked |= ends_with_chunked(value),
            Field::Other => {}
        }
    }

    fn end_head(&mut self) -> Progress {
        let code = self.status.as_ref().map_or(0, |status| status.code);
        if is_informational(code) {
            self.informational += 1;
            if self.informational > INFORMATIONAL_MAX {
                return Progress::EndlessInformational;
            }
            (self.part, self.status) = (Part::StatusLine, None);
            (self.field, self.length, self.chunked) = (Field::Other, None, false);
            return Progress::Unfinished;
        }
        if matches!(code, SWITCHING_PROTOCOLS | NO_CONTENT | NOT_MODIFIED) {
            return Progress::Complete;
        }
        self.part = Part::Body(match self.length {
            _ if self.chunked => Body::ChunkSize,
            Some(0) => return Progress::Complete,
            Some(left) => Body::Length { left },
            None => Body::UpToTheClose,
        });
        Progress::Unfinished
    }

    fn take_body(&mut self, body: Body, bytes: &mut &[u8]) -> Progress {
        let before = bytes.len();
        let progress = match body {
            Body::UpToTheClose => {
                self.take_content(u64::MAX, bytes);
                Progress::Unfinished
            }
            Body::Length { left } => match self.take_content(left, bytes) {
                0 => Progress::Complete,
                left => self.go_on(Body::Length { left }),
            },
            Body::Chunk { left } => match self.take_content(left, bytes) {
                0 => self.go_on(Body::ChunkEnd),
                left => self.go_on(Body::Chunk { left }),
            },
            Body::ChunkSize | Body::ChunkEnd => self.take_chunk_line(body, bytes),
        };
        self.body_bytes += before - bytes.len();
        if progress == Progress::Unfinished && self.body_bytes >= BODY_BYTES_MAX {
            return Progress::Complete;
        }
        progress
    }

    fn go_on(&mut self, body: Body) -> Progress {
        self.part = Part::Body(body);
        Progress::Unfinished
    }

    /// Takes at most `left` bytes of content. Returns how many are left after that.
    fn take_content(&mut self, left: u64, bytes: &mut &[u8]) -> u64 {
        let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let room = BODY_BYTES_KEPT - self.content.len();
        self.content.extend_from_slice(&bytes[..count.min(room)]);
        self.content_bytes += count;
        *bytes = &bytes[count..];
        left.saturating_sub(count as u64)
    }

    /// Takes the size of the next chunk, or the end of the line after a chunk (RFC 9112, section 7.1).
    fn take_chunk_line(&mut self, body: Body, bytes: &mut &[u8]) -> Progress {
        if !self.take_line(bytes) {
            return Progress::Unfinished;
        }
        let line = std::mem::take(&mut self.line);
        let next = match body {
            Body::ChunkEnd if line.trim_ascii().is_empty() => Some(Body::ChunkSize),
            Body::ChunkEnd => None,
            _ => parse_chunk_size(&line).map(|left| Body::Chunk { left }),
        };
        match next {
            // What follows the last chunk is no content.
            Some(Body::Chunk { left: 0 }) => Progress::Complete,
            Some(next) => self.go_on(next),
            None => Progress::Flawed("a malformed chunk".into()),
        }
    }
}

/// Whether a final response follows. 101 ends the use of HTTP, so none does.
const fn is_informational(code: u16) -> bool {
    matches!(code, 100..=199) && code != SWITCHING_PROTOCOLS
}

/// Whether this beginning of a line may be that of a status line, or of a blank line before it.
fn may_become_status_line(line: &[u8]) -> bool {
    const PREFIX: &[u8] = b"HTTP/";
    let count = line.len().min(PREFIX.len());
    line[..count].eq_ignore_ascii_case(&PREFIX[..count]) || matches!(line, b"\r" | b"\r\n" | b"\n")
}

/// Parses a status line such as `HTTP/1.1 200 OK` (RFC 9112, section 4), of any version.
fn parse_status_line(line: &[u8]) -> Option<Status> {
    let (prefix, rest) = line.split_at_checked(5)?;
    let blank = rest.iter().position(u8::is_ascii_whitespace)?;
    let (version, rest) = (&rest[..blank], rest[blank..].trim_ascii_start());
    let is_version =
        version.first()?.is_ascii_digit() && version.iter().all(|b| b"0123456789.".contains(b));
    let (code, reason) = rest.split_at_checked(3)?;
    let ends = reason.first().is_none_or(u8::is_ascii_whitespace);
    if !prefix.eq_ignore_ascii_case(b"HTTP/") || !is_version || !ends {
        return None;
    }
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let reason = reason.trim_ascii();
    Some(Status {
        code: code
            .iter()
            .fold(0, |code, digit| code * 10 + u16::from(digit - b'0')),
        reason: reason[..reason.len().min(BODY_BYTES_KEPT)].to_vec(),
    })
}

fn field(name: &[u8]) -> Field {
    if name.eq_ignore_ascii_case(b"content-length") {
        Field::ContentLength
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        Field::TransferEncoding
    } else {
        Field::Other
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

fn ends_with_chunked(value: &[u8]) -> bool {
    let last = value.rsplit(|byte| *byte == b',').next();
    last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The size at the beginning of a chunk; what follows it are extensions.
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let digits = std::str::from_utf8(&line[..digits.count()]).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        BODY_BYTES_MAX, HEAD_BYTES_MAX, INFORMATIONAL_MAX, Progress, Response, Status,
        parse_status_line,
    };

    /// The progress after the whole text, and what is known then; the text arrives in pieces of `size` bytes.
    fn take(text: &[u8], size: usize) -> (Progress, Option<Status>, Vec<u8>) {
        let mut response = Response::new();
        let mut progress = Progress::Unfinished;
        for piece in text.chunks(size) {
            progress = response.take(piece);
            if progress != Progress::Unfinished {
                break;
            }
        }
        if progress == Progress::Unfinished {
            progress = response.take_end();
        }
        let status = response.status().cloned();
        (progress, status, response.content().to_vec())
    }

    #[test]
    fn a_response_is_the_same_in_whatever_pieces_it_arrives() {
        for text in [
            &b"HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
            b"\r\nHTTP/1.0 503\n\nbusy",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding :\r\n\tchunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok!\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200",
            b"HTT",
        ] {
            let whole = take(text, text.len());
            for size in 1..text.len() {
                assert_eq!(take(text, size), whole, "{size}: {}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn a_status_line_has_a_version_and_a_code_of_three_digits() {
        for (line, status) in [
            ("HTTP/1.1 200 OK\r\n", Some((200, "OK"))),
            ("HTTP/2 404\n", Some((404, ""))),
            ("http/1.0\t599  Very  odd \r\n", Some((599, "Very  odd"))),
            ("HTTP/1.1 20 OK\r\n", None),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 2x0 OK\r\n", None),
            ("HTTP/1.1\r\n", None),
            ("HTTP/ 200 OK\r\n", None),
            ("HTTP/one 200 OK\r\n", None),
        ] {
            let status = status.map(|(code, reason)| Status {
                code,
                reason: reason.into(),
            });
            assert_eq!(parse_status_line(line.as_bytes()), status, "{line:?}");
        }
    }

    #[test]
    fn every_part_of_a_response_has_a_bound() {
        let endless = |head: &str, again: &str| {
            let mut response = Response::new();
            let mut progress = response.take(head.as_bytes());
            while progress == Progress::Unfinished {
                progress = response.take(again.as_bytes());
                assert!(response.received() <= HEAD_BYTES_MAX + BODY_BYTES_MAX);
            }
            assert!(response.line.capacity() <= 4 * HEAD_BYTES_MAX);
            progress
        };
        let too_long = Progress::Flawed("a head of more than 64 KiB".into());
        let ok = "HTTP/1.1 200 OK\r\n";
        assert_eq!(endless("HTTP/1.1 200 ", "OK"), too_long);
        assert_eq!(endless(ok, "x: y\r\n"), too_long);
        assert_eq!(endless(ok, "x"), too_long);
        assert_eq!(endless("", "\r\n"), Progress::NotHttp);
        assert_eq!(endless("HTTP/", "1"), Progress::NotHttp);
        let informational = "HTTP/1.1 102 Processing\r\n";
        assert_eq!(endless(informational, "x"), Progress::EndlessInformational);
        let whole = format!("{informational}\r\n");
        assert_eq!(endless("", &whole), Progress::EndlessInformational);
        let all = whole.repeat(INFORMATIONAL_MAX as usize) + ok;
        assert_eq!(take(all.as_bytes(), 100).0, Progress::Complete);
        let chunked = format!("{ok}transfer-encoding: chunked\r\n\r\n");
        for (head, again) in [
            (format!("{ok}\r\n"), "x"),
            (chunked.clone(), "1\r\nx\r\n"),
            (format!("{chunked}1;"), "x"),
        ] {
            assert_eq!(endless(&head, again), Progress::Complete, "{head:?}");
        }
    }
}
