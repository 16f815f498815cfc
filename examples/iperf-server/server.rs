//! One test at a time: its control connection and its streams.

use crate::Tested;
use crate::common::{TICK, Table, accept_all, send};
use crate::protocol::{
    ACCESS_DENIED, COOKIE, CREATE_STREAMS, DISPLAY_RESULTS, EXCHANGE_RESULTS, IPERF_DONE, PARAM_EXCHANGE, Parameters,
    Results, SERVER_ERROR, StreamResult, TEST_END, TEST_RUNNING, TEST_START, UNIMPLEMENTED, framed, stream_number,
    take_json,
};
use nethuns_rs::net::{Event, Net, Reader, Readiness, SocketError, TcpId};
use nethuns_tools::Failure;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// Writes to one stream before the others have their turn.
const WRITES: usize = 16;

/// What a connection is.
enum Role {
    /// It has sent part of a cookie.
    New(Vec<u8>),
    Control,
    /// Of the test, by its place.
    Stream(usize),
}

struct Test {
    control: TcpId,
    cookie: Vec<u8>,
    /// What the server said last.
    state: u8,
    input: Vec<u8>,
    parameters: Parameters,
    streams: Vec<Stream>,
    start: Instant,
    /// When what is counted begins to count.
    omit_until: Option<Instant>,
    seconds: f64,
    cpu: (f64, f64),
}

struct Stream {
    id: TcpId,
    /// Whether the server sends on it.
    sends: bool,
    bytes: u64,
    /// The retransmissions before those that count.
    omitted_retransmits: u64,
    open: bool,
}

pub struct Server {
    net: Net,
    reader: Reader,
    roles: Table<Role>,
    test: Option<Test>,
    /// Streams that could be written to when their turn was over.
    hungry: Vec<usize>,
    block: Vec<u8>,
}

impl Server {
    pub fn new(net: Net) -> Self {
        let reader = net.reader();
        Self { net, reader, roles: Table::new(), test: None, hungry: Vec::new(), block: Vec::new() }
    }

    /// Waits for something to happen, and does what follows. Returns what a test came to once it is over.
    pub fn turn(&mut self) -> Result<Option<Tested>, Failure> {
        for place in std::mem::take(&mut self.hungry) {
            self.write(place);
        }
        self.net.poll(Some(if self.hungry.is_empty() { TICK } else { Duration::ZERO }))?;
        let mut tested = None;
        while let Some(event) = self.net.next_event() {
            match event {
                Event::Accept(listener) => {
                    let roles = &mut self.roles;
                    accept_all(&mut self.net, listener, |net, id| roles.put(net, id, Role::New(Vec::new())));
                }
                Event::Tcp(id, what) => tested = self.go_on(id, what).or(tested),
                Event::Udp(..) | Event::Watch(..) => {}
            }
        }
        self.omit();
        Ok(tested)
    }

    pub fn end(mut self, timeout: Duration) -> Result<(), Failure> {
        self.finish();
        self.net.drain(timeout)?;
        Ok(())
    }

    fn go_on(&mut self, id: TcpId, what: Readiness) -> Option<Tested> {
        if let Some(&mut Role::Stream(place)) = self.roles.get(&self.net, id) {
            if what.contains(Readiness::WRITABLE) {
                self.write(place);
            }
        }
        loop {
            let data = match self.net.tcp_recv(id) {
                Ok(Some(data)) => data,
                Err(SocketError::WouldBlock) => return None,
                Ok(None) | Err(_) => return self.gone(id),
            };
            let bytes = self.reader.clone();
            let bytes = bytes.open(data);
            match self.roles.get(&self.net, id) {
                None => return None,
                Some(&mut Role::Stream(place)) => {
                    if let Some(test) = self.test.as_mut().filter(|test| test.state == TEST_RUNNING) {
                        test.streams[place].bytes += bytes.len() as u64;
                    }
                }
                Some(Role::New(cookie)) => {
                    let rest = COOKIE - cookie.len();
                    let (more, left) = bytes.split_at(rest.min(bytes.len()));
                    cookie.extend_from_slice(more);
                    if cookie.len() == COOKIE {
                        let cookie = std::mem::take(cookie);
                        self.arrive(id, cookie, left);
                    }
                }
                Some(Role::Control) => {
                    if let Some(test) = &mut self.test {
                        test.input.extend_from_slice(&bytes);
                    }
                    if let Some(tested) = self.control(id) {
                        return Some(tested);
                    }
                }
            }
        }
    }

    /// Somebody has said who he is.
    fn arrive(&mut self, id: TcpId, cookie: Vec<u8>, left: &[u8]) {
        self.roles.take(&mut self.net, id);
        match &mut self.test {
            None => {
                self.test = Some(Test {
                    control: id,
                    cookie,
                    state: PARAM_EXCHANGE,
                    input: left.to_vec(),
                    parameters: Parameters::default(),
                    streams: Vec::new(),
                    start: Instant::now(),
                    omit_until: None,
                    seconds: 0.0,
                    cpu: cpu_seconds(),
                });
                self.roles.put(&mut self.net, id, Role::Control);
                self.say(id, &[PARAM_EXCHANGE]);
            }
            Some(test) if test.cookie == cookie && test.state == CREATE_STREAMS => {
                let Parameters { parallel, reverse, bidirectional, .. } = test.parameters;
                let place = test.streams.len();
                let sends = reverse || bidirectional && place >= parallel as usize;
                test.streams.push(Stream { id, sends, bytes: left.len() as u64, omitted_retransmits: 0, open: true });
                self.roles.put(&mut self.net, id, Role::Stream(place));
                let all = parallel as usize * (1 + usize::from(bidirectional));
                if place + 1 == all {
                    self.start();
                }
            }
            Some(_) => {
                self.say(id, &[ACCESS_DENIED]);
                self.net.tcp_close(id);
            }
        }
    }

    fn start(&mut self) {
        let Some(test) = &mut self.test else { return };
        test.state = TEST_RUNNING;
        test.start = Instant::now();
        test.cpu = cpu_seconds();
        test.omit_until = Some(test.start + Duration::from_secs(test.parameters.omit.into()));
        // What it holds does not matter; zeroes are as good as any.
        self.block.resize(test.parameters.len.clamp(1, 1 << 20), 0);
        let (control, streams) = (test.control, test.streams.len());
        self.say(control, &[TEST_START, TEST_RUNNING]);
        (0..streams).for_each(|place| self.write(place));
    }

    /// Once the beginning that does not count is over, counting begins anew.
    fn omit(&mut self) {
        let Some(test) = &mut self.test else { return };
        if test.omit_until.take_if(|until| Instant::now() >= *until).is_none() || test.parameters.omit == 0 {
            return;
        }
        test.start = Instant::now();
        test.cpu = cpu_seconds();
        for stream in &mut test.streams {
            stream.bytes = 0;
            stream.omitted_retransmits = retransmits(&self.net, stream);
        }
    }

    /// Sends what there is room for on a stream that the server sends on.
    fn write(&mut self, place: usize) {
        let Some(test) = self.test.as_mut().filter(|test| test.state == TEST_RUNNING) else { return };
        let Some(stream) = test.streams.get_mut(place).filter(|stream| stream.sends && stream.open) else { return };
        for _ in 0..WRITES {
            // An error is told again by the event of the stream's end.
            let Ok(sent) = send(&mut self.net, stream.id, &self.block) else { return };
            stream.bytes += sent as u64;
            if sent < self.block.len() {
                return;
            }
        }
        self.hungry.push(place);
    }

    /// What the client says over the control connection.
    fn control(&mut self, id: TcpId) -> Option<Tested> {
        loop {
            let test = self.test.as_mut()?;
            match test.state {
                PARAM_EXCHANGE => {
                    let json = match take_json(&mut test.input) {
                        Ok(json) => json?,
                        Err(()) => return self.finish(),
                    };
                    match serde_json::from_slice::<Parameters>(&json) {
                        Ok(parameters) if parameters.tcp && (1..=128).contains(&parameters.parallel) => {
                            test.parameters = parameters;
                            test.state = CREATE_STREAMS;
                            self.say(id, &[CREATE_STREAMS]);
                        }
                        _ => {
                            let mut refusal = vec![SERVER_ERROR];
                            refusal.extend_from_slice(&UNIMPLEMENTED.to_be_bytes());
                            refusal.extend_from_slice(&0u32.to_be_bytes());
                            self.say(id, &refusal);
                            return self.finish();
                        }
                    }
                }
                EXCHANGE_RESULTS => {
                    // What the client has counted is shown by the client.
                    match take_json(&mut test.input) {
                        Ok(json) => drop(json?),
                        Err(()) => return self.finish(),
                    }
                    test.state = DISPLAY_RESULTS;
                    let mut answer = framed(&results(&self.net, test));
                    answer.push(DISPLAY_RESULTS);
                    self.say(id, &answer);
                }
                _ => {
                    if test.input.is_empty() {
                        return None;
                    }
                    match test.input.remove(0) {
                        TEST_END if test.state == TEST_RUNNING => {
                            test.state = EXCHANGE_RESULTS;
                            test.seconds = test.start.elapsed().as_secs_f64();
                            let cpu = cpu_seconds();
                            test.cpu = (cpu.0 - test.cpu.0, cpu.1 - test.cpu.1);
                            // The client reads whole blocks and waits for the rest of the last one: only the end of the
                            // stream ends that.
                            for stream in test.streams.iter().filter(|stream| stream.sends && stream.open) {
                                let _ = self.net.tcp_shutdown(stream.id, Shutdown::Write);
                            }
                            self.say(id, &[EXCHANGE_RESULTS]);
                        }
                        IPERF_DONE if test.state == DISPLAY_RESULTS => return self.finish(),
                        // The client has given up, or is none.
                        _ => return self.finish(),
                    }
                }
            }
        }
    }

    /// Control messages are short: there is room for them.
    fn say(&mut self, id: TcpId, bytes: &[u8]) {
        let _ = self.net.tcp_send(id, bytes);
    }

    /// A connection has ended.
    fn gone(&mut self, id: TcpId) -> Option<Tested> {
        match self.roles.take(&mut self.net, id) {
            Some(Role::Control) => {
                self.net.tcp_close(id);
                return self.finish();
            }
            Some(Role::Stream(place)) => {
                // It is still asked for its retransmissions.
                if let Some(stream) = self.test.as_mut().and_then(|test| test.streams.get_mut(place)) {
                    stream.open = false;
                    return None;
                }
            }
            Some(Role::New(_)) | None => {}
        }
        self.net.tcp_close(id);
        None
    }

    /// Ends the test that runs, and tells what it came to if it came to an end.
    fn finish(&mut self) -> Option<Tested> {
        let test = self.test.take()?;
        self.hungry.clear();
        let tested = (test.state == DISPLAY_RESULTS).then(|| {
            let bytes = |sends| test.streams.iter().filter(|s| s.sends == sends).map(|s| s.bytes).sum();
            Tested {
                streams: test.streams.len(),
                seconds: test.seconds,
                bytes_received: bytes(false),
                bytes_sent: bytes(true),
                retransmits: test.streams.iter().map(|s| retransmits(&self.net, s) - s.omitted_retransmits).sum(),
            }
        });
        for id in test.streams.iter().map(|stream| stream.id).chain([test.control]) {
            self.roles.take(&mut self.net, id);
            self.net.tcp_close(id);
        }
        tested
    }
}

fn retransmits(net: &Net, stream: &Stream) -> u64 {
    net.tcp_info(stream.id).map_or(stream.omitted_retransmits, |info| info.retransmits.into())
}

fn results(net: &Net, test: &Test) -> Results {
    let percent = |seconds: f64| 100.0 * seconds / test.seconds.max(1e-9);
    let stream = |(place, stream): (usize, &Stream)| StreamResult {
        id: stream_number(place),
        bytes: stream.bytes,
        retransmits: if stream.sends { (retransmits(net, stream) - stream.omitted_retransmits) as i64 } else { -1 },
        jitter: 0.0,
        errors: 0,
        packets: 0,
        start_time: 0.0,
        end_time: test.seconds,
    };
    Results {
        cpu_util_total: percent(test.cpu.0 + test.cpu.1),
        cpu_util_user: percent(test.cpu.0),
        cpu_util_system: percent(test.cpu.1),
        sender_has_retransmits: if test.streams.iter().any(|stream| stream.sends) { 1 } else { -1 },
        streams: test.streams.iter().enumerate().map(stream).collect(),
    }
}

/// CPU time of this process in user mode and in the system, in seconds: fields 14 and 15 of `stat` (proc(5)), which
/// count hundredths.
fn cpu_seconds() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (next(), next())
}
