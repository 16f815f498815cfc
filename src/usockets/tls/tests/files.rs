//! Files as people have them: written by `openssl`, in all its formats, and spoilt.

use super::super::files::dh_fault;
use super::*;
use crate::usockets::UsError;
use std::process::Command;

/// Runs `openssl` and returns what it writes. The tests of TLS need it anyway, as a peer.
fn openssl(args: &str, input: &str) -> String {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new("openssl");
    command.args(args.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}

/// A server with this key, which `pkcs8` is too.
fn options(world: &World, pkcs8: &str, key: &str, passphrase: Option<&str>) -> SocketContextOptions {
    let leaf = world.root.issue_with(pkcs8, &["localhost"]);
    SocketContextOptions {
        passphrase: passphrase.map(Into::into),
        ..world.shows("key", &Leaf { key: key.into(), ..leaf })
    }
}

fn assert_works(world: &World, options: &SocketContextOptions) {
    let (mut client, mut server) = shaken(&load(&world.client()), &load(options), "localhost");
    assert_connected(&mut client, &mut server);
}

#[track_caller]
fn assert_refused(options: &SocketContextOptions, words: &[&str]) {
    let Err(UsError::SocketContextCreation { message }) = Settings::load(options) else { panic!("they were taken") };
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn keys_in_every_format() {
    let world = World::new();
    let rsa = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -quiet", "");
    let curve = |name| openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{name}"), "");
    for pkcs8 in [rsa, curve("P-256"), curve("P-384"), openssl("genpkey -algorithm ED25519", "")] {
        assert_works(&world, &options(&world, &pkcs8, &pkcs8, None));
        // A passphrase that is not needed does no harm.
        assert_works(&world, &options(&world, &pkcs8, &pkcs8, Some("needless")));
        // PKCS#1 or SEC1; Ed25519 has nothing of the kind.
        if !openssl("pkey -text -noout", &pkcs8).contains("ED25519") {
            let old = openssl("pkey -traditional", &pkcs8);
            assert!(old.contains("RSA PRIVATE KEY") || old.contains("EC PRIVATE KEY"), "{old}");
            // `openssl ecparam -genkey` writes the parameters in front.
            let old = format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{old}");
            assert_works(&world, &options(&world, &pkcs8, &old, None));
        }
    }
}

#[test]
fn encrypted_keys() {
    let world = World::new();
    let pkcs8 = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for way in [
        "-v2 aes-256-cbc",
        "-v2 aes-128-cbc -v2prf hmacWithSHA512",
        "-v2 aes-256-cbc -v2prf hmacWithSHA1",
        "-v2 des3",
        "-scrypt -scrypt_N 1024",
    ] {
        let key = openssl(&format!("pkcs8 -topk8 {way} -passout pass:secret"), &pkcs8);
        assert!(key.contains("ENCRYPTED PRIVATE KEY"));
        assert_works(&world, &options(&world, &pkcs8, &key, Some("secret")));
        assert_refused(
            &options(&world, &pkcs8, &key, Some("wrong")),
            &["key.key", "does not open with this passphrase"],
        );
        assert_refused(&options(&world, &pkcs8, &key, None), &["key.key", "needs the passphrase"]);
    }
    // Ways that are refused by name, with the way out, which works.
    let old = openssl("pkey -traditional -aes128 -passout pass:secret", &pkcs8);
    assert_refused(
        &options(&world, &pkcs8, &old, Some("secret")),
        &["EC PRIVATE KEY", "old way", "openssl pkcs8 -topk8 -in"],
    );
    let new = openssl("pkcs8 -topk8 -passin pass:secret -passout pass:secret", &old);
    assert_works(&world, &options(&world, &pkcs8, &new, Some("secret")));
    let older = openssl("pkcs8 -topk8 -v1 PBE-SHA1-3DES -passout pass:secret", &pkcs8);
    assert_refused(&options(&world, &pkcs8, &older, Some("secret")), &["not known here", "-v2 aes-256-cbc"]);
    let new = openssl("pkcs8 -topk8 -v2 aes-256-cbc -passin pass:secret -passout pass:secret", &older);
    assert_works(&world, &options(&world, &pkcs8, &new, Some("secret")));
}

#[test]
fn keys_and_certificates_that_cannot_be_used() {
    let world = World::new();
    let good = world.server(&["localhost"]);
    let file = |name: &str, content: &str| Some(world.folder.file(name, content));
    let with_key = |content: &str| SocketContextOptions { key_file_name: file("bad.key", content), ..good.clone() };
    let with_cert = |content: &str| SocketContextOptions { cert_file_name: file("bad.pem", content), ..good.clone() };
    let with_roots = |content: &str| SocketContextOptions { ca_file_name: file("bad.roots", content), ..good.clone() };

    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert_refused(&with_key(&other), &["bad.key", "localhost.pem", "do not belong together"]);
    let cert = std::fs::read_to_string(good.cert_file_name.as_ref().unwrap()).unwrap();
    assert_refused(&with_key(&cert), &["bad.key", "no private key", "`CERTIFICATE`"]);
    assert_refused(&with_cert(&other), &["bad.pem", "no CERTIFICATE", "`PRIVATE KEY`"]);
    assert_refused(&with_roots(&other), &["ca_file_name", "bad.roots", "no CERTIFICATE"]);
    assert_refused(&with_key("nothing"), &["bad.key", "no PEM file"]);
    assert_refused(&with_cert("0\u{3}"), &["bad.pem", "-inform DER"]);
    assert_refused(&with_key(&other[..other.len() / 2]), &["bad.key", "does not end"]);
    let cut = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert_refused(&with_key(cut), &["bad.key", "cannot be used", "RSA of 2048 bits or more"]);
    let cut = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_refused(&with_cert(cut), &["bad.pem"]);
    assert_refused(&with_roots(cut), &["bad.roots", "certificate 1"]);
    for curve in ["P-521", "secp256k1"] {
        let key = openssl(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve}"), "");
        assert_refused(&with_key(&key), &["bad.key", "ECDSA over P-256 or P-384"]);
    }
    let small = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -quiet", "");
    assert_refused(&with_key(&small), &["bad.key", "RSA of 2048 bits or more"]);

    let missing = || Some("/nowhere/at.all".to_owned());
    assert_refused(
        &SocketContextOptions { key_file_name: missing(), ..good.clone() },
        &["key_file_name", "/nowhere/at.all", "No such file"],
    );
    assert_refused(
        &SocketContextOptions { cert_file_name: missing(), ..good.clone() },
        &["cert_file_name", "No such file"],
    );
    assert_refused(
        &SocketContextOptions { ca_file_name: missing(), ..good.clone() },
        &["ca_file_name", "No such file"],
    );
    assert_refused(
        &SocketContextOptions { key_file_name: None, ..good.clone() },
        &["localhost.pem", "needs the key_file_name"],
    );
    assert_refused(
        &SocketContextOptions { cert_file_name: None, ..good.clone() },
        &["localhost.key", "needs the cert_file_name"],
    );
    let nul = SocketContextOptions { cert_file_name: Some("a\0b".into()), ..good };
    assert_eq!(Settings::load(&nul).err(), Some(UsError::InvalidStringConversion));
}

#[test]
fn parameters_of_diffie_hellman_are_checked() {
    let world = World::new();
    let with = |content: &str| SocketContextOptions {
        dh_params_file_name: Some(world.folder.file("dh.pem", content)),
        ..world.server(&["localhost"])
    };
    // Well-known groups, so that no prime has to be found: RFC 7919 and RFC 5114.
    for group in ["ffdhe2048", "ffdhe4096", "dh_1024_160"] {
        let text = openssl(&format!("genpkey -genparam -algorithm DH -pkeyopt group:{group}"), "");
        assert_works(&world, &with(&text));
    }
    let cert = world.root.pem();
    assert_refused(&with(&cert), &["dh_params_file_name", "no DH PARAMETERS", "`CERTIFICATE`"]);
    assert_refused(&with(""), &["dh.pem", "no PEM file"]);
    let missing = SocketContextOptions { dh_params_file_name: Some("/nowhere".into()), ..Default::default() };
    assert_refused(&missing, &["dh_params_file_name", "/nowhere"]);
    assert_refused(
        &with("-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"),
        &["less than 1024 bits", "openssl dhparam -out"],
    );
}

#[test]
fn parameters_of_diffie_hellman_that_are_malformed() {
    fn integer(content: &[u8]) -> Vec<u8> {
        [&[2, 0x82, (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }
    fn sequence(content: &[u8]) -> Vec<u8> {
        [&[0x30, 0x82, (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }
    let mut prime = vec![0xff; 129];
    prime[0] = 0;
    let good = sequence(&[integer(&prime), integer(&[2])].concat());
    assert_eq!(dh_fault(&good), None);
    assert_eq!(dh_fault(&sequence(&[integer(&prime), integer(&[2]), integer(&[1, 0])].concat())), None);
    let mut even = prime.clone();
    even[128] = 0xfe;
    let mut negative = prime.clone();
    negative.remove(0);
    let mut padded = prime.clone();
    padded.insert(0, 0);
    for (der, words) in [
        (sequence(&[integer(&even), integer(&[2])].concat()), "even"),
        (sequence(&[integer(&negative), integer(&[2])].concat()), "malformed"),
        (sequence(&[integer(&padded), integer(&[2])].concat()), "malformed"),
        (sequence(&[integer(&prime), integer(&[1])].concat()), "generator"),
        (sequence(&[integer(&prime), integer(&[0])].concat()), "malformed"),
        (sequence(&[integer(&prime), integer(&prime)].concat()), "generator"),
        (sequence(&integer(&prime)), "malformed"),
        ([&good[..], &[0]].concat(), "malformed"),
        (good[..good.len() - 1].to_vec(), "malformed"),
        (vec![0x30, 0x80], "malformed"),
        (Vec::new(), "malformed"),
    ] {
        assert!(dh_fault(&der).is_some_and(|fault| fault.contains(words)), "{words}");
    }
    for len in 0..good.len() {
        assert!(dh_fault(&good[..len]).is_some());
    }
}
