//! Tests of the whole room: the checksum against its definition, known bytes, etherparse as an oracle.

mod checksum;
mod known;
mod oracle;
mod oracle_tcp;
